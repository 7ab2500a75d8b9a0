"""The model card: what a run left is what the card says, and what is not known is called so."""

import copy
import json
import re

import pytest
from huggingface_hub import ModelCard

from mner_training.metrics import NERMetric, flatten_scores, score_sources
from mner_training.model_card import make_model_card
from modeling_iqcr import IQCRConfig
from tests.dataset_scripts.test_dataset_card import EVIL_MARKDOWN, read_markdown, read_table

GOLD = [["B-PER", "I-PER", "O"], ["B-LOC", "O"], ["I-LOC", "O"], ["O", "B-PER"]]
PREDICTED = [["B-PER", "I-PER", "O"], ["B-PER", "O"], ["B-LOC", "O"], ["O", "B-PER"]]
PYIQA = {"library": "pyiqa", "library_version": "0.1.16", "metric": "maniqa", "weights_sha256": "0a" * 32}
HOME = "/home/alice/secret"


def make_results(prefix: str, sources=("mner-mi", "twitter_2017")) -> dict:
    scores = NERMetric().compute(predictions=PREDICTED, references=GOLD)
    scores["per_source"] = score_sources(PREDICTED, GOLD, [sources[number % 2] for number in range(4)])
    figures = flatten_scores(scores) | {"posts": 4, "loss": 1.25, "runtime": 3.5}
    return {f"{prefix}_{name}": value for name, value in figures.items()}


def make_record() -> dict:
    """The record of a run on a corpus of the Hub, all that can be local being so."""
    split = {"words": 30, "illegal_tags": 0, "dropped_images": ["a.jpg"], "sha256": "1b" * 32}
    return {
        "command": [
            f"{HOME}/run_mner.py",
            "recipes/mner_mi.json",
            "--hub_token",
            "hf_secret",
            f"--output_dir={HOME}/x",
        ],
        "commit": "0123abc+",
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "recipe": {
            "model_name_or_path": None,
            "text_backbone": "FacebookAI/roberta-base",
            "text_revision": "e2da8e2f",
            "vision_backbone": f"{HOME}/vit",
            "dataset": "me/mner-mi",
            "dataset_revision": None,
            "train_split": "train",
            "validation_split": "validation",
            "test_split": "test",
            "output_dir": f"{HOME}/x",
            "do_train": True,
            "do_eval": True,
            "do_predict": True,
            "load_best_model_at_end": True,
            "learning_rate": 2e-5,
            "head_learning_rate": None,
            "max_steps": -1,
            "bf16": True,
            "freeze_text": False,
            "seed": 7,
        },
        "local": ["vision_backbone"],
        "data": {
            "train": {**split, "posts": 40, "posts_by_number_of_images": {"0": 3, "1": 30, "4": 7}},
            "validation": {**split, "posts": 4, "posts_by_number_of_images": {"1": 4}, "dropped_images": []},
            "test": {**split, "posts": 4, "posts_by_number_of_images": {"1": 4}, "dropped_images": []},
            "corpus": {
                "corpus": "mner-mi",
                "commit": "9f" * 20,
                "variant": "unrecognised",
                "differences": [{}, {}, {}],
                "faults": {"train": {"missing_images": [{}, {}], "broken_images": [{}], "dropped_posts": []}},
                "scores": {
                    "quality_scorer": {
                        "name": "maniqa",
                        "counts": {"computed": 40, "found": 5, "given": 0, "missing": 0},
                    }
                },
            },
        },
    }


def make_folder(folder, record=None, results=None, **fields):
    """A folder with the files that the card reads, without weights: those it does not."""
    config = IQCRConfig(**fields).to_dict() | {"_name_or_path": f"{HOME}/tagger"}
    (folder / "config.json").write_text(json.dumps(config))
    processor = {
        "quality_scorer": {"name": "maniqa", "num_crops": 4, "weights": f"{HOME}/koniq.pt", "description": PYIQA},
        "relevance_scorer": {
            "name": f"{HOME}/clip",
            "description": {"library": "open_clip", "library_version": "3.3"},
        },
    }
    (folder / "processor_config.json").write_text(json.dumps(processor))
    if record is not None:
        (folder / "run.json").write_text(json.dumps(record))
    if results is not None:
        (folder / "all_results.json").write_text(json.dumps(results))
    return folder


