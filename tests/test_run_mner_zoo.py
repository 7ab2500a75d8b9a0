"""Every system by its `model_type`: from a run to its checkpoint, from there to predictions, another run, a lake."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import run_mner
from mner_training.arguments import ModelArguments
from mner_training.building import build_model
from mner_zoo import SYSTEMS
from scripts import tag_posts

QUIET = ["--use_cpu", "--disable_tqdm", "true"]
CLASSES = {system.config_class.model_type: system for system in SYSTEMS}
of_every_type = pytest.mark.parametrize("model_type", sorted(CLASSES))


def encoders(model_type: str, tiny_backbones) -> list[str]:
    text, vision = map(str, tiny_backbones)
    config_class = CLASSES[model_type].config_class
    flags = ["--text_backbone", text]
    if config_class.reads_words:
        sizes = {"char_encoder": "lstm", "word_embedding_size": 12, "hidden_size": 16, "char_embedding_size": 6}
        flags = ["--word_vectors", "random", "--word_encoder", json.dumps(sizes)]
    if config_class.use_images:
        flags += ["--vision_backbone", vision]
    return ["--model_type", model_type, *flags, "--max_length", "32", "--window_overlap", "8"]


@pytest.fixture(scope="module")
def trained(tiny_backbones, tiny_corpus, tmp_path_factory):
    """Function that gives the folder and the results of a run of a system, made once."""
    made = {}

    def run(model_type: str) -> tuple[Path, dict]:
        if model_type not in made:
            folder = tmp_path_factory.mktemp(model_type) / "run"
            flags = [*encoders(model_type, tiny_backbones), "--dataset", str(tiny_corpus), *QUIET]
            flags += ["--do_train", "--do_predict", "--num_train_epochs", "2", "--learning_rate", "5e-3"]
            made[model_type] = folder, run_mner.main([*flags, "--output_dir", str(folder), "--seed", "1"])
        return made[model_type]

    return run


def predicted(folder: Path) -> list[tuple]:
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(line["id"], line["words"], line["predicted_tags"]) for line in lines]


@of_every_type
def test_checkpoint_predicts_as_its_run(model_type, trained, tiny_corpus, tmp_path):
    folder, results = trained(model_type)
    assert json.loads((folder / "config.json").read_text())["model_type"] == model_type
    assert results["test_support"] > 0
    flags = ["--model_name_or_path", str(folder), "--dataset", str(tiny_corpus), "--do_predict", *QUIET]
    again = run_mner.main([*flags, "--output_dir", str(tmp_path)])
    assert predicted(tmp_path) == predicted(folder)
    assert again["test_f1"] == results["test_f1"]


@of_every_type
def test_checkpoint_is_trained_further(model_type, trained, tiny_corpus, tmp_path):
    folder, _ = trained(model_type)
    flags = ["--model_name_or_path", str(folder), "--dataset", str(tiny_corpus), "--do_train", "--do_predict", *QUIET]
    flags += ["--max_steps", "1", "--freeze_text", "--model_config", '{"dropout": 0.25}']
    run_mner.main([*flags, "--output_dir", str(tmp_path / "run")])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["model_type"], config["dropout"]) == (model_type, 0.25)


@of_every_type
def test_tags_a_lake(model_type, trained, make_pictures, tmp_path):
    folder, _ = trained(model_type)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    make_pictures(1)[0].save(pictures / "0.png")
    posts = [{"text": "washington wins in paris", "images": ["0.png"] * (number % 3)} for number in range(5)]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    flags = [str(tmp_path / "posts.jsonl"), "--model", str(folder), "--images_dirs", str(pictures)]
    tag_posts.main([*flags, "--output_dir", str(tmp_path / "out")])
    rows = [row for file in sorted((tmp_path / "out").rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    assert [row["error"] for row in rows] == [None] * 5
    assert all(len(row["words"]) == 4 for row in rows)


def test_word_vectors_of_a_run_stand_in_its_record(trained):
    folder, _ = trained("lstm_crf")
    record = json.loads((folder / "run.json").read_text())
    assert record["data"]["corpus"]["word_vectors"]["source"] == "random"
    assert "word vectors: `random`" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--model_type", "umt5", "--text_backbone", "x"],
            "`model_type` 'umt5' is no tagger of this package: iqcr, bert_crf, ",
        ),
        (["--model_type", "lstm_crf", "--text_backbone", "x"], "of type 'lstm_crf' starts from `word_vectors`"),
        (["--model_type", "umt", "--word_vectors", "random"], "of type 'umt' starts from `text_backbone`"),
        (["--word_vectors", "random", "--text_backbone", "x"], "Give either `text_backbone`"),
        (["--text_backbone", "x", "--word_encoder", "{}", "--model_config", '{"use_gat": 1}'], "unknown use_gat"),
        (["--text_backbone", "x", "--word_encoder", '{"dropout": 0}'], "`word_encoder` needs `word_vectors`"),
        (
            ["--model_type", "tpm_mi", "--text_backbone", "x", "--model_config", '{"use_gate": true}'],
            "unknown use_gate",
        ),
        (["--model_type", "umt", "--model_name_or_path", "x"], "Give either `model_name_or_path`"),
    ],
)
def test_arguments_that_do_not_go_together(flags, message):
    with pytest.raises(ValueError, match=message):
        run_mner.main([*flags, "--dataset", "x", "--do_train", *QUIET])


def test_images_where_there_are_none_or_have_to_be(tiny_backbones):
    text, vision = map(str, tiny_backbones)
    labels = ["O", "B-PER", "I-PER"]
    with pytest.raises(ValueError, match="UMTForTokenClassification reads images: give `vision`"):
        build_model(ModelArguments(model_type="umt", text_backbone=text), labels, {})
    both = ModelArguments(model_type="bert_crf", text_backbone=text, vision_backbone=vision)
    with pytest.raises(ValueError, match="BertCRFForTokenClassification reads no images: leave out `vision`"):
        build_model(both, labels, {})
