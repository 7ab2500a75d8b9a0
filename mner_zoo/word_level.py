"""The processor of systems that know words by number: one id per word, and the ids of its letters."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature

from processing_iqcr import IQCRProcessor
from processing_iqcr.text_normalization import normalize_word

# Ids of characters that no alphabet holds.
CHAR_PAD, CHAR_UNKNOWN, FIRST_CHARACTER = 0, 1, 2


class ZooProcessor(IQCRProcessor):
    """Prepare posts for a system of the zoo, as for IQCR-MI; its files name no code to be fetched.

    A checkpoint of the zoo is loaded where this package is installed.
    """

    _auto_class = None


class WordLevelProcessor(ZooProcessor):
    """Prepare posts for a system whose text encoder reads whole words.

    A word, as `normalize_word` has it, is found as it is written, else in small letters, else it is the unknown word.
    So a row has as many positions as words, and `max_length` counts words.

    Args:
        image_processor: As in `IQCRProcessor`.
        tokenizer: A word-level tokenizer with a padding and an unknown token, and no others that are special.
        max_images: As in `IQCRProcessor`.
        max_length: Words per row.
        window_overlap: The most words that two neighbouring windows share.
        quality_scorer: As in `IQCRProcessor`.
        relevance_scorer: Likewise.
        characters: The alphabet, each character once; its order gives the ids, from 2 on. ``None``: no letters.
        max_characters: Letters per word; of a longer word the first ones are read.
        kwargs: What every processor of transformers takes.

    Raises:
        ValueError: If the alphabet names a character twice, `max_characters` is below 1, the tokenizer puts tokens
            around a text or has no unknown word, or as `IQCRProcessor`.
    """

    settings = (*IQCRProcessor.settings, "characters", "max_characters")

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        max_images: int = 4,
        max_length: int = 128,
        window_overlap: int = 32,
        quality_scorer: dict[str, Any] | None = None,
        relevance_scorer: dict[str, Any] | None = None,
        characters: str | None = None,
        max_characters: int = 30,
        **kwargs,
    ):
        super().__init__(
            image_processor,
            tokenizer,
            max_images=max_images,
            max_length=max_length,
            window_overlap=window_overlap,
            quality_scorer=quality_scorer,
            relevance_scorer=relevance_scorer,
            **kwargs,
        )
        self.characters = characters
        self.max_characters = max_characters
        if max_characters < 1:
            raise ValueError(f"`max_characters` must be at least 1, got {max_characters}.")
        if tokenizer.unk_token_id is None or any(self._special_tokens):
            raise ValueError(
                f"{type(tokenizer).__name__} is no tokenizer of words: one with an unknown token, and with nothing "
                "around a text, is needed."
            )
        self._char_ids = {char: number for number, char in enumerate(characters or "", FIRST_CHARACTER)}
        if len(self._char_ids) != len(characters or ""):
            twice = sorted({char for char in characters if characters.count(char) > 1})
            raise ValueError(f"`characters` must name each character once, but names {twice} again.")

    @property
    def model_input_names(self) -> list[str]:
        """Every tensor that this processor may return."""
        return super().model_input_names + ([] if self.characters is None else ["char_ids"])

    def tokenize(self, words: Sequence[str], name: str = "Post 0") -> list[list[int]]:
        """The one id of each word of a post.

        Args:
            words: The words.
            name: What errors call the post.

        Returns:
            For each word a list of one id. A word that is spelt like a special token is the unknown word.

        Raises:
            ValueError: If a word is no string.
        """
        for position, word in enumerate(words):
            if not isinstance(word, str):
                raise ValueError(f"{name}, word {position}: expected a string, got {word!r}.")
        words = [normalize_word(word) for word in words]
        exact = self.tokenizer.convert_tokens_to_ids(words)
        lowered = self.tokenizer.convert_tokens_to_ids([word.lower() for word in words])
        special, unknown = set(self.tokenizer.all_special_ids), self.tokenizer.unk_token_id
        return [
            [next((number for number in found if number not in special), unknown)]
            for found in zip(exact, lowered, strict=True)
        ]

    def spell(self, word: str) -> list[int]:
        """The ids of a word's first letters, 1 to `max_characters`; one that is not known is `CHAR_UNKNOWN`."""
        letters = normalize_word(word)[: self.max_characters]
        return [self._char_ids.get(letter, CHAR_UNKNOWN) for letter in letters] or [CHAR_UNKNOWN]

    def encode_post(self, words: Sequence[str], *args, **kwargs) -> list[dict[str, Any]]:
        """Turn one post into rows; see `IQCRProcessor.encode_post`.

        Args:
            words: The words.
            args: As there.
            kwargs: Likewise.

        Returns:
            The rows, with an alphabet each also with ``char_ids``: the letters of each word.
        """
        rows = super().encode_post(words, *args, **kwargs)
        if self.characters is not None:
            for row in rows:
                row["char_ids"] = [self.spell(word) for word in words[row["start"] : row["end"]]]
        return rows

    def pad(self, rows: Sequence[dict[str, Any]], with_images: bool = True, packed: bool = False) -> BatchFeature:
        """Make a batch of rows from `encode_post`; see `IQCRProcessor.pad`.

        Args:
            rows: The rows.
            with_images: As there.
            packed: Likewise.

        Returns:
            As there, with an alphabet also ``char_ids`` ``(B, W, K)``: 0 behind a word's end, K the letters of the
            batch's longest word.
        """
        batch = super().pad(rows, with_images=with_images, packed=packed)
        if self.characters is not None:
            longest = max(len(letters) for row in rows for letters in row["char_ids"])
            char_ids = torch.full((*batch["input_ids"].shape, longest), CHAR_PAD)
            for number, row in enumerate(rows):
                padded = [letters + [CHAR_PAD] * (longest - len(letters)) for letters in row["char_ids"]]
                char_ids[number, : len(padded)] = torch.tensor(padded)
            batch["char_ids"] = char_ids
        return batch
