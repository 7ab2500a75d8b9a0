"""TPM-MI against its equations, and against the axis of its authors' code: no post may depend on others."""

import math

import pytest
import torch
from transformers import BertModel, ViTModel

from mner_zoo.systems.tpm_mi import TPMBody, TPMConfig, TPMForTokenClassification
from tests.mner_zoo.pictured_batch import pictured_batch


class BatchAxisBody(TPMBody):
    """The public code's layer: ``nn.TransformerEncoderLayer`` on (B, N, Dv) without ``batch_first``, and no mask.

    Its sequence is then the batch: an image attends to the images at the same place in the other posts.
    """

    def relate_images(self, frames: torch.Tensor, image_mask: torch.Tensor) -> torch.Tensor:
        return self.frame_layer(frames.transpose(0, 1)).transpose(0, 1)


class BatchAxisTPM(TPMForTokenClassification):
    body_class = BatchAxisBody


@pytest.fixture(scope="module")
def make_tpm(tiny_backbone_configs, enliven):
    """Function that makes a tiny TPM-MI whose weights matter, in ``eval()``."""

    def make(system=TPMForTokenClassification, seed: int = 0, **fields):
        torch.manual_seed(seed)
        text, vision = tiny_backbone_configs()
        sizes = {"frame_heads": 4, "frame_intermediate_size": 32, "prompt_size": 20}
        return enliven(system(TPMConfig(text_config=text, vision_config=vision, **sizes | fields)), seed).eval()

    return make


