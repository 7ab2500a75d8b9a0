"""The LSTM text encoder and its letters: against torch's own LSTM sequence by sequence, and against loops."""

import math

import pytest
import torch
from torch import nn
from transformers import AutoModel

from mner_zoo.layers.bidirectional_lstm import BidirectionalLSTM
from mner_zoo.layers.character_features import CharacterCNN, CharacterLSTM
from mner_zoo.text_encoders import CHAR_ENCODERS, LstmTextConfig, LstmTextModel

SIZES = {
    "vocab_size": 20,
    "hidden_size": 8,
    "word_embedding_size": 6,
    "char_vocab_size": 9,
    "char_embedding_size": 5,
    "char_hidden_size": 3,
    "char_cnn_widths": [2, 3],
    "char_cnn_filters": 4,
}


def make_encoder(enliven, **fields) -> LstmTextModel:
    return enliven(LstmTextModel(LstmTextConfig(**SIZES | fields)).eval())


def random_batch(lengths: list[int], num_characters: int = 5, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    letters = torch.randint(1, num_characters + 1, shape, generator=generator) * mask  # of each word, 0 on padding
    char_ids = torch.randint(1, 9, (*shape, num_characters), generator=generator)
    return {
        "input_ids": torch.randint(1, 20, shape, generator=generator) * mask,
        "attention_mask": mask.long(),
        "char_ids": char_ids * (torch.arange(num_characters) < letters[..., None]),
    }


def as_torch_lstm(lstm: BidirectionalLSTM) -> nn.LSTM:
    """Torch's own bidirectional LSTM with the same weights."""
    one_way = lstm.forward_lstm
    both = nn.LSTM(one_way.input_size, one_way.hidden_size, batch_first=True, bidirectional=True)
    weights = dict(one_way.named_parameters())
    weights |= {f"{name}_reverse": value for name, value in lstm.backward_lstm.named_parameters()}
    both.load_state_dict(weights)
    return both


def test_lstm_reads_each_sequence_as_torch_reads_it_alone(enliven):
    lstm = enliven(BidirectionalLSTM(4, 3))
    states, lengths = torch.randn(4, 7, 4), torch.tensor([7, 1, 4, 0])
    both, ends = lstm(states, lengths)
    reference = as_torch_lstm(lstm)
    for row, length in enumerate(lengths[:3].tolist()):
        alone, (last, _) = reference(states[row : row + 1, :length])
        torch.testing.assert_close(both[row, :length], alone[0])
        torch.testing.assert_close(ends[row], last[:, 0].flatten())
        assert not both[row, length:].any()
    assert not both[3].any()
    assert not ends[3].any()


def test_lstm_by_hand():
    lstm = BidirectionalLSTM(1, 1)
    gates = {"weight_ih_l0": [0.5, -0.3, 0.8, 0.2], "weight_hh_l0": [0.1, 0.4, -0.6, 0.7]}
    for name, values in gates.items():
        getattr(lstm.forward_lstm, name).data = torch.tensor(values)[:, None]
    lstm.forward_lstm.bias_ih_l0.data = torch.tensor([0.0, 1.0, 0.0, 0.0])
    lstm.forward_lstm.bias_hh_l0.data.zero_()

    def sigmoid(value):
        return 1 / (1 + math.exp(-value))

    hidden = cell = 0.0
    for value in (2.0, -1.0):
        i, f, g, o = (x * value + h * hidden for x, h in zip(*gates.values(), strict=True))
        cell = sigmoid(f + 1) * cell + sigmoid(i) * math.tanh(g)
        hidden = sigmoid(o) * math.tanh(cell)
    both, _ = lstm(torch.tensor([[[2.0], [-1.0], [9.0]]]), torch.tensor([2]))
    assert both[0, 1, 0].item() == pytest.approx(hidden, abs=1e-6)


@pytest.mark.parametrize("dense_sizes", [(), (7, 5)])
def test_cnn_against_a_loop_over_letters(enliven, dense_sizes):
    cnn = enliven(CharacterCNN(9, 5, [1, 2, 3, 4], 6, dense_sizes)).eval()
    char_ids = torch.tensor([[[3, 1, 4, 1, 5], [2, 0, 0, 0, 0]], [[6, 5, 0, 0, 0], [0, 0, 0, 0, 0]]])
    states = cnn(char_ids)
    assert states.shape == (2, 2, cnn.output_size)
    for post in range(2):
        for word in range(2):
            letters = [int(letter) for letter in char_ids[post, word] if letter]
            expected = []
            for convolution in cnn.convolutions:
                (width,) = convolution.kernel_size
                answers = []
                for position in range(len(letters)):
                    answer = convolution.bias.clone()
                    for offset in range(width):
                        place = position + offset - (width - 1) // 2
                        if 0 <= place < len(letters):
                            answer += convolution.weight[:, :, offset] @ cnn.embeddings.weight[letters[place]]
                    answers.append(answer)
                expected.append(torch.stack(answers).max(dim=0).values if letters else torch.zeros(6))
            expected = torch.cat(expected)
            for number, layer in enumerate(cnn.dense):
                expected = layer.weight @ (expected if number == 0 else expected.clamp(min=0)) + layer.bias
            torch.testing.assert_close(states[post, word], expected if letters else torch.zeros(cnn.output_size))


def test_letters_lstm_against_torch_word_by_word(enliven):
    characters = enliven(CharacterLSTM(9, 5, 3))
    char_ids = torch.tensor([[[3, 1, 4, 1], [2, 0, 0, 0]], [[6, 5, 0, 0], [0, 0, 0, 0]]])
    states = characters(char_ids)
    reference = as_torch_lstm(characters.lstm)
    for post, word in ((0, 0), (0, 1), (1, 0)):
        letters = char_ids[post, word][char_ids[post, word] > 0]
        _, (last, _) = reference(characters.embeddings(letters)[None])
        torch.testing.assert_close(states[post, word], torch.cat([last[0, 0], last[1, 0]]))
    assert not states[1, 1].any()


@pytest.mark.parametrize("char_encoder", CHAR_ENCODERS)
def test_encoder_is_an_lstm_over_vectors_and_letters(enliven, char_encoder):
    model = make_encoder(enliven, char_encoder=char_encoder)
    batch = random_batch([4, 2, 6])
    output = model(**batch, output_hidden_states=True)
    reference = as_torch_lstm(model.lstm)
    for row, length in enumerate((4, 2, 6)):
        features = model.word_embeddings.weight[batch["input_ids"][row, :length]]
        if char_encoder != "none":
            letters = model.character_features(batch["char_ids"][row : row + 1, :length])[0]
            features = torch.cat([features, letters], dim=-1)
        torch.testing.assert_close(output.hidden_states[0][row, :length], features)
        torch.testing.assert_close(output.last_hidden_state[row, :length], reference(features[None])[0][0])
    assert output.last_hidden_state is output.hidden_states[1]
    assert torch.equal(model(**batch, return_dict=False)[0], output.last_hidden_state)


@pytest.mark.parametrize("tanh_projection", [False, True])
@pytest.mark.parametrize("char_encoder", CHAR_ENCODERS)
def test_padding_and_other_posts_change_nothing(enliven, char_encoder, tanh_projection):
    model = make_encoder(enliven, char_encoder=char_encoder, tanh_projection=tanh_projection)
    batch = random_batch([3, 5])
    alone = {name: tensor[:1, :3] for name, tensor in batch.items()}
    longer = {
        "input_ids": nn.functional.pad(batch["input_ids"], (0, 4)),
        "attention_mask": nn.functional.pad(batch["attention_mask"], (0, 4)),
        "char_ids": nn.functional.pad(batch["char_ids"], (0, 3, 0, 4)),
    }
    states = model(**batch).last_hidden_state
    torch.testing.assert_close(model(**alone).last_hidden_state, states[:1, :3])
    torch.testing.assert_close(model(**longer).last_hidden_state[:, :5], states)
    assert not model(**longer).last_hidden_state[:, 5:].any()
    assert not states[0, 3:].any()


def test_layer_behind_the_lstm_is_tanh_of_a_projection(enliven):
    model = make_encoder(enliven, tanh_projection=True)
    plain = make_encoder(enliven)
    plain.load_state_dict(model.state_dict(), strict=False)
    batch = random_batch([3])
    before = plain(**batch).last_hidden_state
    expected = torch.tanh(before @ model.projection.weight.T + model.projection.bias)
    torch.testing.assert_close(model(**batch).last_hidden_state, expected)


@pytest.mark.parametrize("char_encoder", ["cnn", "lstm"])
def test_letters_tell_unknown_words_apart(enliven, char_encoder):
    model = make_encoder(enliven, char_encoder=char_encoder)
    ids = torch.ones(1, 1, dtype=torch.long)
    first, second = (model(ids, char_ids=torch.tensor([[letters]])) for letters in ([2, 3], [3, 2]))
    assert (first.last_hidden_state - second.last_hidden_state).abs().max() > 1e-3


def test_fresh_weights_are_those_of_ma_and_hovy():
    torch.manual_seed(0)
    fields = {"char_encoder": "lstm", "hidden_size": 60, "word_embedding_size": 48, "vocab_size": 500}
    model = LstmTextModel(LstmTextConfig(**SIZES | fields))
    words = model.word_embeddings.weight
    assert not words[0].any()
    assert 0.24 < words.abs().max() <= math.sqrt(3 / 48)  # 0.25
    lstm = model.lstm.backward_lstm
    for weight, fan_in in ((lstm.weight_ih_l0, 48 + 6), (lstm.weight_hh_l0, 30)):
        bound = math.sqrt(6 / (30 + fan_in))
        assert 0.98 * bound < weight.abs().max() <= bound
    bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0).view(4, 30)  # input, forget, cell, output
    assert torch.equal(bias, torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None].expand(4, 30))


