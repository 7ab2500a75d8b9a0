"""scripts/score_images.py from a folder to a folder: the same posts, their scores, and who gave them."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value, load_dataset
from huggingface_hub import DatasetCard
from PIL import Image as PILImage

import run_mner
from dataset_scripts.corpus_build import build_corpus
from dataset_scripts.mner_mi import MNERMI
from dataset_scripts.pictured_posts import PicturedPosts
from dataset_scripts.push import leave_out_pictures
from mner_training.scored_folder import write_scored_folder
from processing_iqcr.scorers import register_quality_scorer, register_relevance_scorer
from scripts import score_images
from tests.fake_hub import FakeHub, run_with_hub
from tests.small_release import write_release

COLUMNS = ["quality_scores", "relevance_scores"]
NAMED = ["--quality_scorer", "bright", "--relevance_scorer", "length"]
SPECS = {
    kind: {"name": name, "description": {"library": "registered", "name": name, "version": "1"}}
    for kind, name in (("quality_scorer", "bright"), ("relevance_scorer", "length"))
}


def bright(images) -> list[float]:
    return [float(np.asarray(image).mean()) / 255 for image in images]


def length(texts, images) -> list[float]:
    return [len(text) / 1000 for text in texts]


def refuse(*_):
    raise AssertionError("nothing was to be scored")


def register(quality=bright, relevance=length) -> None:
    register_quality_scorer("bright", quality, "1")
    register_relevance_scorer("length", relevance, "1")


def grey(value: int) -> bytes:
    file = io.BytesIO()
    PILImage.new("RGB", (6, 4), (value, value, value)).save(file, "PNG")
    return file.getvalue()


def load(folder: Path | str) -> dict[str, Dataset]:
    """The splits, their pictures as files."""
    splits = load_dataset(str(folder))
    return {
        name: split.cast_column("images", List(Image(decode=False))) if "images" in split.column_names else split
        for name, split in splits.items()
    }


def mean(content: bytes) -> float:
    """Brightness of a picture by PIL and NumPy alone; a JPEG that is cut off is mended as the loader does it."""
    with PILImage.open(io.BytesIO(content + b"\xff\xd9")) as picture:
        return np.asarray(picture.convert("RGB")).mean() / 255


def text_of(words: list[str]) -> str:
    """What the pictures are compared with: no handles, of one word or two, and no addresses."""
    return " ".join(re.sub(r"@ ?\S+|https://\S+", "", " ".join(words)).split())


def check(folder: Path, before: dict[str, list[dict]]) -> int:
    """The folder has the posts of before, each with the scores that were worked out; how many pictures there are."""
    after, number = load(folder), 0
    assert list(after) == list(before)
    for name, rows in before.items():
        assert len(after[name]) == len(rows)
        for old, new in zip(rows, after[name], strict=True):
            assert {column: new[column] for column in old} == old
            assert set(new) == {*old, *COLUMNS}
            means = [mean(image["bytes"]) for image in old["images"]]
            assert new["quality_scores"] == pytest.approx(means, abs=1e-6)
            assert new["relevance_scores"] == pytest.approx(
                [len(text_of(old["tokens"])) / 1000] * len(means), abs=1e-6
            )
            number += len(means)
    return number


def read_scores_file(folder: Path) -> dict:
    record = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert record["schema"] == "iqcr-mi/scores/1"
    assert {"python", "torch", "pillow"} <= set(record["versions"])
    return record["scorers"]


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch) -> None:
    """Registry and caches of the test's own; both scorers are registered."""
    monkeypatch.setattr("processing_iqcr.scorers._registered", {})
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    register()


@pytest.fixture
def plain(make_posts, tmp_path) -> Path:
    """A folder of Parquet files without scores."""
    for seed, (name, number) in enumerate({"train": 12, "validation": 4, "test": 5}.items()):
        posts = make_posts(number, seed=seed + 40).remove_columns(COLUMNS)
        posts.to_parquet(tmp_path / "plain" / f"{name}.parquet")
    return tmp_path / "plain"


@pytest.fixture
def release(tmp_path) -> Path:
    return write_release(tmp_path / "MNER-MI")


