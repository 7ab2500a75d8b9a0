"""What goes to the Hub and what stays, and what is said where nothing can go."""

import json
import os
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx
from transformers import AutoModelForTokenClassification, AutoProcessor

from mner_training.public_names import public_config
from mner_training.publishing import hub_errors_in_words, push_checkpoint, stage_checkpoint
from processing_iqcr import IQCRProcessor
from processing_iqcr.scorers import ScorerMismatchError, make_scorer
from scripts.push_to_hub import main
from tests.fake_hub import ROOT, FakeHub, run_with_hub
from tests.scoring_networks import save_clip

LEFT_BY_A_RUN = (
    "run.json",
    "all_results.json",
    "test_results.json",
    "predictions.jsonl",
    "training_args.bin",
    "trainer_state.json",
    "optimizer.pt",
    "notes.py",
    ".env",
    "README.md",
)
DATA = {"model.safetensors", "config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}


def code_files() -> set[str]:
    """All of both packages that travel, but for what only installed code needs."""
    rooms = ("modeling_iqcr", "processing_iqcr")
    return {path.name for room in rooms for path in (ROOT / room).glob("*.py")} - {"__init__.py"}


@pytest.fixture
def saved(tmp_path, make_model, tiny_processor):
    """A function that saves a tagger and its processor, amid what a run leaves."""

    def save(name="saved", **options):
        folder = tmp_path / name
        model = make_model(id2label={0: "O", 1: "B-PER", 2: "I-PER"})
        model.config.vision_config._name_or_path = str(tmp_path / "vit")
        model.save_pretrained(folder, **options)
        tiny_processor.save_pretrained(folder)
        for file in LEFT_BY_A_RUN:
            (folder / file).write_text("{}")
        (folder / "checkpoint-1").mkdir()
        shutil.copy(folder / "config.json", folder / "checkpoint-1")
        return folder

    return save


def edit(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_what_loading_needs_goes_and_nothing_else(saved, tmp_path):
    folder = saved()
    backbone = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder / "config.json", text_config=backbone | {"_name_or_path": f"{tmp_path}/backbone"})
    names = stage_checkpoint(folder, tmp_path / "public", "me/x", "mit")
    assert set(names) == DATA | code_files() | {"README.md"}
    assert names == sorted(path.name for path in (tmp_path / "public").iterdir())
    assert 'model="me/x"' in (tmp_path / "public" / "README.md").read_text()
    assert ModelCard.load(tmp_path / "public" / "README.md").data.license == "mit"
    for path in (tmp_path / "public").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    assert (folder / "README.md").read_text() == "{}"
    assert str(tmp_path) in (folder / "config.json").read_text()
    with pytest.raises(FileExistsError, match="Give an empty folder"):
        stage_checkpoint(folder, tmp_path / "public")


def test_what_is_staged_loads_as_the_folder_does(saved, tmp_path):
    folder = saved()
    stage_checkpoint(folder, tmp_path / "public")
    before, after = (AutoModelForTokenClassification.from_pretrained(path) for path in (folder, tmp_path / "public"))
    assert public_config(before.config.to_dict()) == public_config(after.config.to_dict())
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[name])
    assert AutoProcessor.from_pretrained(tmp_path / "public").max_length == 32


