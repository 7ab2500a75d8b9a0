"""Posts of a lake to rows of the output: the pipeline, with an error in the row of a post that it cannot take."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from transformers import AutoModelForTokenClassification, AutoProcessor, PreTrainedConfig
from transformers.utils import logging

from dataset_scripts.picture_roots import PictureRoots
from mner_training.lake_files import TEXT_COLUMNS
from mner_training.lake_reading import Reading
from mner_training.model_types import tagger_config_class
from mner_training.public_files import CONFIG_FILES, TOKENIZER_FILES, WEIGHTS
from modeling_iqcr import MultimodalNERPipeline
from modeling_iqcr.pipeline_posts import SCORES

logger = logging.get_logger(__name__)

# What a GPU raises that can do nothing more in this process; being out of memory is another error.
_DEAD_DEVICE = getattr(torch, "AcceleratorError", ())  # since torch 2.8

# Posts that are sorted by length before they are divided into batches, in batches; and the most bytes of pictures that
# these posts hold, save for one post more.
_BATCHES_AT_A_TIME = 8
_BYTES_AT_A_TIME = 64_000_000


class LakeTagger:
    """A model that tags the posts of a lake.

    Args:
        folder: What `find_model` gave.
        images_dirs: Folders and zips with the pictures that posts name; relative to them, or absolute and below one.
        batch_size: Posts that go through the model together.
        compute_scores: Compute the scores that posts do not give, as the pipeline does.

    Raises:
        FileNotFoundError: If there is no such folder of pictures.
        ValueError: If it is no folder of a tagger of this package with its processor.
    """

    def __init__(self, folder: str, images_dirs: Sequence[str], batch_size: int, compute_scores: bool):
        try:
            tagger_config_class(PreTrainedConfig.get_config_dict(folder)[0].get("model_type"))  # or it is refused
            processor = AutoProcessor.from_pretrained(folder)
            model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
        except OSError as error:
            raise ValueError(f"No model with its processor can be had from {folder!r}: {error}") from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pipeline = _LakePipeline(model=model, processor=processor, device=device)
        self.pictures = _Pictures(images_dirs, processor.max_images if model.config.use_images else 0)
        self.batch_size = batch_size
        self.compute_scores = compute_scores
        self.computed = [
            (column, name)
            for column, (scorer, switch, name) in SCORES.items()
            if compute_scores and getattr(processor, scorer) is not None and getattr(model.config, switch)
        ]

    def rows(self, readings: Iterable[Reading]) -> Iterator[dict[str, Any]]:
        """Tag posts.

        Args:
            readings: The posts.

        Yields:
            The row of each, in their order, with the fields of `lake_parts.SCHEMA`. One that cannot be read or tagged
            has its ``error``, and null where there would be an answer.

        Raises:
            ValueError: If the model fails with the same error at all posts that are read ahead, two at least, or the
                device is lost.
        """
        window: list[Reading] = []
        size = 0
        for reading in readings:
            window.append(reading)
            size += _picture_bytes(reading)
            if len(window) == _BATCHES_AT_A_TIME * self.batch_size or size >= _BYTES_AT_A_TIME:
                yield from self._tag(window)
                window, size = [], 0
        yield from self._tag(window)

    def _tag(self, readings: Sequence[Reading]) -> list[dict[str, Any]]:
        """The rows of some posts. Those of like length go through the model together, which saves padding."""
        rows = [_empty_row(reading) for reading in readings]
        good = [number for number, reading in enumerate(readings) if reading.post is not None]
        good.sort(key=lambda number: _num_characters(readings[number].post))
        outcomes: list[dict[str, Any] | Exception] = []
        for start in range(0, len(good), self.batch_size):
            numbers, prepared = [], []
            for number in good[start : start + self.batch_size]:
                try:
                    rows[number]["id"] = _post_id(readings[number])
                    prepared.append(self._prepare(readings[number]))
                    numbers.append(number)
                except ValueError as error:
                    rows[number]["error"] = str(error)
                except Exception as error:  # whatever is wrong with one post, the others go on
                    rows[number]["error"] = f"{readings[number].where}: {type(error).__name__}: {error}"
            for number, outcome in zip(numbers, self._try(prepared), strict=True):
                outcomes.append(outcome)
                if isinstance(outcome, Exception):
                    rows[number]["error"] = f"{readings[number].where}: {type(outcome).__name__}: {outcome}"
                else:
                    rows[number] |= outcome | {"unscored": self._count_unscored(readings[number].post, outcome)}
        _require_some_success(outcomes)
        return rows

    def _try(self, prepared: Sequence[dict[str, Any]]) -> list[dict[str, Any] | Exception]:
        """The answers for posts as one batch; if that fails, one by one, and in place of an answer the error."""
        try:
            return self.pipeline.tag(prepared)
        except _DEAD_DEVICE as error:
            raise ValueError(f"The device is lost: {error}. The same command takes the run up again.") from error
        except Exception as error:
            if len(prepared) == 1:
                return [error.with_traceback(None)]  # which would keep the batch's tensors in memory
            problem = f"{type(error).__name__}: {error}"
        logger.warning("A batch of %d posts failed and is repeated post by post. %s", len(prepared), problem)
        return [outcome for post in prepared for outcome in self._try([post])]

    def _count_unscored(self, post: dict[str, Any], answer: dict[str, Any]) -> int:
        """Pictures that the model saw without a score that a scorer was to give."""
        names = [name for column, name in self.computed if post.get(column) is None]
        seen = [image for image in answer["images"] if image["weight"] is not None]
        return sum(any(image[name] is None for name in names) for image in seen)

    def _prepare(self, reading: Reading) -> dict[str, Any]:
        """A post as the pipeline's `preprocess` gives it, called by its place in its errors."""
        post_id = reading.post.get("id")
        name = reading.where if post_id is None else f"{reading.where}, id {post_id}"
        if not any(column in reading.post for column in TEXT_COLUMNS):
            raise ValueError(f"Post {name!r} has no text. Give it one of {', '.join(map(repr, TEXT_COLUMNS))}.")
        post = reading.post | {"id": name}
        if isinstance(post.get("images"), list):
            post["images"] = self.pictures.fetch(post["images"], f"Post {name!r}")
        return self.pipeline.preprocess(post, compute_scores=self.compute_scores)


