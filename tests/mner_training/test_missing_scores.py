"""A run scores what has no scores, by the scorer of the recipe or of the checkpoint, and says who scored."""

import io
import json
import logging
import re
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Dataset, Image, List
from PIL import Image as PILImage
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification, AutoProcessor

import run_mner
from mner_training.arguments import DataArguments, ModelArguments, ScoringArguments
from mner_training.building import build_processor
from mner_training.corpus_loading import load_posts
from mner_training.missing_scores import add_missing_scores
from mner_training.score_cache import ScoreCache, default_cache_path
from processing_iqcr.scorers import ScorerMismatchError, register_quality_scorer, register_relevance_scorer

COLUMNS = ["quality_scores", "relevance_scores"]
BRIGHT = {"library": "registered", "name": "bright", "version": "1"}
LENGTH = {"library": "registered", "name": "length", "version": "1"}
SPECS = {
    "quality_scorer": {"name": "bright", "description": BRIGHT},
    "relevance_scorer": {"name": "length", "description": LENGTH},
}
NAMED = ["--quality_scorer", "bright", "--relevance_scorer", "length"]
QUIET = ["--use_cpu", "--disable_tqdm", "true"]

# The same two scorers in a file of a user's own, with names of their own.
SCORERS_FILE = """
import numpy
from processing_iqcr.scorers import register_quality_scorer, register_relevance_scorer

register_quality_scorer("file-bright", lambda images: [numpy.asarray(i).mean() / 255 for i in images], version="7")
register_relevance_scorer("file-length", lambda texts, images: [len(text) / 100 for text in texts], version="8")
"""


def bright(images) -> list[float]:
    return [float(np.asarray(image).mean()) / 255 for image in images]


def length(texts, images) -> list[float]:
    return [len(text) / 100 for text in texts]


def refuse(*_):
    raise AssertionError("nothing was to be scored")


def register(quality=bright, relevance=length, version: str = "1") -> None:
    register_quality_scorer("bright", quality, version)
    register_relevance_scorer("length", relevance, version)


def work_out(post: dict) -> dict[str, list[float]]:
    """Both scores of a post's pictures, without anything of the package."""
    means = [np.asarray(PILImage.open(io.BytesIO(image["bytes"]))).mean() / 255 for image in post["images"]]
    return {"quality_scores": means, "relevance_scores": [len(" ".join(post["tokens"])) / 100] * len(means)}


def read(folder: Path, split: str) -> list[dict]:
    posts = datasets.load_dataset(str(folder), split=split)
    return posts.cast_column("images", List(Image(decode=False))).to_list()


def check_predictions(run: Path, posts: list[dict]) -> None:
    """Every picture of a prediction has the scores that were worked out."""
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert sum(len(line["images"]) for line in lines) > 5
    for line, post in zip(lines, posts, strict=True):
        scores = work_out(post)
        assert [image["quality"] for image in line["images"]] == pytest.approx(scores["quality_scores"], abs=1e-6)
        assert [image["relevance"] for image in line["images"]] == pytest.approx(scores["relevance_scores"], abs=1e-6)


def processor_config(run: Path) -> dict:
    return json.loads((run / "processor_config.json").read_text())


def write_scores_file(folder: Path, **names: str) -> dict:
    """``scores.json`` of scorers by name."""
    scorers = {kind: {"name": name, "description": {"name": name, "version": "3"}} for kind, name in names.items()}
    (folder / "scores.json").write_text(json.dumps({"schema": "iqcr-mi/scores/1", "scorers": scorers}))
    return scorers


@pytest.fixture(scope="module", autouse=True)
def _own_registry():
    """Scorers that are registered here are known here alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("processing_iqcr.scorers._registered", {})
        yield


@pytest.fixture(autouse=True)
def nobody(monkeypatch) -> None:
    """No scorer is registered but what a test registers, and no score found but the test's own."""
    monkeypatch.setattr("processing_iqcr.scorers._registered", {})


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def corpus(make_posts, tmp_path_factory) -> Path:
    """The folder of a data set without scores."""
    folder = tmp_path_factory.mktemp("unscored")
    for seed, (name, number) in enumerate({"train": 16, "validation": 6, "test": 8}.items()):
        make_posts(number, seed=seed + 30).remove_columns(COLUMNS).to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="module")