def sections(card: ModelCard) -> dict[str, str]:
    title, *parts = re.split(r"^## ", card.text, flags=re.MULTILINE)
    return {"": title} | {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


@pytest.fixture
def results():
    return make_results("test") | make_results("eval") | {"train_loss": 1.0}


def test_card_of_a_whole_run(tmp_path, results):
    folder = make_folder(tmp_path, make_record(), results, use_gate=False, image_dropout=0.25)
    card = make_model_card(folder, "me/tagger", "apache-2.0")
    card.save(tmp_path / "README.md")
    loaded = ModelCard.load(tmp_path / "README.md")
    data = loaded.data.to_dict()
    (index,) = data.pop("model-index")
    assert data == {
        "language": ["en"],
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "token-classification",
        "tags": ["multimodal-ner", "named-entity-recognition", "ner", "mner", "multimodal", "iqcr"],
        "base_model": ["FacebookAI/roberta-base"],
        "datasets": ["me/mner-mi"],
        "metrics": ["f1", "precision", "recall"],
    }
    assert index["name"] == "me/tagger"
    (result,) = index["results"]
    assert result["dataset"] == {
        "type": "me/mner-mi",
        "name": "mner-mi unrecognised",
        "split": "test",
        "revision": "9f" * 20,
    }
    assert {metric["name"]: metric["value"] for metric in result["metrics"]} == {
        f"{figure} ({reading})": results[f"test_{key}{figure.lower()}"]
        for reading, key in (("lenient", ""), ("strict IOB2", "strict_"))
        for figure in ("F1", "Precision", "Recall")
    }
    assert results["test_f1"] != results["test_strict_f1"]
    text = sections(loaded)
    assert 'model="me/tagger", trust_remote_code=True)' in text["Use"]
    assert "[me/mner-mi](https://huggingface.co/datasets/me/mner-mi) (MNER-MI), revision `9f9f" in text["Data"]
    assert "Build variant: **unrecognised**. 3 counts differ from the published ones" in text["Data"]
    assert read_table(text["Data"], "")["train"][:5] == ["training", "40", "30", "58", "3"]
    assert "left out: 4 in train." in text["Data"]
    assert "`learning_rate` | `2e-05`" in text["Settings"]
    assert "`use_gate` `false` (default `true`), `image_dropout` `0.25` (default `0.0`)" in text["Settings"]
    assert not re.search("max_steps|freeze_text|head_learning_rate", text["Settings"])
    assert "[FacebookAI/roberta-base](https://huggingface.co/FacebookAI/roberta-base), revision `e2da" in loaded.text
    assert "| vision | vit |" in text["Settings"]
    assert "**One run with the seed 7**" in text["Results"]
    assert "3 of the 40 training posts had none, and 25 % of the others lost theirs" in text["Limits"]
    assert text["Licence"].startswith("\napache-2.0.")
    assert "python run_mner.py mner_mi.json --output_dir=x\n" in text["To repeat it"]
    assert "commit 0123abc, with changes that were not committed" in text["To repeat it"]


def test_tables_show_the_results(tmp_path, results):
    text = sections(make_model_card(make_folder(tmp_path, make_record(), results)))["Results"]
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    rows = {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines}

    def percent(*names: str) -> list[str]:
        return [f"{100 * results[name]:.2f}" for name in names]

    for split, prefix in (("test", "test"), ("validation", "eval")):
        lenient = percent(f"{prefix}_precision", f"{prefix}_recall", f"{prefix}_f1")
        strict = percent(f"{prefix}_strict_precision", f"{prefix}_strict_recall", f"{prefix}_strict_f1")
        assert rows[split] == ["4", "4", *lenient, *strict]
        assert lenient != strict
    for name, key, strict in (
        ("PER", "test_PER", "test_strict_PER_f1"),
        ("LOC", "test_LOC", "test_strict_LOC_f1"),
        ("twitter\\_2017", "test_source_twitter_2017", "test_source_twitter_2017_strict_f1"),
    ):
        figures = percent(f"{key}_precision", f"{key}_recall", f"{key}_f1", strict)
        assert rows[name][-5:] == [str(results[f"{key}_support"]), *figures]
    assert rows["twitter\\_2017"][0] == "2"  # posts


def test_results_are_found_without_the_file_of_all(tmp_path, results):
    folder = make_folder(tmp_path, make_record())
    for split in ("eval", "test"):
        (folder / f"{split}_results.json").write_text(json.dumps(make_results(split)))
    assert make_model_card(folder).data.eval_results[0].metric_value == results["test_f1"]


def test_nothing_tells_of_the_machine(tmp_path, results):
    record = make_record()
    local = ["text_backbone", "vision_backbone", "dataset", "model_name_or_path"]
    record["recipe"] |= dict.fromkeys(local, f"{HOME}/thing")
    record["local"] = local
    for corpus in (record["data"]["corpus"], {}):
        record["data"]["corpus"] = corpus
        card = str(make_model_card(make_folder(tmp_path, record, results)))
        assert not re.search(r"alice|secret|/home", card)
        assert "datasets:" not in card
        assert "base_model" not in card


@pytest.mark.parametrize(
    ("name", "local", "found"),
    [
        ("me/posts", [], "me/posts"),
        ("me/posts", ["dataset"], None),
        ("mner-mi", [], None),  # a corpus by its name
        ("runs/demo/posts", [], None),
        (HOME, [], None),
        ("bert-base-uncased", [], "bert-base-uncased"),
        ("bert-base-uncased", None, None),  # not noted whether it was a place
        ("me/posts", None, "me/posts"),
        (None, [], None),
    ],
)
def test_a_data_set_is_named_if_it_is_on_the_hub(tmp_path, results, name, local, found):
    record = make_record()
    record["recipe"]["dataset"], record["local"] = name, local
    if local is None:
        del record["local"]
    data = make_model_card(make_folder(tmp_path, record, results)).data
    assert data.datasets == ([found] if found else None)


def test_scorers_and_what_they_ask(tmp_path, results):
    text = sections(make_model_card(make_folder(tmp_path, make_record(), results)))["Scores of the pictures"]
    assert "`maniqa`, of pyiqa 0.1.16, `num_crops` `4`, `weights` `koniq.pt`, weights `0a0a" in text
    assert "In this run: 40 computed, 5 found in the cache" in text
    assert "`clip`, of open\\_clip 3.3" in text
    assert "non-commercial" in text
    assert "3.1 TFLOP" in text
    without = make_model_card(make_folder(tmp_path, make_record(), results, use_quality=False))
    assert "**Quality**: not used by this model" in without.text
    registered = {"name": "me/sharp", "description": {"library": "registered", "name": "me/sharp", "version": "3"}}
    (tmp_path / "processor_config.json").write_text(json.dumps({"quality_scorer": registered}))
    text = sections(make_model_card(tmp_path))["Scores of the pictures"]
    assert "non-commercial" not in text
    make_folder(tmp_path, make_record(), results)
    (tmp_path / "processor_config.json").write_text(json.dumps({"quality_scorer": registered}))
    text = sections(make_model_card(tmp_path))["Scores of the pictures"]
    assert "`me/sharp`, version `3`, a function of the trainer's own, which is not in this repository" in text
    assert "**Relevance**: nobody recorded who gave the scores." in text


def test_a_saved_model_without_a_run_says_what_is_not_known(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(IQCRConfig().to_dict()))
    card = make_model_card(tmp_path)
    assert card.data.to_dict().keys() == {"library_name", "pipeline_tag", "tags"}
    text = sections(card)
    assert "holds no record of a run" in text["Data"]
    assert "Not evaluated" in text["Results"]
    assert "started from | not recorded" in text["Settings"]
    assert "differ from the default | none" in text["Settings"]
    assert "How it was trained is not recorded here." in text["Settings"]
    assert "nobody recorded who gave the scores" in text["Scores of the pictures"]
    assert "Language: not recorded" in text["Limits"]
    assert "None is given here" in text["Licence"]
    assert "not recorded" in text["To repeat it"]
    assert '"path/to/this/folder"' in text["Use"]
    (tmp_path / "run.json").write_text('{"something": "of another program"}')
    assert str(make_model_card(tmp_path)) == str(card)


def test_a_run_that_only_evaluated_claims_no_training(tmp_path, results):
    record = make_record()
    record["recipe"] |= {"do_train": False, "model_name_or_path": "you/tagger", "text_backbone": None}
    del record["data"]["train"], record["data"]["validation"]
    card = make_model_card(make_folder(tmp_path, record, results))
    assert card.data.datasets is None
    assert card.data.base_model == ["you/tagger"]
    text = sections(card)
    assert "did not train the model" in text["Data"]
    assert "[you/tagger](https://huggingface.co/you/tagger)" in text["Settings"]
    assert "learning_rate" not in text["Settings"]
    assert "optimistic" not in text["Results"]


def test_calibration_is_claimed_where_it_was_done(tmp_path):
    for temperature, words in ((1.0, "were not calibrated"), (1.75, "one temperature, 1.750, fitted on a validation")):
        card = make_model_card(make_folder(tmp_path, confidence_temperature=temperature))
        assert words in sections(card)["Limits"]


def test_a_model_of_words_alone(tmp_path, results):
    text = sections(make_model_card(make_folder(tmp_path, make_record(), results, use_images=False)))
    assert "reads a post's words alone" in text[""]
    assert "Pictures are passed over." in text["Use"]
    assert "| vision | none |" in text["Settings"]
    assert "not used by this model" in text["Scores of the pictures"]
    assert "picture" not in text["Limits"]


def plant(value, mark):
    """The record with `mark` in every string that somebody may have chosen."""
    if isinstance(value, dict):
        return {key: plant(item, mark) for key, item in value.items()}
    if isinstance(value, list):
        return [plant(item, mark) for item in value]
    return value + mark if isinstance(value, str) else value


def hostile_folder(folder, mark):
    folder.mkdir()
    record = make_record()
    planted = plant(record, mark)
    planted["data"]["corpus"]["corpus"] = "mner-mi"
    planted["command"] = record["command"]  # stands in a block of code, see below
    planted["recipe"] |= {"dataset": HOME, "text_backbone": HOME}  # a name on the Hub is checked to be one
    for argument in ("train_split", "validation_split", "test_split"):
        planted["recipe"][argument] += mark
        planted["data"][planted["recipe"][argument]] = planted["data"].pop(record["recipe"][argument])
    figures = {}
    for name, value in (make_results("test", ("a", f"b{mark}")) | make_results("eval")).items():
        figures[name.replace("_PER_", f"_PER{mark}_")] = value
    labels = ["O", f"B-PER{mark}", f"I-PER{mark}", "B-LOC", "I-LOC"]
    make_folder(folder, planted, figures, id2label=dict(enumerate(labels)))
    processor = json.loads((folder / "processor_config.json").read_text())
    processor["quality_scorer"] = plant(processor["quality_scorer"], mark) | {"name": "maniqa"}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.mark.parametrize("evil", EVIL_MARKDOWN)
def test_no_string_of_a_run_becomes_markdown_or_yaml(tmp_path, evil):
    harmless = make_model_card(hostile_folder(tmp_path / "harmless", "MARK"), "me/x", "mit")
    hostile = make_model_card(hostile_folder(tmp_path / "hostile", evil), "me/x", "mit")
    assert read_markdown(harmless.text)[1].count("MARK") > 10
    assert read_markdown(hostile.text)[0] == read_markdown(harmless.text)[0]
    assert hostile.data.to_dict().keys() == harmless.data.to_dict().keys()
    assert (hostile.data.license, hostile.data.tags) == (harmless.data.license, harmless.data.tags)
    spans = re.sub(r"`[^`\n]*`", "", hostile.text)
    assert not re.search(r"(?<!\\)https://evil|www\.evil", spans)


def test_a_command_cannot_leave_its_block(tmp_path, results):
    record = make_record()
    record["command"] += ["--run_name", "```\n# heading", "~~~"]
    harmless = make_model_card(make_folder(tmp_path, make_record(), results))
    hostile = make_model_card(make_folder(tmp_path, record, results))
    assert read_markdown(hostile.text)[0] == read_markdown(harmless.text)[0]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("config.json", None, FileNotFoundError, "holds no config.json, so it is no saved model"),
        ("config.json", "{", ValueError, "config.json cannot be read as JSON"),
        ("run.json", "[]", ValueError, "run.json must hold a JSON object, got list"),
        (".", None, FileNotFoundError, "There is no folder"),
    ],
)
def test_what_is_no_saved_model(tmp_path, results, name, content, error, message):
    folder = make_folder(tmp_path, copy.deepcopy(make_record()), results)
    if name == ".":
        folder = tmp_path / "nowhere"
    elif content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(error, match=message):
        make_model_card(folder)


def test_figures_that_a_resumed_run_did_not_make_are_left_out(tmp_path, results):
    record = make_record()
    record["recipe"] |= {"do_predict": False, "do_eval": True}
    card = make_model_card(make_folder(tmp_path, record, results))
    assert "| test |" not in sections(card)["Results"]
    assert {result.dataset_split for result in card.data.eval_results} == {"validation"}
