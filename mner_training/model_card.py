"""The card of a trained model, made from what its run left in its folder."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from dataset_scripts.markdown import escape_markdown
from mner_training.card_sections import data_section, results_section, scorers_section, settings_section
from mner_training.public_names import public_command
from mner_training.run_folder import RunFolder, read_run_folder

CARD_FILE = "README.md"
_LOCAL = "path/to/this/folder"
_TAGS = ["multimodal-ner", "named-entity-recognition", "ner", "mner", "multimodal"]
# The figures of the model-index: what the metric is called, and which figure of the results it is.
_METRICS = {
    "F1 (lenient)": ("f1", "f1"),
    "Precision (lenient)": ("precision", "precision"),
    "Recall (lenient)": ("recall", "recall"),
    "F1 (strict IOB2)": ("f1", "strict_f1"),
    "Precision (strict IOB2)": ("precision", "strict_precision"),
    "Recall (strict IOB2)": ("recall", "strict_recall"),
}
_EXAMPLE = """```python
from transformers import pipeline

ner = pipeline("multimodal-ner", model=MODEL_ID, trust_remote_code=True)
print(ner({"text": "Washington wins again tonight", "images": []}))  # images: paths, bytes, PIL images or arrays
```"""
_ZOO_EXAMPLE = """```python
import mner_zoo  # of the package iqcr-mi: this system's code does not travel with its weights
from transformers import pipeline

ner = pipeline("multimodal-ner", model=MODEL_ID)
print(ner({"text": "Washington wins again tonight", "images": []}))  # images: paths, bytes, PIL images or arrays
```

What comes out: `text`; `entities`, each with `entity_group`, `word`, `start`, `end` (`text[start:end]` is `word`) and
`score`, the probability, under all tag sequences, that exactly these words carry exactly this entity; and `images`."""
_ANSWER = """It needs `torch`, `transformers` (5.17 or newer), `numpy` and `pillow`. What comes out:

```
{"text",
 "entities": [{"entity_group", "word", "start", "end", "score"}],
 "images": [{"quality", "relevance", "weight", "gate"}]}
```

`text[start:end]` is `word`; `score` is the probability, under all tag sequences, that exactly these words carry
exactly this entity; `weight` and `gate` say how much the model took of a picture. `trust_remote_code=True` runs the
Python files that lie beside the model: read them, and hold on to what you have read with `revision="..."`."""
_UNTESTED = "other corpora and times than those above, and whether it treats groups of people alike"


def make_model_card(folder: str | Path, model_id: str | None = None, license: str | None = None) -> ModelCard:
    """Make the card of a saved model.

    Args:
        folder: The output folder of a run, or any folder with a saved model: what is not recorded there, the card
            calls unknown.
        model_id: The repository that it goes to, for the example; ``None`` for a folder.
        license: The licence that its maker gives, by the Hub's name; without it the card gives none.

    Returns:
        The card, which tells nothing of where files lie on this machine.

    Raises:
        FileNotFoundError: If there is no saved model in the folder.
        ValueError: If a file of the folder cannot be read.
    """
    run = read_run_folder(folder)
    sections = {
        "Use": _use(run, model_id or _LOCAL),
        "Data": data_section(run),
        "Results": results_section(run),
        "Settings": settings_section(run),
        "Scores of the pictures": scorers_section(run),
        "Limits": _limits(run),
        "Licence": _licence(license),
        "To repeat it": _repeat(run),
    }
    kind = run.config["model_type"] if run.is_of_the_zoo else "IQCR-MI"
    title = escape_markdown(model_id.rpartition("/")[2] if model_id else kind)
    parts = [f"# {title}", _description(run), *(f"## {name}\n\n{text}" for name, text in sections.items())]
    metadata = _metadata(run, model_id or kind, license)
    return ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n")


def _metadata(run: RunFolder, name: str, license: str | None) -> ModelCardData:
    """What the Hub reads of the card."""
    starts = [run.hub_id(argument) for argument in ("model_name_or_path", "text_backbone")]
    if run.reads("use_images"):
        starts.append(run.hub_id("vision_backbone"))
    data_set = run.hub_id("dataset") if run.has_trained else None
    results = _eval_results(run)
    return ModelCardData(
        language=["en"] if run.is_english else None,
        license=license,
        library_name="transformers",
        pipeline_tag="token-classification",
        tags=[*_TAGS, run.config["model_type"] if run.is_of_the_zoo else "iqcr"],
        base_model=[start for start in starts if start] or None,
        datasets=[data_set] if data_set else None,
        metrics=["f1", "precision", "recall"] if results else None,
        model_name=name if results else None,
        eval_results=results or None,
    )


def _eval_results(run: RunFolder) -> list[EvalResult]:
    """The figures of the headline's split, as they stand in the results."""
    prefix, split = next(iter(run.evaluated.items()), (None, None))
    hub_id = run.hub_id("dataset")
    revision = run.corpus.get("commit") or run.recipe.get("dataset_revision")
    data: dict[str, Any] = {
        "dataset_type": hub_id or run.corpus_name or "own-posts",
        "dataset_name": " ".join(filter(None, [run.corpus_name or hub_id or "own posts", run.corpus.get("variant")])),
        "dataset_split": split,
        "dataset_revision": revision if hub_id else None,
    }
    return [
        EvalResult(
            task_type="token-classification",
            task_name="Multimodal named-entity recognition",
            metric_type=metric,
            metric_name=name,
            metric_value=run.results[f"{prefix}_{figure}"],
            **data,
        )
        for name, (metric, figure) in _METRICS.items()
        if f"{prefix}_{figure}" in run.results
    ]


