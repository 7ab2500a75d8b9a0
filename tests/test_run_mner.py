"""run_mner.py from data to files: trained once here, then evaluated, predicted with, fine-tuned and resumed."""

import json
import re
import shutil
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, List
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from seqeval.metrics import f1_score
from transformers import AutoModelForTokenClassification, AutoProcessor

import run_mner
from mner_training.arguments import MNERTrainingArguments
from mner_training.metrics import NERMetric, flatten_scores
from processing_iqcr.entities import tags_to_entities

ROOT = Path(__file__).resolve().parents[1]
QUIET = ["--use_cpu", "--disable_tqdm", "true"]


@pytest.fixture(scope="module")
def start(tiny_backbones, tiny_corpus) -> list[str]:
    """Flags of a new tagger on the tiny corpus, quick to learn."""
    text, vision = map(str, tiny_backbones)
    backbones = ["--text_backbone", text, "--vision_backbone", vision, "--max_length", "32", "--window_overlap", "8"]
    speed = ["--learning_rate", "3e-3", "--per_device_train_batch_size", "8", "--seed", "1"]
    return [*backbones, "--dataset", str(tiny_corpus), *speed, *QUIET]


@pytest.fixture(scope="module")
def trained(start, tiny_corpus, tmp_path_factory) -> tuple[Path, dict]:
    """The folder of a whole run by a recipe, and what it returned."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = {
        "description": "A whole run in a second.",
        "model_config": {"dropout": 0.0},
        "do_train": True,
        "do_eval": True,
        "do_predict": True,
        "num_train_epochs": 3,
        "save_total_limit": 5,
        "output_dir": str(folder / "run"),
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder / "run", run_mner.main([str(folder / "recipe.json"), *start])


def read_predictions(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def scores(results: dict, prefix: str) -> dict:
    """The figures of a split that depend on nothing but data and model."""
    return {
        name.removeprefix(prefix): value
        for name, value in results.items()
        if name.startswith(prefix) and not re.search("runtime|per_second|preparation", name)
    }


def weights(folder: Path) -> dict:
    return {name: tensor.tolist() for name, tensor in load_file(folder / "model.safetensors").items()}


class TestWholeRun:
    def test_results_are_written_as_returned_and_learned_something(self, trained):
        folder, results = trained
        assert json.loads((folder / "all_results.json").read_text()) == results
        for split, posts in {"train": 48, "eval": 12, "test": 13}.items():
            assert results[f"{split}_posts"] == posts
        assert results["test_f1"] > 0.8
        assert results["eval_f1"] > 0.8
        assert results["train_loss"] > 0

    def test_every_gold_word_counts(self, trained, tiny_corpus):
        _, results = trained
        posts = datasets.load_dataset(str(tiny_corpus), split="test")
        names = posts.features["ner_tags"].feature.names
        gold = [[names[tag] for tag in tags] for tags in posts["ner_tags"]]
        assert max(map(len, gold)) >= 70  # more than `max_length`
        assert results["test_support"] == sum(len(tags_to_entities(tags)) for tags in gold)

    def test_predictions_follow_the_documented_schema(self, trained, tiny_corpus):
        folder, results = trained
        lines = read_predictions(folder)
        posts = datasets.load_dataset(str(tiny_corpus), split="test")
        posts = posts.cast_column("images", List(datasets.Image(decode=False)))
        names = posts.features["ner_tags"].feature.names
        assert len(lines) == len(posts)
        for line, post in zip(lines, posts, strict=True):
            assert (line["schema"], line["id"], line["source"]) == ("iqcr-mi/predictions/1", post["id"], "generated")
            assert line["words"] == post["tokens"]
            assert line["gold_tags"] == [names[tag] for tag in post["ner_tags"]]
            assert len(line["predicted_tags"]) == len(line["words"])
            for kind in ("gold", "predicted"):
                entities = [(entity["start"], entity["end"], entity["type"]) for entity in line[kind]]
                assert entities == tags_to_entities(line[f"{kind}_tags"])
            assert all(0 <= entity["probability"] <= 1 for entity in line["predicted"])
            assert len(line["images"]) == len(post["images"])
            for number, image in enumerate(line["images"]):
                assert image["name"] == post["images"][number]["path"]
                assert image["quality"] == post["quality_scores"][number]
                relevance = post["relevance_scores"]
                assert image["relevance"] == (None if relevance is None else relevance[number])
                assert 0 < image["weight"] <= 1
                assert 0 < image["gate"] < 1
            if len(line["images"]) == 1:
                assert line["images"][0]["weight"] == pytest.approx(1)  # one image: Eq. 7 is 1
        gold, predicted = ([line[f"{kind}_tags"] for line in lines] for kind in ("gold", "predicted"))
        assert f1_score(gold, predicted) == pytest.approx(results["test_f1"])
        recomputed = flatten_scores(NERMetric().compute(predictions=predicted, references=gold))
        assert recomputed == {name: results[f"test_{name}"] for name in recomputed}

    def test_documented_line_has_the_form_of_a_real_one(self, trained):
        text = (ROOT / "docs" / "predictions.md").read_text(encoding="utf-8")
        example = json.loads(re.search(r"```json\n(.*?)```", text, re.DOTALL).group(1))
        line = next(line for line in read_predictions(trained[0]) if line["images"] and line["predicted"])

        def form(value):
            if isinstance(value, dict):
                return {key: form(item) for key, item in value.items()}
            if isinstance(value, list):
                return [form(value[0])]
            return "number" if isinstance(value, float) else type(value).__name__

        assert form(example) == form(line)
        assert list(example) == list(line)
        for field in [*line, *line["predicted"][0], *line["images"][0]]:
            assert f"`{field}`" in text, field

    def test_record_of_the_run(self, trained, start):
        folder, _ = trained
        record = json.loads((folder / "run.json").read_text())
        recipe = record["recipe"]
        assert (recipe["model_config"], recipe["max_length"]) == ({"dropout": 0.0}, 32)
        assert (recipe["learning_rate"], recipe["num_train_epochs"], recipe["seed"]) == (3e-3, 3, 1)
        assert recipe["text_backbone"] == start[1]
        assert record["versions"]["torch"]
        assert {name: split["posts"] for name, split in record["data"].items() if name != "corpus"} == {
            "train": 48,
            "validation": 12,
            "test": 13,
        }
        assert len({record["data"][name]["sha256"] for name in ("train", "validation", "test")}) == 3

    def test_card_says_what_the_results_say(self, trained):
        folder, results = trained
        card = ModelCard.load(folder / "README.md")
        figures = {result.metric_name: result.metric_value for result in card.data.eval_results}
        assert figures["F1 (lenient)"] == results["test_f1"]
        assert figures["Recall (strict IOB2)"] == results["test_strict_recall"]
        assert "| train | training | 48 |" in card.text
        assert not card.data.datasets  # a folder

    def test_means_of_the_training_scores_stand_in_the_configuration(self, trained, tiny_corpus):
        train = datasets.load_dataset(str(tiny_corpus), split="train")
        config = AutoModelForTokenClassification.from_pretrained(trained[0]).config
        for column, mean in (
            ("quality_scores", config.mean_quality_score),
            ("relevance_scores", config.mean_relevance_score),
        ):
            known = [score for post in train[column] for score in post or () if score is not None]
            assert mean == pytest.approx(sum(known) / len(known))

    def test_saved_folder_tags_a_post(self, trained):
        processor = AutoProcessor.from_pretrained(trained[0])
        model = AutoModelForTokenClassification.from_pretrained(trained[0])
        inputs = processor(words=["paris", "wins", "again"])
        (prediction,) = processor.post_process_entities(model, model(**inputs), inputs)
        assert prediction.tags == ["B-LOC", "O", "O"]


class TestOnACheckpoint:
    def test_evaluation_alone_gives_the_same_figures(self, trained, tiny_corpus, tmp_path):
        folder, results = trained
        flags = ["--model_name_or_path", str(folder), "--dataset", str(tiny_corpus), "--do_eval", *QUIET]
        again = run_mner.main([*flags, "--output_dir", str(tmp_path / "run")])
        assert scores(again, "eval_") == scores(results, "eval_") | scores(again, "eval_")
        assert again["eval_f1"] == results["eval_f1"]
        assert again["eval_loss"] == pytest.approx(results["eval_loss"])
        assert not any(name.startswith(("train_", "test_")) for name in again)
        assert not (tmp_path / "run" / "model.safetensors").exists()
        assert not (tmp_path / "run" / "predictions.jsonl").exists()
        assert not (tmp_path / "run" / "README.md").exists()

    def test_prediction_alone_on_new_data_gives_the_same_lines(self, trained, tiny_corpus, tmp_path):
        folder, results = trained
        test = datasets.load_dataset(str(tiny_corpus), split="test")
        test.to_parquet(tmp_path / "new" / "fresh.parquet")
        flags = ["--model_name_or_path", str(folder), "--dataset", str(tmp_path / "new"), "--do_predict", *QUIET]
        # without a known name a file is the split "train"
        again = run_mner.main([*flags, "--test_split", "train", "--output_dir", str(tmp_path / "run")])
        assert scores(again, "test_") == pytest.approx(scores(results, "test_"))
        for new, old in zip(read_predictions(tmp_path / "run"), read_predictions(folder), strict=True):
            for entity, other in zip(new["predicted"], old["predicted"], strict=True):
                assert entity == other | {"probability": pytest.approx(other["probability"], abs=1e-4)}
            assert {**new, "predicted": [], "images": []} == {**old, "predicted": [], "images": []}

    def test_data_without_tags_and_without_pictures(self, trained, tiny_corpus, tmp_path):
        bare = datasets.load_dataset(str(tiny_corpus), split="test").select_columns(["tokens"])
        bare.to_parquet(tmp_path / "bare" / "test.parquet")
        flags = ["--model_name_or_path", str(trained[0]), "--dataset", str(tmp_path / "bare"), "--do_predict", *QUIET]
        results = run_mner.main([*flags, "--output_dir", str(tmp_path / "run")])
        assert "test_f1" not in results
        lines = read_predictions(tmp_path / "run")
        assert [line["words"] for line in lines] == bare["tokens"][:]
        assert {line["gold_tags"] for line in lines} == {None}
        assert any(line["predicted"] for line in lines)

    def test_fine_tuning_to_another_tag_set(self, trained, tiny_corpus, tmp_path):
        names = ["O", "B-who", "I-who"]

        def retag(post):
            return {"ner_tags": [tag if tag < 3 else 0 for tag in post["ner_tags"]]}

        for split, posts in datasets.load_dataset(str(tiny_corpus)).items():
            features = datasets.Features({**posts.features, "ner_tags": List(ClassLabel(names=names))})
            posts.map(retag, features=features).to_parquet(tmp_path / "other" / f"{split}.parquet")
        flags = ["--model_name_or_path", str(trained[0]), "--dataset", str(tmp_path / "other"), *QUIET]
        speed = ["--num_train_epochs", "3", "--learning_rate", "3e-3", "--do_train", "--do_predict"]
        results = run_mner.main([*flags, *speed, "--output_dir", str(tmp_path / "run")])
        model = AutoModelForTokenClassification.from_pretrained(tmp_path / "run")
        assert model.config.labels == names
        assert model.config.dropout == 0.0  # the checkpoint's own
        assert AutoProcessor.from_pretrained(tmp_path / "run").max_length == 32
        assert results["test_who_f1"] > 0.8

    def test_evaluation_on_another_tag_set_is_refused(self, trained, tiny_corpus, tmp_path):
        posts = datasets.load_dataset(str(tiny_corpus), split="test")
        names = [name.replace("PER", "person") for name in posts.features["ner_tags"].feature.names]
        posts.cast_column("ner_tags", List(ClassLabel(names=names))).to_parquet(tmp_path / "other" / "test.parquet")
        flags = ["--model_name_or_path", str(trained[0]), "--dataset", str(tmp_path / "other"), "--do_predict", *QUIET]
        with pytest.raises(ValueError, match="word 0 has the tag 'B-person', which is not in the tag set"):
            run_mner.main([*flags, "--output_dir", str(tmp_path / "run")])

    def test_best_checkpoint_is_the_end_not_the_last(self, trained, tiny_corpus, tmp_path):
        splits = datasets.load_dataset(str(tiny_corpus))
        splits["train"] = splits["train"].map(lambda post: {"ner_tags": [0] * len(post["ner_tags"])})
        for name, posts in splits.items():
            posts.to_parquet(tmp_path / "unlearn" / f"{name}.parquet")
        flags = ["--model_name_or_path", str(trained[0]), "--dataset", str(tmp_path / "unlearn"), *QUIET]
        speed = ["--num_train_epochs", "4", "--learning_rate", "5e-4", "--do_train", "--save_total_limit", "5"]
        results = run_mner.main([*flags, *speed, "--output_dir", str(tmp_path / "run")])
        history = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["log_history"]
        curve = [entry["eval_f1"] for entry in history if "eval_f1" in entry][:4]
        assert curve[0] == max(curve) > curve[-1]
        assert results["eval_f1"] == curve[0]
        best, *_, last = sorted((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        saved = weights(tmp_path / "run")
        assert saved == weights(best)
        assert all(tensor != weights(last)[name] for name, tensor in saved.items() if name.endswith("query.weight"))
        assert any("vision_model" in name for name in saved)


def test_second_run_in_a_folder_is_refused(trained, start):
    with pytest.raises(FileExistsError, match="holds an earlier run"):
        run_mner.main([*start, "--do_train", "--output_dir", str(trained[0])])


def test_command_ends_with_success(trained, tiny_corpus, tmp_path, monkeypatch):
    flags = ["--model_name_or_path", str(trained[0]), "--dataset", str(tiny_corpus), "--do_predict", *QUIET]
    monkeypatch.setattr("sys.argv", ["run-mner", *flags, "--output_dir", str(tmp_path)])
    assert run_mner.cli() is None  # the console script hands the value to sys.exit


class TestRepeating:
    def run(self, start, folder: Path, *flags: str) -> dict:
        run_mner.main([*start, "--do_train", "--eval_strategy", "no", "--max_steps", "3", *self.rest(folder), *flags])
        return weights(folder)

    def rest(self, folder: Path) -> list[str]:
        return ["--save_strategy", "no", "--no_load_best_model_at_end", "--output_dir", str(folder)]

    def test_same_seed_same_weights_other_seed_other_weights(self, start, tmp_path):
        first, same = (self.run(start, tmp_path / name) for name in ("first", "same"))
        other = self.run(start, tmp_path / "other", "--seed", "2")
        assert first == same
        assert first["classifier.weight"] != other["classifier.weight"]
        assert first["crf.transitions"] != other["crf.transitions"]

    def test_resumed_run_ends_where_the_uninterrupted_one_did(self, trained, start, tmp_path):
        folder, results = trained
        steps = sorted(int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*"))
        assert len(steps) == 3
        shutil.copytree(folder / f"checkpoint-{steps[0]}", tmp_path / "run" / f"checkpoint-{steps[0]}")
        # killed while the second checkpoint was being written
        (tmp_path / "run" / f"checkpoint-{steps[1]}").mkdir()
        shutil.copy(folder / "config.json", tmp_path / "run" / f"checkpoint-{steps[1]}")
        flags = ["--model_config", '{"dropout": 0.0}', "--do_train", "--do_eval", "--do_predict"]
        flags += ["--num_train_epochs", "3", "--save_total_limit", "5", "--resume_from_checkpoint", "last"]
        resumed = run_mner.main([*start, *flags, "--output_dir", str(tmp_path / "run")])
        last = f"checkpoint-{steps[-1]}"
        assert weights(tmp_path / "run" / last) == weights(folder / last)
        assert scores(resumed, "test_") == scores(results, "test_")

    def test_run_that_goes_on_with_another_recipe_says_so_in_its_record(self, trained, start, tmp_path):
        folder, _ = trained
        last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        shutil.copytree(last, tmp_path / "run" / last.name)
        shutil.copy(folder / "run.json", tmp_path / "run")
        before = json.loads((folder / "run.json").read_text())["recipe"]
        self.run(start, tmp_path / "run", "--resume_from_checkpoint", "last", "--seed", "9")
        record = json.loads((tmp_path / "run" / "run.json").read_text())
        assert record["recipe"]["seed"] == 9
        (resumed,) = record["resumed"]
        assert resumed["checkpoint"] == str(tmp_path / "run" / last.name)
        assert resumed["changed"]["seed"] == [before["seed"], 9]
        assert not {"dataset", "training posts", "text_backbone"} & set(resumed["changed"])

    def test_nothing_to_resume_begins_at_the_beginning(self, start, tmp_path):
        resumed = self.run(start, tmp_path / "resumed", "--resume_from_checkpoint", "last")
        assert resumed == self.run(start, tmp_path / "plain")


def test_one_split_for_everything(start, tmp_path):
    """Whether a model can learn eight posts by heart is asked with the same posts in every role."""
    flags = ["--validation_split", "test", "--train_split", "test", "--do_train", "--do_predict"]
    results = run_mner.main([*start, *flags, "--num_train_epochs", "6", "--output_dir", str(tmp_path / "run")])
    assert results["train_posts"] == results["eval_posts"] == results["test_posts"] == 13
    assert results["eval_f1"] == results["test_f1"]
    assert list(json.loads((tmp_path / "run" / "run.json").read_text())["data"]) == ["test", "corpus"]


def test_text_only_run_on_a_corpus_with_pictures(start, tmp_path):
    flags = ["--model_config", '{"use_images": false}', "--do_train", "--do_predict", "--num_train_epochs", "3"]
    results = run_mner.main([*start, *flags, "--output_dir", str(tmp_path / "run")])
    assert results["test_f1"] > 0.8
    images = [image for line in read_predictions(tmp_path / "run") for image in line["images"]]
    assert images
    assert {(image["weight"], image["gate"]) for image in images} == {(None, None)}


def test_frozen_backbones_stay_as_they_were(start, tiny_backbones, tmp_path):
    flags = ["--freeze_text", "--freeze_vision", "--head_learning_rate", "1e-2", "--do_train", "--max_steps", "3"]
    flags += ["--eval_strategy", "no", "--save_strategy", "no", "--no_load_best_model_at_end"]
    run_mner.main([*start, *flags, "--output_dir", str(tmp_path / "run")])
    saved = load_file(tmp_path / "run" / "model.safetensors")
    for part, folder in zip(("text_model", "vision_model"), tiny_backbones, strict=True):
        for name, tensor in load_file(folder / "model.safetensors").items():
            assert saved[f"model.{part}.{name}"].equal(tensor), name


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "Nothing to do: set do_train, do_eval or do_predict"),
        (["--do_predict"], "set `do_train`, or give `model_name_or_path`"),
        (["--do_train", "--train_split", "training"], "There is no split 'training', only train, validation, test"),
        (["--do_train", "--validation_split", "dev"], "There is no split 'dev'"),
    ],
)
def test_runs_that_cannot_be(start, tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        run_mner.main([*start, *flags, "--output_dir", str(tmp_path / "run")])


def test_one_process_for_several_gpus_is_refused(start, tmp_path, monkeypatch):
    monkeypatch.setattr(MNERTrainingArguments, "n_gpu", 2)
    with pytest.raises(ValueError, match=r"sees 2 GPUs .*accelerate launch .* --num_processes 2"):
        run_mner.main([*start, "--do_train", "--output_dir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_broken_picture_ends_the_run_or_is_counted(start, tiny_corpus, trained, tmp_path):
    splits = datasets.load_dataset(str(tiny_corpus))
    posts = splits["test"].cast_column("images", List(datasets.Image(decode=False)))
    broken = next(number for number, images in enumerate(posts["images"]) if images)

    def spoil(post, index):
        images = [dict(image) for image in post["images"]]
        if index == broken:
            images[0]["bytes"] = images[0]["bytes"][:40]
        return {"images": images}

    spoilt = posts.map(spoil, with_indices=True, features=posts.features)
    spoilt.to_parquet(tmp_path / "spoilt" / "test.parquet")
    flags = ["--model_name_or_path", str(trained[0]), "--dataset", str(tmp_path / "spoilt"), "--do_predict", *QUIET]
    flags += ["--output_dir", str(tmp_path / "run")]
    with pytest.raises(ValueError, match=rf"Post '{posts[broken]['id']}', image 0"):
        run_mner.main(flags)
    run_mner.main([*flags, "--broken_images", "drop"])
    (dropped,) = json.loads((tmp_path / "run" / "run.json").read_text())["data"]["test"]["dropped_images"]
    assert dropped.startswith(f"Post '{posts[broken]['id']}', image 0")
    assert len(read_predictions(tmp_path / "run")[broken]["images"]) == len(posts[broken]["images"]) - 1