def test_shards_go_all(saved, tmp_path):
    folder = saved(max_shard_size="50KB")
    shards = {path.name for path in folder.glob("model-*.safetensors")}
    assert len(shards) > 2
    names = stage_checkpoint(folder, tmp_path / "public")
    assert {name for name in names if "safetensors" in name} == shards | {"model.safetensors.index.json"}
    AutoModelForTokenClassification.from_pretrained(tmp_path / "public")
    (folder / min(shards)).unlink()
    with pytest.raises(FileNotFoundError, match=f"is not whole: .* names {min(shards)}"):
        stage_checkpoint(folder, tmp_path / "again")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "There is no folder"),
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json, so it is no saved model"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "holds no model.safetensors, so it is no saved model",
        ),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            r"Weights in a pickle \(.bin\) are not shared",
        ),
        (
            lambda folder: (folder / "processor_config.json").unlink(),
            "a model without its processor, .*save_pretrained",
        ),
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "a model without its tokenizer"),
        (lambda folder: (folder / "crf.py").unlink(), r"names .crf in \w+.py, and holds no crf.py .* save them again"),
        (lambda folder: (folder / "pipeline_iqcr.py").unlink(), "holds no pipeline_iqcr.py with it"),
        (lambda folder: (folder / "windows.py").unlink(), "holds no windows.py with it"),
        (lambda folder: edit(folder / "config.json", custom_pipelines={}), "do not name the code of multimodal-ner"),
        (
            lambda folder: edit(folder / "config.json", auto_map={}),
            "do not name the code of AutoConfig, AutoModelForTokenClassification, .* save them again",
        ),
        (
            lambda folder: edit(
                folder / "processor_config.json", auto_map={"AutoProcessor": "../../run.IQCRProcessor"}
            ),
            r"names \.\./\.\./run.IQCRProcessor, and holds no",
        ),
        (
            lambda folder: edit(
                folder / "processor_config.json", auto_map={"AutoProcessor": "you/x--p.IQCRProcessor"}
            ),
            "names you/x--p.IQCRProcessor, and holds no",
        ),
        (
            lambda folder: edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["my_words.Slow", None]}),
            "names my_words.Slow, and holds no my_words.py",
        ),
        (
            lambda folder: edit(folder / "config.json", architectures=["IQCRModel"]),
            "holds IQCRModel and no IQCRForTokenClassification: it cannot tag",
        ),
        (lambda folder: (folder / "run.json").write_text("{"), "run.json cannot be read as JSON"),
    ],
)
def test_what_others_could_not_load_is_refused(saved, tmp_path, spoil, message):
    folder = saved()
    spoil(folder)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        stage_checkpoint(folder, tmp_path / "public")
    assert not (tmp_path / "public").exists()
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        push_checkpoint(folder, "me/x")  # said before anything is asked of the Hub, which is out of reach here


def test_scorers_lose_their_folders_and_keep_their_description(saved, tmp_path, monkeypatch):
    folder = saved()
    save_clip(tmp_path / "nets" / "clip")
    spec = {"name": str(tmp_path / "nets" / "clip"), "dtype": "float32"}
    described = spec | {"description": make_scorer("relevance_scorer", spec).description}
    processor = AutoProcessor.from_pretrained(folder)
    IQCRProcessor(
        processor.image_processor, processor.tokenizer, max_length=32, window_overlap=8, relevance_scorer=described
    ).save_pretrained(folder)
    stage_checkpoint(folder, tmp_path / "public")
    public = AutoProcessor.from_pretrained(tmp_path / "public").relevance_scorer
    assert public == described | {"name": "clip"}
    with pytest.raises(ValueError, match="no architecture 'clip', and there is no such folder"):
        make_scorer("relevance_scorer", public)
    monkeypatch.chdir(tmp_path / "nets")
    assert make_scorer("relevance_scorer", public).description == described["description"]
    shutil.rmtree("clip")
    save_clip(tmp_path / "nets" / "clip", seed=1)
    with pytest.raises(ScorerMismatchError, match="is not the one that scored the training data"):
        make_scorer("relevance_scorer", public)


def answer(status: int, said: str) -> HfHubHTTPError:
    response = httpx.Response(status, request=httpx.Request("POST", "https://huggingface.co/api"))
    return HfHubHTTPError(f"{status} Client Error", response=response, server_message=said)


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (answer(401, "Invalid username or password."), PermissionError, "`hf auth login`.* set HF_TOKEN"),
        (answer(403, "No rights."), PermissionError, "may not write to 'me/x' .*No rights.* the user or organisation"),
        (answer(500, "Broken."), ConnectionError, "answered 500 for 'me/x': Broken"),
        (LocalTokenNotFoundError("none"), PermissionError, "`hf auth login`"),
        (OfflineModeIsEnabled("offline mode"), ConnectionError, r"cannot be reached \(offline mode\)"),
        (httpx.ConnectError("refused"), ConnectionError, r"cannot be reached \(refused\)"),
    ],
)
def test_answers_of_the_hub_in_words(error, raised, message):
    with pytest.raises(raised, match=message), hub_errors_in_words("me/x"):
        raise error


