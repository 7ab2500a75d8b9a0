"""Posts to tensors: words, images and their scores, as the model's `forward` takes them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from transformers import BatchFeature, ProcessorMixin
from transformers.utils import logging

from .decoding import PostPrediction, decode_posts
from .image_loading import load_image
from .windows import Window, split_into_windows
from .word_splitting import split_words

logger = logging.get_logger(__name__)

SCORE_RANGES = {"quality_scores": (0.0, 1.0), "relevance_scores": (-1.0, 1.0)}


class IQCRProcessor(ProcessorMixin):
    """Prepare posts for IQCR-MI, and read the model's answer.

    Words are tokenised one by one, so that slow tokenizers work too and a word that the tokenizer swallows becomes the
    unknown token instead of vanishing. A post that is longer than `max_length` becomes several rows, overlapping windows
    of its words with the same images.

    Args:
        image_processor: Resizes and normalises; its PIL form is used everywhere, since that of torchvision differs by
            an 8-bit step.
        tokenizer: The text backbone's tokenizer. Byte-level ones need ``add_prefix_space=True``.
        max_images: Images per post; a post with more keeps the first ones, with a warning.
        max_length: Sub-tokens per row, special tokens included.
        window_overlap: The most sub-tokens that two neighbouring windows share.
        kwargs: What every processor of transformers takes.

    Raises:
        ValueError: If the tokenizer glues words together, or a length is out of range.
    """

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        max_images: int = 4,
        max_length: int = 128,
        window_overlap: int = 32,
        **kwargs,
    ):
        super().__init__(_with_pil_backend(image_processor), tokenizer, **kwargs)
        self.max_images = max_images
        self.max_length = max_length
        self.window_overlap = window_overlap
        if max_images < 1:
            raise ValueError(f"`max_images` must be at least 1, got {max_images}.")
        if max_length > tokenizer.model_max_length:
            raise ValueError(
                f"`max_length` {max_length} is more than the tokenizer's `model_max_length` "
                f"{tokenizer.model_max_length}. Longer posts are read in windows: choose a smaller `max_length`."
            )
        _check_word_starts(tokenizer)
        self._prefix_ids, self._suffix_ids = _special_token_ids(tokenizer)
        if not 0 <= window_overlap < self._capacity:
            raise ValueError(
                f"`window_overlap` must lie in [0, {self._capacity}), the room that `max_length` {max_length} leaves "
                f"beside the special tokens, got {window_overlap}."
            )

    @property
    def _capacity(self) -> int:
        """Sub-tokens of words that fit in one row."""
        return self.max_length - len(self._prefix_ids) - len(self._suffix_ids)

    def to_dict(self, *args, **kwargs) -> dict[str, Any]:
        """The processor's configuration, without what follows from the tokenizer."""
        fields = super().to_dict(*args, **kwargs)
        return {name: value for name, value in fields.items() if name not in ("_prefix_ids", "_suffix_ids")}

    @property
    def model_input_names(self) -> list[str]:
        """Every tensor that this processor may return, each a parameter of the model's `forward`."""
        return [
            "input_ids",
            "attention_mask",
            "word_mask",
            "pixel_values",
            "image_mask",
            "quality_scores",
            "relevance_scores",
            "labels",
        ]

    def __call__(
        self,
        *,
        text: str | Sequence[str] | None = None,
        words: Sequence[str] | Sequence[Sequence[str]] | None = None,
        images: Sequence | None = None,
        quality_scores: Sequence | None = None,
        relevance_scores: Sequence | None = None,
        word_labels: Sequence | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Turn one post or a list of posts into a batch.

        Args:
            text: A raw text or a list of them, split into words as the corpora are. Give either this or `words`.
            words: The words of one post, or a list of such lists.
            images: For each post a list of images (PIL images, paths, bytes, arrays), possibly empty or ``None``; for a
                single post the flat list.
            quality_scores: For each post one number in ``[0, 1]`` per image, ``None`` for a missing one; ``None`` for a
                post, or for all, if all are missing. Flat for a single post.
            relevance_scores: Likewise, in ``[-1, 1]``.
            word_labels: For each post one tag id per word. Flat for a single post.
            return_tensors: ``"pt"``; the model is a PyTorch model.

        Returns:
            The tensors of the model's `forward`, one row per window: ``input_ids``, ``attention_mask`` and ``word_mask``
            ``(B, T)``; with `images` also ``pixel_values`` ``(B, N, 3, H, W)`` in float32 and ``image_mask`` ``(B, N)``;
            with scores ``quality_scores`` and ``relevance_scores`` ``(B, N)``, NaN for a missing one; with `word_labels`
            ``labels`` ``(B, T)``. Its attribute ``windows`` says which words of which post a row holds.

        Raises:
            ValueError: If the arguments do not fit together, a post has no words, or a score is out of its range.
            ImageLoadingError: If an image cannot be read. The message names post and image.
        """
        if return_tensors != "pt":
            raise ValueError(f"`return_tensors` must be 'pt', got {return_tensors!r}.")
        if (text is None) == (words is None):
            raise ValueError("Give either `text` or `words`.")
        if words is None:
            single = isinstance(text, str)
            posts = [[word.text for word in split_words(post)] for post in ([text] if single else text)]
        else:
            if isinstance(words, str):
                raise ValueError(f"`words` is the string {words!r}: pass a list of words, or `text={words!r}`.")
            single = len(words) == 0 or isinstance(words[0], str)
            posts = [words] if single else words
        columns = {
            "images": images,
            "quality_scores": quality_scores,
            "relevance_scores": relevance_scores,
            "word_labels": word_labels,
        }
        columns = {
            name: self._one_per_post(name, column, len(posts), single)
            for name, column in columns.items()
            if column is not None
        }
        rows = []
        for index, post in enumerate(posts):
            fields = {name: column[index] for name, column in columns.items()}
            rows.extend(self.encode_post(post, **fields, name=f"Post {index}", index=index))
        return self.pad(rows, with_images="images" in columns)

    @staticmethod
    def _one_per_post(name: str, column: Sequence, num_posts: int, single: bool) -> Sequence:
        """The column with one entry per post, whether one post or several were given."""
        if isinstance(column, str | bytes) or not isinstance(column, Sequence | np.ndarray):
            raise ValueError(f"`{name}` must be a list, got {type(column).__name__}. For one image pass a list of one.")
        if single:
            # [[image, ...]] for one post is a list with one entry per post already
            is_nested = len(column) == 1 and isinstance(column[0], list | tuple)
            return column if is_nested else [column]
        if len(column) != num_posts:
            raise ValueError(f"{num_posts} posts, but {len(column)} entries in `{name}`. Give one list per post.")
        return column

    def encode_post(
        self,
        words: Sequence[str],
        images: Sequence | None = None,
        quality_scores: Sequence[float | None] | None = None,
        relevance_scores: Sequence[float | None] | None = None,
        word_labels: Sequence[int] | None = None,
        name: str = "Post 0",
        index: int = 0,
    ) -> list[dict[str, Any]]:
        """Turn one post into the rows that `pad` makes a batch of: what a data set stores between the epochs.

        Args:
            words: The words.
            images: Its images.
            quality_scores: One per image, ``None`` for a missing one.
            relevance_scores: Likewise.
            word_labels: One tag id per word.
            name: What errors call the post.
            index: The post's number, kept in ``post``.

        Returns:
            One row per window, each with ``input_ids``, ``word_mask``, ``post``, ``start``, ``end`` and, where given,
            ``labels``, ``pixel_bytes`` (each image at model size as bytes of ``uint8 (3, H, W)``) and the scores.

        Raises:
            ValueError: If a length or a score is wrong.
            ImageLoadingError: If an image cannot be read.
        """
        if len(words) == 0:
            raise ValueError(f"{name} has no words, so there is nothing to tag. Leave it out.")
        if word_labels is not None and len(word_labels) != len(words):
            raise ValueError(f"{name}: {len(word_labels)} labels for {len(words)} words. Give one label per word.")
        shared = self._encode_images(images, quality_scores, relevance_scores, name)
        word_ids = self._tokenize(words, name)
        rows = []
        for window in split_into_windows([len(ids) for ids in word_ids], self._capacity, self.window_overlap, index):
            row = {"input_ids": list(self._prefix_ids), "word_mask": [False] * len(self._prefix_ids)}
            labels = [-100] * len(self._prefix_ids)
            for position in range(window.start, window.end):
                ids = word_ids[position]
                row["input_ids"] += ids
                row["word_mask"] += [True] + [False] * (len(ids) - 1)
                if word_labels is not None:
                    labels += [word_labels[position]] + [-100] * (len(ids) - 1)
            row["input_ids"] += self._suffix_ids
            row["word_mask"] += [False] * len(self._suffix_ids)
            if word_labels is not None:
                row["labels"] = labels + [-100] * len(self._suffix_ids)
            rows.append(row | shared | window._asdict())
        return rows

    def _tokenize(self, words: Sequence[str], name: str) -> list[list[int]]:
        """Sub-tokens of each word on its own; never none, never more than a row holds."""
        for position, word in enumerate(words):
            if not isinstance(word, str):
                raise ValueError(f"{name}, word {position}: expected a string, got {word!r}.")
        all_ids = self.tokenizer(list(words), add_special_tokens=False)["input_ids"]
        unknown = self.tokenizer.unk_token_id
        if unknown is None and not all(all_ids):
            swallowed = words[next(position for position, ids in enumerate(all_ids) if not ids)]
            raise ValueError(f"{name}: the tokenizer makes nothing of {swallowed!r} and has no unknown token for it.")
        return [ids[: self._capacity] or [unknown] for ids in all_ids]

    def _encode_images(
        self, images: Sequence | None, quality_scores: Sequence | None, relevance_scores: Sequence | None, name: str
    ) -> dict[str, Any]:
        """The images and scores of a post, checked and cut to `max_images`."""
        if images is None:
            images = []
        elif isinstance(images, str | bytes) or not isinstance(images, Sequence | np.ndarray):
            raise ValueError(f"{name}: `images` must be a list of images, got {type(images).__name__}.")
        if len(images) > self.max_images:
            logger.warning_once(
                f"{name} has {len(images)} images; the first {self.max_images} are used, here and in other posts that "
                "have too many (`max_images`)."
            )
        kept = images[: self.max_images]
        encoded = {
            "pixel_bytes": [
                self.image_to_bytes(load_image(image, where=f"{name}, image {number}"))
                for number, image in enumerate(kept)
            ]
        }
        for score_name, scores in (("quality_scores", quality_scores), ("relevance_scores", relevance_scores)):
            if scores is not None:
                _check_scores(scores, len(images), score_name, name)
                encoded[score_name] = list(scores[: self.max_images])
        return encoded

    def image_to_bytes(self, image) -> bytes:
        """An RGB image at model size as the bytes of ``uint8 (3, H, W)``: how images travel until they meet the model."""
        pixels = self.image_processor(images=[image], do_rescale=False, do_normalize=False, return_tensors="np")
        return np.rint(np.asarray(pixels["pixel_values"][0])).astype(np.uint8).tobytes()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image at model size."""
        size = getattr(self.image_processor, "crop_size", None) or self.image_processor.size
        return 3, size["height"], size["width"]

    def normalize_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Make 8-bit pixels what the vision backbone expects.

        Args:
            pixels: ``(..., 3, H, W)``, uint8.

        Returns:
            Rescaled and normalised as the image processor says, ``(..., 3, H, W)``, float32.
        """
        config = self.image_processor
        values = pixels.to(torch.float32)
        if config.do_rescale:
            values = values * config.rescale_factor
        if config.do_normalize:
            mean = torch.tensor(config.image_mean, device=pixels.device).view(-1, 1, 1)
            std = torch.tensor(config.image_std, device=pixels.device).view(-1, 1, 1)
            values = (values - mean) / std
        return values

    def pad(self, rows: Sequence[dict[str, Any]], with_images: bool = True) -> BatchFeature:
        """Make a batch of rows from `encode_post`.

        Args:
            rows: The rows, which may come from different posts.
            with_images: Return image tensors, even if no row has an image (one empty slot then).

        Returns:
            As `__call__`.
        """
        length = max(len(row["input_ids"]) for row in rows)
        pad_id = self.tokenizer.pad_token_id
        batch = {
            "input_ids": _pad_lists([row["input_ids"] for row in rows], length, pad_id, torch.long),
            "attention_mask": _pad_lists([[1] * len(row["input_ids"]) for row in rows], length, 0, torch.long),
            "word_mask": _pad_lists([row["word_mask"] for row in rows], length, False, torch.bool),
        }
        if with_images:
            num_images = max(1, *(len(row["pixel_bytes"]) for row in rows))
            pixels = torch.zeros(len(rows), num_images, *self.image_shape, dtype=torch.uint8)
            image_mask = torch.zeros(len(rows), num_images, dtype=torch.bool)
            for row_number, row in enumerate(rows):
                for slot, image in enumerate(row["pixel_bytes"]):
                    pixels[row_number, slot] = torch.frombuffer(bytearray(image), dtype=torch.uint8).view(self.image_shape)
                    image_mask[row_number, slot] = True
            batch["pixel_values"] = self.normalize_pixels(pixels)
            batch["image_mask"] = image_mask
            for name in SCORE_RANGES:
                if any(row.get(name) is not None for row in rows):
                    scores = [[math.nan if s is None else s for s in row.get(name) or ()] for row in rows]
                    batch[name] = _pad_lists(scores, num_images, math.nan, torch.float32)
        if any("labels" in row for row in rows):
            batch["labels"] = _pad_lists([row["labels"] for row in rows], length, -100, torch.long)
        feature = BatchFeature(batch)
        feature.windows = [Window(row["post"], row["start"], row["end"]) for row in rows]
        return feature

    def post_process_entities(self, model, outputs, inputs: BatchFeature) -> list[PostPrediction]:
        """Read the tags and entities of each post from the model's answer.

        Args:
            model: The model that gave it; its head decodes posts of several windows as one chain.
            outputs: What the model returned, with ``logits``.
            inputs: What this processor returned.

        Returns:
            For each post its tags, its entities, and the probability of each.
        """
        return decode_posts(model, outputs.logits, inputs["word_mask"], inputs.windows)


def _with_pil_backend(image_processor):
    """The same image processor on PIL, where transformers has one."""
    pil_class = getattr(transformers, f"{type(image_processor).__name__}Pil", None)
    if pil_class is None:
        return image_processor
    fields = image_processor.to_dict()
    fields.pop("image_processor_type", None)
    return pil_class(**fields)


def _check_word_starts(tokenizer) -> None:
    """Refuse a tokenizer that reads a word on its own as if it stood inside another."""
    alone, twice = tokenizer.tokenize("x"), tokenizer.tokenize("x x")
    if twice != alone * 2:
        raise ValueError(
            f"The tokenizer reads 'x' as {alone} but 'x x' as {twice}: words fed one by one would lose the mark of a "
            "word's start. Load it with `AutoTokenizer.from_pretrained(..., add_prefix_space=True)`."
        )


def _special_token_ids(tokenizer) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text."""
    inner = tokenizer("x", add_special_tokens=False)["input_ids"]
    outer = tokenizer("x")["input_ids"]
    for start in range(len(outer) - len(inner) + 1):
        if outer[start : start + len(inner)] == inner:
            return outer[:start], outer[start + len(inner) :]
    raise ValueError(f"The tokenizer reads 'x' as {inner} alone but as {outer} with special tokens.")


def _check_scores(scores: Sequence[float | None], num_images: int, score_name: str, name: str) -> None:
    """One number in its range per image, or ``None``."""
    if len(scores) != num_images:
        raise ValueError(
            f"{name}: {len(scores)} {score_name} for {num_images} images. Pass one score per image, or None."
        )
    low, high = SCORE_RANGES[score_name]
    for number, score in enumerate(scores):
        if score is None:
            continue
        if isinstance(score, bool) or not isinstance(score, int | float | np.number):
            raise ValueError(f"{name}, image {number}: {score!r} in `{score_name}` is no number.")
        if math.isnan(score):
            raise ValueError(f"{name}, image {number}: `{score_name}` holds NaN. Pass None for a missing score.")
        if not low <= score <= high:
            raise ValueError(
                f"{name}, image {number}: {score} in `{score_name}` is not in [{low:g}, {high:g}]. Are these percent? "
                "Then divide by 100."
            )


def _pad_lists(lists: Sequence[Sequence], length: int, value, dtype: torch.dtype) -> torch.Tensor:
    """Lists of different lengths as one tensor, ``(rows, length)``."""
    padded = torch.full((len(lists), length), value, dtype=dtype)
    for row, values in enumerate(lists):
        if len(values):
            padded[row, : len(values)] = torch.as_tensor(values, dtype=dtype)
    return padded
