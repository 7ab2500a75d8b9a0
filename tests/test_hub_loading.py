"""Checkpoints where this package is not installed: loaded, run, saved again, by a process that has them alone.

The other process cannot import this package, and has neither torchvision, pyiqa, open_clip nor datasets.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from mner_training.trainer import MNERTrainer
from modeling_iqcr import MultimodalNERPipeline
from tests.fake_hub import fake_hub, run_with_hub  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[1]
HIDDEN = "modeling_iqcr processing_iqcr mner_training dataset_scripts run_mner torchvision pyiqa open_clip datasets"
POST = {
    "text": "Washington wins in the paris zoo, today!",
    "quality_scores": [0.9, 0.2],
    "relevance_scores": [0.3, 0.1],
}

ISOLATE = f"""
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in {HIDDEN.split()}
        return None if hidden else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Hiding, sys.meta_path)
"""

LOAD = """
import json
import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoProcessor, pipeline

source, data = sys.argv[1:3]
trust = dict(trust_remote_code=True)
config = AutoConfig.from_pretrained(source, **trust)
base = AutoModel.from_pretrained(source, **trust)
tagger = AutoModelForTokenClassification.from_pretrained(source, **trust)
processor = AutoProcessor.from_pretrained(source, **trust)
ner = pipeline("multimodal-ner", model=source, **trust)
classes = [type(part) for part in (config, base, tagger, processor, ner)]
names = [part.__name__ for part in classes]
assert all(part.__module__.startswith("transformers_modules.") for part in classes)
"""

RUN = """
batch = torch.load(f"{data}/batch.pt")
with torch.no_grad():
    outputs = tagger(**batch)
    states = base(**{name: batch[name] for name in batch if name not in ("word_mask", "labels")}).last_hidden_state
post = json.load(open(f"{data}/post.json")) | {"images": [f"{data}/0.png", f"{data}/1.png"]}
with torch.no_grad():
    inputs = processor(**{name: value for name, value in post.items()})
    post_logits = tagger(**inputs).logits
torch.save({"logits": outputs.logits, "states": states, "post_logits": post_logits}, f"{data}/outputs.pt")
json.dump({"names": names, "answer": ner(post), "explained": ner.explain(post)}, open(f"{data}/answers.json", "w"))
"""

SAVE = """
again = sys.argv[3]
tagger.save_pretrained(again)
processor.save_pretrained(again)
ner.save_pretrained(again + "_by_pipeline")
for part, name in ((config, "config"), (base, "base"), (processor, "processor"), (processor.tokenizer, "tokenizer"),
                   (processor.image_processor, "image_processor"), (tagger, "tagger")):
    part.save_pretrained(f"{again}_{name}")
"""


def run_isolated(code: str, *arguments, home: Path) -> None:
    """Run code in a process without this package, started in another folder, offline and on one thread."""
    home.mkdir(exist_ok=True)
    environment = os.environ | {"HF_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-I", "-c", ISOLATE + code, *map(str, arguments)]
    run = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.fixture
def checkpoint(tmp_path, make_lively_model, tiny_processor, batch, make_pictures):
    """A saved tagger, and what the trainer and the pipeline of this process say of a batch and a post."""
    model = make_lively_model(3)
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    batch = dict(batch)
    torch.save(batch, tmp_path / "batch.pt")
    (tmp_path / "post.json").write_text(json.dumps(POST))
    pictures = make_pictures(2)
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    trainer = MNERTrainer(model, TrainingArguments(str(tmp_path / "run"), use_cpu=True, report_to="none"))
    _, outputs, _ = trainer.prediction_step(model, batch, False)
    with torch.no_grad():
        post_logits = model(**tiny_processor(**POST, images=pictures)).logits
    ner = MultimodalNERPipeline(model=model, processor=tiny_processor, device="cpu")
    answer, explained = ner(POST | {"images": pictures}), ner.explain(POST | {"images": pictures})
    return folder, outputs["logits"], post_logits, answer, explained


def compare(checkpoint, data: Path) -> None:
    """Hold what the other process wrote against what this one says."""
    _, logits, post_logits, answer, explained = checkpoint
    outputs, answers = torch.load(data / "outputs.pt"), json.loads((data / "answers.json").read_text())
    assert answers["names"] == [
        "IQCRConfig",
        "IQCRModel",
        "IQCRForTokenClassification",
        "IQCRProcessor",
        "MultimodalNERPipeline",
    ]
    assert torch.equal(outputs["logits"], logits)
    torch.testing.assert_close(outputs["post_logits"], post_logits, rtol=0, atol=1e-5)
    assert answer["entities"], "the post must have an entity, or nothing is compared"
    assert flat(answers["answer"]) == pytest.approx(flat(answer), abs=1e-5)
    assert flat(answers["explained"]) == pytest.approx(flat(explained), abs=1e-5)
    assert [entity["word"] for entity in answers["answer"]["entities"]] == [e["word"] for e in answer["entities"]]


def flat(answer: dict) -> list:
    """The numbers of an answer; None as -1."""
    numbers = [value for part in ("entities", "images") for item in answer[part] for value in item.values()]
    numbers = [number for value in numbers for number in (value if isinstance(value, list) else [value])]
    return [-1 if number is None else number for number in numbers if not isinstance(number, str)]


def test_local_folder_is_loaded_by_all_auto_classes(checkpoint, tmp_path):
    run_isolated(LOAD + RUN, checkpoint[0], tmp_path, home=tmp_path / "home")
    compare(checkpoint, tmp_path)


def test_hub_repository_is_loaded_by_all_auto_classes(checkpoint, tmp_path, monkeypatch, fake_hub):  # noqa: F811
    push = """