@pytest.mark.parametrize("name", ["a/b/c", "me/x y", "/home/me/x", "me/x--y", "me/x.git", "", "../x"])
def test_a_name_of_another_form(name, saved):
    with pytest.raises(ValueError, match="is no name of a repository: USER/NAME"):
        push_checkpoint(saved(), name)


def test_command_shows_what_would_go(saved, capsys):
    folder = saved()
    main([str(folder), "me/x", "--license", "mit", "--dry_run"])
    listed, _, card = capsys.readouterr().out.partition("\n\n")
    assert {line.split()[1] for line in listed.splitlines()} == DATA | code_files() | {"README.md"}
    assert f"{os.path.getsize(folder / 'model.safetensors'):,}  model.safetensors" in listed
    assert ModelCard(card).data.license == "mit"
    with pytest.raises(ConnectionError, match=r"cannot be reached .*offline mode"):
        main([str(folder), "me/x"])


PUSH = """
import os, sys
from huggingface_hub import HfApi
from mner_training.publishing import push_checkpoint
from scripts.push_to_hub import main

one, shards = sys.argv[1:]
main([one, "me/tagger", "--private", "--license", "mit"])
HfApi().upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id="me/tagger")
main([shards, "me/tagger"])
main([one, "me/tagger", "--create_pr"])
print(push_checkpoint(one, "me/tagger", revision="v2").commit_url)
print(push_checkpoint(one, "bare").commit_url)
print(*(HfApi().model_info(name).private for name in ("me/tagger", "user/bare")))
os.environ.pop("HF_TOKEN")
try:
    main([one, "me/other"])
except PermissionError as error:
    print(error)
"""


def test_pushes_arrive_whole_in_one_commit(saved, tmp_path):
    one, shards = saved("one"), saved("shards", max_shard_size="50KB")
    with FakeHub() as hub:
        *printed, said = run_with_hub(hub, ["-c", PUSH, str(one), str(shards)], tmp_path / "pusher").splitlines()
        commits = hub.commits("me/tagger", "model")
        proposal, branch = (hub.commits("me/tagger", "model", branch=name) for name in ("refs/pr/1", "v2"))
        own = hub.files("user/bare", "model")
        assert hub.unhandled == []
    public = DATA | code_files() | {"README.md", ".gitattributes"}
    assert [commit.title for commit in commits] == [
        "initial commit",
        "Share the model",
        "Upload notes.txt with huggingface_hub",
        "Share the model",
    ]
    assert set(commits[1].files) == public
    sharded = {path.name for path in shards.glob("model-*.safetensors")} | {"model.safetensors.index.json"}
    # The one file of before is gone: loading would have taken it.
    assert set(commits[-1].files) == public - {"model.safetensors"} | sharded | {"notes.txt"}
    assert set(proposal[-1].files) == set(branch[-1].files) == public | {"notes.txt"}
    assert len(proposal) == len(branch) == len(commits) + 1
    assert printed == [
        f"{hub.url}/me/tagger/commit/{commits[1].id}",
        f"{hub.url}/me/tagger/commit/{commits[-1].id}",
        f"{hub.url}/me/tagger/discussions/1",
        f"{hub.url}/me/tagger/commit/{branch[-1].id}",
        f"{hub.url}/user/bare/commit/{hub.commits('user/bare', 'model')[-1].id}",
        "True False",
    ]
    assert b'model="user/bare"' in own["README.md"]
    assert ModelCard(commits[1].files["README.md"].decode()).data.license == "mit"
    for commit in (*commits, proposal[-1], branch[-1]):
        for name, content in commit.files.items():
            assert str(tmp_path).encode() not in content, name
    assert "`hf auth login`" in said
