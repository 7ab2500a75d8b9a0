"""The parts of a model card that are tables: data, results, settings, scorers."""

import json
from collections.abc import Mapping
from typing import Any

from dataset_scripts.markdown import escape_markdown, table
from dataset_scripts.registry import BUILDERS
from mner_training.missing_scores import describe_counts
from mner_training.model_types import IQCR, MODEL_TYPES, config_fields, tagger_config_class
from mner_training.run_folder import RunFolder

UNKNOWN = "**Not recorded here**: this folder holds no record of a run (`run.json`)."
_FIGURES = ("precision", "recall", "f1")
# What a recipe says of the training that another person would have to set alike.
_HYPER_PARAMETERS = (
    "learning_rate",
    "head_learning_rate",
    "vision_learning_rate",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "max_steps",
    "optim",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "bf16",
    "fp16",
    "freeze_text",
    "freeze_vision",
    "max_length",
    "window_overlap",
    "illegal_tags",
    "broken_images",
    "seed",
)
# Of the configuration: what follows from the backbones, the labels and the data is no setting.
_DERIVED = {"mean_quality_score", "mean_relevance_score", "vision_pooling", "num_attention_heads", "intermediate_size"}
_SCORES = {"quality_scorer": ("Quality", "use_quality"), "relevance_scorer": ("Relevance", "use_relevance")}
# Multiply-adds of MANIQA for one picture of 20 crops.
_MANIQA_TFLOP, _MANIQA_CROPS = 3.1, 20


def data_section(run: RunFolder) -> str:
    """Which posts, in which variant, how many, and how they are told from others."""
    if not run.splits:
        return UNKNOWN
    parts = [_data_set(run)]
    roles = {"train_split": ("do_train", "training"), "validation_split": ("do_eval", "validation")}
    roles["test_split"] = ("do_predict", "test")
    rows = []
    for name, counts in run.splits.items():
        used = [
            role for split, (does, role) in roles.items() if run.recipe.get(does) and run.recipe.get(split) == name
        ]
        by_number = {int(number): posts for number, posts in counts["posts_by_number_of_images"].items()}
        pictures = sum(number * posts for number, posts in by_number.items())
        numbers = (counts["posts"], counts["words"], pictures, by_number.get(0, 0))
        cells = [escape_markdown(name), ", ".join(used), *(f"{number:,}" for number in numbers)]
        rows.append([*cells, f"`{_code(counts['sha256'])}`"])
    header = ["split", "used for", "posts", "words", "pictures", "posts without pictures", "fingerprint (SHA-256)"]
    parts.append(table(header, rows))
    left_out = {name: _left_out(run, name) for name in run.splits}
    if any(left_out.values()):
        counted = ", ".join(f"{number:,} in {escape_markdown(name)}" for name, number in left_out.items() if number)
        parts.append(f"Pictures that were missing or could not be read, and were left out: {counted}.")
    if not run.has_trained:
        parts.insert(0, "The run recorded here did not train the model: on what it was trained, is not known here.")
    return "\n\n".join(parts)


def _data_set(run: RunFolder) -> str:
    """The data set by its name and its variant."""
    hub_id, corpus = run.hub_id("dataset"), run.corpus
    title = escape_markdown(BUILDERS[run.corpus_name].TITLE) if run.corpus_name else ""
    if hub_id:
        revision = corpus.get("commit") or run.recipe.get("dataset_revision")
        at = f", revision `{_code(revision)}`" if revision else ""
        of = f" ({title})" if title else ""
        parts = [f"The data set [{escape_markdown(hub_id)}](https://huggingface.co/datasets/{hub_id}){of}{at}."]
    else:
        parts = [f"{title}." if title else "Posts of the user's own, not published under a name."]
    if "variant" in corpus:
        parts.append(f"Build variant: **{escape_markdown(corpus['variant'])}**.")
    if corpus.get("differences"):
        parts.append(
            f"{len(corpus['differences']):,} counts differ from the published ones: this is another variant of the "
            "corpus, and the results do not compare with published ones."
        )
    return " ".join(parts)


def _left_out(run: RunFolder, split: str) -> int:
    """How many pictures of a split nobody saw."""
    faults = run.corpus.get("faults", {}).get(split, {})
    unjoined = run.corpus.get("unjoined_images", {}).get(split, [])
    found = [*faults.get("missing_images", []), *faults.get("broken_images", []), *unjoined]
    return len(found) + len(run.splits[split].get("dropped_images", []))


