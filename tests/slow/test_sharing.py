"""From a run with ``--push_to_hub`` to a stranger who copies the card's example, with a Hub between them."""

import ast
import json
import re

import pytest
from huggingface_hub import ModelCard

from tests.fake_hub import ROOT, FakeHub, run_with_hub
from tests.mner_training.test_publishing import DATA, code_files

pytestmark = pytest.mark.slow

RUN = """
import sys
from datasets import load_dataset
import run_mner

corpus, text, vision, output, secret = sys.argv[1:]
load_dataset(corpus).push_to_hub("me/posts")
flags = ["--text_backbone", text, "--vision_backbone", vision, "--dataset", "me/posts", "--output_dir", output]
flags += ["--max_length", "32", "--window_overlap", "8", "--learning_rate", "3e-3", "--num_train_epochs", "2"]
flags += ["--do_train", "--do_eval", "--do_predict", "--use_cpu", "--disable_tqdm", "true", "--seed", "1"]
flags += ["--push_to_hub", "--hub_model_id", "me/tagger", "--hub_private_repo", "true", f"--hub_token={secret}"]
sys.argv[1:] = flags
run_mner.main()
"""

# Whatever is installed beside it, the code that runs is that of the repository.
STRANGER = """
import sys
code = sys.argv[1]
exec(compile(code, "the card's example", "exec"))
assert not {"modeling_iqcr", "processing_iqcr", "mner_training"} & set(sys.modules)
assert type(ner.model).__module__.startswith("transformers_modules.me.tagger.")
"""


def test_what_a_run_shares_is_what_a_stranger_needs(tiny_backbones, tiny_corpus, tmp_path):
    output, secret = tmp_path / "run", "hf_secret"
    arguments = [str(tiny_corpus), *map(str, tiny_backbones), str(output), secret]
    with FakeHub() as hub:
        run_with_hub(hub, ["-c", RUN, *arguments], tmp_path / "trainer")
        commits = hub.commits("me/tagger", "model")
        files = commits[-1].files
        card = ModelCard(files["README.md"].decode())
        (example,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
        printed = run_with_hub(hub, ["-c", STRANGER, example], tmp_path / "stranger")
        assert hub.unhandled == []
    assert [commit.title for commit in commits] == ["initial commit", "End of training"]
    assert set(files) == DATA | code_files() | {"README.md", ".gitattributes"}
    private = [str(tmp_path), str(ROOT), str(tiny_backbones[0].parent), str(tiny_corpus), secret, "hf_dummy"]
    for name, content in files.items():
        for text in private:
            assert text.encode() not in content, (name, text)
    left = {"run.json", "predictions.jsonl", "training_args.bin", "all_results.json", "trainer_state.json"}
    assert left < {path.name for path in output.iterdir()}
    for path in (path for path in output.rglob("*") if path.is_file()):
        assert secret.encode() not in path.read_bytes(), path
    results = json.loads((output / "all_results.json").read_text())
    (index,) = card.data.to_dict()["model-index"]
    (result,) = index["results"]
    assert result["dataset"]["type"] == "me/posts"
    assert {metric["name"]: metric["value"] for metric in result["metrics"]} == {
        f"{figure} ({reading})": results[f"test_{key}{figure.lower()}"]
        for reading, key in (("lenient", ""), ("strict IOB2", "strict_"))
        for figure in ("F1", "Precision", "Recall")
    }
    assert card.data.datasets == ["me/posts"]
    answer = ast.literal_eval(printed.splitlines()[-1])  # what the example prints
    assert answer["text"] == "Washington wins again tonight"
    assert answer["images"] == []
    for entity in answer["entities"]:
        assert set(entity) == {"entity_group", "word", "start", "end", "score"}


OWN_TRAINER = """
import sys
from transformers import AutoModelForTokenClassification, AutoProcessor
import processing_iqcr
from mner_training.arguments import MNERTrainingArguments
from mner_training.trainer import MNERTrainer

folder, output = sys.argv[1:]
hub = dict(push_to_hub=True, hub_model_id="me/own", hub_revision="draft", use_cpu=True)
trainer = MNERTrainer(
    model=AutoModelForTokenClassification.from_pretrained(folder),
    processing_class=AutoProcessor.from_pretrained(folder),
    args=MNERTrainingArguments(output_dir=output, **hub),
)
trainer.save_model()  # pushes, as transformers promises
print(trainer.push_to_hub("Again", license="mit").commit_url)
bad = dict(hub, hub_model_id="me/no/where")
try:
    MNERTrainer(model=trainer.model, args=MNERTrainingArguments(output_dir=output, **bad))
except ValueError as error:
    print(error)
"""


def test_a_trainer_of_ones_own_shares_the_same(make_model, tiny_processor, tmp_path):
    make_model().save_pretrained(tmp_path / "saved")
    tiny_processor.save_pretrained(tmp_path / "saved")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "predictions.jsonl").write_text("{}")
    with FakeHub() as hub:
        code = ["-c", OWN_TRAINER, str(tmp_path / "saved"), str(tmp_path / "run")]
        printed = run_with_hub(hub, code, tmp_path / "home").splitlines()
        main, draft = (hub.commits("me/own", "model", branch=name) for name in ("main", "draft"))
        assert hub.unhandled == []
    assert [commit.title for commit in main] == ["initial commit"]
    assert [commit.title for commit in draft] == ["initial commit", "Model save", "Again"]
    for commit in draft[1:]:
        assert set(commit.files) == DATA | code_files() | {"README.md", ".gitattributes"}
    assert printed[-2] == f"{hub.url}/me/own/commit/{draft[-1].id}"
    assert printed[-1].startswith("'me/no/where' is no name of a repository")
    card = ModelCard(draft[-1].files["README.md"].decode())
    assert card.data.license == "mit"
    assert "holds no record of a run" in card.text


def test_of_two_processes_one_shares(tiny_backbones, tiny_corpus, tmp_path):
    text, vision = map(str, tiny_backbones)
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    flags = ["--text_backbone", text, "--vision_backbone", vision, "--dataset", str(tiny_corpus), "--max_length", "32"]
    flags += [
        "--window_overlap",
        "8",
        "--do_train",
        "--max_steps",
        "2",
        "--eval_strategy",
        "no",
        "--save_strategy",
        "no",
    ]
    flags += ["--no_load_best_model_at_end", "--use_cpu", "--disable_tqdm", "true", "--push_to_hub"]
    command = [*launch, str(ROOT / "run_mner.py"), *flags, "--output_dir", str(tmp_path / "tagger")]
    with FakeHub() as hub:
        run_with_hub(hub, command, tmp_path / "home")
        commits = hub.commits("user/tagger", "model")  # named as the folder
        made = [asked for asked in hub.requests if asked == ("POST", "/api/repos/create")]
        assert hub.unhandled == []
    assert [commit.title for commit in commits] == ["initial commit", "End of training"]
    assert len(made) == 2  # at the beginning and at the end, by one process
    assert set(commits[-1].files) == DATA | code_files() | {"README.md", ".gitattributes"}
