"""Checkpoints of a run: which one to go on from, and how its weights come back."""

import json
from pathlib import Path

import torch
from transformers import PreTrainedModel


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