def beside(post: dict[str, torch.Tensor], mates: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The first post of one batch with all but the first of another."""
    return {name: torch.cat([tensor[:1], mates[name][1:]]) for name, tensor in post.items()}


def test_no_post_depends_on_its_batch_mates_as_in_the_public_code(make_tpm):
    num_images = [2, 2, 2, 2]
    post = pictured_batch(num_images)
    batches = [beside(post, pictured_batch(num_images, seed)) for seed in range(1, 9)]
    alone = {name: tensor[:1] for name, tensor in post.items()}
    theirs, ours = make_tpm(BatchAxisTPM), make_tpm()
    ours.load_state_dict(theirs.state_dict())  # the axis is all the difference
    real = post["attention_mask"][0].bool()
    logits, tags = (
        {
            system: [getattr(model(**batch), field)[0, real] for batch in batches]
            for system, model in (("theirs", theirs), ("ours", ours))
        }
        for field in ("logits", "predictions")
    )
    assert len({tuple(of_batch.tolist()) for of_batch in tags["theirs"]}) > 1
    assert max((of_batch - logits["theirs"][0]).abs().max() for of_batch in logits["theirs"]) > 0.1
    for of_batch in logits["ours"]:
        torch.testing.assert_close(of_batch, ours(**alone).logits[0][real[: alone["input_ids"].shape[1]]])
    assert len({tuple(of_batch.tolist()) for of_batch in tags["ours"]}) == 1
    # and the images of a post meet: in the public code they never do
    changed = post | {"pixel_values": post["pixel_values"].clone()}
    changed["pixel_values"][:, 1] += 1
    for model, meet in ((theirs, False), (ours, True)):
        related = []
        model.model.frame_layer.register_forward_hook(lambda _, __, output, seen=related: seen.append(output))
        model(**post), model(**changed)
        first, second = related if meet else (states.transpose(0, 1) for states in related)
        assert ((first - second)[:, 0].abs().max() > 0.01) == meet


def linear(states, module):
    return states @ module.weight.T + module.bias


def frames_by_hand(layer, frames, heads=4):
    """Post-norm attention and a ReLU feed-forward part over the images of one post, head by head."""
    size = frames.shape[-1]
    width = size // heads
    rows = frames @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias
    query, key, value = rows.split(size, dim=-1)
    found = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        weights = (query[:, part] @ key[:, part].T / math.sqrt(width)).softmax(dim=-1)
        found.append(weights @ value[:, part])
    states = layer.norm1(frames + linear(torch.cat(found, dim=-1), layer.self_attn.out_proj))
    return layer.norm2(states + linear(linear(states, layer.linear1).relu(), layer.linear2))


def test_the_equations(make_tpm):
    model = make_tpm().double()
    body = model.model
    batch = pictured_batch([3, 2])
    pictures = batch["pixel_values"].double()
    for post, count in ((0, 3), (1, 2)):
        frames = body.vision_model(pictures[post, :count]).last_hidden_state[:, 0]  # v: the class token
        related = frames_by_hand(body.frame_layer, frames + body.slots.weight[:count])  # u
        prompts = body.prompts(related[None])
        mask = torch.ones(1, count, dtype=torch.bool)
        length = int(batch["attention_mask"][post].sum())
        ids = batch["input_ids"][post : post + 1, :length]
        states = body.text_model(ids, torch.ones_like(ids), prompts, mask)
        expected = linear(states, model.classifier)[0]
        actual = model(**batch | {"pixel_values": pictures}).logits[post, :length]
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def test_a_post_without_pictures_is_read_as_bert_reads_it(make_tpm):
    model = make_tpm()
    bert = BertModel(model.config.text_config, add_pooling_layer=False).eval()
    bert.load_state_dict(model.model.text_model.state_dict())
    batch = pictured_batch([0, 2, 0])
    expected = model.classifier(bert(batch["input_ids"], batch["attention_mask"]).last_hidden_state)
    real = batch["attention_mask"].bool()
    logits = model(**batch).logits
    for post, same in ((0, True), (1, False), (2, True)):
        difference = (logits - expected)[post, real[post]].abs().max()
        assert (difference < 1e-5) == same
    without = model(batch["input_ids"], batch["attention_mask"]).logits
    torch.testing.assert_close(without[real], expected[real], rtol=0, atol=1e-5)


def test_empty_slots_change_nothing(make_tpm):
    model = make_tpm()
    batch = pictured_batch([1, 3, 0])
    before = model(**batch).logits
    pixels = batch["pixel_values"].clone()
    pixels[~batch["image_mask"]] = torch.nan
    torch.testing.assert_close(model(**batch | {"pixel_values": pixels}).logits, before)
    packed = batch | {"pixel_values": batch["pixel_values"][batch["image_mask"]]}
    torch.testing.assert_close(model(**packed).logits, before)
    more = batch | {
        "pixel_values": torch.cat([pixels, pixels], dim=1),  # more slots than `max_images`
        "image_mask": torch.cat([batch["image_mask"], torch.zeros_like(batch["image_mask"])], dim=1),
    }
    torch.testing.assert_close(model(**more).logits, before, rtol=0, atol=1e-5)
    assert (before[1] - before[0]).abs().max() > 0.01


def test_the_fast_path_of_torch_without_gradient_is_the_same(make_tpm):
    model, batch = make_tpm(), pictured_batch([1, 3, 0, 2])
    with torch.no_grad():
        fast = model(**batch).logits
    torch.testing.assert_close(fast, model(**batch).logits, rtol=0, atol=1e-5)


def test_the_order_of_the_pictures_matters_by_the_slots_alone(make_tpm):
    batch = pictured_batch([3, 2])
    swapped = batch | {"pixel_values": batch["pixel_values"].clone()}
    swapped["pixel_values"][0] = batch["pixel_values"][0, [1, 2, 0]]
    model = make_tpm()
    real = batch["attention_mask"][0].bool()
    assert (model(**swapped).logits - model(**batch).logits)[0, real].abs().max() > 0.01
    model.model.slots.weight.data.zero_()
    torch.testing.assert_close(model(**swapped).logits[0, real], model(**batch).logits[0, real], rtol=0, atol=1e-5)


def test_any_number_of_pictures(make_tpm):
    batch = pictured_batch([6, 1])
    assert make_tpm(max_images=6)(**batch).logits.isfinite().all()
    with pytest.raises(ValueError, match="has more images than the model's `max_images`, 4"):
        make_tpm()(**batch)


def test_the_switch_counts_positions_after_the_pictures(make_tpm):
    batch = pictured_batch([2, 2])
    model, shifted = make_tpm(), make_tpm(positions_after_prefix=True)  # of four slots, whatever the batch
    positions = []
    for tagger in (model, shifted):
        embeddings = tagger.model.text_model.embeddings.position_embeddings
        embeddings.register_forward_hook(lambda _, ids, __: positions.append(ids[0][0].tolist()))
        tagger(**batch)
    length = batch["input_ids"].shape[1]
    assert positions == [list(range(length)), list(range(4, length + 4))]


@pytest.mark.parametrize("num_images", [[3, 1, 0], [0, 0]])
def test_gradient_reaches_every_parameter(make_tpm, num_images):
    model = make_tpm().train()
    batch = pictured_batch(num_images)
    if not sum(num_images):
        del batch["pixel_values"], batch["image_mask"]
    model(**batch).loss.backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    if sum(num_images):  # a key's bias adds the same to all logits of a softmax
        still = [name for name, parameter in model.named_parameters() if not parameter.grad.any()]
        assert all(name.endswith("key.bias") for name in still)


def test_a_saved_model_is_the_same(make_tpm, tmp_path):
    model, batch = make_tpm(positions_after_prefix=True), pictured_batch([2, 0])
    model.save_pretrained(tmp_path)
    loaded = TPMForTokenClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    assert loaded.config.positions_after_prefix


def test_from_backbones_takes_over_the_weights(tiny_backbone_configs):
    text_config, vision_config = tiny_backbone_configs()
    text, vision = BertModel(text_config), ViTModel(vision_config)
    model = TPMForTokenClassification.from_backbones(text, vision, max_images=2)
    for ours, theirs in ((model.model.text_model, text), (model.model.vision_model, vision)):
        expected = {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith("pooler")}
        assert ours.state_dict().keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frame_heads": 5}, "The vision encoder's width 768 is not a multiple of `frame_heads` 5"),
        ({"prompt_size": 0}, "`prompt_size` must be a whole number, at least 1, got 0"),
        ({"frame_dropout": 2}, "`frame_dropout` must be a finite number from 0 to 1, got 2"),
        ({"positions_after_prefix": None}, "`positions_after_prefix` must be true or false, got None"),
        ({"vision_config": {"model_type": "levit"}}, "vision backbone of type 'levit' are patches"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TPMConfig(**fields)
