"""A built data set's README, which is its dataset card on the Hub."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from huggingface_hub import DatasetCardData

from .markdown import escape_markdown, link, table
from .report_counts import FAULTS, compare_count, count_rows, explain_variant, pictures_were_read

# The corpora that nobody released: made here, or somebody's own.
_GENERATED, _OWN = "pictured-posts", "folder"
# What stands for a local folder in the code of a card.
_LOCAL = "path/to/this/folder"
# The Hub's names of sizes, and the number of posts that each stays below.
_SIZES = {"n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6, "1M<n<10M": 10**7}

_CAUTION = """The release states no licence that we know of. **The texts and pictures belong to the people who
posted them**, and the terms of the platform limit passing them on. Before you share this data set:

- share ids, or texts, only as far as those terms and your law allow, and pictures only if you are sure that you may;
- keep in mind that posts have been deleted since, and that their authors may not want them to be found again;
- identify nobody, and take down at once what an author asks you to take down."""
_OWN_CAUTION = """The texts and pictures belong to those who wrote and made them. Nothing more is known here of the
rights in them, so this card gives no licence. Add one only if you may."""
_GENERATED_LICENCE = "Apache-2.0. Texts and pictures are generated: nobody posted them, and the names mean nobody."


def render_card(report: Mapping[str, Any], repo_id: str | None = None) -> str:
    """Write the README of a built folder.

    Args:
        report: The build report.
        repo_id: The repository that it goes to, for the code that loads it; ``None`` for a local folder.

    Returns:
        YAML that tells the Hub and `datasets` about the files, and Markdown.
    """
    sections = [
        f"# {escape_markdown(report['title'])}",
        _description(report),
        "## Counts",
        _counts(report),
        "## Use",
        _use(report, repo_id or _LOCAL),
        "## Models",
        _models(report, repo_id),
        "## What was found",
        _findings(report),
        "## Licence and caution",
        {_GENERATED: _GENERATED_LICENCE, _OWN: _OWN_CAUTION}.get(report["corpus"], _CAUTION),
    ]
    if report["citation"]:
        sections += ["## Citation", escape_markdown(report["citation"])]
    return f"---\n{_metadata(report).to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(report: Mapping[str, Any]) -> DatasetCardData:
    """What the Hub and `datasets` read of the card."""
    corpus = report["corpus"]
    num_posts = sum(counts["posts"] for counts in report["splits"].values())
    tags = ["named-entity-recognition", "ner", "mner", "multimodal"]
    if corpus == _GENERATED:
        licence = {"license": "apache-2.0"}
        tags.append("synthetic")
    elif corpus == _OWN:
        licence = {}
    else:
        licence = {"license": "other", "license_name": "none-stated"}
        tags.append("social-media")
    files = [{"split": split, "path": f"{split}-*.parquet"} for split in report["splits"]]
    return DatasetCardData(
        pretty_name=report["title"],
        language=None if corpus == _OWN else ["en"],
        **licence,
        task_categories=["token-classification"],
        tags=tags,
        size_categories=[next((name for name, bound in _SIZES.items() if num_posts < bound), "n>10M")],
        # `datasets` keeps what it has loaded by the folder's name and by this entry: without something of the content
        # in it, another build in a folder of the same name would never be read.
        configs=[{"config_name": "default", "data_files": files, "description": f"build {_digest(report)}"}],
    )


def _digest(report: Mapping[str, Any]) -> str:
    """A few digits that differ between builds of different content."""
    return hashlib.sha256(json.dumps(report, sort_keys=True).encode()).hexdigest()[:16]


def _description(report: Mapping[str, Any]) -> str:
    """What the data set is and which variant of it."""
    types = ", ".join(escape_markdown(tag[2:]) for tag in report["tag_names"] if tag.startswith("B-"))
    parts = [f"Posts and their pictures, the named entities in the words tagged: {types}."]
    if report["homepage"]:
        parts[0] += f" A converted copy of the release at {link(report['homepage'])}."
    parts.append(f"**Variant: {escape_markdown(report['variant'])}.** {escape_markdown(explain_variant(report))}")
    if report["pictures"] == "left out":
        parts.append("**Pictures: left out.** Their names are here; *Pictures* below tells how they are put back.")
    else:
        parts.append("**Pictures: included**, each file as it was.")
    return "\n\n".join(parts)


def _counts(report: Mapping[str, Any]) -> str:
    """What each split holds, beside what is published."""
    rows = []
    for row in count_rows(report):
        cells = []
        for split, count in row.counts.items():
            differs, words = compare_count(report, row, split)
            note = f" (**{words}**)" if differs else f" ({words})" if words else ""
            cells.append(f"{count:,}{note}")
        rows.append([escape_markdown(row.label), *cells])
    return table(["", *map(escape_markdown, report["splits"])], rows, align="--:")


def _use(report: Mapping[str, Any], where: str) -> str:
    """Code that loads it, and what the columns are."""
    split = json.dumps(next(iter(report["splits"])))
    code = f"""```python
from datasets import load_dataset

posts = load_dataset({json.dumps(where)})
names = posts[{split}].features["ner_tags"].feature.names
post = posts[{split}][0]
print([(word, names[tag]) for word, tag in zip(post["tokens"], post["ner_tags"])], post["images"])

streamed = load_dataset({json.dumps(where)}, split={split}, streaming=True)  # reads posts as they are needed
print(sum(len(post["tokens"]) for post in streamed), "words")
```"""
    left_out = report["pictures"] == "left out"
    columns = {
        "id": "the post's name in the release, or its place in the file",
        "tokens": "its words",
        "ner_tags": f"one tag per word, as a number: {', '.join(map(escape_markdown, report['tag_names']))}",
        "images": "none here, see *Pictures*" if left_out else "its pictures: none, one or several",
        "url": "where it was posted; may be empty",
        "source": "the corpus it comes from",
    }
    scored_by = {kind: escape_markdown(spec["name"]) for kind, spec in report.get("scores", {}).items()}
    if report["corpus"] == _GENERATED and report["made_from"].get("planted_scores", True):
        scored_by = {"quality_scorer": "planted", "relevance_scorer": "planted"} | scored_by
    if "quality_scorer" in scored_by:
        columns["quality_scores"] = f"one per picture, 0 to 1: {scored_by['quality_scorer']}"
    if "relevance_scorer" in scored_by:
        columns["relevance_scores"] = f"one per picture, -1 to 1: {scored_by['relevance_scorer']}"
    if report["corpus"] == _GENERATED:
        columns["picture_kinds"] = "how each picture was made"
    if left_out:
        columns["image_names"] = "file names of its pictures, in order"
        columns["image_sha256"] = "SHA-256 of each of these files; empty where the file was not at hand"
    parts = [code, table(["column", "what"], [[f"`{name}`", text] for name, text in columns.items()])]
    return "\n\n".join([*parts, "## Pictures", _joining(report, where)] if left_out else parts)


def _joining(report: Mapping[str, Any], where: str) -> str:
    """How a copy without its pictures becomes whole again."""
    check = (
        "and refuses a file with another checksum:"
        if pictures_were_read(report)
        else "unchecked, for this copy was made without looking at them and knows no checksums:"
    )
    return f"""This copy holds no pictures, only `image_names` and `image_sha256`. With the pictures at hand,
