"""What a run leaves behind: the record of how it was made, and its predictions."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging

from mner_training.data import EncodedSplit
from mner_training.public_names import without_token
from mner_training.trainer import TaggedPost
from mner_training.versions import package_versions, source_commit
from processing_iqcr.entities import tags_to_entities

logger = logging.get_logger(__name__)

PREDICTIONS_SCHEMA = "iqcr-mi/predictions/1"
# Values of a recipe that are a name on the Hub or a place on this machine. Later nobody can tell: both look alike.
_NAMES_OR_PATHS = ("model_name_or_path", "text_backbone", "vision_backbone", "dataset")
# Beginnings of the names of arguments that leave the weights as they are.
_NOT_OF_THE_TRAINING = ("output_dir", "overwrite_", "resume_from_", "log", "disable_tqdm", "report_to", "run_name")
_NOT_OF_THE_TRAINING += ("project", "trackio_", "push_to_hub", "hub_", "save_total_limit", "do_", "test_split", "yes")
_NOT_OF_THE_TRAINING += ("per_device_eval_", "dataloader_num_", "dataloader_p", "preprocessing_num_", "score_cache")
_NOT_OF_THE_TRAINING += ("local_rank", "ddp_timeout")
# What may grow on purpose: the run is made longer.
_LENGTHS = ("num_train_epochs", "max_steps")


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


def peak_gpu_memory() -> dict[str, int]:
    """The most memory that this process has had in tensors on its GPU, in bytes; nothing without a GPU in use."""
    if not torch.cuda.is_initialized():
        return {}
    return {"train_peak_gpu_memory_bytes": torch.cuda.max_memory_allocated()}


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


def resumed_record(checkpoint: str | Path, recipe: dict, data: dict) -> list[dict]:
    """What is to be known of a run that goes on from a checkpoint; warns if it is not the run that made it.

    Args:
        checkpoint: The checkpoint's folder, beside the ``run.json`` of the run that made it.
        recipe: The resolved arguments now.
        data: The data's record now.

    Returns:
        For ``resumed`` of ``run.json``: of each time that the run was taken up the ``checkpoint``, and what
        ``changed`` by name, before and now; ``None`` if there is no earlier record.
    """
    path = Path(checkpoint).with_name("run.json")
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if "recipe" not in earlier:
        return [{"checkpoint": str(checkpoint), "changed": None}]
    before, now = _of_the_training(earlier["recipe"], earlier["data"]), _of_the_training(recipe, data)
    changed = {name: [before[name], now[name]] for name in now if name in before and before[name] != now[name]}
    told = {name: pair for name, pair in changed.items() if name not in _LENGTHS or pair[0] > pair[1]}
    if told:
        listed = ", ".join(f"{name} was {old!r} and is {new!r}" for name, (old, new) in told.items())
        logger.warning(
            f"{checkpoint} was trained with other arguments than this run goes on with: {listed}. What the optimizer "
            "and the schedule keep, such as learning rates, stays the checkpoint's. For a training with the new "
            "arguments alone, choose another output_dir."
        )
    return [*earlier.get("resumed", []), {"checkpoint": str(checkpoint), "changed": changed}]


def _of_the_training(recipe: dict, data: dict) -> dict:
    """What a recipe, as it is written, says of the training, and the fingerprint of the posts that are trained on."""
    recipe = json.loads(json.dumps(recipe, default=str))
    posts = {"training posts": data.get(recipe.get("train_split"), {}).get("sha256")}
    return {name: value for name, value in recipe.items() if not name.startswith(_NOT_OF_THE_TRAINING)} | posts
