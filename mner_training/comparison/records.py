"""What a comparison keeps in its folder beside the runs' own files, and whose turn it is to write there."""

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from mner_training.arguments import DataArguments
from mner_training.comparison.checks import list_differences
from mner_training.comparison.file_names import COMPARISON_FILE, RECIPE_FILE, RUN_FILE, TRAINING_ENTITIES_FILE
from mner_training.comparison.plan import RunPlan
from mner_training.comparison.recipe import Comparison
from mner_training.comparison.results import COMPARISON_SCHEMA, read_json
from mner_training.corpus_loading import load_posts
from mner_training.data import get_split, gold_tags, training_labels
from processing_iqcr.entities import tags_to_entities

LOCK_FILE = ".lock"


@contextmanager
def locked(output: Path) -> Iterator[int]:
    """Keep the folder of a comparison to one process and the runs that it starts.

    Yields:
        The open lock, to be passed on to the runs: one that outlives a killed comparison keeps the folder.

    Raises:
        BlockingIOError: If another process works on it.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"Another process works on {output}: a comparison, or a run that a killed one has left. Wait for it, "
                "end it, or choose another --output_dir."
            ) from None
        yield file.fileno()


def describe_comparison(
    output: Path, comparison: Comparison, systems: Iterable[str], datasets: Iterable[str], seeds: Iterable[int]
) -> dict[str, Any]:
    """Say what is compared: all that was asked for, now or before.

    Args:
        output: The folder of the comparison.
        comparison: The recipe.
        systems: What is asked for now. The reference is always among the rows.
        datasets: Likewise.
        seeds: Likewise.

    Returns:
        The content of ``comparison.json``.

    Raises:
        ValueError: If the folder holds another comparison, or one with rows, data sets or a reference that the recipe
            no longer has.
    """
    earlier = read_earlier(output, comparison.name)
    earlier_rows, earlier_names = [row["name"] for row in earlier.get("systems", [])], earlier.get("datasets", [])
    gone = [name for name in earlier_rows if name not in [system.name for system in comparison.systems]]
    gone += [name for name in earlier_names if name not in comparison.datasets]
    if earlier and earlier["reference"] != comparison.reference:
        gone.append(f"{earlier['reference']} as the reference")
    if gone:
        raise ValueError(
            f"{output} was made with what the recipe no longer has: {', '.join(gone)}. Put it back, or choose another "
            "--output_dir."
        )
    rows, names = {*systems, comparison.reference, *earlier_rows}, {*datasets, *earlier_names}
    return {
        "schema": COMPARISON_SCHEMA,
        "name": comparison.name,
        "description": comparison.description,
        "reference": comparison.reference,
        "seeds": sorted({*seeds, *earlier.get("seeds", [])}),
        "datasets": [name for name in comparison.datasets if name in names],
        "systems": [
            {
                "name": system.name,
                "folder": system.folder,
                "published": system.published,
                "not_run": system.not_run,
            }
            for system in comparison.systems
            if system.name in rows
        ],
    }


def read_earlier(output: Path, name: str) -> dict[str, Any]:
    """What ``comparison.json`` in a folder says; empty if there is none.

    Raises:
        ValueError: If it is of another comparison than `name`.
    """
    path = output / COMPARISON_FILE
    earlier = read_json(path) if path.is_file() else {}
    if earlier and earlier.get("name") != name:
        raise ValueError(
            f"{output} holds the comparison {earlier.get('name')!r}, and this one is {name!r}. Choose another "
            "--output_dir."
        )
    return earlier


def write_training_entities(output: Path, comparison: Comparison, plans: Iterable[RunPlan]) -> None:
    """Write for each data set the entities of its training split, once: surface and type of each, sorted.

    Args:
        output: The folder of the comparison.
        comparison: The recipe.
        plans: Runs, of which the reference's, or else the first one, says how a data set is loaded.
    """
    taken = {field.name for field in fields(DataArguments)}
    for plan in sorted(plans, key=lambda plan: plan.system != comparison.reference):
        path = output / plan.dataset / TRAINING_ENTITIES_FILE
        if path.exists():
            continue
        args = DataArguments(**{name: value for name, value in plan.arguments.items() if name in taken})
        posts = get_split(load_posts(args, with_images=False)[0], args.train_split)
        all_tags, _ = gold_tags(posts, training_labels(posts), args.illegal_tags)
        entities = {
            (" ".join(words[entity.start : entity.end]), entity.type)
            for words, tags in zip(posts["tokens"], all_tags, strict=True)
            for entity in tags_to_entities(tags)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(sorted(entities), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        partial.replace(path)


def is_done(folder: Path, arguments: Mapping[str, Any]) -> bool | None:
    """Tell how far a run has come.

    Args:
        folder: Its folder.
        arguments: Those that it is to have.

    Returns:
        ``True`` if it is done, ``False`` if it was begun, ``None`` if there is nothing of it.

    Raises:
        ValueError: If it was begun with other arguments; the message names the first few.
    """
    if (folder / RUN_FILE).is_file():
        done, earlier = True, read_json(folder / RUN_FILE).get("arguments")
    elif (folder / RECIPE_FILE).is_file():
        done, earlier = False, read_json(folder / RECIPE_FILE)
        earlier = {name: value for name, value in earlier.items() if name not in ("description", "output_dir")}
    else:
        return None
    if different := list_differences(earlier, json.loads(json.dumps(arguments))):
        raise ValueError(
            f"{folder} holds a run with other arguments: {different}. Remove the folder to have it anew, or choose "
            "another --output_dir."
        )
    return done
