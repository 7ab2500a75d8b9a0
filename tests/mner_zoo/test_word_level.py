"""The processor of word-level systems: one id per word, its letters, windows, saving, and the way to entities."""

import json

import pytest
import torch
from transformers import AutoProcessor, PreTrainedTokenizerFast, pipeline

from mner_training.data import encode_split
from mner_training.data_collator import PostCollator
from mner_training.word_vocabulary import make_tokenizer
from mner_zoo.systems.lstm_crf import LSTMCRFConfig, LSTMCRFForTokenClassification
from mner_zoo.word_level import WordLevelProcessor
from processing_iqcr.entities import tags_to_entities

WORDS = ["[PAD]", "[UNK]", "washington", "Washington", "wins", "http", "R&B", "é", "a b"]
CHARACTERS = "Wabinsv"


@pytest.fixture
def make_processor(tiny_processor):
    def make(**fields) -> WordLevelProcessor:
        fields = {"characters": CHARACTERS, "max_length": 12, "window_overlap": 4} | fields
        return WordLevelProcessor(tiny_processor.image_processor, make_tokenizer(WORDS), **fields)

    return make


@pytest.fixture
def make_tagger(enliven):
    def make(char_encoder: str = "cnn") -> LSTMCRFForTokenClassification:
        text_config = {
            "model_type": "lstm_text",
            "vocab_size": len(WORDS),
            "hidden_size": 8,
            "word_embedding_size": 6,
            "char_encoder": char_encoder,
            "char_vocab_size": 2 + len(CHARACTERS),
        }
        return enliven(LSTMCRFForTokenClassification(LSTMCRFConfig(text_config=text_config)).eval())

    return make


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("washington", 2),
        ("Washington", 3),  # as it is written, before small letters
        ("WASHINGTON", 2),
        ("Wins", 4),
        ("https://t.co/abc", 5),
        ("R&amp;B", 6),
        ("r&b", 1),  # what is known in capitals alone is not known in small letters
        ("É", 7),
        ("a b", 8),
        ("a", 1),
        ("", 1),
        ("\ufe0f", 1),
        ("\ud800", 1),
        ("[PAD]", 1),  # nothing that is written is padding
        ("[UNK]", 1),
        ("x" * 1000, 1),
    ],
)
def test_every_word_is_one_number(make_processor, word, number):
    batch = make_processor()(words=["wins", word, "wins"])
    assert batch["input_ids"].tolist() == [[4, number, 4]]
    assert batch["word_mask"].all()


def test_letters_by_hand(make_processor):
    batch = make_processor(max_characters=4)(words=[["Wins", "x", ""], ["savings"]])
    # "savings" is cut to "savi"; x and the word without letters are the unknown character
    expected = [[[2, 5, 6, 7], [1, 0, 0, 0], [1, 0, 0, 0]], [[7, 3, 8, 5], [0] * 4, [0] * 4]]
    assert batch["char_ids"].tolist() == expected
    assert make_processor()(words=["Wins", "x"])["char_ids"].shape == (1, 2, 4)
    assert make_processor()(words=["https://t.co/abc"])["char_ids"].shape == (1, 1, 4)  # read as "http"
    assert make_processor()(words=["W" * 1000])["char_ids"].tolist() == [[[2] * 30]]


def test_without_alphabet_there_are_no_letters(make_processor):
    processor = make_processor(characters=None)
    assert "char_ids" not in processor(words=["wins"])
    assert "char_ids" not in processor.model_input_names
    assert "char_ids" in make_processor().model_input_names


def test_post_alone_equals_its_row_in_a_batch(make_processor):
    processor = make_processor()
    batch = processor(words=[["wins"], ["Washington", "savings"]], word_labels=[[0], [1, 0]])
    alone = processor(words=["wins"], word_labels=[0])
    for name, tensor in alone.items():
        assert torch.equal(batch[name][:1, :1, :4] if name == "char_ids" else batch[name][:1, :1], tensor), name
    assert not batch["attention_mask"][0, 1:].any()
    assert batch["labels"].tolist() == [[0, -100], [1, 0]]


