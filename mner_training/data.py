"""Posts for training and evaluation: loaded, checked, and turned into rows of the model."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import datasets
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from transformers.utils import logging

from dataset_scripts.registry import READERS, load_corpus
from mner_training.versions import package_versions
from processing_iqcr.image_loading import ImageLoadingError, load_image
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
        dropped_images: The pictures that could not be read and were left out, each with what was wrong.
    """

    name: str
    posts: Dataset
    rows: Dataset
    tags: list[list[str]] | None
    dropped_images: list[str]

    @property
    def windows(self) -> list[Window]:
        """The window of each row."""
        columns = (self.rows["post"], self.rows["start"], self.rows["end"])
        return [Window(*window) for window in zip(*columns, strict=True)]


def load_posts(args) -> tuple[DatasetDict, dict]:
    """Load the data set that the arguments name.

    Args:
        args: `DataArguments`.

    Returns:
        The splits, pictures not yet decoded, and what the corpus's reader counted (empty for a built data set).

    Raises:
        ValueError: If a named corpus has no source, or a column is missing.
    """
    counts = {}
    if args.dataset in READERS:
        if args.dataset_source is None:
            raise ValueError(f"`dataset` {args.dataset!r} needs `dataset_source`, the folder of its published files.")
        posts, counts = load_corpus(
            args.dataset, args.dataset_source, images_dirs=args.images_dirs, illegal_tags=args.illegal_tags
        )
    else:
        posts = datasets.load_dataset(args.dataset, revision=args.dataset_revision)
    for name, split in posts.items():
        if "tokens" not in split.column_names:
            raise ValueError(
                f"{args.dataset}, split {name}: no column `tokens` (the words), only {', '.join(split.column_names)}."
            )
        if "images" in split.column_names:
            # Left encoded: a broken picture must be met where its post can be named, not inside the reader.
            posts[name] = split.cast_column("images", List(datasets.Image(decode=False)))
    return posts, counts


def get_split(posts: DatasetDict, name: str) -> Dataset:
    """One split; an error names those that there are."""
    if name not in posts:
        raise ValueError(f"There is no split {name!r}, only {', '.join(posts)}. Set train_split and the like.")
    return posts[name]


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
        return sorted({tag for tags in posts["ner_tags"] for tag in tags}, key=lambda tag: (tag != "O", tag))
    raise ValueError(
        f"`ner_tags` holds {feature.dtype} without names. Cast it: "
        'posts.cast_column("ner_tags", List(ClassLabel(names=["O", "B-PER", ...]))).'
    )


def gold_tags(posts: Dataset, labels: list[str]) -> list[list[str]] | None:
    """The tags of each post as strings, each one of `labels`.

    Raises:
        ValueError: If a post has a tag that the model does not know, or not one tag per word.
    """
    names = tag_names(posts)
    if names is None:
        return None
    is_number = isinstance(posts.features["ner_tags"].feature, ClassLabel)
    known = set(labels)
    all_tags = []
    for index, (words, tags) in enumerate(zip(posts["tokens"], posts["ner_tags"], strict=True)):
        if len(words) != len(tags):
            raise ValueError(f"{post_name(posts, index)}: {len(tags)} tags for {len(words)} words.")
        tags = [names[tag] for tag in tags] if is_number else list(tags)
        for position, tag in enumerate(tags):
            if tag not in known:
                raise ValueError(
                    f"{post_name(posts, index)}, word {position} ({words[position]!r}): the tag {tag!r} is not among "
                    f"the model's labels {', '.join(labels)}. Train on this data set to change the tag set."
                )
        all_tags.append(tags)
    return all_tags


def post_name(posts: Dataset, index: int) -> str:
    """What errors call a post: its id if it has one."""
    return f"Post {posts[index]['id']!r}" if "id" in posts.column_names else f"Post {index}"