import sys
from transformers import AutoModelForTokenClassification, AutoProcessor, pipeline
import processing_iqcr
AutoModelForTokenClassification.from_pretrained(sys.argv[1]).push_to_hub("me/tagger")
processor = AutoProcessor.from_pretrained(sys.argv[1])
processor.push_to_hub("me/tagger")
ner = pipeline("multimodal-ner", model=sys.argv[1], trust_remote_code=True)
ner.push_to_hub("me/pipeline")
# into a folder that has every file already
ner.save_pretrained(sys.argv[1], push_to_hub=True, repo_id="me/saved")
"""
    run_with_hub(fake_hub, ["-c", push, str(checkpoint[0])], tmp_path / "pusher")
    names = {path.name for path in checkpoint[0].iterdir()}
    for repository in ("me/tagger", "me/pipeline", "me/saved"):
        assert names <= set(fake_hub.files(repository, "model")), repository
    code = ["-I", "-c", ISOLATE + LOAD + RUN, "me/tagger", str(tmp_path)]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run_with_hub(fake_hub, code, tmp_path / "home")
    compare(checkpoint, tmp_path)
    assert not [path for _, path in fake_hub.requests if "://" in path], "a request to another host"


def test_round_trip_twice_gives_the_same_files_and_outputs(checkpoint, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    run_isolated(LOAD + SAVE, checkpoint[0], tmp_path, first, home=tmp_path / "home")
    run_isolated(LOAD + SAVE + RUN, first, tmp_path, second, home=tmp_path / "home")
    compare(checkpoint, tmp_path)
    original = contents(checkpoint[0])
    for folder in (first, second, tmp_path / "first_by_pipeline", tmp_path / "second_by_pipeline"):
        assert contents(folder) == original
    # and each part, saved alone by that process, points to no file that is not there
    for part in ("config", "base", "processor", "tokenizer", "image_processor", "tagger"):
        check_pointers(tmp_path / f"first_{part}")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_pointers(folder: Path) -> None:
    """Every file that a configuration in the folder names, and every file that those import, is there."""
    pointed = set()
    for path in folder.glob("*.json"):
        content = json.loads(path.read_text())
        if path.name.endswith("config.json"):
            named = json.dumps([content.get("auto_map"), content.get("custom_pipelines")])
            pointed |= set(re.findall(r'"(\w+)\.\w+"', named))
    imported = {
        name for path in folder.glob("*.py") for name in re.findall(r"^\s*from \.(\w+) import", path.read_text(), re.M)
    }
    assert {f"{name}.py" for name in pointed | imported} <= {path.name for path in folder.iterdir()}


def test_places_that_hold_no_checkpoint_are_said_to_hold_none(tmp_path, fake_hub):  # noqa: F811
    (tmp_path / "empty").mkdir()
    tries = """
import json
from transformers import pipeline

said = []
for model in ("me/no-such-model", "no such id!", *sys.argv[1:]):
    try:
        pipeline("multimodal-ner", model=model, trust_remote_code=True)
    except (OSError, ValueError) as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
"""
    code = ["-I", "-c", ISOLATE + tries, str(tmp_path / "empty")]
    said = json.loads(run_with_hub(fake_hub, code, tmp_path / "home").splitlines()[-1])
    assert "me/no-such-model is not a local folder and is not a valid model identifier" in said[0]
    assert "no such id!" in said[1]
    assert re.search(r"Unrecognized model in .*empty\. Should have a `model_type` key in its config\.json", said[2])
