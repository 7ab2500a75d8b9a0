"""Words fed one by one against the tokenizer's own reading of them, for fast and slow tokenizers of all kinds."""

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast, ViTImageProcessorPil

from processing_iqcr import IQCRProcessor

# Each is a word to a person and nothing, or something unheard of, to a tokenizer.
ODD_WORDS = ["", "\ufe0f", "\u200b", " ", "\t", "नमस्ते", "日本語", "😀", "a" * 500, "\x00", "É", "two words"]


def byte_level_tokenizer(add_prefix_space: bool) -> PreTrainedTokenizerFast:
    """A RoBERTa in small: bytes, a few merges, and the space before a word as part of its first sub-token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, "Ġp", "la", "Ġpla", "ys"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges = [("Ġ", "p"), ("l", "a"), ("Ġp", "la"), ("y", "s")]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def word_level_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words and no special tokens around them, as the LSTM systems use."""
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "paris": 2, "wins": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")


class SyllableTokenizer(PreTrainedTokenizer):
    """A slow tokenizer, in Python, without `word_ids`: pieces of two letters."""

    def __init__(self, **kwargs):
        pairs = [a + b for a in "abcdefghijklmnopqrstuvwxyz" for b in ["", *"abcdefghijklmnopqrstuvwxyz"]]
        self._ids = {piece: index for index, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pairs])}
        self._pieces = list(self._ids)
        super().__init__(unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", **kwargs)

    @property
    def vocab_size(self):
        return len(self._ids)

    def get_vocab(self):
        return dict(self._ids)

    def _tokenize(self, text, **kwargs):
        return [word[i : i + 2] for word in text.split() for i in range(0, len(word), 2)]

    def _convert_token_to_id(self, token):
        return self._ids.get(token, 1)

    def _convert_id_to_token(self, index):
        return self._pieces[index]

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        return [2, *token_ids_0, 3]


@pytest.fixture(scope="module")
def image_processor():
    return ViTImageProcessorPil(size={"height": 16, "width": 16})


@pytest.fixture(scope="module")
def processors_by_name(image_processor, tiny_tokenizer):
    """Processors of one kind of tokenizer each; 24 sub-tokens a row."""
    tokenizers = {
        "wordpiece": tiny_tokenizer,
        "byte-level": byte_level_tokenizer(add_prefix_space=True),
        "word-level": word_level_tokenizer(),
        "slow": SyllableTokenizer(),
    }
    return {
        name: IQCRProcessor(image_processor, tokenizer, max_length=24, window_overlap=6)
        for name, tokenizer in tokenizers.items()
    }


KINDS = ["wordpiece", "byte-level", "word-level", "slow"]


@pytest.mark.parametrize("kind", ["wordpiece", "byte-level", "word-level"])
def test_ids_and_word_mask_equal_the_tokenizers_own_reading_of_the_words(processors_by_name, kind):
    processor = processors_by_name[kind]
    words = ["plays", "paris", "wins", "zoo", "pla"]
    batch = processor(words=words)
    reference = processor.tokenizer(words, is_split_into_words=True)
    assert batch["input_ids"].tolist() == [reference["input_ids"]]
    word_ids = reference.word_ids()
    first = [word is not None and word not in word_ids[:i] for i, word in enumerate(word_ids)]
    assert batch["word_mask"].tolist() == [first]
    assert batch["attention_mask"].tolist() == [[1] * len(word_ids)]


def test_slow_tokenizer_without_word_ids(processors_by_name):
    batch = processors_by_name["slow"](words=["washington", "in", "x"])
    pieces = processors_by_name["slow"].tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    assert pieces == ["[CLS]", "wa", "sh", "in", "gt", "on", "in", "x", "[SEP]"]
    assert batch["word_mask"].nonzero()[:, 1].tolist() == [1, 6, 7]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("wordpiece", ["[CLS]"], ["[SEP]"]),
        ("byte-level", ["<s>"], ["</s>"]),
        ("word-level", [], []),
        ("slow", ["[CLS]"], ["[SEP]"]),
    ],
)
def test_special_tokens_stand_around_every_window(processors_by_name, kind, before, after):
    processor = processors_by_name[kind]
    batch = processor(words=["paris"] * 60)
    assert len(batch["input_ids"]) > 1
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        tokens = processor.tokenizer.convert_ids_to_tokens(ids[mask.bool()].tolist())
        assert tokens[: len(before)] == before
        assert tokens[len(tokens) - len(after) :] == after
        assert len(tokens) <= processor.max_length