def encode_split(
    name: str,
    posts: Dataset,
    processor,
    labels: list[str],
    with_images: bool = True,
    drop_broken: bool = False,
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
        num_proc: Processes; ``None`` for one.

    Returns:
        The posts, their rows, and the pictures left out.

    Raises:
        ValueError: If a post has no words, a tag that the model does not know, or scores that do not fit.
        ImageLoadingError: If a picture cannot be read.
    """
    posts, dropped = drop_broken_images(posts) if with_images and drop_broken else (posts, [])
    tags = gold_tags(posts, labels)
    label2id = {label: index for index, label in enumerate(labels)}
    columns = [c for c in ("images", "quality_scores", "relevance_scores") if with_images and c in posts.column_names]
    source = posts.select_columns(["tokens", *columns])
    if tags is not None:
        source = source.add_column("word_labels", [[label2id[tag] for tag in post_tags] for post_tags in tags])
    if "id" in posts.column_names:
        source = source.add_column("name", [f"Post {identity!r}" for identity in posts["id"]])

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
        # The versions belong to the cache's key: a newer Pillow may resize differently.
        fn_kwargs={
            "processor": processor,
            "versions": package_versions(),
        },
        desc=f"Preparing {name}",
    )
    return EncodedSplit(name, posts, rows, tags, dropped)


def _encode_batch(batch: dict, indices: list[int], processor, versions: dict) -> dict:
    """Rows of a slice of posts, column by column."""
    rows = []
    for position, index in enumerate(indices):
        post = {column: values[position] for column, values in batch.items()}
        name = post.pop("name", f"Post {index}")
        rows.extend(processor.encode_post(post.pop("tokens"), **post, name=name, index=index))
    encoded = {column: [row.get(column) for row in rows] for column in rows[0]}
    encoded["length"] = [len(row["input_ids"]) for row in rows]
    encoded["num_images"] = [len(row["pixel_bytes"]) for row in rows]
    return encoded


def drop_broken_images(posts: Dataset) -> tuple[Dataset, list[str]]:
    """Leave out the pictures that cannot be read; their posts stay.

    Returns:
        The posts, pictures and scores of one length, and what was wrong with each picture left out.
    """
    if "images" not in posts.column_names:
        return posts, []
    checked = posts.map(_without_broken_images, with_indices=True, desc="Checking pictures")
    dropped = [message for messages in checked["broken_images"] for message in messages]
    for message in dropped:
        logger.warning("Left out: %s", message)
    return checked.remove_columns("broken_images"), dropped


def _without_broken_images(post: dict, index: int) -> dict:
    """The columns of a post that change, and what was wrong."""
    kept, broken = [], []
    for number, image in enumerate(post["images"]):
        try:
            load_image(image, where=f"Post {post.get('id', index)!r}, image {number}")
            kept.append(number)
        except ImageLoadingError as error:
            broken.append(str(error))
    columns = [c for c in ("images", "quality_scores", "relevance_scores") if post.get(c) is not None]
    return {"broken_images": broken} | {column: [post[column][number] for number in kept] for column in columns}


def mean_scores(posts: Dataset) -> dict[str, float]:
    """The means that stand for missing scores, as fields of the configuration; only for columns with a score."""
    means = {}
    for column, field in (("quality_scores", "mean_quality_score"), ("relevance_scores", "mean_relevance_score")):
        if column in posts.column_names:
            scores = [score for post in posts[column] for score in post or () if score is not None]
            if scores:
                means[field] = sum(scores) / len(scores)
    return means


def describe_split(split: EncodedSplit) -> dict:
    """Counts and a fingerprint of a split, for the record of a run."""
    digest = hashlib.sha256()
    for index, words in enumerate(split.posts["tokens"]):
        tags = split.tags[index] if split.tags is not None else None
        digest.update(json.dumps([words, tags], ensure_ascii=False).encode("utf-8", "surrogatepass"))
    num_images = Counter()
    if "images" in split.posts.column_names:
        for images in split.posts["images"]:
            num_images[len(images)] += 1
            for image in images:
                content = image["bytes"]
                if content is None and Path(image["path"]).is_file():  # a missing one stands in `dropped_images`
                    content = Path(image["path"]).read_bytes()
                digest.update(hashlib.sha256(content or b"").digest())
    return {
        "posts": len(split.posts),
        "words": sum(len(words) for words in split.posts["tokens"]),
        "rows": len(split.rows),
        "posts_by_number_of_images": {str(count): num_images[count] for count in sorted(num_images)},
        "dropped_images": split.dropped_images,
        "sha256": digest.hexdigest(),
    }