def start(tiny_backbones) -> list[str]:
    """Flags of a new tagger, but for the data set."""
    text, vision = map(str, tiny_backbones)
    backbones = ["--text_backbone", text, "--vision_backbone", vision, "--max_length", "32", "--window_overlap", "8"]
    return [*backbones, "--num_train_epochs", "1", "--per_device_train_batch_size", "8", "--do_train", *QUIET]


@pytest.fixture(scope="module")
def trained(start, corpus, tmp_path_factory) -> Path:
    """A checkpoint whose training posts were scored by `bright` and `length`."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("processing_iqcr.scorers._registered", {})
        register()
        cache = ["--score_cache", str(folder / "scores.sqlite")]
        run_mner.main([*start, *NAMED, *cache, "--dataset", str(corpus), "--output_dir", str(folder / "run")])
    return folder / "run"


@pytest.fixture(scope="module")
def posts(corpus) -> dict[str, Dataset]:
    """A split without scores as a run has it."""
    split = datasets.load_dataset(str(corpus), split="test")
    return {"test": split.cast_column("images", List(Image(decode=False)))}


@pytest.fixture
def scored(posts) -> dict[str, Dataset]:
    """The same with scores that none of the scorers here would give."""
    split = posts["test"]
    for column, value in zip(COLUMNS, (0.875, -0.5), strict=True):
        split = split.add_column(column, [[value] * len(images) for images in split["images"]])
    return {"test": split}


@pytest.fixture
def add(tiny_backbones):
    """Function that adds missing scores for a new tagger, or for a checkpoint.

    It gives the splits, the record and the processor: ``add(posts, scored_by=None, model={...}, **scoring)``.
    """

    def run(posts: dict, scored_by: dict | None = None, model: dict | None = None, **scoring) -> tuple:
        text, vision = map(str, tiny_backbones)
        new = {"text_backbone": text, "vision_backbone": vision, "max_length": 32, "window_overlap": 8}
        model = model or {}
        model_args = ModelArguments(**(model if "model_name_or_path" in model else new | model))
        scoring_args = ScoringArguments(**scoring)
        processor = build_processor(model_args, scoring_args)
        data_args = DataArguments(dataset="posts")
        filled, record = add_missing_scores(posts, processor, model_args, data_args, scoring_args, scored_by)
        return filled, record, processor

    return run


class TestWholeRuns:
    def test_recipe_that_names_scorers(self, start, corpus, tmp_path, capsys):
        register()
        recipe = {"quality_scorer": "bright", "relevance_scorer": {"name": "length"}, "do_predict": True}
        (tmp_path / "recipe.json").write_text(json.dumps(recipe | {"dataset": str(corpus)}))
        run = tmp_path / "run"
        results = run_mner.main([str(tmp_path / "recipe.json"), *start, "--output_dir", str(run)])
        number = sum(len(post["images"]) for split in ("train", "validation", "test") for post in read(corpus, split))
        printed = capsys.readouterr().out
        assert f"quality_scores by bright: {number} computed, 0 found in the cache.\n" in printed
        pairs = re.search(r"relevance_scores by length: (\d+) computed, 0 found in the cache\.\n", printed)
        assert int(pairs[1]) == number  # pictures of noise: none occurs twice
        assert results["test_posts"] == 8
        check_predictions(run, read(corpus, "test"))
        assert {kind: processor_config(run)[kind] for kind in SPECS} == SPECS
        assert {kind: getattr(AutoProcessor.from_pretrained(run), kind) for kind in SPECS} == SPECS
        counts = {"given": 0, "found": 0, "computed": number, "missing": 0}
        record = json.loads((run / "run.json").read_text())
        assert record["data"]["corpus"]["scores"] == {k: spec | {"counts": counts} for k, spec in SPECS.items()}
        assert record["recipe"]["quality_scorer"] == {"name": "bright"}
        # The means that stand for missing scores are those of these scores, over the training posts.
        config = AutoModelForTokenClassification.from_pretrained(run).config
        train = [work_out(post) for post in read(corpus, "train")]
        for column, mean in zip(COLUMNS, (config.mean_quality_score, config.mean_relevance_score), strict=True):
            assert mean == pytest.approx(np.mean([score for post in train for score in post[column]]), abs=1e-6)

    def test_what_one_run_has_computed_the_next_one_finds(self, start, corpus, tmp_path, capsys):
        register()
        flags = [*start, *NAMED, "--dataset", str(corpus)]
        run_mner.main([*flags, "--output_dir", str(tmp_path / "first")])
        (computed,) = re.findall(r"quality_scores by bright: (\d+) computed", capsys.readouterr().out)
        assert default_cache_path().is_file()
        register(refuse, refuse)
        run_mner.main([*flags, "--output_dir", str(tmp_path / "second")])
        assert f"quality_scores by bright: 0 computed, {computed} found in the cache.\n" in capsys.readouterr().out
        first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
        assert all(tensor.equal(second[name]) for name, tensor in first.items())

    def test_scores_decide_what_is_learned(self, start, corpus, tmp_path):
        """Not only shown in the predictions: they reach the model."""
        weights = {}
        for name, flags in {"scored": NAMED, "unscored": []}.items():
            register()
            run_mner.main([*start, *flags, "--dataset", str(corpus), "--output_dir", str(tmp_path / name)])
            weights[name] = load_file(tmp_path / name / "model.safetensors")
        assert not all(tensor.equal(weights["unscored"][name]) for name, tensor in weights["scored"].items())
        assert processor_config(tmp_path / "unscored").get("quality_scorer") is None

    def test_checkpoint_scores_new_posts_as_its_training_posts(self, trained, corpus, tmp_path, capsys):
        register()
        flags = ["--model_name_or_path", str(trained), "--dataset", str(corpus), "--do_predict", *QUIET]
        run_mner.main([*flags, "--output_dir", str(tmp_path / "run")])
        number = sum(len(post["images"]) for post in read(corpus, "test"))
        assert f"quality_scores by bright: {number} computed, 0 found in the cache.\n" in capsys.readouterr().out
        check_predictions(tmp_path / "run", read(corpus, "test"))
        record = json.loads((tmp_path / "run" / "run.json").read_text())["data"]["corpus"]["scores"]
        assert {kind: spec["description"] for kind, spec in record.items()} == {
            kind: spec["description"] for kind, spec in SPECS.items()
        }

    def test_checkpoint_whose_scorers_are_not_at_hand_goes_on_without(self, trained, corpus, tmp_path, caplog):
        flags = ["--model_name_or_path", str(trained), "--dataset", str(corpus), "--do_predict", *QUIET]
        with caplog.at_level(logging.WARNING):
            results = run_mner.main([*flags, "--output_dir", str(tmp_path / "run")])
        assert results["test_posts"] == 8
        for kind, name in (("quality_scorer", "bright"), ("relevance_scorer", "length")):
            assert f"The {kind} {name!r} of the checkpoint cannot be had" in caplog.text
            assert f"Run the code that registers it (`register_{kind}`) first" in caplog.text
        assert "pictures have no score in `quality_scores`; the mean of the training data stands in" in caplog.text
        lines = (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()
        images = [image for line in lines for image in json.loads(line)["images"]]
        assert images
        assert {(image["quality"], image["relevance"]) for image in images} == {(None, None)}

    @pytest.mark.parametrize(
        ("flag", "message"),
        [
            (["--quality_scorer", "no-such"], "no metric 'no-such'|pip install"),
            (["--relevance_scorer", "no-such"], "no architecture 'no-such'|pip install"),
            (["--quality_scorer", '{"name": "bright", "num_crops": 5}'], "takes no options; got num_crops"),
            (["--quality_scorer", '{"name": 5}'], "`quality_scorer` must be a name or an object with `name`"),
            (["--relevance_scorer", '{"name": '], "`--relevance_scorer` must be JSON"),
        ],
    )
    def test_scorer_that_cannot_be_had_ends_a_run_before_the_training(self, start, corpus, tmp_path, flag, message):
        register()
        with pytest.raises((ValueError, ImportError), match=message):
            run_mner.main([*start, *flag, "--dataset", str(corpus), "--output_dir", str(tmp_path / "run")])
        assert list((tmp_path / "run").rglob("*.*")) == []

    def test_scorers_of_a_file_and_json_on_the_command_line(self, start, corpus, tmp_path):
        (tmp_path / "mine.py").write_text(SCORERS_FILE)
        flags = ["--scorers_file", str(tmp_path / "mine.py"), "--quality_scorer", '{"name": "file-bright"}']
        flags += ["--relevance_scorer", "file-length", "--do_predict", "--score_cache", str(tmp_path / "mine.sqlite")]
        run = tmp_path / "run"
        run_mner.main([*start, *flags, "--dataset", str(corpus), "--output_dir", str(run)])
        check_predictions(run, read(corpus, "test"))
        versions = {kind: processor_config(run)[kind]["description"]["version"] for kind in SPECS}
        assert versions == {"quality_scorer": "7", "relevance_scorer": "8"}
        assert (tmp_path / "mine.sqlite").is_file()
        assert not default_cache_path().exists()

    def test_data_set_that_says_who_scored_it(self, start, corpus, tmp_path):
        folder = tmp_path / "scored"
        for name, split in datasets.load_dataset(str(corpus)).items():
            scores = [[0.5] * len(images) for images in split["images"]]
            split.add_column(COLUMNS[0], scores).add_column(COLUMNS[1], scores).to_parquet(folder / f"{name}.parquet")
        scorers = write_scores_file(folder, quality_scorer="maniqa", relevance_scorer="clip")
        run_mner.main([*start, "--dataset", str(folder), "--output_dir", str(tmp_path / "run")])
        assert {kind: processor_config(tmp_path / "run")[kind] for kind in scorers} == scorers
        assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["corpus"]["scores"] == scorers

    def test_text_only_run_needs_no_scores_and_no_pictures(self, start, corpus, tmp_path):
        """Also on posts that have scores of pictures which were left away."""
        for name, split in datasets.load_dataset(str(corpus)).items():
            scores = [[0.5] * len(images) for images in split["images"]]
            bare = split.remove_columns("images").add_column("quality_scores", scores)
            bare.to_parquet(tmp_path / "bare" / f"{name}.parquet")
        flags = ["--model_config", '{"use_images": false}', "--dataset", str(tmp_path / "bare"), "--do_predict"]
        results = run_mner.main([*start, *flags, "--output_dir", str(tmp_path / "run")])
        assert results["test_posts"] == 8


class TestWhoScores:
    def test_both_kinds_of_scores_are_added_to_every_split(self, add, posts):
        register()
        more = {**posts, "other": posts["test"].select([3, 1, 2])}
        filled, record, processor = add(more, quality_scorer="bright", relevance_scorer="length")
        for name, split in more.items():
            for before, after in zip(split, filled[name], strict=True):
                assert {column: after[column] for column in before} == before
                for column, scores in work_out(before).items():
                    assert after[column] == pytest.approx(scores, abs=1e-6)
        number = sum(map(len, posts["test"]["images"]))
        counts = {"given": 0, "found": 0, "computed": number, "missing": 0}
        assert record == {kind: spec | {"counts": counts} for kind, spec in SPECS.items()}
        assert {kind: getattr(processor, kind) for kind in SPECS} == SPECS

    def test_nobody_is_asked_to_score(self, add, posts):
        filled, record, processor = add(posts)
        assert filled["test"] is posts["test"]
        assert record == {"quality_scorer": None, "relevance_scorer": None}
        assert processor.quality_scorer is processor.relevance_scorer is None
        assert not default_cache_path().exists()

    def test_only_what_is_missing_is_scored(self, add, scored, capsys):
        register(relevance=refuse)
        split = scored["test"]
        holes = split.map(
            lambda post: {"quality_scores": [None, *post["quality_scores"][1:]]} if post["images"] else {}
        )
        filled, record, _ = add({"test": holes}, quality_scorer="bright", relevance_scorer="length")
        firsts = sum(bool(images) for images in split["images"])
        for before, after in zip(split, filled["test"], strict=True):
            assert after["relevance_scores"] == before["relevance_scores"]
            assert after["quality_scores"][1:] == before["quality_scores"][1:]
            assert after["quality_scores"][:1] == pytest.approx(work_out(before)["quality_scores"][:1], abs=1e-6)
        given = sum(map(len, split["images"])) - firsts
        assert record["quality_scorer"]["counts"] == {"given": given, "found": 0, "computed": firsts, "missing": 0}
        assert capsys.readouterr().out == (
            f"quality_scores by bright: {firsts} computed, 0 found in the cache, {given} given.\n"
        )

    def test_posts_that_are_all_scored_need_no_scorer(self, add, scored):
        """Not even one that could be had: nobody pays for loading it."""
        filled, record, processor = add(
            scored, quality_scorer="maniqa", relevance_scorer={"name": "ViT-B-32-quickgelu"}
        )
        assert filled["test"] is scored["test"]
        # and nobody says that these two gave the scores
        assert processor.quality_scorer is processor.relevance_scorer is None
        assert record == {"quality_scorer": None, "relevance_scorer": None}

    @pytest.mark.parametrize("kind", SPECS)
    def test_none_switches_off(self, add, posts, trained, kind):
        """Of a checkpoint's two scorers, the one that is named."""
        register(**{"quality" if kind == "quality_scorer" else "relevance": refuse})
        filled, record, processor = add(posts, model={"model_name_or_path": str(trained)}, **{kind: "none"})
        (other,) = set(SPECS) - {kind}
        assert (getattr(processor, kind), getattr(processor, other)) == (None, SPECS[other])
        assert record[kind] is None
        column = {"quality_scorer": "quality_scores", "relevance_scorer": "relevance_scores"}
        assert column[kind] not in filled["test"].column_names
        assert column[other] in filled["test"].column_names

    @pytest.mark.parametrize(
        ("switches", "columns"),
        [
            ({"use_quality": False}, ["relevance_scores"]),
            ({"use_relevance": False}, ["quality_scores"]),
            ({"use_quality": False, "use_relevance": False}, []),
            ({"use_images": False}, []),
        ],
        ids=str,
    )
    def test_ablated_model_does_not_ask_for_what_it_does_not_use(self, add, posts, switches, columns):
        register(
            bright if "quality_scores" in columns else refuse, length if "relevance_scores" in columns else refuse
        )
        scoring = {"quality_scorer": "bright", "relevance_scorer": "length"}
        filled, record, _ = add(posts, model={"model_config": switches}, **scoring)
        assert [column for column in COLUMNS if column in filled["test"].column_names] == columns
        assert [kind.replace("_scorer", "_scores") for kind in record] == columns

    def test_ablated_model_needs_no_scorer_at_hand(self, add, posts):
        filled, record, _ = add(posts, model={"vision_backbone": None}, quality_scorer="no-such")
        assert filled["test"] is posts["test"]
        assert record == {}

    def test_ablated_checkpoint_is_known_by_its_configuration(self, add, posts, trained, tmp_path):
        register(quality=refuse)
        model = AutoModelForTokenClassification.from_pretrained(trained)
        model.config.use_quality = False
        model.config.save_pretrained(tmp_path / "ablated")
        AutoProcessor.from_pretrained(trained).save_pretrained(tmp_path / "ablated")
        filled, _, _ = add(posts, model={"model_name_or_path": str(tmp_path / "ablated")})
        assert "quality_scores" not in filled["test"].column_names
        assert "relevance_scores" in filled["test"].column_names

    def test_recipe_wins_over_the_checkpoint(self, add, posts, trained):
        register(quality=refuse)
        register_quality_scorer("half", lambda images: [0.5] * len(images), version="1")
        filled, _, processor = add(posts, model={"model_name_or_path": str(trained)}, quality_scorer="half")
        assert {score for scores in filled["test"]["quality_scores"] for score in scores} == {0.5}
        assert processor.quality_scorer["description"]["name"] == "half"
        assert processor.relevance_scorer == SPECS["relevance_scorer"]

    @pytest.mark.parametrize("named", [False, True], ids=["not named", "named again"])
    def test_other_version_than_the_checkpoints_is_refused(self, add, posts, trained, named):
        """The model has learned from the scores of the other one."""
        register(refuse, refuse, version="2")
        scoring = {"quality_scorer": "bright"} if named else {}
        message = "is not the one that scored the training data: {'version': '1'} there, {'version': '2'} here"
        with pytest.raises(ScorerMismatchError, match=re.escape(message)):
            add(posts, model={"model_name_or_path": str(trained)}, **scoring)

    def test_other_version_does_not_matter_where_nothing_is_missing(self, add, scored, trained):
        register(refuse, refuse, version="2")
        filled, _, _ = add(scored, model={"model_name_or_path": str(trained)})
        assert filled["test"] is scored["test"]

    def test_pictures_that_cannot_be_scored_end_it(self, add, posts):
        register(quality=lambda images: [float("nan")] * len(images))
        with pytest.raises(ValueError, match=r"Post '32-\d+', image \d: its quality is NaN"):
            add(posts, quality_scorer="bright", relevance_scorer="length")

    def test_scores_are_kept_where_it_was_asked_for(self, add, posts, tmp_path):
        register()
        add(posts, quality_scorer="bright", score_cache=str(tmp_path / "deep" / "mine.sqlite"))
        cache = ScoreCache(tmp_path / "deep" / "mine.sqlite")
        assert cache.count(BRIGHT) == sum(map(len, posts["test"]["images"]))
        cache.close()
        assert not default_cache_path().exists()