@pytest.mark.parametrize("char_encoder", CHAR_ENCODERS)
def test_saved_encoder_is_the_same(enliven, char_encoder, tmp_path):
    model = make_encoder(enliven, char_encoder=char_encoder, char_dense_sizes=[4], tanh_projection=True)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is LstmTextModel
    batch = random_batch([3, 5])
    assert torch.equal(loaded(**batch).last_hidden_state, model(**batch).last_hidden_state)


@pytest.mark.parametrize("char_encoder", CHAR_ENCODERS)
def test_gradient_reaches_every_weight(enliven, char_encoder):
    model = make_encoder(enliven, char_encoder=char_encoder, char_dense_sizes=[6, 4], tanh_projection=True)
    model(**random_batch([3, 5])).last_hidden_state.square().sum().backward()
    # padding has no letters, of which nothing may come
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in model.parameters())


def test_words_seen_once_are_forgotten_in_training_alone(enliven):
    fields = {"dropout": 0.0, "singleton_ids": [10, 15]}
    ids = torch.tensor([[9, 10, 14, 15, 12]])
    unknown = torch.tensor([[9, 1, 1, 15, 1]])
    always = make_encoder(enliven, singleton_dropout=1.0, **fields)
    expected = always(unknown).last_hidden_state
    assert not torch.allclose(always(ids).last_hidden_state, expected)
    torch.testing.assert_close(always.train()(ids).last_hidden_state, expected)
    never = make_encoder(enliven, singleton_dropout=0.0, **fields)
    assert torch.equal(never.train()(ids).last_hidden_state, never.eval()(ids).last_hidden_state)