IQCR-MI joins them by name when it loads the data set, {check}

```bash
python run_mner.py recipes/mner_mi.json --dataset {shlex.quote(where)} --images_dirs FOLDER_OR_ZIP
```

or, in a recipe, `"images_dirs": ["FOLDER_OR_ZIP"]`. Several folders or zips are tried in order."""


def _models(report: Mapping[str, Any], repo_id: str | None) -> str:
    """Where models trained on it are listed, and how one is trained."""
    pictures = " --images_dirs FOLDER_OR_ZIP" if report["pictures"] == "left out" else ""
    command = f"python run_mner.py recipes/mner_mi.json --dataset {shlex.quote(repo_id or _LOCAL)}{pictures}"
    train = f"""To train IQCR-MI on it, and to share the model (its card will name this data set):

```bash
{command} --output_dir runs/mine
python scripts/push_to_hub.py runs/mine USER/NAME
```"""
    if repo_id is None:
        return train
    address = f"https://huggingface.co/models?dataset=dataset:{quote(repo_id)}"
    return f"[Models whose card names this data set]({address}).\n\n{train}"


def _findings(report: Mapping[str, Any]) -> str:
    """How much was found wrong, and what the copy was made from."""
    splits = report["splits"]
    rows = [[label, *(f"{len(counts[field]):,}" for counts in splits.values())] for field, label in FAULTS.items()]
    parts = [table(["", *map(escape_markdown, splits)], rows, align="--:")]
    if not pictures_were_read(report):
        parts.append("Pictures were not read, so nothing is known of missing or broken ones.")
    parts.append(
        f"Texts that occur in more than one split: {len(report['texts_in_two_splits']):,}. "
        "[build_report.json](build_report.json) names every case, and `build_report.html` is the same as a page."
    )
    if report["sources"]:
        sources = [
            [escape_markdown(s["file"]), f"{s['bytes']:,}", escape_markdown(s["sha256"])] for s in report["sources"]
        ]
        parts += ["Made from these files:", table(["file", "bytes", "SHA-256"], sources)]
    return "\n\n".join(parts)
