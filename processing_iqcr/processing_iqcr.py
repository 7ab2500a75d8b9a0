"""Posts to tensors: words, images and their scores, as the model's `forward` takes them.

Longer than most files: all that a caller may ask of a processor stands here, and is done in the files beside it.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature, ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import logging

from .decoding import PostPrediction, decode_posts, score_entities
from .entities import Entity
from .image_fetching import fetch_image, is_address
from .image_loading import load_image
from .image_preparation import find_image_shape, normalize_pixels, resize_image, with_pil_backend
from .image_scores import SCORE_RANGES, check_scores
from .post_arguments import check_labels, one_entry_per_post, read_posts
from .post_scoring import score_images, try_scores
from .scorers import SCORER_KINDS
from .windows import Window, split_into_windows
from .word_splitting import Word, join_words, split_words
from .word_tokenization import find_special_tokens, tokenize_words

logger = logging.get_logger(__name__)


class IQCRProcessor(ProcessorMixin):
    """Prepare posts for IQCR-MI, and read the model's answer.

    Words are tokenised one by one, so that slow tokenizers work too and a word that the tokenizer swallows becomes the
    unknown token instead of vanishing. A post that is longer than `max_length` becomes several rows, overlapping
    windows of its words with the same images.

    Args:
        image_processor: Resizes and normalises; its PIL form is used everywhere, since that of torchvision differs by
            an 8-bit step.
        tokenizer: The text backbone's tokenizer. Byte-level ones need ``add_prefix_space=True``.
        max_images: Images per post; a post with more keeps the first ones, with a warning.
        max_length: Sub-tokens per row, special tokens included.
        window_overlap: The most sub-tokens that two neighbouring windows share.
        quality_scorer: Which scorer gave the quality scores of the training, as `make_scorer` takes it: a mapping with
            its name, options and description. ``None`` if nobody knows.
        relevance_scorer: Likewise for the relevance scores.
        kwargs: What every processor of transformers takes.

    Raises:
        ValueError: If the tokenizer glues words together, images do not come out in one size, or a length is out of
            range.
    """

    # Beside image processor and tokenizer, what a processor is made anew with.
    settings = ("max_images", "max_length", "window_overlap", *SCORER_KINDS)

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        max_images: int = 4,
        max_length: int = 128,
        window_overlap: int = 32,
        quality_scorer: dict[str, Any] | None = None,
        relevance_scorer: dict[str, Any] | None = None,
        **kwargs,
    ):
        super().__init__(with_pil_backend(image_processor), tokenizer, **kwargs)
        self.max_images = max_images
        self.max_length = max_length
        self.window_overlap = window_overlap
        self.quality_scorer = quality_scorer
        self.relevance_scorer = relevance_scorer
        if max_images < 1:
            raise ValueError(f"`max_images` must be at least 1, got {max_images}.")
        if max_length > tokenizer.model_max_length:
            raise ValueError(
                f"`max_length` {max_length} is more than the tokenizer's `model_max_length` "
                f"{tokenizer.model_max_length}. Longer posts are read in windows: choose a smaller `max_length`."
            )
        self._special_tokens = find_special_tokens(tokenizer)
        self._image_shape = find_image_shape(self.image_processor)
        if not 0 <= window_overlap < self._capacity:
            raise ValueError(
                f"`window_overlap` must lie in [0, {self._capacity}), the room that `max_length` {max_length} leaves "
                f"beside the special tokens, got {window_overlap}."
            )

    @property
    def _capacity(self) -> int:
        """Sub-tokens of words that fit in one row."""
        return self.max_length - sum(map(len, self._special_tokens))

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
            images: For each post a list of images (PIL images, paths, bytes, arrays), possibly empty or ``None``; for
                a single post the flat list.
            quality_scores: For each post one number in ``[0, 1]`` per image, ``None`` for a missing one; ``None`` for
                a post, or for all, if all are missing. Flat for a single post.
            relevance_scores: Likewise, in ``[-1, 1]``.
            word_labels: For each post one tag id per word. Flat for a single post.
            return_tensors: ``"pt"``; the model is a PyTorch model.

        Returns:
            The tensors of the model's `forward`, one row per window: ``input_ids``, ``attention_mask`` and
            ``word_mask`` ``(B, T)``; with `images` also ``pixel_values`` ``(B, N, 3, H, W)`` in float32 and
            ``image_mask`` ``(B, N)``; with scores ``quality_scores`` and ``relevance_scores`` ``(B, N)``, NaN for a
            missing one; with `word_labels` ``labels`` ``(B, T)``. Its attribute ``windows`` says which words of which
            post a row holds.

        Raises:
            ValueError: If the arguments do not fit together, a post has no words, or a score is out of its range.
            ImageLoadingError: If an image cannot be read. The message names post and image.
        """
        if return_tensors != "pt":
            raise ValueError(f"`return_tensors` must be 'pt', got {return_tensors!r}.")
        posts, single = read_posts(text, words)
        columns = {
            "images": images,
            "quality_scores": quality_scores,
            "relevance_scores": relevance_scores,
            "word_labels": word_labels,
        }
        columns = {
            name: one_entry_per_post(name, column, len(posts), single)
            for name, column in columns.items()
            if column is not None
        }
        rows = []
        for index, post in enumerate(posts):
            fields = {name: column[index] for name, column in columns.items()}
            rows.extend(self.encode_post(post, **fields, name=f"Post {index}", index=index))
        return self.pad(rows, with_images="images" in columns)

    def compute_scores(
        self,
        *,
        text: str | Sequence[str] | None = None,
        words: Sequence[str] | Sequence[Sequence[str]] | None = None,
        images: Sequence,
        device: str | None = None,
    ) -> dict[str, list]:
        """Score images by the scorers that gave the scores of the training, `quality_scorer` and `relevance_scorer`.

        Args:
            text: As in `__call__`.
            words: As in `__call__`.
            images: As in `__call__`. They are scored at their own resolution.
            device: Where the scorers run; ``None`` takes the first GPU, or the CPU.

        Returns:
            ``quality_scores`` and ``relevance_scores`` as `__call__` takes them; a kind whose scorer is not known is
            left out.

        Raises:
            ImportError: If a scorer's library is not installed; the message says what to install.
            ImageLoadingError: If an image cannot be read.
            ValueError: If a scorer cannot be had or is another one than that of the training.
        """
        posts, single = read_posts(text, words)
        images = one_entry_per_post("images", images, len(posts), single)
        specs = {kind: getattr(self, kind) for kind in SCORER_KINDS}
        scores = score_images(specs, posts, images, device)
        return {name: column[0] if single else column for name, column in scores.items()}

    def try_scores(
        self, kind: str, words: Sequence[str], images: Sequence[Image.Image], name: str = "Post 0"
    ) -> list[float | None] | None:
        """Score the images of one post as `compute_scores` does, but warn of what cannot be done instead of failing.

        Args:
            kind: ``"quality_scorer"`` or ``"relevance_scorer"``.
            words: The words.
            images: The images, loaded.
            name: What warnings call the post.

        Returns:
            One score per image, ``None`` for one that cannot be scored; ``None`` if the scorer cannot be had.
        """
        return try_scores(kind, getattr(self, kind), words, images, name)

    def locate_words(
        self, *, text: str | None = None, words: Sequence[str] | None = None, name: str = "Post 0"
    ) -> tuple[str, list[Word]]:
        """The words of one post and where they stand in its text.

        Args:
            text: A raw text, split as the corpora are. Give either this or `words`.
            words: The words.
            name: What errors call the post.

        Returns:
            The text, of `words` these joined by spaces; and its words with ``text[start:end]`` being each one's own.
            No words for a text that has none.

        Raises:
            ValueError: If not exactly one is given, or it has another form.
        """
        if text is not None and words is None:
            if not isinstance(text, str):
                raise ValueError(f"{name}: `text` must be a string, got {text!r}.")
            return text, split_words(text)
        if text is None and isinstance(words, Sequence) and not isinstance(words, str):
            for number, word in enumerate(words):
                if not isinstance(word, str):
                    raise ValueError(f"{name}, word {number}: expected a string, got {word!r}.")
            return join_words(words)
        raise ValueError(f"{name}: give either `text`, a string, or `words`, a list, got {text!r} and {words!r}.")

    def load_images(self, images: Sequence, name: str = "Post 0", allow_urls: bool = False) -> list[Image.Image]:
        """Load the images of one post as RGB, at their own resolution.

        Args:
            images: Paths, bytes, PIL images or arrays.
            name: What errors call the post.
            allow_urls: Download what is given as an ``http`` or ``https`` address.

        Returns:
            The images.

        Raises:
            ImageLoadingError: If one cannot be had or read. The message names post and image.
        """
        loaded = []
        for number, image in enumerate(images):
            where = f"{name}, image {number}"
            address = image.get("path") if isinstance(image, Mapping) and image.get("bytes") is None else image
            if allow_urls and is_address(address):
                image = fetch_image(address, where)
            loaded.append(load_image(image, where=where))
        return loaded

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
        check_labels(word_labels, len(words), name)
        shared = self._encode_images(images, quality_scores, relevance_scores, name)
        word_ids = self.tokenize(words, name)
        before, after = self._special_tokens
        rows = []
        for window in split_into_windows([len(ids) for ids in word_ids], self._capacity, self.window_overlap, index):
            row = {"input_ids": list(before), "word_mask": [False] * len(before)}
            labels = [-100] * len(before)
            for position in range(window.start, window.end):
                ids = word_ids[position]
                row["input_ids"] += ids
                row["word_mask"] += [True] + [False] * (len(ids) - 1)
                if word_labels is not None:
                    labels += [word_labels[position]] + [-100] * (len(ids) - 1)
            row["input_ids"] += after
            row["word_mask"] += [False] * len(after)
            if word_labels is not None:
                row["labels"] = labels + [-100] * len(after)
            rows.append(row | shared | window._asdict())
        return rows

    def tokenize(self, words: Sequence[str], name: str = "Post 0") -> list[list[int]]:
        """The ids of each word of a post, at least one and no more than fit in a row; see `tokenize_words`."""
        return tokenize_words(self.tokenizer, words, self._capacity, name)

    def _encode_images(
        self, images: Sequence | None, quality_scores: Sequence | None, relevance_scores: Sequence | None, name: str
    ) -> dict[str, Any]:
        """The images and scores of a post, checked and cut to `max_images`."""
        images = () if images is None else images
        if len(images) > self.max_images:
            # the same words for every post, or "once" would mean once per post
            logger.warning_once(f"Of more than {self.max_images} images in a post, the first are used (`max_images`).")
        kept = images[: self.max_images]
        encoded = {
            "pixel_bytes": [
                self.image_to_bytes(load_image(image, where=f"{name}, image {number}"))
                for number, image in enumerate(kept)
            ]
        }
        for score_name, scores in zip(SCORE_RANGES, (quality_scores, relevance_scores), strict=True):
            if scores is not None:
                check_scores(scores, len(images), score_name, name)
                encoded[score_name] = list(scores[: self.max_images])
        return encoded

    def image_to_bytes(self, image) -> bytes:
        """An RGB image at model size as bytes of ``uint8 (3, H, W)``: how images travel until they meet the model."""
        return resize_image(self.image_processor, image).tobytes()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image at model size."""
        return self._image_shape

    def normalize_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """8-bit pixels ``(..., 3, H, W)``, rescaled and normalised as the image processor says, float32."""
        return normalize_pixels(self.image_processor, pixels)

    def pad(self, rows: Sequence[dict[str, Any]], with_images: bool = True, packed: bool = False) -> BatchFeature:
        """Make a batch of rows from `encode_post`.

        Args:
            rows: The rows, which may come from different posts.
            with_images: Return image tensors, even if no row has an image (one empty slot then).
            packed: Leave the images as they travel: the real ones alone, one row's after the other, ``(R, 3, H, W)``
                in uint8, a quarter of the bytes and no padding. `normalize_pixels` makes them float, on any device.

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
            counts = torch.tensor([len(row["pixel_bytes"]) for row in rows])
            num_images = max(1, int(counts.max()))
            image_mask = torch.arange(num_images) < counts[:, None]
            pixels = self._join_pixels([image for row in rows for image in row["pixel_bytes"]])
            if not packed:
                slots = torch.zeros(*image_mask.shape, *self.image_shape, dtype=torch.uint8)
                slots[image_mask] = pixels
                pixels = self.normalize_pixels(slots)
            batch["pixel_values"] = pixels
            batch["image_mask"] = image_mask
            for name in SCORE_RANGES:
                if any(row.get(name) is not None for row in rows):
                    scores = [[math.nan if s is None else s for s in row.get(name) or ()] for row in rows]
                    batch[name] = _pad_lists(scores, num_images, math.nan, torch.float32)
        if any(row.get("labels") is not None for row in rows):
            # a post without labels among posts with them adds nothing to the loss
            batch["labels"] = _pad_lists([row.get("labels") or () for row in rows], length, -100, torch.long)
        feature = BatchFeature(batch)
        feature.windows = [Window(row["post"], row["start"], row["end"]) for row in rows]
        return feature

    def _join_pixels(self, images: Sequence[bytes]) -> torch.Tensor:
        """Images as `encode_post` stores them in one tensor, ``(R, 3, H, W)``, uint8."""
        content = bytearray().join(images)
        if not content:  # which `frombuffer` refuses
            return torch.zeros(0, *self.image_shape, dtype=torch.uint8)
        return torch.frombuffer(content, dtype=torch.uint8).view(-1, *self.image_shape)

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

    def score_entities(
        self, model, outputs, inputs: BatchFeature, entities: Sequence[Sequence[Entity]]
    ) -> list[list[float]]:
        """The probability of given entities, which need not be those that the model would choose.

        Args:
            model: As in `post_process_entities`.
            outputs: Likewise.
            inputs: Likewise.
            entities: For each post the entities to ask for, ``(start, end, type)`` in words.

        Returns:
            For each post one probability in ``[0, 1]`` per entity.
        """
        return score_entities(model, outputs.logits, inputs["word_mask"], inputs.windows, entities)

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs) -> list[str]:
        """Save the processor with every file that loading it needs.

        Args:
            save_directory: The folder, made if it is not there.
            push_to_hub: Upload it as well, to ``repo_id``, or to the folder's last name.
            kwargs: With `push_to_hub` what ``push_to_hub`` takes.

        Returns:
            The files written for the processor itself.
        """
        for name in ("is_local", "local_files_only", "dtype"):  # of its loading here, not of the tokenizer
            self.tokenizer.init_kwargs.pop(name, None)
        if push_to_hub:  # from a folder of its own, where transformers takes no file for one that was there before
            self.push_to_hub(kwargs.pop("repo_id", os.path.basename(os.path.normpath(save_directory))), **kwargs)
        if type(self)._auto_class is None:
            return super().save_pretrained(save_directory)
        # transformers would name this class in the tokenizer's and the image processor's files too. Whoever loads and
        # saves one of these alone would then have a file that points to code which is not there.
        os.makedirs(save_directory, exist_ok=True)
        custom_object_save(self, save_directory, config=self)
        self._auto_class = None
        try:
            return super().save_pretrained(save_directory)
        finally:
            del self._auto_class


def _pad_lists(lists: Sequence[Sequence], length: int, value, dtype: torch.dtype) -> torch.Tensor:
    """Lists of different lengths as one tensor, ``(rows, length)``."""
    padded = torch.full((len(lists), length), value, dtype=dtype)
    for row, values in enumerate(lists):
        if len(values):
            padded[row, : len(values)] = torch.as_tensor(values, dtype=dtype)
    return padded
