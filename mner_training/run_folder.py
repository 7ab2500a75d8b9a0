"""What is known of a trained model: what its run left in its folder, in the form in which it may be shown."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from dataset_scripts.registry import BUILDERS
from mner_training.model_types import IQCR, MODEL_TYPES, tagger_config_class
from mner_training.public_names import public_scorer
from processing_iqcr.scorers import SCORER_KINDS

# Where the results of a run stand. The first has all of them.
_RESULTS = ("all_results.json", "train_results.json", "eval_results.json", "test_results.json")
# What a run's record has, by which it is known.
_RECORDED = {"command", "versions", "recipe", "data"}
# The splits that a run can be evaluated on, by what their figures begin with: the argument that names each, its usual
# name, and the argument that asks for it.
_EVALUATED = {"test": ("test_split", "test", "do_predict"), "eval": ("validation_split", "validation", "do_eval")}


@dataclass(frozen=True)
class RunFolder:
    """The records of a folder, empty where a file is not there.

    Attributes:
        config: The model's configuration.
        processor: The processor's.
        record: What a run wrote into ``run.json``.
        results: All figures of the run, by name.
    """

    config: dict[str, Any]
    processor: dict[str, Any]
    record: dict[str, Any]
    results: dict[str, Any]

    @property
    def recipe(self) -> dict[str, Any]:
        """The resolved arguments of the run."""
        return self.record.get("recipe", {})

    @property
    def has_trained(self) -> bool:
        """Whether the run that is recorded is the model's training."""
        return bool(self.recipe.get("do_train"))

    @property
    def labels(self) -> list[str]:
        """The model's tags in the order of their ids."""
        return list(self.config.get("id2label", {}).values())

    @property
    def is_of_the_zoo(self) -> bool:
        """Whether the model is one of the systems that IQCR-MI is compared with, whose code stays in the package."""
        return self.config.get("model_type") in MODEL_TYPES and self.config["model_type"] != IQCR

    def reads(self, switch: str) -> bool:
        """Whether the model reads images or their scores.

        Args:
            switch: ``use_images``, ``use_quality`` or ``use_relevance``: of IQCR-MI a field of the configuration, of
                another system a fact.
        """
        if self.is_of_the_zoo:
            return getattr(tagger_config_class(self.config["model_type"]), switch)
        return self.config.get(switch, True)

    @property
    def entity_types(self) -> list[str]:
        """The types that the model finds, in the order of its tags."""
        return list(dict.fromkeys(label[2:] for label in self.labels if label[:2] in ("B-", "I-")))

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """Counts and fingerprint of each split that the run used, by name."""
        return {name: split for name, split in self.record.get("data", {}).items() if name != "corpus"}

    @property
    def corpus(self) -> dict[str, Any]:
        """What is known of the data set: which corpus it is, in which variant."""
        return self.record.get("data", {}).get("corpus", {})

    @cached_property
    def corpus_name(self) -> str | None:
        """The corpus by its name here; ``None`` for other data sets."""
        name = self.corpus.get("corpus", self.recipe.get("dataset"))
        return name if name in BUILDERS and name != "folder" else None

    @property
    def is_english(self) -> bool:
        """Whether the language is known, which is that of the published corpora."""
        return self.corpus_name is not None

    @property
    def scorers(self) -> dict[str, dict[str, Any] | None]:
        """For each kind of score who gave it; ``None`` if nobody knows."""
        return {kind: public_scorer(kind, self.processor.get(kind)) for kind in SCORER_KINDS}

    @property
    def evaluated(self) -> dict[str, str]:
        """The splits that there are figures of, the headline's first: what the figures begin with, and the name."""
        return {
            prefix: self.recipe.get(argument, usual)
            for prefix, (argument, usual, asked) in _EVALUATED.items()
            # a run that was resumed may have left figures of other weights
            if f"{prefix}_f1" in self.results and self.recipe.get(asked, True)
        }

    def hub_id(self, argument: str) -> str | None:
        """The name on the Hub that an argument of the run gave; ``None`` if it gave none, or something else.

        Args:
            argument: ``dataset``, ``text_backbone``, ``vision_backbone`` or ``model_name_or_path``.
        """
        name = self.recipe.get(argument)
        if not isinstance(name, str) or (argument == "dataset" and name in BUILDERS):
            return None
        # Records of before this was noted: what is no place now may have been one.
        local = self.record.get("local", [argument] if Path(name).exists() or "/" not in name else [])
        try:
            validate_repo_id(name)
        except HFValidationError:
            return None
        return None if argument in local else name


def read_run_folder(folder: str | Path) -> RunFolder:
    """Read what a run, or `save_pretrained`, left in a folder.

    Args:
        folder: A folder with a saved model.

    Returns:
        What is known.

    Raises:
        FileNotFoundError: If there is no such folder, or no model in it.
        ValueError: If a file of it cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}. Give the output folder of a run.")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} holds no config.json, so it is no saved model. Give the output folder of a run, or one "
            "that `save_pretrained` wrote."
        )
    results = {}
    for name in reversed(_RESULTS):
        results |= _read(folder / name)
    record = _read(folder / "run.json")
    return RunFolder(
        _read(folder / "config.json"),
        _read(folder / "processor_config.json"),
        record if record.keys() >= _RECORDED else {},
        results,
    )


def _read(path: Path) -> dict[str, Any]:
    """A JSON file; nothing if it is not there."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}.")
    return content