class TestWhoScoredTheDataSet:
    THEIRS = {  # noqa: RUF012
        "quality_scorer": {"name": "maniqa", "description": {"library": "pyiqa", "metric": "maniqa"}},
        "relevance_scorer": {"name": "clip", "description": {"library": "open_clip", "model": "clip"}},
    }

    def test_is_named_by_the_processor(self, add, scored):
        filled, record, processor = add(scored, scored_by=self.THEIRS)
        assert filled["test"] is scored["test"]
        assert {kind: getattr(processor, kind) for kind in self.THEIRS} == record == self.THEIRS

    def test_is_not_named_where_nobody_knows(self, add, scored):
        _, record, processor = add(scored, scored_by={"quality_scorer": self.THEIRS["quality_scorer"]})
        assert processor.quality_scorer == self.THEIRS["quality_scorer"]
        assert processor.relevance_scorer is None
        assert record["relevance_scorer"] is None

    def test_differs_from_the_checkpoints_and_a_warning_says_so(self, add, scored, trained, caplog):
        with caplog.at_level(logging.WARNING):
            filled, _, _ = add(scored, scored_by=self.THEIRS, model={"model_name_or_path": str(trained)})
        assert filled["test"] is scored["test"]
        for kind, description in (("quality_scorer", BRIGHT), ("relevance_scorer", LENGTH)):
            (message,) = [text for text in caplog.messages if f"not by the {kind} named" in text]
            assert str(description) in message
            assert str(self.THEIRS[kind]["description"]) in message

    @pytest.mark.parametrize("named", [False, True], ids=["not named", "named again"])
    def test_is_the_checkpoints_and_nothing_is_said(self, add, scored, trained, caplog, named):
        scoring = {"quality_scorer": "bright", "relevance_scorer": "length"} if named else {}
        with caplog.at_level(logging.WARNING):
            _, _, processor = add(scored, SPECS, {"model_name_or_path": str(trained)}, **scoring)
        assert [text for text in caplog.messages if "scored by" in text] == []
        assert {kind: getattr(processor, kind) for kind in SPECS} == SPECS

    def test_does_not_become_the_checkpoints_where_nobody_knows(self, add, scored, trained):
        _, _, processor = add(scored, model={"model_name_or_path": str(trained)})
        assert {kind: getattr(processor, kind) for kind in SPECS} == SPECS  # as before: nothing new is known

    @pytest.fixture
    def gaps(self, scored) -> dict[str, Dataset]:
        """Posts of two pictures lack their qualities."""
        split = scored["test"].map(lambda post: {"quality_scores": None} if len(post["images"]) == 2 else {})
        assert None in split["quality_scores"]
        return {"test": split}

    def test_another_one_does_not_fill_its_gaps(self, add, gaps):
        """Two scales in one column."""
        register(refuse, refuse)
        with pytest.raises(
            ValueError, match=r"Some quality_scores of the data set are by .*maniqa.*'bright'.*Name the"
        ):
            add(gaps, scored_by=self.THEIRS, quality_scorer="bright")

    def test_fills_its_own_gaps(self, add, gaps):
        register()
        filled, _, _ = add(gaps, scored_by=SPECS, quality_scorer="bright")
        assert [len(scores) for scores in filled["test"]["quality_scores"]] == list(map(len, gaps["test"]["images"]))

    def test_gaps_of_nobody_known_are_filled_and_a_warning_says_so(self, add, gaps, caplog):
        register()
        with caplog.at_level(logging.WARNING):
            add(gaps, quality_scorer="bright")
        assert "Nobody knows who gave the quality_scores that the data set has; they stay" in caplog.text

    def test_is_named_and_not_the_recipes_who_had_nothing_to_do(self, add, scored, caplog):
        register(refuse, refuse)
        with caplog.at_level(logging.WARNING):
            _, record, processor = add(scored, self.THEIRS, quality_scorer="bright", relevance_scorer="length")
        assert {kind: getattr(processor, kind) for kind in self.THEIRS} == record == self.THEIRS
        for kind in self.THEIRS:
            assert f"not by the {kind} named" in caplog.text

    def test_is_the_recipes_by_name_and_nothing_is_said(self, add, scored, caplog):
        """What the scoring by a recipe has written, the training by the same recipe reads."""
        with caplog.at_level(logging.WARNING):
            _, _, processor = add(scored, SPECS, quality_scorer="bright", relevance_scorer={"name": "length"})
        assert [text for text in caplog.messages if "scored by" in text] == []
        assert {kind: getattr(processor, kind) for kind in SPECS} == SPECS

    @pytest.mark.parametrize(
        "scorers", [{"quality_scorer": "maniqa"}, {"quality_scorer": {"name": "maniqa"}}, ["maniqa"], None], ids=str
    )
    def test_is_nobody_if_the_file_is_of_another_form(self, scored, tmp_path, caplog, scorers):
        """As one that somebody has written by hand."""
        scored["test"].to_parquet(tmp_path / "mine" / "test.parquet")
        (tmp_path / "mine" / "scores.json").write_text(json.dumps({"scorers": scorers} if scorers else {"who": "me"}))
        with caplog.at_level(logging.WARNING):
            _, record = load_posts(DataArguments(dataset=str(tmp_path / "mine")))
        assert "scores" not in record
        assert "scores.json of" in caplog.text