@pytest.fixture
def built(release, tmp_path) -> Path:
    """MNER-MI's small release as a built data set: one picture is missing, one broken, one ends early."""
    build_corpus(MNERMI(data_dir=str(release)), tmp_path / "built", verify=False)
    return tmp_path / "built"


def score(*arguments: str | Path) -> dict:
    return score_images.main([str(argument) for argument in arguments])


def rows(folder: Path) -> dict[str, list[dict]]:
    return {name: split.to_list() for name, split in load(folder).items()}


class TestFolderToFolder:
    def test_posts_stay_and_two_columns_come(self, plain, tmp_path, capsys):
        out = tmp_path / "deep" / "scored"
        counts = score("--dataset", plain, *NAMED, "--output_dir", out)
        number = check(out, rows(plain))
        assert number > 20
        expected = {"given": 0, "found": 0, "computed": number, "missing": 0}
        assert counts == dict.fromkeys(SPECS, expected)
        before, after = load(plain)["test"].features, load(out)["test"].features
        assert after == before | dict.fromkeys(COLUMNS, List(Value("float32")))
        assert read_scores_file(out) == SPECS
        # A card may tell where the splits are; nothing else.
        assert {path.name for path in out.iterdir()} - {"README.md"} == {
            "scores.json",
            *(f"{split}-00000-of-00001.parquet" for split in ("train", "validation", "test")),
        }
        assert [path.name for path in out.parent.iterdir()] == ["scored"]
        printed = capsys.readouterr().out
        for column, name in zip(COLUMNS, ("bright", "length"), strict=True):
            assert f"{column} by {name}: {number} computed, 0 found in the cache.\n" in printed
        assert f"Written: {out}\n" in printed

    def test_pictures_decode_and_stream(self, plain, tmp_path):
        score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "out")
        streamed = list(load_dataset(str(tmp_path / "out"), split="train", streaming=True))
        assert len(streamed) == 12
        assert {image.size for post in streamed for image in post["images"]} == {(24, 20)}

    def test_second_run_finds_everything(self, plain, tmp_path, capsys):
        first = score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "first")
        register(refuse, refuse)
        second = score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "second")
        for kind, count in first.items():
            assert second[kind] == count | {"computed": 0, "found": count["computed"]}
        assert rows(tmp_path / "second") == rows(tmp_path / "first")
        assert read_scores_file(tmp_path / "second") == SPECS  # who gave them, also those of the run before
        assert f"bright: 0 computed, {first['quality_scorer']['computed']} found" in capsys.readouterr().out

    def test_scored_folder_has_nothing_left_to_score(self, plain, tmp_path):
        score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "first")
        register(refuse, refuse)
        # nor does anybody have to be at hand who could score
        score("--dataset", tmp_path / "first", "--quality_scorer", "no-such", "--output_dir", tmp_path / "second")
        assert rows(tmp_path / "second") == rows(tmp_path / "first")
        assert read_scores_file(tmp_path / "second") == SPECS

    def test_paper_scorers_are_the_default(self, plain, tmp_path):
        """Taken by their names: registered ones hide those of the libraries, which would need their weights."""
        register_quality_scorer("maniqa", bright, "1")
        register_relevance_scorer("ViT-B-32-quickgelu", length, "1")
        score("--dataset", plain, "--output_dir", tmp_path / "out")
        check(tmp_path / "out", rows(plain))
        names = {kind: spec["name"] for kind, spec in read_scores_file(tmp_path / "out").items()}
        assert names == {"quality_scorer": "maniqa", "relevance_scorer": "ViT-B-32-quickgelu"}

    def test_one_kind_alone(self, plain, tmp_path):
        counts = score("--dataset", plain, "--quality_scorer", "none", *NAMED[2:], "--output_dir", tmp_path / "out")
        assert list(counts) == ["relevance_scorer"]
        for name, split in load(tmp_path / "out").items():
            assert split.column_names == [*load(plain)[name].column_names, "relevance_scores"]
        assert read_scores_file(tmp_path / "out") == {"relevance_scorer": SPECS["relevance_scorer"]}

    def test_scores_that_are_there_stay_and_keep_who_gave_them(self, make_posts, tmp_path):
        posts = make_posts(20, seed=40).remove_columns("relevance_scores")
        full = posts.map(lambda post: {"quality_scores": [0.75] * len(post["images"])})
        full.to_parquet(tmp_path / "in" / "train.parquet")
        theirs = {"quality_scorer": {"name": "musiq", "description": {"metric": "musiq"}}}
        (tmp_path / "in" / "scores.json").write_text(json.dumps({"schema": "iqcr-mi/scores/1", "scorers": theirs}))
        register(quality=refuse)
        score("--dataset", tmp_path / "in", *NAMED, "--output_dir", tmp_path / "out")
        scores = {value for part in load(tmp_path / "out")["train"]["quality_scores"] for value in part}
        assert scores == {0.75}
        assert read_scores_file(tmp_path / "out") == theirs | {"relevance_scorer": SPECS["relevance_scorer"]}

    def test_scores_of_nobody_known_are_not_claimed(self, make_posts, tmp_path):
        """Gaps alone would be this run's; here there are none."""
        posts = make_posts(10, seed=40)
        full = posts.map(lambda post: {column: [0.5] * len(post["images"]) for column in COLUMNS})
        full.to_parquet(tmp_path / "in" / "train.parquet")
        register(refuse, refuse)
        score("--dataset", tmp_path / "in", *NAMED, "--output_dir", tmp_path / "out")
        assert read_scores_file(tmp_path / "out") == {}

    def test_gaps_of_one_scorer_are_not_filled_by_another(self, plain, tmp_path):
        score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "scored")
        for name, split in load(tmp_path / "scored").items():
            gaps = split.map(lambda post: {"quality_scores": None} if len(post["images"]) == 1 else {})
            gaps.cast_column("images", List(Image())).to_parquet(tmp_path / "gaps" / f"{name}.parquet")
        (tmp_path / "gaps" / "scores.json").write_bytes((tmp_path / "scored" / "scores.json").read_bytes())
        register_quality_scorer("other", refuse, "1")
        with pytest.raises(ValueError, match=r"Some quality_scores of the data set are by .*'bright'.*'other'"):
            score("--dataset", tmp_path / "gaps", "--quality_scorer", "other", "--output_dir", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        counts = score("--dataset", tmp_path / "gaps", *NAMED, "--output_dir", tmp_path / "out")
        assert counts["quality_scorer"]["given"] > 0
        assert counts["quality_scorer"]["found"] > 0
        assert rows(tmp_path / "out") == rows(tmp_path / "scored")
        assert read_scores_file(tmp_path / "out") == SPECS

    def test_pictures_behind_paths_move_in(self, tmp_path):
        (tmp_path / "pictures").mkdir()
        names = []
        for value in (51, 102):
            names.append(str(tmp_path / "pictures" / f"{value}.png"))
            Path(names[-1]).write_bytes(grey(value))
        posts = Dataset.from_dict({"tokens": [["a"], ["b"]], "paths": [names, names[:1]]})
        features = Features({"tokens": List(Value("string")), "images": List(Image(decode=False))})
        posts = posts.map(
            lambda post: {"images": [{"bytes": None, "path": path} for path in post["paths"]]},
            remove_columns="paths",
            features=features,
        )
        posts.cast_column("images", List(Image())).to_parquet(tmp_path / "in" / "test.parquet", batch_size=1)
        score("--dataset", tmp_path / "in", *NAMED, "--output_dir", tmp_path / "out")
        for name in names:
            Path(name).unlink()
        (first, second) = load(tmp_path / "out")["test"]
        assert first["images"] == [
            {"bytes": grey(51), "path": "51.png"},
            {"bytes": grey(102), "path": "102.png"},
        ]
        assert first["quality_scores"] == pytest.approx([0.2, 0.4])
        assert second["quality_scores"] == pytest.approx([0.2])

    def test_pictures_that_cannot_be_scored(self, tmp_path, caplog):
        features = Features({"tokens": List(Value("string")), "images": List(Image(decode=False))})
        images = [
            {"bytes": grey(51), "path": "a.png"},
            {"bytes": b"rubbish", "path": "b.png"},
            {"bytes": None, "path": str(tmp_path / "gone.png")},
            {"bytes": grey(102), "path": "c.png"},
        ]
        posts = Dataset.from_list([{"tokens": ["x"], "images": images}], features=features)
        posts.to_parquet(tmp_path / "in" / "test.parquet")
        flags = ["--dataset", tmp_path / "in", *NAMED, "--output_dir", tmp_path / "out"]
        with pytest.raises(ValueError, match=r"2 pictures cannot be scored: .*Split test, Post 0, image 1"):
            score(*flags)
        assert not (tmp_path / "out").exists()
        counts = score(*flags, "--broken_images", "drop")
        assert counts["quality_scorer"] == {"given": 0, "found": 2, "computed": 0, "missing": 2}
        (post,) = load(tmp_path / "out")["test"]
        # Rubbish stays as it was; of a file that is not there nothing could stay.
        assert [image["path"] for image in post["images"]] == ["a.png", "b.png", "c.png"]
        assert post["quality_scores"] == [pytest.approx(0.2), None, pytest.approx(0.4)]
        assert "gone.png" in caplog.text

    @pytest.mark.parametrize("splits", [["test"], ["dev"], ["train", "unlabelled"], ["en-train", "en-test"]], ids=str)
    def test_splits_of_any_names(self, make_posts, tmp_path, splits):
        posts = {split: make_posts(3, seed=seed).remove_columns(COLUMNS) for seed, split in enumerate(splits)}
        card = {"configs": [{"config_name": "default", "data_files": []}]}
        for split, part in posts.items():
            name = split.replace("-", "_")
            part.to_parquet(tmp_path / "in" / f"{name}.parquet")
            card["configs"][0]["data_files"].append({"split": name, "path": f"{name}.parquet"})
        (tmp_path / "in" / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
        before = rows(tmp_path / "in")
        score("--dataset", tmp_path / "in", *NAMED, "--output_dir", tmp_path / "out")
        check(tmp_path / "out", before)

    @pytest.mark.parametrize("columns", [["id", "tokens"], ["id", "tokens", "images"]], ids=str)
    def test_posts_without_pictures_are_refused(self, make_posts, tmp_path, columns):
        register(refuse, refuse)
        posts = make_posts(1, seed=2).select_columns(columns)  # the first post has none
        (tmp_path / "texts").mkdir()
        posts.to_parquet(tmp_path / "texts" / "test.parquet")
        with pytest.raises(ValueError, match=r"There is no picture to score in '.*texts'.*--images_dirs"):
            score("--dataset", tmp_path / "texts", *NAMED, "--output_dir", tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestBuiltDataSets:
    @pytest.mark.parametrize("way", ["folder", "name"])
    def test_report_page_and_card_go_along(self, release, built, tmp_path, way):
        source = {"folder": [built], "name": ["mner-mi", "--dataset_source", release, "--broken_images", "drop"]}[way]
        out = tmp_path / "out"
        counts = score("--dataset", *source, *NAMED, "--output_dir", out)
        assert counts["quality_scorer"] == {"given": 0, "found": 0, "computed": 9, "missing": 0}

        assert check(out, rows(built)) == 9
        report = json.loads((out / "build_report.json").read_text(encoding="utf-8"))
        before = json.loads((built / "build_report.json").read_text(encoding="utf-8"))
        assert report == before | {"scores": SPECS}
        assert {path.name for path in out.iterdir()} == {path.name for path in built.iterdir()} | {"scores.json"}
        assert (out / "build_report.html").read_text() == (built / "build_report.html").read_text()
        card, old = (DatasetCard((folder / "README.md").read_text()) for folder in (out, built))
        data, old_data = card.data.to_dict(), old.data.to_dict()
        # but for the word that tells two builds apart
        assert data["configs"][0].pop("description") != old_data["configs"][0].pop("description")
        assert data == old_data
        table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", card.text, flags=re.MULTILINE))
        assert table["quality_scores"].endswith(": bright")
        assert table["relevance_scores"].endswith(": length")
        assert "quality_scores" not in old.text
        # nothing else has changed in it
        assert [line for line in card.text.splitlines() if "_scores`" not in line] == old.text.splitlines()

    def test_name_of_a_scorer_is_text_in_the_card(self, built, tmp_path):
        register_quality_scorer("my|own *best*", bright, "1")
        score("--dataset", built, "--quality_scorer", "my|own *best*", *NAMED[2:], "--output_dir", tmp_path / "out")
        (line,) = [line for line in (tmp_path / "out" / "README.md").read_text().splitlines() if "`quality_s" in line]
        assert r"my\|own \*best\*" in line

    def test_generated_posts_with_planted_scores_have_nothing_to_score(self, tmp_path):
        build_corpus(PicturedPosts(num_posts={"train": 5, "test": 3}), tmp_path / "built")
        register(refuse, refuse)
        score("--dataset", tmp_path / "built", *NAMED, "--output_dir", tmp_path / "out")
        assert rows(tmp_path / "out") == rows(tmp_path / "built")
        card, old = (DatasetCard((tmp_path / name / "README.md").read_text()) for name in ("out", "built"))
        assert card.text == old.text
        assert read_scores_file(tmp_path / "out") == {}

    def test_generated_posts_without_planted_scores_are_scored(self, tmp_path):
        builder = PicturedPosts(num_posts={"train": 5, "test": 3}, planted_scores=False)
        build_corpus(builder, tmp_path / "built")
        score("--dataset", tmp_path / "built", *NAMED, "--output_dir", tmp_path / "out")
        check(tmp_path / "out", rows(tmp_path / "built"))
        card = (tmp_path / "out" / "README.md").read_text()
        assert "-1 to 1: length |" in card
        assert "planted" not in card

    def test_copy_without_pictures_is_scored_when_they_are_joined(self, release, built, tmp_path):
        leave_out_pictures(built, tmp_path / "bare")
        roots = [release / "images", release / "new_images.zip"]
        score("--dataset", tmp_path / "bare", "--images_dirs", *roots, *NAMED, "--output_dir", tmp_path / "out")
        assert rows(tmp_path / "out").keys() == rows(built).keys()
        for split, posts in rows(tmp_path / "out").items():
            assert [post["images"] for post in posts] == [post["images"] for post in rows(built)[split]]
        report = json.loads((tmp_path / "out" / "build_report.json").read_text())
        assert report["pictures"] == "included"
        assert "image_sha256" not in (tmp_path / "out" / "README.md").read_text()

    def test_copy_without_pictures_is_not_passed_off_as_a_whole_one(self, built, tmp_path):
        leave_out_pictures(built, tmp_path / "bare")
        register(refuse, refuse)
        with pytest.raises(ValueError, match=r"There is no picture to score in '.*bare'.*--images_dirs"):
            score("--dataset", tmp_path / "bare", *NAMED, "--output_dir", tmp_path / "out")
        assert not (tmp_path / "out").exists()


PUSH = """
import json, sys
from dataset_scripts.push import push_folder
from mner_training.arguments import DataArguments
from mner_training.corpus_loading import load_posts

scored, built, *roots = sys.argv[1:]
push_folder(scored, "me/bare")
push_folder(scored, "me/whole", include_images=True)
loaded = {}
for name, images_dirs in (("me/bare", roots), ("me/whole", [])):
    posts, record = load_posts(DataArguments(dataset=name, images_dirs=images_dirs))
    columns = ["id", "quality_scores", "relevance_scores"]
    loaded[name] = {split: part.select_columns(columns).to_list() for split, part in posts.items()}, record["scores"]
push_folder(scored, "me/later-unscored")
push_folder(built, "me/later-unscored")
print(json.dumps(loaded))
"""


def test_push_takes_along_who_scored(release, built, tmp_path):
    out = tmp_path / "out"
    score("--dataset", built, *NAMED, "--output_dir", out)
    roots = [str(release / "images"), str(release / "new_images.zip")]
    with FakeHub() as hub:
        printed = run_with_hub(hub, ["-c", PUSH, str(out), str(built), *roots], tmp_path / "home")
        bare, whole, unscored = (hub.files(f"me/{name}") for name in ("bare", "whole", "later-unscored"))
        assert hub.unhandled == []
    for files in (bare, whole):
        assert json.loads(files["scores.json"]) == {"schema": "iqcr-mi/scores/1", "scorers": SPECS}
        assert json.loads(files["build_report.json"])["scores"] == SPECS
        card = DatasetCard(files["README.md"].decode()).text
        assert "0 to 1: bright |" in card
        assert "-1 to 1: length |" in card
        assert set(files) == {".gitattributes", *(path.name for path in out.iterdir())}
    for path in out.glob("*.parquet"):
        assert b"JFIF" not in bare[path.name]
        assert whole[path.name] == path.read_bytes()
    columns = ["id", *COLUMNS]
    expected = {name: split.select_columns(columns).to_list() for name, split in load(out).items()}
    for posts, scored_by in json.loads(printed.splitlines()[-1]).values():
        assert posts == expected
        assert scored_by == SPECS
    # An earlier push's word on scores that are not there any more goes with them.
    assert set(unscored) == {".gitattributes", *(path.name for path in built.iterdir())}


def test_what_others_see_names_no_place_on_this_machine(built, tmp_path):
    description = {"library": "open_clip", "model": "clip", "weights_sha256": "12ab"}
    spec = {"name": "/home/anna/models/clip", "pretrained": "/home/anna/w.pt", "description": description}
    report = json.loads((built / "build_report.json").read_text())
    write_scored_folder(tmp_path / "out", load(built), {"relevance_scorer": spec}, report)
    for path in (tmp_path / "out").iterdir():
        assert (b"/home/anna" in path.read_bytes()) is (path.name == "scores.json"), path.name
    shown = json.loads((tmp_path / "out" / "build_report.json").read_text())["scores"]
    assert shown == {"relevance_scorer": {"name": "clip", "description": description}}
    # Here it stays: the same scorer is to be found again.
    assert read_scores_file(tmp_path / "out") == {"relevance_scorer": spec}


class TestRecipes:
    @pytest.fixture
    def recipe(self, plain, tmp_path) -> Callable[..., Path]:
        """Function that writes a recipe of `run_mner.py` on the plain folder, with more keys if they are given."""

        def write(**keys) -> Path:
            values = {
                "description": "For training.",
                "sources": {"ours": ["dataset"]},
                "dataset": str(plain),
                "text_backbone": "some/encoder",
                "vision_backbone": None,
                "model_config": {"use_quality": False},
                "learning_rate": 1e-4,
                "num_train_epochs": 3,
                "do_train": True,
                "quality_scorer": "bright",
                "relevance_scorer": {"name": "length"},
                "output_dir": str(tmp_path / "run"),
            }
            (tmp_path / "recipe.json").write_text(json.dumps(values | keys))
            return tmp_path / "recipe.json"

        return write

    def test_data_set_and_scorers_of_a_training_recipe(self, recipe, plain, tmp_path):
        score(recipe(), "--output_dir", tmp_path / "out")
        check(tmp_path / "out", rows(plain))
        assert read_scores_file(tmp_path / "out") == SPECS
        assert not (tmp_path / "run").exists()

    def test_its_output_folder_is_that_of_the_training(self, recipe, tmp_path):
        register(refuse, refuse)
        with pytest.raises(ValueError, match=r"Say what to write: --output_dir .*--report"):
            score(recipe())
        assert not (tmp_path / "run").exists()

    def test_flags_override_it(self, recipe, plain, tmp_path):
        register_quality_scorer("half", lambda images: [0.5] * len(images), "1")
        cache = tmp_path / "mine.sqlite"
        path = recipe(quality_scorer="no-such", score_cache=str(cache))
        score(path, "--quality_scorer", "half", "--output_dir", tmp_path / "out")
        assert {value for part in load(tmp_path / "out")["train"]["quality_scores"] for value in part} == {0.5}
        assert cache.is_file()

    @pytest.mark.parametrize("key", ["qualityscorer", "report", "num_crops"])
    def test_key_that_no_recipe_has_is_refused(self, recipe, tmp_path, key):
        register(refuse, refuse)
        with pytest.raises(ValueError, match=rf"recipe\.json: unknown {key}\."):
            score(recipe(**{key: "x"}), "--output_dir", tmp_path / "out")

    def test_flag_of_the_training_is_refused(self, plain, tmp_path):
        with pytest.raises(ValueError, match="--learning_rate"):
            score("--dataset", plain, "--learning_rate", "1", "--output_dir", tmp_path / "out")

    def test_every_recipe_of_the_repository_is_read(self, tmp_path):
        """As far as the output: nothing is scored, for nothing was said of where to write."""
        recipes = sorted((Path(__file__).parents[1] / "recipes").glob("*.json"))
        assert recipes
        for path in recipes:
            with pytest.raises(ValueError, match="Say what to write"):
                score(path)


class TestRefusals:
    def test_nothing_to_write(self, plain):
        register(refuse, refuse)
        with pytest.raises(ValueError, match="Say what to write: --output_dir"):
            score("--dataset", plain, *NAMED)

    def test_output_that_exists_is_found_out_before_the_work(self, plain, tmp_path):
        register(refuse, refuse)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="exists and holds something else"):
            score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]

    def test_empty_folder_is_free(self, plain, tmp_path):
        (tmp_path / "out").mkdir()
        score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "out")
        check(tmp_path / "out", rows(plain))

    def test_scorer_that_does_not_exist(self, plain, tmp_path):
        register(relevance=refuse)
        with pytest.raises((ValueError, ImportError), match=r"no metric 'no-such'|pip install"):
            score("--dataset", plain, "--quality_scorer", "no-such", *NAMED[2:], "--output_dir", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_scorer_that_breaks_leaves_no_folder(self, plain, tmp_path):
        def breaks(images):
            raise RuntimeError("CUDA error")

        register(quality=breaks)
        with pytest.raises(RuntimeError, match="CUDA error"):
            score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "out")
        assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_report_alone_writes_no_data(plain, tmp_path):
    score("--dataset", plain, *NAMED, "--report", tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"scores.html", "scores.png"}
    page = (tmp_path / "report" / "scores.html").read_text(encoding="utf-8")
    assert "bright" in page
    assert "length" in page


