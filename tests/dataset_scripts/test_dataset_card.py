import json
import os
import re
import subprocess
import sys

import pytest
from datasets import Dataset, List, Value, load_dataset
from huggingface_hub import DatasetCard
from markdown_it import MarkdownIt

from dataset_scripts.corpus_build import build_corpus
from dataset_scripts.dataset_card import render_card
from dataset_scripts.features import TAG_NAMES, post_features
from dataset_scripts.pictured_posts_generator import pictured_posts_features
from dataset_scripts.push import leave_out_pictures
from dataset_scripts.registry import BUILDERS
from tests.dataset_scripts.test_report_page import EVIL, make_faulty_report, make_report, plant

EVIL_MARKDOWN = [
    *EVIL,
    "](javascript:alert(1)) [x](https://evil.example)",
    "| a | b\n\n# heading\n\n- item\n```\ncode\n---",
    "`code` **bold** ~~gone~~ __bold__ $x$ \\",
    "https://evil.example www.evil.example <https://evil.example> ![x](y)",
]


def read_markdown(text):
    """The body as an independent reader sees it: its elements with their targets, and its text."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    flat = [token for block in tokens for token in (block.children or [block])]
    elements = [(token.type, token.attrGet("href")) for token in flat if token.type != "text"]
    return elements, "".join(token.content for token in flat)


def read_table(card, heading):
    """The rows of the first table below a heading, by their first cell."""
    lines = card.split(f"\n{heading}\n")[1].split("\n")
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def write_folder(folder, report, posts_of_splits):
    folder.mkdir()
    for split, posts in posts_of_splits.items():
        posts.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    (folder / "build_report.json").write_text(json.dumps(report))
    (folder / "build_report.html").write_text("<!DOCTYPE html><title>report</title>")
    (folder / "README.md").write_text(render_card(report, str(folder)))
    return folder


def make_posts(number):
    row = {"tokens": ["Paris", "!"], "ner_tags": [3, 0], "images": [], "url": "", "source": "mner-mi"}
    return Dataset.from_list([{"id": str(n), **row} for n in range(number)], features=post_features())


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "built", make_report(), {"train": make_posts(3), "test": make_posts(2)})


def test_folder_with_its_card_loads_and_streams(folder):
    corpus = load_dataset(str(folder))
    assert {split: posts["id"][:] for split, posts in corpus.items()} == {"train": ["0", "1", "2"], "test": ["0", "1"]}
    assert corpus["train"].features == post_features()
    streamed = load_dataset(str(folder), split="test", streaming=True)
    assert [post["tokens"] for post in streamed] == [["Paris", "!"]] * 2


def test_splits_come_from_the_card_and_not_from_what_lies_about(folder):
    make_posts(5).to_parquet(folder / "train_old.parquet")
    assert load_dataset(str(folder))["train"].num_rows == 3
    (folder / "README.md").unlink()
    assert load_dataset(str(folder))["train"].num_rows == 8


def test_code_of_the_card_runs_as_it_stands(folder, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == ["[('Paris', 'B-LOC'), ('!', 'O')] []", "6 words"]


def test_card_names_the_repository_or_the_folder():
    assert 'load_dataset("me/mner-mi")' in render_card(make_report(), "me/mner-mi")
    assert 'load_dataset("path/to/this/folder")' in render_card(make_report())


def test_metadata_is_what_the_hub_reads():
    data = DatasetCard(render_card(make_report())).data.to_dict()
    build = data["configs"][0].pop("description")
    assert build.startswith("build ")
    other = DatasetCard(render_card(make_report() | {"title": "another"})).data.to_dict()
    assert other["configs"][0]["description"] != build
    assert data == {
        "pretty_name": "MNER-MI",
        "language": ["en"],
        "license": "other",
        "license_name": "none-stated",
        "task_categories": ["token-classification"],
        "tags": ["named-entity-recognition", "ner", "mner", "multimodal", "social-media"],
        "size_categories": ["1K<n<10K"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train-*.parquet"},
                    {"split": "test", "path": "test-*.parquet"},
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("corpus", "language", "licence", "words"),
    [
        ("mner-mi-plus", ["en"], "other", "belong to the people who\nposted them"),
        ("pictured-posts", ["en"], "apache-2.0", "nobody posted them"),
        ("folder", None, None, "this card gives no licence"),
    ],
)
def test_licence_and_language_are_those_of_the_corpus(corpus, language, licence, words):
    card = render_card(make_report() | {"corpus": corpus})
    data = DatasetCard(card).data
    assert (data.language, data.license) == (language, licence)
    assert words in card


@pytest.mark.parametrize(
    ("posts", "size"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (9999, "1K<n<10K"), (10000, "10K<n<100K"), (10**7, "n>10M")],
)
def test_size_is_named_by_the_posts_of_all_splits(posts, size):
    report = make_report()
    report["splits"]["train"]["posts"] = posts - 1
    report["splits"]["test"]["posts"] = 1
    assert DatasetCard(render_card(report)).data.size_categories == [size]


def test_counts_stand_beside_the_published_ones():
    card = render_card(make_faulty_report())
    rows = read_table(card, "## Counts")
    assert rows["Posts"] == ["6,855 (the texts have the published 6,856)", "860 (= published)"]
    assert rows["Pictures found"] == ["18,947 (**≠ 19,188 published**)", "2,395 (= published)"]
    assert rows["… PER"] == ["4,000 (**≠ 4,529 published, the texts have 4,001**)", "439 (= published)"]
    assert rows["B- tags"] == ["6,407", "595"]
    assert "**Variant: unrecognised.** 2 of 10 published counts are not met" in card


def test_findings_are_counted_and_sources_told_by_checksum():
    card = render_card(make_faulty_report())
    rows = read_table(card, "## What was found")
    assert rows["Missing pictures"] == ["241", "0"]
    assert rows["Broken pictures, left out"] == ["1", "0"]
    assert rows["Posts left out for their pictures"] == ["1", "0"]
    assert rows["text/MNER-MI\\_train.txt"] == ["1,234,567", "0a" * 32]
    assert "more than one split: 1." in card
    assert "(build_report.json)" in card


@pytest.mark.parametrize(
    ("corpus", "pictures", "features"),
    [
        ("mner-mi", "included", post_features()),
        ("mner-mi", "left out", post_features(with_pictures=False)),
        ("pictured-posts", "included", pictured_posts_features()),
    ],
)
def test_columns_are_those_of_the_data_set(corpus, pictures, features):
    card = render_card(make_report() | {"corpus": corpus, "pictures": pictures})
    columns = re.findall(r"^\| `(\w+)` \|", card, re.MULTILINE)
    assert columns == list(features)


def test_copy_without_pictures_says_how_it_becomes_whole():
    card = render_card(make_report() | {"pictures": "left out"}, "me/mner-mi")
    assert "--dataset me/mner-mi --images_dirs FOLDER_OR_ZIP" in card
    assert '"images_dirs": ["FOLDER_OR_ZIP"]' in card
    assert "images_dirs" not in render_card(make_report(), "me/mner-mi")


@pytest.mark.parametrize(
    ("pictures", "repo_id", "links", "command"),
    [
        ("included", None, [], "--dataset path/to/this/folder --output_dir runs/mine"),
        (
            "included",
            "me/mner-mi",
            ["https://huggingface.co/models?dataset=dataset:me/mner-mi"],
            "--dataset me/mner-mi --output_dir runs/mine",
        ),
        (
            "left out",
            "me/mner-mi",
            ["https://huggingface.co/models?dataset=dataset:me/mner-mi"],
            "--dataset me/mner-mi --images_dirs FOLDER_OR_ZIP --output_dir runs/mine",
        ),
    ],
)
def test_card_says_how_a_model_is_trained_and_where_models_are(pictures, repo_id, links, command):
    card = render_card(make_report() | {"pictures": pictures, "homepage": ""}, repo_id)
    section = card.split("\n## Models\n")[1].split("\n## ")[0]
    assert [href for kind, href in read_markdown(section)[0] if kind == "link_open"] == links
    assert f"python run_mner.py recipes/mner_mi.json {command}\n" in section
    assert "python scripts/push_to_hub.py runs/mine USER/NAME\n" in section


def plant_strings(report, mark):
    """The report with `mark` in every string but the names of splits, which the code of the card holds."""
    planted = plant(report, mark) | {"pictures": "left out", "homepage": f"nowhere{mark}"}
    for name in ("splits", "published"):
        planted[name] = {split: plant(counts, mark) for split, counts in report[name].items()}
    return planted


@pytest.mark.parametrize("evil", EVIL_MARKDOWN)
def test_no_string_of_a_report_becomes_markdown(evil):
    harmless, hostile = (render_card(plant_strings(make_faulty_report(), mark)) for mark in ("MARK", evil))
    elements, text = read_markdown(DatasetCard(harmless).text)
    hostile_elements, hostile_text = read_markdown(DatasetCard(hostile).text)
    assert text.count("MARK") > 15
    assert hostile_elements == elements
    assert hostile_text == text.replace("MARK", " ".join(evil.split()))
    # GitHub and the Hub make links of bare addresses.
    assert not re.search(r"https://evil|www\.evil", DatasetCard(hostile).text)


@pytest.mark.parametrize(
    ("homepage", "links"),
    [
        ("https://github.com/JinFish/MNER-MI", ["https://github.com/JinFish/MNER-MI"]),
        ("https://x.example/> <b>", []),
        ("javascript:alert(1)", []),
    ],
)
def test_homepage_is_a_link_if_it_is_plainly_one(homepage, links):
    elements, text = read_markdown(DatasetCard(render_card(make_report() | {"homepage": homepage})).text)
    assert [href for kind, href in elements if kind == "link_open" and href != "build_report.json"] == links
    assert homepage in text


def test_title_cannot_leave_the_yaml():
    title = "x\n---\nlicense: mit\n# 'quoted' \"twice\": {"
    data = DatasetCard(render_card(make_report() | {"title": title})).data
    assert (data.pretty_name, data.license) == (title, "other")


def test_built_folders_load_with_their_cards(tmp_path, release):
    builder = BUILDERS["mner-mi"](data_dir=str(release), cache_dir=str(tmp_path / "cache"))
    build_corpus(builder, tmp_path / "whole", verify=False)
    leave_out_pictures(tmp_path / "whole", tmp_path / "copy")
    whole, copy = (load_dataset(str(tmp_path / name)) for name in ("whole", "copy"))
    assert {split: posts.num_rows for split, posts in whole.items()} == {"train": 2, "validation": 2, "test": 1}
    assert copy["train"].features == post_features(TAG_NAMES, with_pictures=False)
    assert copy["train"].features["image_sha256"] == List(Value("string"))
    assert copy["test"]["image_names"][:] == [["10_0.jpg"]]
    streamed, *_ = load_dataset(str(tmp_path / "whole"), split="train", streaming=True)
    assert streamed["id"] == "5302"
    assert "## Pictures" in (tmp_path / "copy" / "README.md").read_text(encoding="utf-8")
