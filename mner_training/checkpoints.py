"""Checkpoints of a run: which one to go on from, and how its weights come back."""

import json
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel

# What a run leaves beside its model.
RUN_FILES = ("run.json", "*_results.json", "predictions.jsonl", "trainer_state.json")


def last_checkpoint(folder: str | Path) -> str | None:
    """The newest whole checkpoint of a run.

    The Trainer writes its state behind everything else: a checkpoint without it was interrupted while being written.

    Args:
        folder: The run's output folder.

    Returns:
        The checkpoint's folder, or ``None`` if there is none yet: then training begins at the beginning.
    """
    checkpoints = [
        path for path in Path(folder).glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()
    ]
    checkpoints.sort(key=lambda path: int(path.name.removeprefix("checkpoint-")))
    return next((str(path) for path in reversed(checkpoints) if _is_whole(path)), None)


def prepare_output_dir(folder: str | Path, do_train: bool, overwrite: bool) -> None:
    """See to it that a folder holds one run, whose results, predictions and checkpoints belong together.

    Args:
        folder: The output folder of a run that begins; not of one that is resumed.
        do_train: Whether the run trains. If not, a trained model in the folder stays in any case.
        overwrite: Remove what an earlier run left.

    Raises:
        FileExistsError: If the folder holds an earlier run and `overwrite` is off.
    """
    folder = Path(folder)
    earlier = [path for pattern in RUN_FILES for path in folder.glob(pattern)]
    checkpoints = list(folder.glob("checkpoint-*")) if do_train else []
    if not overwrite and (earlier or checkpoints):
        raise FileExistsError(
            f"{folder} holds an earlier run ({', '.join(path.name for path in [*earlier, *checkpoints][:3])}). Choose "
            "another output_dir, set overwrite_output_dir, or go on with it: --resume_from_checkpoint last."
        )
    for path in earlier:
        path.unlink()
    for path in checkpoints:
        shutil.rmtree(path)


def _is_whole(checkpoint: Path) -> bool:
    """Whether the Trainer's state is there and complete."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def load_weights(model: PreTrainedModel, checkpoint: str | Path) -> None:
    """Put the weights of a checkpoint into a model.

    `save_pretrained` writes some backbones, ViT among them, under the names of their published files. The Trainer's
    own loading does not translate them back: it warns, and leaves those weights as they were.

    Args:
        model: The model, changed in place.
        checkpoint: A folder that `save_pretrained` wrote for a model of the same configuration.

    Raises:
        ValueError: If the checkpoint lacks weights of the model.
    """
    saved, report = type(model).from_pretrained(
        checkpoint, config=model.config, dtype=torch.float32, output_loading_info=True
    )
    if report["missing_keys"] or report["mismatched_keys"]:
        names = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
        raise ValueError(f"{checkpoint} does not fit the model: {', '.join(names[:5])} cannot be taken from it.")
    model.load_state_dict(saved.state_dict())