def test_half_of_the_words_seen_once_are_forgotten():
    torch.manual_seed(0)
    model = LstmTextModel(LstmTextConfig(**SIZES, singleton_ids=[10, 15])).train()
    ids = torch.arange(20).expand(1000, 20)
    forgotten = (model._forget_singletons(ids) == 1).float().mean(dim=0)
    expected = torch.tensor([0.0, 1.0, *[0.0] * 8, *[0.5] * 5, *[0.0] * 5])
    torch.testing.assert_close(forgotten, expected, atol=0.06, rtol=0)


def test_cnn_in_half_precision_stays_finite():
    model = LstmTextModel(LstmTextConfig(**SIZES, char_encoder="cnn"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(**random_batch([3, 5])).last_hidden_state.isfinite().all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"char_encoder": "gru"}, "`char_encoder` must be one of none, cnn, lstm, got 'gru'"),
        ({"hidden_size": 7}, "`hidden_size` 7 is odd"),
        ({"dropout": 1.5}, r"`dropout` must lie in \[0, 1\], got 1.5"),
        ({"char_cnn_widths": [3, 0]}, r"`char_cnn_widths` must be at least 1, a whole number, got \[3, 0\]"),
        ({"char_cnn_widths": []}, "`char_cnn_widths` must be at least 1"),
        ({"word_embedding_size": 2.5}, "`word_embedding_size` must be at least 1"),
        ({"singleton_ids": [3, 21]}, r"`singleton_ids` .* of 20 words, got \[3, 21\]"),
    ],
)
def test_values_out_of_range(fields, message):
    with pytest.raises(ValueError, match=message):
        LstmTextConfig(**SIZES | fields)


def test_missing_letters_are_refused(enliven):
    model = make_encoder(enliven, char_encoder="lstm")
    batch = random_batch([3, 5])
    with pytest.raises(ValueError, match=r"`char_ids` must be .* for \(2, 5\) words, got None"):
        model(batch["input_ids"])
    with pytest.raises(ValueError, match=r"got \(2, 3, 5\)"):
        model(batch["input_ids"], char_ids=batch["char_ids"][:, :3])