def results_section(run: RunFolder) -> str:
    """Precision, recall and F1: of all entities, by type and by source."""
    if not run.evaluated:
        return "**Not evaluated**: no results stand beside this model."
    parts = []
    rows = []
    for prefix, split in run.evaluated.items():
        lenient = [_percent(run, f"{prefix}_{figure}") for figure in _FIGURES]
        strict = [_percent(run, f"{prefix}_strict_{figure}") for figure in _FIGURES]
        counts = [_count(run, f"{prefix}_{what}") for what in ("posts", "support")]
        rows.append([escape_markdown(split), *counts, *lenient, *strict])
    strict_names = [f"strict {figure.replace('f1', 'F1')}" for figure in _FIGURES]
    header = ["split", "posts", "entities", "precision", "recall", "F1", *strict_names]
    parts.append(table(header, rows, align="--:"))
    prefix, split = next(iter(run.evaluated.items()))
    by_type = [name for name in run.entity_types if f"{prefix}_{name}_support" in run.results]
    header = ["posts", "entities", "precision", "recall", "F1", "strict F1"]
    if by_type:
        rows = [
            [escape_markdown(name), *_figures(run, f"{prefix}_{name}", f"{prefix}_strict_{name}")] for name in by_type
        ]
        parts += [f"By type, on {escape_markdown(split)}:", table(["type", *header[1:]], rows, align="--:")]
    begin = f"{prefix}_source_"
    sources = [
        key[len(begin) : -len("_posts")] for key in run.results if key.startswith(begin) and key.endswith("_posts")
    ]
    if sources:
        rows = []
        for name in sources:
            key = f"{begin}{name}"
            rows.append([escape_markdown(name), _count(run, f"{key}_posts"), *_figures(run, key, f"{key}_strict")])
        parts += [f"By source, on {escape_markdown(split)}:", table(["source", *header], rows, align="--:")]
    seed = f" with the seed {run.recipe['seed']}" if "seed" in run.recipe else ""
    notes = [
        "In percent; an entity is right if its words and its type are. Lenient as in conlleval, which is this field's "
        f"headline, and strict IOB2. **One run{seed}**: how far another seed would be from it is not known here."
    ]
    if run.has_trained and run.recipe.get("load_best_model_at_end") and "eval" in run.evaluated:
        notes.append(
            f"Of the epochs the one with the best result on {escape_markdown(run.evaluated['eval'])} was kept, so the "
            "figures of that split are optimistic."
        )
    return "\n\n".join([*parts, " ".join(notes)])


def _figures(run: RunFolder, key: str, strict: str) -> list[str]:
    """The cells of a part of the results: its entities, its lenient figures, its strict F1."""
    lenient = [_percent(run, f"{key}_{figure}") for figure in _FIGURES]
    return [_count(run, f"{key}_support"), *lenient, _percent(run, f"{strict}_f1")]


def _percent(run: RunFolder, name: str) -> str:
    """A figure in percent."""
    return f"{100 * run.results[name]:.2f}" if name in run.results else ""


def _count(run: RunFolder, name: str) -> str:
    """A count."""
    return f"{run.results[name]:,}" if name in run.results else ""


def settings_section(run: RunFolder) -> str:
    """Where the model began, its switches, and how it was trained."""
    rows = [["started from", _start(run)], *([[part, _backbone(run, part)] for part in ("text", "vision")])]
    changed = _changed_fields(run.config)
    shown = ", ".join(
        f"`{name}` {_value(value)} (default {_value(default)})" for name, (value, default) in changed.items()
    )
    rows.append(["switches and sizes that differ from the default", shown or "none"])
    if run.recipe.get("control", "none") != "none":
        rows.append(
            ["**negative control**", f"{_value(run.recipe['control'])}: scores or pictures are wrong on purpose"]
        )
    if run.has_trained:
        values = [(name, run.recipe.get(name)) for name in _HYPER_PARAMETERS]
        rows += [[f"`{name}`", _value(value)] for name, value in values if value not in (None, False, -1)]
    parts = [table(["setting", "value"], rows)]
    if not run.has_trained:
        parts.append("How it was trained is not recorded here.")
    return "\n\n".join(parts)