def test_long_post_is_covered_by_windows_that_carry_their_letters(make_processor, make_tagger):
    processor, model = make_processor(), make_tagger()
    words = ["Washington", "wins", "savings", "b", "is"] * 8
    batch = processor(words=words)
    whole = make_processor(max_length=40)(words=words)["char_ids"][0]
    assert len(batch.windows) > 1
    for row, window in enumerate(batch.windows):
        assert window.end - window.start == batch["attention_mask"][row].sum() <= 12
        assert torch.equal(batch["char_ids"][row, : window.end - window.start], whole[window.start : window.end])
    with torch.no_grad():
        outputs = model(**batch)
    (prediction,) = processor.post_process_entities(model, outputs, batch)
    assert len(prediction.tags) == 40
    assert prediction.entities == tags_to_entities(prediction.tags)


def test_saved_processor_is_the_same_and_names_no_code(make_processor, make_tagger, tmp_path):
    processor = make_processor(max_characters=5, max_images=2)
    processor.save_pretrained(tmp_path)
    make_tagger().save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    for file in tmp_path.glob("*.json"):
        assert "auto_map" not in json.loads(file.read_text())
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is WordLevelProcessor
    assert {name: getattr(loaded, name) for name in loaded.settings} == {
        "max_images": 2,
        "max_length": 12,
        "window_overlap": 4,
        "quality_scorer": None,
        "relevance_scorer": None,
        "characters": CHARACTERS,
        "max_characters": 5,
    }
    words = ["Wins", "WASHINGTON", "a b", "é", "[PAD]", "savings"]
    for copy in (loaded, WordLevelProcessor(loaded.image_processor, loaded.tokenizer, max_length=9, **kept(loaded))):
        for name, tensor in processor(words=words).items():
            assert torch.equal(copy(words=words)[name], tensor), name


def kept(processor) -> dict:
    return {name: getattr(processor, name) for name in processor.settings if name != "max_length"}


def test_rows_of_a_data_set_hold_the_letters(make_processor, make_tagger, make_posts):
    processor, model = make_processor(), make_tagger()
    posts = make_posts(5)
    split = encode_split("train", posts, processor, model.config.labels, with_images=False)
    batch = PostCollator(processor, model, with_images=False)(list(split.rows))
    expected = processor(words=posts["tokens"], word_labels=posts["ner_tags"])
    assert set(batch) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor), name
    # rows that are stored belong to their vocabulary and their alphabet
    other = WordLevelProcessor(
        processor.image_processor, make_tokenizer([*WORDS, "red"]), characters="dr", max_length=12, window_overlap=4
    )
    rows = encode_split("train", posts, other, model.config.labels, with_images=False).rows
    assert rows["input_ids"][:] == [ids for post in posts["tokens"] for ids in other(words=post)["input_ids"].tolist()]
    assert rows["char_ids"][0] == [other.spell(word) for word in posts["tokens"][0]]
    without = make_processor(characters=None)
    assert "char_ids" not in encode_split("train", posts, without, model.config.labels).rows.column_names


@pytest.mark.parametrize("char_encoder", ["none", "lstm"])
def test_pipeline_from_text_to_entities(make_processor, make_tagger, char_encoder):
    processor, model = make_processor(), make_tagger(char_encoder)
    ner = pipeline("multimodal-ner", model=model, processor=processor)
    texts = ["Washington wins savings", "WASHINGTON", "", "b wins " * 20]
    answers = ner([{"text": text} for text in texts], batch_size=3)
    assert any(answer["entities"] for answer in answers)
    for text, answer in zip(texts, answers, strict=True):
        for entity in answer["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["word"]
        alone = ner(text)["entities"]
        assert [entity["word"] for entity in answer["entities"]] == [entity["word"] for entity in alone]
        scores = [entity["score"] for entity in answer["entities"]]
        assert scores == pytest.approx([entity["score"] for entity in alone], abs=1e-5)


def test_what_is_refused(make_processor, tiny_tokenizer, tiny_processor):
    with pytest.raises(ValueError, match=r"names \['a'\] again"):
        make_processor(characters="abca")
    with pytest.raises(ValueError, match="`max_characters` must be at least 1, got 0"):
        make_processor(max_characters=0)
    with pytest.raises(ValueError, match="is no tokenizer of words"):
        WordLevelProcessor(tiny_processor.image_processor, tiny_tokenizer, max_length=32, window_overlap=4)
    with pytest.raises(ValueError, match="Post 1, word 1: expected a string, got 3"):
        make_processor()(words=[["a"], ["b", 3]])


def test_tokenizer_is_one_of_words(make_processor):
    tokenizer = make_processor().tokenizer
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert tokenizer("washington wins unheard-of")["input_ids"] == [2, 4, 1]
