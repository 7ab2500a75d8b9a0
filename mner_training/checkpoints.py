"""Checkpoints of a run: what makes one whole, which one to go on from, and how its weights come back."""

import json
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

logger = logging.get_logger(__name__)

# What a run leaves beside its model.
RUN_FILES = ("run.json", "*_results.json", "predictions.jsonl", "trainer_state.json")
RUN_FILES += ("search.json", "search.db*", "best_recipe.json", "comparison_run.json")
# Written behind all other files of a checkpoint: their names and sizes in bytes.
SEAL = "complete.json"
# What a run cannot go on without, and `save_only_model` leaves out. The weights, the optimizer's state and the random
# states have other names in other settings; the seal knows them.
_NEEDED = ("trainer_state.json", "scheduler.pt")


def checkpoint_to_resume(asked: str | None, folder: str | Path) -> str | None:
    """The checkpoint that a run goes on from.

    Args:
        asked: ``last``, or the folder of a checkpoint; ``None`` if the run begins.
        folder: The run's output folder.

    Returns:
        The checkpoint's folder. ``None`` if none was asked for, or the last one and there is none that is whole: then
        training begins at the beginning, with a warning if it had come to an unfinished one.

    Raises:
        FileNotFoundError: If the folder that was asked for does not exist.
        ValueError: If its checkpoint is not whole.
        FileExistsError: If the run has come further than it, for its later checkpoints would mix with the new ones.
    """
    if asked is None:
        return None
    checkpoints = _checkpoints(folder)
    whole = [path for path in checkpoints if what_is_missing(path) is None]
    if asked == "last":
        for path in checkpoints[checkpoints.index(whole[-1]) + 1 if whole else 0 :]:
            logger.warning(f"{path} is no whole checkpoint and is passed over: {what_is_missing(path)}.")
        return str(whole[-1]) if whole else None
    check_whole(asked)
    later = [path for path in whole if _is_numbered(Path(asked)) and _step(path) > _step(Path(asked))]
    if later:
        raise FileExistsError(
            f"{folder} has come further than {asked}: it holds {later[-1].name}. Go on from that one "
            "(--resume_from_checkpoint last), move the later ones away, or choose another output_dir."
        )
    return asked


def check_whole(checkpoint: str | Path) -> None:
    """Refuse a checkpoint that training cannot go on from.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it was interrupted while being written or removed, or lacks what training needs.
    """
    if not Path(checkpoint).is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(checkpoint)!r}. Give `resume_from_checkpoint` a checkpoint's folder, or `last`."
        )
    missing = what_is_missing(checkpoint)
    if missing is not None:
        raise ValueError(f"{checkpoint} is no whole checkpoint: {missing}. Go on from another one, or from `last`.")


def what_is_missing(checkpoint: str | Path) -> str | None:
    """What a checkpoint lacks to be gone on from, in words.

    Args:
        checkpoint: Its folder.

    Returns:
        ``None`` if it is whole: all files that its seal names are there, in their sizes.
    """
    checkpoint = Path(checkpoint)
    try:
        sizes = dict(json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"it has no {SEAL}, which is written last"
    for name in (*_NEEDED, *sizes):
        if name not in sizes:
            return f"it was saved without {name}"
        if not (checkpoint / name).is_file():
            return f"{name} is not there"
        if (size := (checkpoint / name).stat().st_size) != sizes[name]:
            return f"{name} has {size} bytes instead of {sizes[name]}"
    return None


def best_checkpoint(checkpoint: str | Path, folder: str | Path) -> str | None:
    """The best checkpoint so far, as a checkpoint recorded it, where it is now: the folders may have been moved.

    Args:
        checkpoint: The checkpoint that is gone on from.
        folder: The run's output folder.

    Returns:
        Its folder, or ``None`` if there was none yet.

    Raises:
        FileNotFoundError: If it is neither where it was nor in `folder` nor beside `checkpoint`. The end of the
            training would be the last model in the place of the best.
    """
    state = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
    if state["best_model_checkpoint"] is None:
        return None
    recorded = Path(state["best_model_checkpoint"])
    places = (Path(folder, recorded.name), Path(checkpoint).with_name(recorded.name), recorded)
    found = next((str(place) for place in places if place.is_dir()), None)
    if found is None:
        raise FileNotFoundError(
            f"{checkpoint} names {recorded} as the best checkpoint so far, which is not there. Put it beside "
            f"{Path(checkpoint).name}, or go on without it: --no_load_best_model_at_end."
        )
    return found


def seal(checkpoint: str | Path) -> None:
    """Declare a checkpoint whole.

    Args:
        checkpoint: Its folder, which all processes have written all their files into.
    """
    checkpoint = Path(checkpoint)
    files = {
        path.relative_to(checkpoint).as_posix(): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file()
    }
    partial = checkpoint / f"{SEAL}.partial"
    partial.write_text(json.dumps({"files": files}, indent=2) + "\n", encoding="utf-8")
    partial.replace(checkpoint / SEAL)


def remove_checkpoint(checkpoint: str | Path) -> None:
    """Remove a checkpoint, its seal first: what is left if this is interrupted is not whole."""
    (Path(checkpoint) / SEAL).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def remove_older_checkpoints(newest: str | Path, best: str | Path | None, limit: int | None) -> None:
    """Make room beside a new checkpoint.

    Args:
        newest: The checkpoint that has just been sealed.
        best: The best one so far, which stays as well.
        limit: How many to keep, the oldest go first; ``None`` or 0 keeps all. Unfinished ones go in any case: they
            were left by a run that was killed.
    """
    newest = Path(newest)
    checkpoints = _checkpoints(newest.parent)
    kept = {newest, newest.with_name(Path(best).name) if best else newest} & set(checkpoints)
    older = [path for path in checkpoints if path not in kept]
    unfinished = [path for path in older if not (path / SEAL).exists()]
    whole = [path for path in older if path not in unfinished]
    surplus = max(0, len(whole) - max(0, limit - len(kept))) if limit else 0
    for path in [*unfinished, *whole[:surplus]]:
        remove_checkpoint(path)


def _is_numbered(path: Path) -> bool:
    """Whether a folder is named as the Trainer names checkpoints."""
    return path.name.startswith("checkpoint-") and path.name.removeprefix("checkpoint-").isdigit()


def _step(checkpoint: Path) -> int:
    """The step that a checkpoint was written after."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints of a run, whole or not, in the order of their steps."""
    return sorted((path for path in Path(folder).glob("checkpoint-*") if _is_numbered(path)), key=_step)


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
        remove_checkpoint(path)


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