def _description(run: RunFolder) -> str:
    """What the model is and what it does."""
    types = ", ".join(map(escape_markdown, run.entity_types)) or "not told by its tags"
    if run.is_of_the_zoo:
        kind = (
            f"A system of type `{run.config['model_type']}` of the package `iqcr-mi`, written afresh from its "
            "equations to be compared with IQCR-MI. It loads where that package is installed."
        )
    elif run.config.get("model_type") != "iqcr":
        kind = "A model of the package `iqcr-mi`."
    elif run.reads("use_images"):
        kind = (
            "IQCR-MI reads a post's words together with its pictures, any number of them. It weighs each picture by "
            "its quality and its relevance to the text before it fuses it with the words, and tags the words."
        )
    else:
        kind = "IQCR-MI without pictures: it reads a post's words alone, and tags them."
    return f"Finds the named entities in the text of a social-media post. {kind}\n\nTypes: {types}."


def _use(run: RunFolder, model_id: str) -> str:
    """An example that runs as it stands, and what comes out of it."""
    parts = [_ZOO_EXAMPLE] if run.is_of_the_zoo else [_EXAMPLE, _ANSWER]
    parts[0] = parts[0].replace("MODEL_ID", json.dumps(model_id))
    if not run.reads("use_images"):
        parts.append("Pictures are passed over.")
    return "\n\n".join(parts)


def _limits(run: RunFolder) -> str:
    """What the model does not do, what it does where something is missing, and what nobody looked at."""
    config = run.config
    items = [
        "Language: English, that of the corpus; nothing is known of others."
        if run.is_english
        else "Language: not recorded. It tags what resembles its training posts.",
        "It knows the types above, and gives each word one of them or none. Entities do not overlap.",
        "Raw text is split into words as Twitter-2017's is; with words of your own pass `words` instead of `text`.",
    ]
    if run.reads("use_images"):
        items += _picture_limits(run)
    temperature = config.get("confidence_temperature", 1.0)
    if temperature == 1.0:
        items.append("The probabilities (`score`) were not calibrated, and how far they can be believed is not known.")
    else:
        items.append(
            f"The probabilities (`score`) were calibrated by one temperature, {temperature:.3f}, fitted on a "
            "validation split; how far they can be believed on other posts is not known."
        )
    tested = {"test": "a test split", "eval": "a validation split"}
    missing = [what for prefix, what in tested.items() if prefix not in run.evaluated]
    items.append(f"Not evaluated: {', '.join([*missing, _UNTESTED])}.")
    return "\n".join(f"- {item}" for item in items)


def _picture_limits(run: RunFolder) -> list[str]:
    """What happens with pictures, without them, and without their scores."""
    config = run.config
    items = [f"It looks at the first {config.get('max_images')} pictures of a post."]
    counts = run.splits.get(run.recipe.get("train_split"), {}) if run.has_trained else {}
    without = counts.get("posts_by_number_of_images", {}).get("0", 0)
    known = f" {without:,} of the {counts['posts']:,} training posts had none" if counts else ""
    dropout = config.get("image_dropout", 0)
    dropped = f" {100 * dropout:g} % of the others lost theirs in each epoch" if dropout and known else ""
    learned = f":{known}{', and' if dropped else ''}{dropped}" if known else ""
    items.append(f"A post without pictures is tagged from its words alone{learned}.")
    means = [
        f"{name} {config[field]:.3f}"
        for name, switch, field in (
            ("quality", "use_quality", "mean_quality_score"),
            ("relevance", "use_relevance", "mean_relevance_score"),
        )
        if run.reads(switch) and field in config
    ]
    if means:
        items.append(
            "For a picture without scores, given or computed, the mean of the training data stands in "
            f"({', '.join(means)}): then the model cannot tell good pictures from bad ones."
        )
    return items


def _licence(license: str | None) -> str:
    """The licence that was given, and what it does not cover."""
    given = f"{escape_markdown(license)}." if license else "**None is given here.**"
    return (
        f"{given} The terms of the pretrained backbones, of the corpus and of the scorers stand beside it; the posts "
        "and pictures of the training belong to those who made them, and are not part of this repository."
    )


def _repeat(run: RunFolder) -> str:
    """Software and command."""
    if not run.record:
        return "The versions and the command are not recorded here."
    versions = ", ".join(
        f"{escape_markdown(name)} {escape_markdown(it)}" for name, it in run.record["versions"].items()
    )
    parts = [f"{versions}."]
    if run.record.get("commit"):
        changed = ", with changes that were not committed" if run.record["commit"].endswith("+") else ""
        parts[0] += f" Source: commit {escape_markdown(run.record['commit'].removesuffix('+'))}{changed}."
    hub_ids = [run.hub_id(name) for name in ("model_name_or_path", "text_backbone", "vision_backbone", "dataset")]
    command = public_command(run.record["command"], [*filter(None, hub_ids), run.recipe.get("hub_model_id")])
    parts.append(f"```bash\n{command.replace('```', '')}\n```")
    parts.append("Folders are left out of the command. The data is the same if the fingerprints are.")
    return "\n\n".join(parts)