@pytest.mark.parametrize("named", [[], NAMED], ids=["nobody named", "the same named"])
def test_training_on_a_scored_folder_scores_nothing_and_knows_who_did(plain, tiny_backbones, tmp_path, named):
    """The recipe that named the scorers for the scoring names them for the training as well."""
    score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "scored")
    register(refuse, refuse)
    text, vision = map(str, tiny_backbones)
    flags = ["--text_backbone", text, "--vision_backbone", vision, "--max_length", "32", "--window_overlap", "8"]
    flags += ["--dataset", str(tmp_path / "scored"), "--do_train", "--do_predict", "--num_train_epochs", "1"]
    run = tmp_path / "run"
    run_mner.main([*flags, *named, "--use_cpu", "--disable_tqdm", "true", "--output_dir", str(run)])
    config = json.loads((run / "processor_config.json").read_text())
    assert {kind: config[kind] for kind in SPECS} == SPECS
    assert json.loads((run / "run.json").read_text())["data"]["corpus"]["scores"] == SPECS
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    scored = load(tmp_path / "scored")["test"]
    for line, post in zip(lines, scored, strict=True):
        assert [image["quality"] for image in line["images"]] == post["quality_scores"]
        assert [image["relevance"] for image in line["images"]] == post["relevance_scores"]


def test_scores_of_a_training_and_of_the_script_are_the_same(plain, tiny_backbones, tmp_path):
    """And the one finds what the other has computed: they share the cache."""
    text, vision = map(str, tiny_backbones)
    flags = ["--text_backbone", text, "--vision_backbone", vision, "--max_length", "32", "--window_overlap", "8"]
    flags += ["--dataset", str(plain), "--do_train", "--do_predict", "--num_train_epochs", "1", *NAMED]
    run_mner.main([*flags, "--use_cpu", "--disable_tqdm", "true", "--output_dir", str(tmp_path / "run")])
    register(refuse, refuse)
    counts = score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "out")
    assert counts["quality_scorer"]["computed"] == 0
    assert counts["quality_scorer"]["found"] > 20
    lines = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    shown = [[image["quality"] for image in line["images"]] for line in lines]
    assert shown == load(tmp_path / "out")["test"]["quality_scores"][:]


def test_datasets_cache_is_where_the_scores_are_by_default(plain, tmp_path):
    score("--dataset", plain, *NAMED, "--output_dir", tmp_path / "out")
    assert list(Path(datasets.config.HF_DATASETS_CACHE).rglob("scores.sqlite"))