@pytest.mark.parametrize("kind", KINDS)
def test_kth_true_is_the_kth_word(processors_by_name, kind):
    processor = processors_by_name[kind]
    words = ["washington", *ODD_WORDS, "wins"]
    batch = processor(words=words, word_labels=list(range(len(words))))
    seen = {}
    for labels, mask, window in zip(batch["labels"], batch["word_mask"], batch.windows, strict=True):
        assert labels[mask].tolist() == list(range(window.start, window.end))
        assert (labels[~mask] == -100).all()
        seen.update(dict.fromkeys(labels[mask].tolist()))
    assert list(seen) == list(range(len(words)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["wins", "https://t.co/aB3?q=1&amp;r=2", "paris"], ["wins", "http", "paris"]),
        (["R&amp;B", "&gt;", "wins"], ["R&B", ">", "wins"]),
        (["@paris", "#wins", "&foo;"], ["@paris", "#wins", "&foo;"]),
    ],
)
def test_ids_are_those_of_the_words_as_the_policy_has_them(processors_by_name, kind, written, read):
    processor = processors_by_name[kind]
    pieces = [processor.tokenizer(word, add_special_tokens=False)["input_ids"] for word in read]
    batch = processor(words=written)
    before, after = processor._special_tokens
    assert batch["input_ids"].tolist() == [[*before, *chain(*pieces), *after]]
    assert batch["word_mask"].sum() == len(written)


def test_raw_text_and_words_of_a_data_set_are_read_alike(processors_by_name):
    text, words = "R&amp;B wins https://t.co/aB3", ["R", "&amp;", "B", "wins", "https://t.co/aB3"]
    for processor in processors_by_name.values():
        inference, training = processor(text=text)["input_ids"], processor.encode_post(words)[0]["input_ids"]
        assert inference.tolist() == [training]


def test_swallowed_word_is_the_unknown_token(processors_by_name):
    for processor in processors_by_name.values():
        batch = processor(words=["paris", "", "wins"])
        assert batch["input_ids"][0][batch["word_mask"][0]][1] == processor.tokenizer.unk_token_id


def test_very_long_word_is_cut_to_a_row_and_stays_one_word(processors_by_name):
    processor = processors_by_name["slow"]
    batch = processor(words=["in", "ab" * 300, "on"])
    assert [tuple(window) for window in batch.windows] == [(0, 0, 1), (0, 1, 2), (0, 2, 3)]
    ids = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][1].tolist())
    assert ids == ["[CLS]", *["ab"] * 22, "[SEP]"]
    assert batch["word_mask"][1].nonzero().tolist() == [[1]]


@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.text(max_size=12), min_size=1, max_size=30), kind=st.sampled_from(KINDS))
def test_every_word_of_any_text_is_fed_and_found_again(processors_by_name, words, kind):
    processor = processors_by_name[kind]
    batch = processor(words=words)
    assert batch["word_mask"].sum(dim=1).tolist() == [window.end - window.start for window in batch.windows]
    assert {k for window in batch.windows for k in range(window.start, window.end)} == set(range(len(words)))
    assert batch["attention_mask"].sum(dim=1).max() <= processor.max_length


def test_byte_level_tokenizer_without_prefix_space_is_refused_with_the_cure(image_processor):
    with pytest.raises(ValueError, match=r"lose the mark of a word's start.*add_prefix_space=True"):
        IQCRProcessor(image_processor, byte_level_tokenizer(add_prefix_space=False))


def test_tokenizer_without_padding_token_is_refused(image_processor):
    tokenizer = byte_level_tokenizer(add_prefix_space=True)
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="no padding token"):
        IQCRProcessor(image_processor, tokenizer)
