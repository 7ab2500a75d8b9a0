"""Words to sub-tokens, each word on its own: slow tokenizers work too, and the k-th word stays the k-th word."""

from collections.abc import Sequence
from typing import NamedTuple

from .text_normalization import normalize_word


class SpecialTokens(NamedTuple):
    """What a tokenizer puts around a text.

    Attributes:
        before: Ids in front of it, such as that of ``[CLS]``.
        after: Ids behind it, such as that of ``[SEP]``.
    """

    before: list[int]
    after: list[int]


def keeps_word_starts(tokenizer) -> bool:
    """Whether the tokenizer reads a word on its own as it reads it inside a text.

    Byte-level vocabularies mark a word's start by the space before it, and the first word of a text has none.
    """
    return tokenizer.tokenize("x x") == tokenizer.tokenize("x") * 2


def find_special_tokens(tokenizer) -> SpecialTokens:
    """Check that words can be fed one by one, and find what goes around them.

    Args:
        tokenizer: A tokenizer of transformers, fast or slow.

    Returns:
        The special tokens around a text.

    Raises:
        ValueError: If the tokenizer glues words together, cannot pad, or makes nothing of a letter.
    """
    if not keeps_word_starts(tokenizer):
        alone, twice = tokenizer.tokenize("x"), tokenizer.tokenize("x x")
        raise ValueError(
            f"The tokenizer reads 'x' as {alone} but 'x x' as {twice}: words fed one by one would lose the mark of a "
            "word's start. Load it with `AutoTokenizer.from_pretrained(..., add_prefix_space=True)`."
        )
    if tokenizer.pad_token_id is None:
        raise ValueError("The tokenizer has no padding token. Set one, such as `tokenizer.pad_token = '<pad>'`.")
    inner = tokenizer("x", add_special_tokens=False)["input_ids"]
    outer = tokenizer("x")["input_ids"]
    for start in range(len(outer) - len(inner) + 1):
        if inner and outer[start : start + len(inner)] == inner:
            return SpecialTokens(outer[:start], outer[start + len(inner) :])
    raise ValueError(f"The tokenizer reads 'x' as {inner} alone but as {outer} with special tokens.")


def tokenize_words(tokenizer, words: Sequence[str], capacity: int, name: str) -> list[list[int]]:
    """Read each word on its own, as `normalize_word` has it: training and inference both come through here.

    Args:
        tokenizer: A tokenizer of transformers, fast or slow.
        words: The words.
        capacity: Sub-tokens that a row holds; a longer word is cut, but stays a word.
        name: What errors call the post.

    Returns:
        The ids of each word, 1 to `capacity` of them: a word that the tokenizer swallows is the unknown token.

    Raises:
        ValueError: If a word is no string, or is swallowed by a tokenizer without an unknown token.
    """
    for position, word in enumerate(words):
        if not isinstance(word, str):
            raise ValueError(f"{name}, word {position}: expected a string, got {word!r}.")
    all_ids = tokenizer([normalize_word(word) for word in words], add_special_tokens=False)["input_ids"]
    unknown = tokenizer.unk_token_id
    if unknown is None and not all(all_ids):
        swallowed = words[next(position for position, ids in enumerate(all_ids) if not ids)]
        raise ValueError(f"{name}: the tokenizer makes nothing of {swallowed!r} and has no unknown token for it.")
    return [ids[:capacity] or [unknown] for ids in all_ids]
