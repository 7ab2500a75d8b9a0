"""Posts for training and evaluation: checked, and turned into rows of the model."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from transformers.utils import logging

from dataset_scripts.tag_schemes import IllegalTags, check_tags
from mner_training.picture_files import drop_broken_images, image_digest, use_cache
from mner_training.versions import source_digest
from processing_iqcr.entities import parse_tag
from processing_iqcr.image_scores import check_scores
from processing_iqcr.windows import Window

logger = logging.get_logger(__name__)


@dataclass
class EncodedSplit:
    """One split twice: as people read it, and as the model reads it.

    Attributes:
        name: The split's name.
        posts: The posts, with ``tokens`` and the other columns of the data set.
        rows: One row per window, as `IQCRProcessor.encode_post` makes them.
        tags: For each post its gold tags, or ``None`` for a split without.
        num_illegal_tags: How many gold tags were an I- without its B-, before a repair.
        dropped_images: The pictures that could not be read and were left out, each with what was wrong.
    """

    name: str
    posts: Dataset
    rows: Dataset
    tags: list[list[str]] | None
    num_illegal_tags: int
    dropped_images: list[str]

    @property
    def windows(self) -> list[Window]:
        """The window of each row."""
        columns = (self.rows["post"], self.rows["start"], self.rows["end"])
        return [Window(*window) for window in zip(*columns, strict=True)]


def get_split(posts: DatasetDict, name: str) -> Dataset:
    """One split.

    Raises:
        ValueError: If there is no such split (the message names those that there are), or it has no posts or no words.
    """
    if name not in posts:
        raise ValueError(
            f"There is no split {name!r}, only {', '.join(posts)}. Set train_split, validation_split or test_split; "
            "to train without validation set eval_strategy to 'no' and load_best_model_at_end to false."
        )
    split = posts[name]
    if len(split) == 0:
        raise ValueError(f"The split {name!r} has no posts.")
    if "tokens" not in split.column_names:
        raise ValueError(f"Split {name}: no column `tokens` (the words), only {', '.join(split.column_names)}.")
    return split


def tag_names(posts: Dataset) -> list[str] | None:
    """The tag set of a data set: its ClassLabel's names, or the strings that occur; ``None`` without tags.

    Raises:
        ValueError: If ``ner_tags`` holds numbers without names.
    """
    if "ner_tags" not in posts.column_names:
        return None
    feature = posts.features["ner_tags"].feature
    if isinstance(feature, ClassLabel):
        return feature.names
    if feature.dtype == "string":
        return sorted({tag for tags in posts["ner_tags"] for tag in tags or ()}, key=lambda tag: (tag != "O", tag))
    raise ValueError(
        f"`ner_tags` holds {feature.dtype} without names. Cast it: "
        'posts.cast_column("ner_tags", List(ClassLabel(names=["O", "B-PER", ...]))).'
    )


def training_labels(posts: Dataset) -> list[str]:
    """The tag set to train on.

    Raises:
        ValueError: If there are no tags, only numbers without names, or other tags than BIO.
    """
    labels = tag_names(posts)
    if labels is None:
        raise ValueError(f"Training needs a column `ner_tags`, there are only {', '.join(posts.column_names)}.")
    for label in labels:
        parse_tag(label)  # the metric reads entities, and would say so after the first epoch
    return labels


def gold_tags(
    posts: Dataset, labels: list[str], illegal_tags: IllegalTags = "keep"
) -> tuple[list[list[str]] | None, int]:
    """The tags of each post as strings, each one of `labels`.

    Args:
        posts: The posts.
        labels: The model's tags.
        illegal_tags: What to do with an I- without its B-: ``keep``, ``repair`` or ``error``.

    Returns:
        The tags of each post, ``None`` if there are none, and how many of them were illegal.

    Raises:
        ValueError: If a post has a tag that the model does not know, not one tag per word, or an illegal tag under
            ``error``.
    """
    names = tag_names(posts)
    if names is None:
        return None, 0
    is_number = isinstance(posts.features["ner_tags"].feature, ClassLabel)
    where = post_names(posts)
    all_tags, num_illegal = [], 0
    for index, (words, tags) in enumerate(zip(posts["tokens"], posts["ner_tags"], strict=True)):
        if is_number:
            # datasets marks an unknown class by -1, which would read as the last name
            tags = [names[tag] if tag >= 0 else str(tag) for tag in tags or ()]
        checked, illegal = check_tags(tags or (), len(words or ()), where[index], labels, illegal_tags)
        all_tags.append(checked)
        num_illegal += len(illegal)
    return all_tags, num_illegal


def post_names(posts: Dataset) -> list[str]:
    """What errors call each post: its id if it has one."""
    ids = posts["id"] if "id" in posts.column_names else range(len(posts))
    return [f"Post {identity!r}" for identity in ids]


def encode_split(
    name: str,
    posts: Dataset,
    processor,
    labels: list[str],
    with_images: bool = True,
    drop_broken: bool = False,
    illegal_tags: IllegalTags = "keep",
    num_proc: int | None = None,
) -> EncodedSplit:
    """Turn the posts of a split into rows.

    Args:
        name: The split's name.
        posts: The posts.
        processor: An `IQCRProcessor`.
        labels: The model's tags in the order of their ids.
        with_images: Whether the model takes images.
        drop_broken: Leave out a picture that cannot be read, instead of ending with an error.
        illegal_tags: What to do with an I- without its B-: ``keep``, ``repair`` or ``error``.
        num_proc: Processes; ``None`` for one.

    Returns:
        The posts, their rows, and the pictures left out.

    Raises:
        ValueError: If a post has no words, a tag that the model does not know, or scores that do not fit.
        ImageLoadingError: If a picture cannot be read.
    """
    posts, dropped = drop_broken_images(posts, post_names(posts)) if with_images and drop_broken else (posts, [])
    tags, num_illegal = gold_tags(posts, labels, illegal_tags)
    if num_illegal:
        logger.warning(
            "Split %s: %d tags continue nothing (an I- without its B-): %s.", name, num_illegal, illegal_tags
        )
    label2id = {label: index for index, label in enumerate(labels)}
    columns = [c for c in ("images", "quality_scores", "relevance_scores") if with_images and c in posts.column_names]
    source = posts.select_columns(["tokens", *columns])
    if tags is not None:
        source = source.add_column("word_labels", [[label2id[tag] for tag in post_tags] for post_tags in tags])
    source = source.add_column("name", post_names(posts))

    features = {
        "input_ids": List(Value("int32")),
        "word_mask": List(Value("bool")),
        "pixel_bytes": List(Value("binary")),
        "post": Value("int32"),
        "start": Value("int32"),
        "end": Value("int32"),
        "length": Value("int32"),
        "num_images": Value("int32"),
    }
    if "char_ids" in processor.model_input_names:
        features["char_ids"] = List(List(Value("int32")))
    if tags is not None:
        features["labels"] = List(Value("int32"))
    features |= {column: List(Value("float32")) for column in columns if column != "images"}
    rows = source.map(
        _encode_batch,
        with_indices=True,
        batched=True,
        batch_size=64,
        writer_batch_size=64,
        remove_columns=source.column_names,
        features=Features(features),
        num_proc=num_proc,
        # The sources belong to the cache's key: mended code, or a newer Pillow, may give other rows.
        fn_kwargs={
            "processor": processor,
            "columns": list(features),
            "sources": source_digest(),
        },
        desc=f"Preparing {name}",
        load_from_cache_file=use_cache(posts),
    )
    return EncodedSplit(name, posts, rows, tags, num_illegal, dropped)


def _encode_batch(batch: dict, indices: list[int], processor, columns: list[str], sources: str) -> dict:
    """Rows of a slice of posts, column by column."""
    rows = []
    for position, index in enumerate(indices):
        post = {column: values[position] for column, values in batch.items()}
        rows.extend(processor.encode_post(post.pop("tokens") or [], **post, index=index))
    for row in rows:
        row["length"] = len(row["input_ids"])
        row["num_images"] = len(row["pixel_bytes"])
    return {column: [row.get(column) for row in rows] for column in columns}


def mean_scores(posts: Dataset) -> dict[str, float]:
    """The means that stand for missing scores, as fields of the configuration; only for columns with a score.

    Raises:
        ValueError: If a score is out of its range; the message names the post.
    """
    means = {}
    for column, field in (("quality_scores", "mean_quality_score"), ("relevance_scores", "mean_relevance_score")):
        if column in posts.column_names:
            scores = []
            for name, post_scores in zip(post_names(posts), posts[column], strict=True):
                check_scores(post_scores or (), len(post_scores or ()), column, name)
                scores += [score for score in post_scores or () if score is not None]
            if scores:
                means[field] = sum(scores) / len(scores)
    return means


def warn_of_missing_scores(splits: Iterable[EncodedSplit], config) -> None:
    """Say where a model weighs by the mean instead of by scores, and where it misses pictures altogether.

    Args:
        splits: The splits in use.
        config: The model's configuration.
    """
    for split in splits:
        if config.use_images and "images" not in split.posts.column_names:
            found = ", ".join(split.posts.column_names)
            logger.warning("Split %s has no column `images`, only %s: no post has a picture.", split.name, found)
            continue
        for column, is_used in (("quality_scores", config.use_quality), ("relevance_scores", config.use_relevance)):
            if not (is_used and config.use_images):
                continue
            # A post of several windows has its pictures in each of them, and is counted by the first.
            firsts = [start == 0 for start in split.rows["start"]]
            images = sum(compress(split.rows["num_images"], firsts))
            scores = split.rows[column] if column in split.rows.column_names else ()
            known = sum(score is not None for row in compress(scores, firsts) for score in row or ())
            if known < images:
                logger.warning(
                    "Split %s: %d of %d pictures have no score in `%s`; the mean of the training data stands in.",
                    split.name,
                    images - known,
                    images,
                    column,
                )


def describe_split(split: EncodedSplit) -> dict:
    """Counts and a fingerprint of a split, for the record of a run."""
    digest, text_digest = hashlib.sha256(), hashlib.sha256()
    num_images = Counter()
    names = [c for c in ("tokens", "images", "quality_scores", "relevance_scores") if c in split.posts.column_names]
    for index, post in enumerate(split.posts.select_columns(names)):
        images = post.pop("images", None) or ()
        num_images[len(images)] += 1
        tags = split.tags and split.tags[index]
        digest.update(json.dumps([post, tags, list(map(image_digest, images))], sort_keys=True).encode())
        text_digest.update(json.dumps([post["tokens"], tags]).encode())
    return {
        "posts": len(split.posts),
        "words": sum(len(words) for words in split.posts["tokens"]),
        "rows": len(split.rows),
        "posts_by_number_of_images": {str(count): num_images[count] for count in sorted(num_images)},
        "illegal_tags": split.num_illegal_tags,
        "dropped_images": split.dropped_images,
        "sha256": digest.hexdigest(),
        "words_and_tags_sha256": text_digest.hexdigest(),
    }
