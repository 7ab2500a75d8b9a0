"""The columns of a post, the same for every corpus."""

from collections.abc import Sequence

from datasets import ClassLabel, Features, Image, List, Value

ENTITY_TYPES = ("PER", "LOC", "ORG", "MISC")

TAG_NAMES = ("O", *(f"{prefix}-{entity_type}" for entity_type in ENTITY_TYPES for prefix in "BI"))


def post_features(
    tag_names: Sequence[str] = TAG_NAMES, with_scores: bool = False, with_pictures: bool = True
) -> Features:
    """Describe the columns of a post to `datasets`.

    Args:
        tag_names: The tag set, in the order of its class ids.
        with_scores: Whether to add `quality_scores` in ``[0, 1]`` and `relevance_scores` in ``[-1, 1]``, one of each
            per image; ``None`` stands for a score that is missing.
        with_pictures: ``False`` for a copy without its pictures. `images` is empty there, and `image_names` and
            `image_sha256` tell which pictures belong in it; ``None`` stands for a checksum that nobody knows.

    Returns:
        `id`, `tokens` (the words), `ner_tags` (one per word), `images` (none, one or several), `url` and `source`
        (both may be empty), and the others if asked for.
    """
    columns = {
        "id": Value("string"),
        "tokens": List(Value("string")),
        "ner_tags": List(ClassLabel(names=list(tag_names))),
        "images": List(Image()),
        "url": Value("string"),
        "source": Value("string"),
    }
    if with_scores:
        columns |= {"quality_scores": List(Value("float32")), "relevance_scores": List(Value("float32"))}
    if not with_pictures:
        columns |= {"image_names": List(Value("string")), "image_sha256": List(Value("string"))}
    return Features(columns)
