"""Fit the temperature of a checkpoint's probabilities: ``python scripts/calibrate.py recipes/X.json --model DIR``.

Takes a recipe of `run_mner.py`, of which it reads the data set, and flags that override it; or flags alone. The
temperature is fitted on the validation split and stored in the checkpoint's configuration; the test split says what it
is worth.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

from transformers import AutoModelForTokenClassification  # noqa: E402

from mner_training.arguments import DataArguments, ModelArguments, ScoringArguments  # noqa: E402
from mner_training.building import build_processor  # noqa: E402
from mner_training.calibration import (  # noqa: E402
    TaggedSplit,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
    sweep_thresholds,
)
from mner_training.calibration_figure import draw_reliability  # noqa: E402
from mner_training.corpus_loading import load_posts  # noqa: E402
from mner_training.data import encode_split, get_split, warn_of_missing_scores  # noqa: E402
from mner_training.missing_scores import add_missing_scores  # noqa: E402
from mner_training.recipes import parse_recipe  # noqa: E402
from mner_training.report import write_json  # noqa: E402


@dataclass
class CalibrationArguments:
    """What is calibrated, and where it is reported."""

    model: str = field(
        default="", metadata={"help": "Folder of the checkpoint; its config.json gets the temperature."}
    )
    report: str | None = field(
        default=None,
        metadata={
            "help": "Folder for calibration.json and reliability.png (needs iqcr-mi[plots]); none: not written."
        },
    )

    def __post_init__(self):
        if not (Path(self.model) / "config.json").is_file():
            raise ValueError(f"--model must be the folder of a checkpoint, with its config.json; got {self.model!r}.")


def main(argv: list[str] | None = None) -> dict:
    """Fit, report and store a temperature.

    Args:
        argv: A recipe and flags; ``None`` takes those of the command line.

    Returns:
        What ``calibration.json`` holds.

    Raises:
        ValueError: If there is no such checkpoint, a split, its tags or its scorers are missing, or there is nothing
            to fit.
    """
    argv = sys.argv[1:] if argv is None else argv
    types = (DataArguments, ScoringArguments, CalibrationArguments)
    data_args, scoring_args, args = parse_recipe(argv, types, "scripts/calibrate.py")
    names = (data_args.validation_split, data_args.test_split)
    if names[0] == names[1]:
        raise ValueError(
            f"Validation and test split are both {names[0]!r}: what was fitted there cannot be judged there. Name "
            "another --test_split."
        )
    model_args = ModelArguments(model_name_or_path=args.model)
    model = AutoModelForTokenClassification.from_pretrained(args.model)
    processor = build_processor(model_args, scoring_args)
    posts, corpus = load_posts(data_args, with_images=model.config.use_images)
    posts = {name: get_split(posts, name) for name in names}
    posts, _ = add_missing_scores(posts, processor, model_args, data_args, scoring_args, corpus.get("scores"))
    splits = {}
    for name in names:
        split = encode_split(
            name,
            posts[name],
            processor,
            model.config.labels,
            with_images=model.config.use_images,
            drop_broken=data_args.broken_images == "drop",
            illegal_tags=data_args.illegal_tags,
        )
        warn_of_missing_scores([split], model.config)
        splits[name] = TaggedSplit(model, processor, split)
    validation, test = splits.values()
    if len(set(validation.correct)) < 2:
        raise ValueError(
            f"Of {len(validation.correct)} entities that {args.model} finds in the split {names[0]!r} all are right, "
            "or none is: no temperature can be fitted to that. Nothing was stored."
        )
    temperature = fit_temperature(lambda value: log_loss(validation.probabilities(value), validation.correct))
    report = {"temperature": temperature, "entities": len(test.correct), "gold": test.num_gold}
    diagrams = []
    for key, value in (("before", 1.0), ("after", temperature)):
        report[key] = {}
        for split, tagged in (("validation", validation), ("test", test)):
            probabilities = tagged.probabilities(value)
            bins = reliability(probabilities, tagged.correct)
            report[key][split] = {
                "expected_calibration_error": expected_calibration_error(bins),
                "log_loss": log_loss(probabilities, tagged.correct),
                "bins": list(map(as_dict, bins)),
            }
        cuts = sweep_thresholds(probabilities, tagged.correct, tagged.num_gold)
        report[key]["thresholds"] = list(map(as_dict, cuts))
        diagrams.append((f"temperature {value:.2f}", bins))
    show(report)
    config = json.loads((Path(args.model) / "config.json").read_text(encoding="utf-8"))
    write_json(Path(args.model) / "config.json", config | {"confidence_temperature": temperature})
    print(f"Stored in {args.model}/config.json: confidence_temperature {temperature:.3f}.")
    if args.report:
        folder = Path(args.report)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "calibration.json", report)
        title = f"{report['entities']} entities found in the test split"
        (folder / "reliability.png").write_bytes(draw_reliability(diagrams, title))
        print(f"Written: {folder}/calibration.json, {folder}/reliability.png")
    return report


def as_dict(numbers) -> dict:
    """A bin or a cut by the names of its numbers; ``None`` for one that there is not, which JSON has no NaN for."""
    return {name: None if value != value else value for name, value in numbers._asdict().items()}


def show(report: dict) -> None:
    """Print the figures."""
    print("\n| split | temperature | expected calibration error | log loss |\n|---|---|---|---|")
    for split in ("validation", "test"):
        for key, value in (("before", 1.0), ("after", report["temperature"])):
            found = report[key][split]
            error, loss = found["expected_calibration_error"], found["log_loss"]
            print(f"| {split} | {value:.2f} | {100 * error:.2f} % | {loss:.4f} |")
    print("\nTest, at the fitted temperature:\n\n| threshold | entities | precision | recall | F1 |")
    print("|---|---|---|---|---|")
    for cut in report["after"]["thresholds"]:
        numbers = (cut[name] for name in ("precision", "recall", "f1"))
        numbers = " | ".join("" if number is None else f"{100 * number:.2f}" for number in numbers)
        print(f"| {cut['threshold']:.2f} | {cut['count']} | {numbers} |")
    print()


if __name__ == "__main__":
    try:
        main()
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"{sys.argv[0]}: {error}")