class _LakePipeline(MultimodalNERPipeline):
    """The pipeline, fed with posts that were prepared one by one, so that one that fails takes no other along."""

    def tag(self, prepared: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers with the words and their tags, one for each post that `preprocess` gave, as one batch."""
        if not prepared:
            return []
        answers = self.forward(self._collate(prepared))["answers"]
        return [
            answer | _words_and_tags(answer, post["spans"]) for answer, post in zip(answers, prepared, strict=True)
        ]


class _Pictures:
    """Pictures that posts name by a path. Those that the model does not look at are not read."""

    def __init__(self, images_dirs: Sequence[str], max_images: int):
        self.roots = PictureRoots(images_dirs)
        self.prefixes = [os.path.join(os.path.abspath(folder), "") for folder in images_dirs]
        self.max_images = max_images

    def fetch(self, images: Sequence[Any], post: str) -> list[Any]:
        """The pictures of a post, their bytes in place of their paths."""
        seen = [
            self._content(image, f"{post}, image {number}") for number, image in enumerate(images[: self.max_images])
        ]
        return [*seen, *images[len(seen) :]]

    def _content(self, image: Any, where: str) -> bytes:
        """The bytes of a picture that is given by them, by its path, or by a mapping with either."""
        if isinstance(image, dict):
            image = image.get("path") if image.get("bytes") is None else image["bytes"]
        if isinstance(image, bytes):
            return image
        # never on to the pipeline, which opens any path
        if not isinstance(image, str):
            raise ValueError(f"{where}: expected a path, or in Parquet bytes, got {type(image).__name__}.")
        return self._read(image, where)

    def _read(self, path: str, where: str) -> bytes:
        """The bytes of a picture."""
        if not self.prefixes:
            raise ValueError(f"{where}: {path!r} is a path, and no folder of pictures was given: --images_dirs.")
        for prefix in self.prefixes:
            if path.startswith(prefix):
                path = path.removeprefix(prefix)
                break
        try:
            return self.roots.read([path])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def find_model(model: str, revision: str | None) -> tuple[str, str]:
    """Find a model, downloading it from the Hub if it is no folder.

    Args:
        model: A folder, or an id on the Hub.
        revision: Commit, branch or tag on the Hub.

    Returns:
        The folder with its files, and a SHA-256 of those that decide its answers.

    Raises:
        ValueError: If it cannot be had, or has no weights in the form of safetensors.
    """
    folder = Path(model)
    if not folder.is_dir():
        names = [*CONFIG_FILES, *TOKENIZER_FILES, "model*.safetensors", "model.safetensors.index.json"]
        try:
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=names))
        except (HFValidationError, OSError) as error:
            raise ValueError(f"{model!r} is no folder, and cannot be had from the Hub: {error}") from error
    files = sorted(path for path in folder.iterdir() if path.is_file() and _decides(path.name))
    if not any(WEIGHTS.fullmatch(path.name) for path in files):
        raise ValueError(
            f"{model!r} holds no model.safetensors, so it is no saved model. Give the output folder of a run, or one "
            "that `save_pretrained` wrote."
        )
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return str(folder), digest.hexdigest()


def _decides(name: str) -> bool:
    """Whether a file of a saved model decides its answers."""
    return name in (*CONFIG_FILES, *TOKENIZER_FILES) or WEIGHTS.fullmatch(name) is not None


def _empty_row(reading: Reading) -> dict[str, Any]:
    """The row of a post that has no answer yet."""
    answer = dict.fromkeys(("id", "text", "words", "tags", "entities", "images", "unscored"))
    return {"file": reading.path, "row": reading.row, **answer, "error": reading.error}


def _require_some_success(outcomes: Sequence[dict[str, Any] | Exception]) -> None:
    """End a run in which the fault cannot be the posts', rather than fill a lake with errors."""
    kinds = {type(outcome) for outcome in outcomes}
    (kind,) = kinds if len(kinds) == 1 else (dict,)
    if len(outcomes) > 1 and not issubclass(kind, dict | ValueError):
        raise ValueError(
            f"The model fails at each of {len(outcomes)} posts, the last time with {kind.__name__}: {outcomes[-1]} "
            "The same command takes the run up again."
        )


def _post_id(reading: Reading) -> str | None:
    """A post's own id."""
    post_id = reading.post.get("id")
    if post_id is not None and (isinstance(post_id, bool) or not isinstance(post_id, int | str)):
        raise ValueError(f"{reading.where}: `id` must be a string or a whole number, got {post_id!r:.60}.")
    return None if post_id is None else str(post_id)


def _num_characters(post: dict[str, Any]) -> int:
    """How long a post is, roughly; whether it has a right form is not looked at."""
    return max(len(str(post.get(name) or "")) for name in TEXT_COLUMNS)


def _picture_bytes(reading: Reading) -> int:
    """Bytes of the pictures that a post carries with it."""
    images = (reading.post or {}).get("images")
    images = images if isinstance(images, list) else []
    contents = [image.get("bytes") if isinstance(image, dict) else image for image in images]
    return sum(len(content) for content in contents if isinstance(content, bytes))


def _words_and_tags(answer: dict[str, Any], spans: Sequence[tuple[int, int]]) -> dict[str, list[str]]:
    """The words of an answer, and for each its BIO tag."""
    tags = ["O"] * len(spans)
    first = {start: word for word, (start, _) in enumerate(spans)}
    last = {end: word for word, (_, end) in enumerate(spans)}
    for entity in answer["entities"]:
        begin, end = first[entity["start"]], last[entity["end"]]
        tags[begin : end + 1] = [f"B-{entity['entity_group']}"] + [f"I-{entity['entity_group']}"] * (end - begin)
    return {"words": [answer["text"][start:end] for start, end in spans], "tags": tags}
