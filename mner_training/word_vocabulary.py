"""What a word-level system has in place of a pretrained backbone: words, letters and vectors, from training posts."""

import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from mner_training.word_vectors import WordVectors, read_word_vectors
from mner_zoo.text_encoders import LstmTextConfig, LstmTextModel
from mner_zoo.word_level import FIRST_CHARACTER
from processing_iqcr.text_normalization import normalize_word

logger = logging.get_logger(__name__)

PAD, UNKNOWN = "[PAD]", "[UNK]"
# The value of `word_vectors` that starts from random ones.
RANDOM_VECTORS = "random"
# What a recipe may not set of `LstmTextConfig`: the training posts decide it.
_DERIVED_FIELDS = {"self", "vocab_size", "char_vocab_size", "singleton_ids", "pad_token_id", "unk_token_id", "kwargs"}


class Vocabulary(NamedTuple):
    """The words of a word-level system.

    Attributes:
        words: All of them by id: padding, the unknown word, the words of the training posts that occur more than once,
            those that occur once, and the other words that have a vector.
        training_words: Ids of the training posts' words, first and the one behind the last.
        singletons: Ids of those that occur once, likewise.
        characters: The letters of the training posts' words.
    """

    words: list[str]
    training_words: tuple[int, int]
    singletons: tuple[int, int]
    characters: str


class WordLevel(NamedTuple):
    """What a word-level system is made of.

    Attributes:
        tokenizer: Of whole words.
        characters: The alphabet, for `WordLevelProcessor`; ``None`` where nothing reads letters.
        text_model: The text encoder, with the word vectors in place.
        record: Where the vectors come from and how many words have one, for the record of a run.
    """

    tokenizer: PreTrainedTokenizerFast
    characters: str | None
    text_model: LstmTextModel
    record: dict[str, Any]


def make_word_level(
    train_words: Iterable[Sequence[str]], vectors: str | Path | None, word_encoder: dict[str, Any]
) -> WordLevel:
    """Make tokenizer, alphabet and text encoder for the posts of a training split.

    The vocabulary holds the words of that split and of the vectors' file, and none of another split.

    Args:
        train_words: The words of each training post.
        vectors: A file of word vectors; ``"random"`` or ``None`` for random ones.
        word_encoder: Fields of `LstmTextConfig`.

    Returns:
        The parts. Weights that no file gives are drawn from torch's generator.

    Raises:
        ValueError: If a field is unknown or out of range, there are no words, or the file is broken.
    """
    known = set(inspect.signature(LstmTextConfig).parameters) - _DERIVED_FIELDS
    unknown = sorted(set(word_encoder) - known)
    if unknown:
        raise ValueError(f"`word_encoder`: unknown {', '.join(unknown)}. It takes {', '.join(sorted(known))}.")
    size = LstmTextConfig(**word_encoder).word_embedding_size
    file = None if vectors in (None, RANDOM_VECTORS) else read_word_vectors(vectors, size)
    vocabulary = make_vocabulary(train_words, () if file is None else file.rows)
    config = LstmTextConfig(
        vocab_size=len(vocabulary.words),
        char_vocab_size=FIRST_CHARACTER + len(vocabulary.characters),
        singleton_ids=list(vocabulary.singletons),
        pad_token_id=0,
        unk_token_id=1,
        **word_encoder,
    )
    text_model = LstmTextModel(config).eval()
    record = {"source": RANDOM_VECTORS} if file is None else {"source": Path(vectors).name, "sha256": file.sha256}
    record |= {
        "words": len(vocabulary.words),
        "training_words": vocabulary.training_words[1] - vocabulary.training_words[0],
        "singletons": vocabulary.singletons[1] - vocabulary.singletons[0],
        "characters": len(vocabulary.characters),
    }
    if file is None:
        logger.warning("Word vectors: random. Pretrained ones (`word_vectors`) are worth several points of F1.")
    else:
        record |= set_word_vectors(text_model, vocabulary, file)
        logger.warning("Word vectors: %s.", ", ".join(f"{name} {value}" for name, value in record.items()))
    characters = None if config.char_encoder == "none" else vocabulary.characters
    return WordLevel(make_tokenizer(vocabulary.words), characters, text_model, record)


def make_vocabulary(train_words: Iterable[Sequence[str]], more_words: Iterable[str] = ()) -> Vocabulary:
    """Count the words of the training posts, as the processor will read them.

    Args:
        train_words: The words of each post.
        more_words: Words that have a vector.

    Returns:
        The vocabulary; the same for the same words in any order.

    Raises:
        ValueError: If there are no words.
    """
    counts = Counter(normalize_word(word) for words in train_words for word in words)
    characters = "".join(sorted({letter for word in counts for letter in word}))
    counts = {word: count for word, count in counts.items() if word not in (PAD, UNKNOWN)}
    if not counts:
        raise ValueError("The training posts have no words to make a vocabulary of.")
    several = sorted(word for word, count in counts.items() if count > 1)
    once = sorted(word for word, count in counts.items() if count == 1)
    others = [word for word in more_words if word not in counts and word not in (PAD, UNKNOWN)]
    first, end = 2, 2 + len(several) + len(once)
    return Vocabulary([PAD, UNKNOWN, *several, *once, *others], (first, end), (end - len(once), end), characters)


def make_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that knows whole words alone, the first two being padding and the unknown one."""
    model = models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=UNKNOWN)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=UNKNOWN, pad_token=PAD)


@torch.no_grad()
def set_word_vectors(text_model: LstmTextModel, vocabulary: Vocabulary, file: WordVectors) -> dict[str, int]:
    """Give each word its vector, as it is written or else in small letters.

    Args:
        text_model: The text encoder, whose vectors are changed in place.
        vocabulary: Its words.
        file: The vectors.

    Returns:
        Of the training posts' words, how many were found as written (``found_exact``), in small letters
        (``found_lower_cased``) and not at all (``without_vector``: their random ones stay); of the file,
        ``file_words`` and ``duplicates``.
    """
    found = Counter(found_exact=0, found_lower_cased=0, without_vector=0)
    ids, rows = [], []
    first, end = vocabulary.training_words
    for number, word in enumerate(vocabulary.words[first:], first):
        row, how = file.rows.get(word), "found_exact"
        if row is None:
            row, how = file.rows.get(word.lower()), "found_lower_cased"
        if row is not None:
            ids.append(number)
            rows.append(row)
        if number < end:
            found["without_vector" if row is None else how] += 1
    text_model.word_embeddings.weight[ids] = file.vectors[rows]
    return dict(found) | {"file_words": len(file.rows), "duplicates": file.duplicates}
