"""What a run leaves behind: the record of how it was made, and its predictions."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mner_training.data import EncodedSplit
from mner_training.public_names import without_token
from mner_training.trainer import TaggedPost
from mner_training.versions import package_versions, source_commit
from processing_iqcr.entities import tags_to_entities

PREDICTIONS_SCHEMA = "iqcr-mi/predictions/1"
# Values of a recipe that are a name on the Hub or a place on this machine. Later nobody can tell: both look alike.
_NAMES_OR_PATHS = ("model_name_or_path", "text_backbone", "vision_backbone", "dataset")


def write_predictions(path: str | Path, split: EncodedSplit, tagged: Sequence[TaggedPost]) -> None:
    """Write one JSON object per post; the schema is in ``docs/predictions.md``.

    Args:
        path: The file, replaced as a whole.
        split: The split.
        tagged: The model's answers, one per post.
    """
    path = Path(path)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        for index, (post, answer) in enumerate(zip(split.posts, tagged, strict=True)):
            gold = None if split.tags is None else split.tags[index]
            file.write(json.dumps(_prediction(post, index, gold, answer), ensure_ascii=True) + "\n")
    partial.replace(path)


def _prediction(post: dict, index: int, gold: list[str] | None, answer: TaggedPost) -> dict:
    """One line of ``predictions.jsonl``."""
    tags, entities, probabilities = answer.prediction
    images = []
    for number, image in enumerate(post.get("images") or ()):
        images.append(
            {
                "name": Path(image["path"]).name if image and image["path"] else str(number),
                "quality": _item(post.get("quality_scores"), number),
                "relevance": _item(post.get("relevance_scores"), number),
                "weight": _item(answer.image_weights, number),
                "gate": _item(answer.image_gates, number),
            }
        )
    return {
        "schema": PREDICTIONS_SCHEMA,
        "id": str(post.get("id", index)),
        "source": post.get("source"),
        "words": post["tokens"],
        "gold_tags": gold,
        "gold": None if gold is None else [entity._asdict() for entity in tags_to_entities(gold)],
        "predicted_tags": tags,
        "predicted": [
            {**entity._asdict(), "probability": probability}
            for entity, probability in zip(entities, probabilities, strict=True)
        ],
        "images": images,
    }


def _item(values: Sequence[float | None] | None, number: int) -> float | None:
    """The number-th value; ``None`` where there is none, as for an image beyond `max_images`."""
    return values[number] if values is not None and number < len(values) else None


def write_json(path: str | Path, content: dict) -> None:
    """Write a JSON file, whole or not at all."""
    path = Path(path)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    partial.replace(path)


def run_record(recipe: dict, data: dict) -> dict:
    """Everything that another person needs to repeat a run.

    Args:
        recipe: The resolved arguments.
        data: Counts and fingerprint of each split, and what the corpus's reader counted.

    Returns:
        The record, ready for `write_json`. ``local`` lists the arguments that named a place on this machine.
    """
    return {
        "command": without_token(sys.argv),
        "commit": source_commit(),
        "versions": package_versions(),
        "recipe": recipe,
        "local": [name for name in _NAMES_OR_PATHS if recipe.get(name) and Path(recipe[name]).exists()],
        "data": data,
    }
