"""A data set with its scores as a folder, and in it who gave them."""

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, List
from huggingface_hub import DatasetCardData
from transformers.utils import logging

from dataset_scripts.corpus_build import CARD_FILE, write_report
from dataset_scripts.dataset_folder import SCORES_FILE, SCORES_SCHEMA, new_dataset_folder, write_split, write_text
from mner_training.picture_files import image_content
from mner_training.versions import package_versions
from processing_iqcr.image_loading import ImageNotFoundError
from processing_iqcr.scorers import SCORE_COLUMNS

logger = logging.get_logger(__name__)


def write_scored_folder(
    output: str | Path, posts: Mapping[str, Dataset], scorers: Mapping[str, Any], report: Mapping[str, Any]
) -> None:
    """Write scored posts as Parquet, pictures inside, whole or not at all.

    Args:
        output: A folder that does not exist yet or is empty.
        posts: The splits, with their score columns; pictures not decoded.
        scorers: By kind, name, options and description of the scorer of the scores.
        report: The build report of the data set, which goes along with page and card; empty if it has none.

    Raises:
        FileExistsError: If the folder holds anything.
    """
    with new_dataset_folder(output) as folder:
        for name, split in posts.items():
            features = Features(split.features)
            rows = iter(split)
            if "images" in features:
                features["images"] = List(Image())
                rows = _with_contents(rows, name)
            write_split(folder, name, rows, features, len(split))
        record = {"schema": SCORES_SCHEMA, "scorers": dict(scorers), "versions": package_versions()}
        write_text(folder, SCORES_FILE, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        if not report:
            # Without a card `datasets` would guess the splits from the files' names: `dev` would be `validation`.
            files = [{"split": name, "path": f"{name}-*.parquet"} for name in posts]
            # Something of its own, or `datasets` would take it for what it loaded from a folder of the same name.
            config = {"config_name": "default", "data_files": files, "description": f"scored {uuid.uuid4().hex[:16]}"}
            write_text(folder, CARD_FILE, f"---\n{DatasetCardData(configs=[config]).to_yaml()}\n---\n")
        else:
            public = {kind: without_paths(spec) for kind, spec in scorers.items()}
            write_report(folder, {**report, "pictures": "included", "scores": public})


def without_paths(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What of a scorer may be shown to others: nothing that tells where on a machine its files lie."""
    name = spec["name"]
    public = {"name": Path(name).name if Path(name).is_absolute() or Path(name).exists() else name}
    return public | ({"description": spec["description"]} if "description" in spec else {})


def _with_contents(rows: Iterator[dict], split: str) -> Iterator[dict]:
    """Rows whose pictures have their files' bytes; one whose file is not there is left out, with its scores."""
    for number, row in enumerate(rows):
        name = f"Split {split}, post {row.get('id', number)!r}"
        contents = []
        for place, image in enumerate(row["images"] or ()):
            try:
                content = image_content(image, f"{name}, image {place}")
                contents.append({"bytes": content, "path": Path(image["path"] or str(place)).name})
            except ImageNotFoundError as error:
                logger.warning("Left out: %s", error)
                contents.append(None)
        kept = [place for place, image in enumerate(contents) if image is not None]
        scores = {column: row[column] for column in SCORE_COLUMNS.values() if row.get(column) is not None}
        yield row | {
            "images": [contents[place] for place in kept],
            **{column: [values[place] for place in kept] for column, values in scores.items()},
        }