def _start(run: RunFolder) -> str:
    """What the run started from."""
    if not run.recipe:
        return "not recorded"
    if not run.recipe.get("model_name_or_path"):
        words = run.corpus.get("word_vectors")
        return f"word vectors: {_value(words['source'])}" if words else "pretrained backbones, everything else fresh"
    hub_id, revision = run.hub_id("model_name_or_path"), run.recipe.get("model_revision")
    return _hub_name(hub_id, revision) if hub_id else "a local checkpoint"


def _backbone(run: RunFolder, part: str) -> str:
    """A backbone: its type, and its name if that is one that others can use."""
    config = run.config.get(f"{part}_config")
    if not config:
        return "none"
    name, revision = run.recipe.get(f"{part}_backbone"), run.recipe.get(f"{part}_revision")
    hub_id = run.hub_id(f"{part}_backbone")
    known = _hub_name(hub_id, revision) if hub_id else ""
    if name and name.startswith("package:"):
        known = f"`{_code(name.removeprefix('package:').partition('/')[0])}`, a Python package"
    return f"{escape_markdown(str(config.get('model_type')))}{', ' if known else ''}{known}"


def _hub_name(hub_id: str, revision: str | None) -> str:
    """A model of the Hub as a link, with its revision."""
    return f"[{escape_markdown(hub_id)}](https://huggingface.co/{hub_id})" + (
        f", revision `{_code(revision)}`" if revision else ""
    )


def _changed_fields(config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields of the configuration that differ from the default, each with the default."""
    model_type = config.get("model_type")
    known = config_fields(tagger_config_class(model_type if model_type in MODEL_TYPES else IQCR))
    defaults = {name: default for name, default in known.items() if name not in _DERIVED}
    return {
        name: (config[name], default)
        for name, default in defaults.items()
        if isinstance(default, bool | int | float) and name in config and config[name] != default
    }


def _value(value: Any) -> str:
    """A setting as code."""
    return f"`{_code(value if isinstance(value, str) else json.dumps(value))}`"


def _code(text: str) -> str:
    """Text that cannot leave a span of code or its cell."""
    return " ".join(str(text).replace("`", "'").replace("|", "/").split())


def scorers_section(run: RunFolder) -> str:
    """Who scored the pictures, by which options, and what that asks of others."""
    parts = []
    for kind, (name, switch) in _SCORES.items():
        if not (run.reads("use_images") and run.reads(switch)):
            parts.append(f"- **{name}**: not used by this model.")
            continue
        scorer = run.scorers[kind]
        counts = (run.corpus.get("scores", {}).get(kind) or {}).get("counts")
        done = f" In this run: {describe_counts(counts)}." if counts else ""
        parts.append(f"- **{name}**: {_scorer(scorer) if scorer else 'nobody recorded who gave the scores.'}{done}")
    used = [scorer for scorer in run.scorers.values() if scorer]
    libraries = {(scorer.get("description") or {}).get("library") for scorer in used}
    if any(scorer["name"].startswith("maniqa") for scorer in used):
        parts.append(
            f"\nMANIQA takes {_MANIQA_TFLOP} TFLOP a picture with {_MANIQA_CROPS} crops: a matter of a GPU, if there "
            "are many."
        )
    if "pyiqa" in libraries:
        parts.append(
            "\n**pyiqa's licence is non-commercial** (PolyForm Noncommercial, parts under the NTU S-Lab licence). "
            "Look at its terms before scores made by it, or a model trained on them, are used commercially."
        )
    if libraries & {"pyiqa", "open_clip"}:
        parts.append("\nTo score new pictures in the same way: `pip install pyiqa open_clip_torch torchvision`.")
    return "\n".join(parts)


def _scorer(scorer: Mapping[str, Any]) -> str:
    """A scorer by name, library, options and checksum."""
    description = scorer.get("description") or {}
    options = {name: value for name, value in scorer.items() if name not in ("name", "description")}
    parts = [_value(scorer["name"])]
    if description.get("library") == "registered":
        version = _value(description.get("version", ""))
        parts.append(f"version {version}, a function of the trainer's own, which is not in this repository")
    elif "library" in description:
        parts.append(f"of {escape_markdown(description['library'])} {escape_markdown(description['library_version'])}")
    parts += [f"`{name}` {_value(value)}" for name, value in options.items()]
    if description.get("weights_sha256"):
        parts.append(f"weights `{_code(description['weights_sha256'])}` (SHA-256)")
    return f"{', '.join(parts)}."
