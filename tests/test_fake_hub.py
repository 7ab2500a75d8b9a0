"""The Hub of the tests, used by the libraries for which it stands in for the real one."""

import hashlib
import io
import json
import os

import pytest
import safetensors.torch
from PIL import Image

from tests.fake_hub import ROOT, FakeHub, run_with_hub


@pytest.fixture
def hub():
    with FakeHub() as hub:
        yield hub


def test_the_environment_holds_none_of_the_users_settings(hub, tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "TRANSFORMERS_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "ALL_PROXY"):
        monkeypatch.setenv(name, "of the user")
    environment = hub.environment(tmp_path)
    assert "of the user" not in environment.values()
    assert [environment[f"HF_{name}"] for name in ("ENDPOINT", "HOME", "HUB_OFFLINE")] == [hub.url, str(tmp_path), "0"]
    assert environment["PATH"] == os.environ["PATH"]


def test_a_process_finds_our_packages_wherever_it_works(hub, tmp_path):
    code = "import importlib.util, os; print(importlib.util.find_spec('run_mner').origin, os.getcwd(), sep='\\n')"
    assert run_with_hub(hub, code, tmp_path / "new").split() == [str(ROOT / "run_mner.py"), str(tmp_path / "new")]


def test_a_process_that_fails_is_told_with_its_error(hub, tmp_path):
    with pytest.raises(AssertionError, match="ValueError: of this kind"):
        run_with_hub(hub, "raise ValueError('of this kind')", tmp_path)


HUGGINGFACE_HUB = """
import json
from pathlib import Path

from huggingface_hub import CommitOperationAdd as Add, CommitOperationDelete as Delete
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
from huggingface_hub.utils import get_session

api, results = HfApi(), {}
Path("picture.jpg").write_bytes(b"from a file")
Path("folder/sub").mkdir(parents=True)
Path("folder/a.txt").write_text("a")
Path("folder/sub/b.zip").write_text("zipped")


def error_of(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__


def contents(folder):
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


for kind in ("model", "dataset"):
    name = {"repo_id": "user/things", "repo_type": kind}
    none = {"repo_id": "user/none", "repo_type": kind}
    urls = [api.create_repo(**name), api.create_repo(**name, exist_ok=True), api.create_repo("bare", repo_type=kind)]
    operations = [
        Add("README.md", b"# Things"),
        Add("data/one.safetensors", b"large one"),
        Add("data/two.bin", b"large two"),
        Add("data/deep/picture.jpg", "picture.jpg"),
        Add("old.txt", b"old"),
        Add("empty.bin", b""),
    ]
    first = api.create_commit(**name, operations=operations, commit_message="First")
    change = [Add("README.md", b"# New things"), Delete("old.txt")]
    second = api.create_commit(**name, operations=change, commit_message="Second", parent_commit=first.oid)
    same = api.upload_file(**name, path_or_fileobj=b"large two", path_in_repo="data/two.bin", commit_message="Same")
    api.upload_folder(**name, folder_path="folder", path_in_repo="up", commit_message="Third")
    picture = {"path_or_fileobj": "picture.jpg", "path_in_repo": "a copy.jpg"}
    fourth = api.upload_file(**name, **picture, commit_message="Fourth")
    info = api.repo_info(**name, files_metadata=True)
    file_system, root = HfFileSystem(), f"{'datasets/' if kind == 'dataset' else ''}user/things"
    with file_system.open(f"{root}/data/two.bin", block_size=4) as file:
        file.seek(6)
        end = file.read(2).decode()
    paths = api.get_paths_info(**name, paths=["data", "data/two.bin", "none"])
    revisions = [None, first.oid]  # the last one, and an old one
    results[kind] = {
        "urls": urls,
        "ids": [first.oid, second.oid, same.oid, fourth.oid, info.sha],
        "info": type(info).__name__,
        "files": [api.list_repo_files(**name, revision=revision) for revision in revisions],
        "large": {file.rfilename: [file.size, file.lfs.size, file.lfs.sha256] for file in info.siblings if file.lfs},
        "paths": [f"{type(path).__name__} {path.path}" for path in paths],
        "tree": [path.path for path in api.list_repo_tree(**name, path_in_repo="data")],
        "readmes": [Path(hf_hub_download(**name, filename="README.md", revision=it)).read_text() for it in revisions],
        "snapshots": [contents(snapshot_download(**name, revision=revision)) for revision in revisions],
        "pictures": file_system.glob(f"{root}/**/*.jpg"),
        "end": end,
        "errors": {
            "repository": [
                error_of(api.repo_info, **none),
                error_of(hf_hub_download, **none, filename="README.md"),
                error_of(snapshot_download, **none),
            ],
            "revision": [error_of(call, **name, revision="none") for call in (api.repo_info, snapshot_download)],
            "entry": [error_of(hf_hub_download, **name, filename="none"), error_of(api.delete_file, "none", **name)],
            "refused": [error_of(api.create_repo, **name), error_of(HfApi(token=False).create_repo, "user/new")],
        },
    }
results["name"] = api.whoami()["name"]
results["elsewhere"] = get_session().get("http://elsewhere.invalid/page").status_code
results["encrypted"] = error_of(get_session().get, "https://elsewhere.invalid/page")
print(json.dumps(results))
"""


def test_huggingface_hub_finds_what_it_has_sent(hub, tmp_path):
    results = json.loads(run_with_hub(hub, HUGGINGFACE_HUB, tmp_path / "home"))
    large = {
        "data/one.safetensors": "large one",
        "data/two.bin": "large two",
        "data/deep/picture.jpg": "from a file",
        "a copy.jpg": "from a file",
        "up/sub/b.zip": "zipped",
    }
    for kind, prefix in (("model", ""), ("dataset", "datasets/")):
        result = results[kind]
        url = f"{hub.url}/{prefix}user"
        assert result["urls"] == [f"{url}/things", f"{url}/things", f"{url}/bare"]
        assert result["info"] == {"model": "ModelInfo", "dataset": "DatasetInfo"}[kind]

        commits = hub.commits("user/things", kind)
        assert [commit.title for commit in commits] == ["initial commit", "First", "Second", "Third", "Fourth"]
        assert len({commit.id for commit in commits}) == 5
        # What has not changed makes no commit.
        assert result["ids"] == [commits[number].id for number in (1, 2, 2, 4, 4)]

        old = {"README.md": "# Things", "old.txt": "old", "empty.bin": ""}
        old |= {path: content for path, content in large.items() if path.startswith("data/")}
        new = {"README.md": "# New things", "empty.bin": "", "up/a.txt": "a"} | large
        for index, (commit, expected) in enumerate([(commits[-1], new), (commits[1], old)]):
            expected[".gitattributes"] = commit.files[".gitattributes"].decode()
            assert {path: content.decode() for path, content in commit.files.items()} == expected
            assert result["snapshots"][index] == expected
            assert sorted(result["files"][index]) == sorted(expected)
            assert result["readmes"][index] == expected["README.md"]
        assert hub.files("user/things", kind) == commits[-1].files

        assert result["large"] == {
            path: [len(content), len(content), hashlib.sha256(content.encode()).hexdigest()]
            for path, content in large.items()
        }
        assert result["paths"] == ["RepoFolder data", "RepoFile data/two.bin"]
        assert sorted(result["tree"]) == ["data/deep", "data/one.safetensors", "data/two.bin"]
        things = f"{prefix}user/things"
        assert sorted(result["pictures"]) == [f"{things}/a copy.jpg", f"{things}/data/deep/picture.jpg"]
        assert result["end"] == "tw"
        assert result["errors"] == {
            "repository": ["RepositoryNotFoundError"] * 3,
            "revision": ["RevisionNotFoundError"] * 2,
            "entry": ["RemoteEntryNotFoundError"] * 2,
            "refused": ["HfHubHTTPError"] * 2,
        }
    # Each large content was sent once, also the one that is in two files and in two repositories.
    sent = [path for method, path in hub.requests if method == "PUT"]
    assert len(sent) == len(set(sent)) == len(set(large.values()))
    # The only requests that no endpoint knows are those to another host.
    assert (results["name"], results["elsewhere"], results["encrypted"]) == ("user", 404, "ProxyError")
    assert hub.unhandled == [("GET", "http://elsewhere.invalid/page"), ("CONNECT", "elsewhere.invalid:443")]


DATASETS = """
import hashlib, json
from datasets import Dataset, DatasetDict, Features, Image, List, Value, load_dataset

features = Features({"id": Value("string"), "images": List(Image())})


def make(**posts):
    return Dataset.from_list([{"id": id, "images": images} for id, images in posts.items()], features=features)


def describe(posts):
    posts = posts.cast_column("images", List(Image(decode=False)))
    return [[post["id"], [hashlib.sha256(image["bytes"]).hexdigest() for image in post["images"]]] for post in posts]


def error_of(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__


train, test = make(a=["0.png", "1.png"], b=[]), make(c=["2.png"])
first = train.push_to_hub("user/posts")
both = DatasetDict(train=make(a=["0.png"]), test=test)
both.push_to_hub("user/posts", num_shards={"train": 1, "test": 1})
test.push_to_hub("user/posts", config_name="other", split="test")
loaded = load_dataset("user/posts")
streamed = load_dataset("user/posts", streaming=True)
old = load_dataset("user/posts", revision=first.oid)
print(json.dumps({
    "first": first.oid,
    "loaded": {split: describe(posts) for split, posts in loaded.items()},
    "streamed": {split: describe(posts) for split, posts in streamed.items()},
    "old": {split: describe(posts) for split, posts in old.items()},
    "other": describe(load_dataset("user/posts", "other", split="test", streaming=True)),
    "sizes": [image.size for image in loaded["test"][0]["images"] + list(streamed["test"])[0]["images"]],
    "errors": [error_of(load_dataset, "user/none"), error_of(load_dataset, "user/posts", revision="none")],
}))
"""


def test_datasets_loads_and_streams_what_it_has_pushed(hub, tmp_path):
    hashes = []
    for number in range(3):
        file = io.BytesIO()
        Image.new("RGB", (5 + number, 4), (80 * number, 0, 0)).save(file, "PNG")
        (tmp_path / f"{number}.png").write_bytes(file.getvalue())
        hashes.append(hashlib.sha256(file.getvalue()).hexdigest())
    result = json.loads(run_with_hub(hub, DATASETS, tmp_path).splitlines()[-1])

    new = {"train": [["a", hashes[:1]]], "test": [["c", hashes[2:]]]}
    assert result["loaded"] == result["streamed"] == new
    assert result["old"] == {"train": [["a", hashes[:2]], ["b", []]]}
    assert result["other"] == [["c", hashes[2:]]]
    assert result["sizes"] == [[7, 4], [7, 4]]
    assert result["errors"] == ["DatasetNotFoundError", "DatasetNotFoundError"]

    # Each push is one commit, and what it replaced is in the commits before.
    initial, first, *others = hub.commits("user/posts")
    assert (set(initial.files), len(others)) == ({".gitattributes"}, 2)
    assert first.id == result["first"]
    train, test = "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"
    assert set(first.files) == {".gitattributes", "README.md", train}
    assert set(hub.files("user/posts")) == {*first.files, test, "other/test-00000-of-00001.parquet"}
    assert first.files[train] != hub.files("user/posts")[train]
    # What was loaded came from the Hub, and nothing was asked for that it does not know.
    fetched = {path for method, path in hub.requests if method == "GET" and path.endswith(".parquet")}
    last = others[-1].id
    assert {f"/datasets/user/posts/resolve/{last}/{path}" for path in (train, test)} <= fetched
    assert f"/datasets/user/posts/resolve/{first.id}/{train}" in fetched
    assert hub.unhandled == []


PUSH_A_MODEL = """
import torch
from transformers import BertConfig, BertModel

torch.manual_seed(0)
sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
model = BertModel(BertConfig(vocab_size=10, max_position_embeddings=6, **sizes))
model.push_to_hub("user/tiny", commit_message="Push")
with torch.no_grad():
    model.pooler.dense.bias.fill_(0.5)
model.save_pretrained("folder", push_to_hub=True, repo_id="user/tiny", commit_message="Save")
"""

LOAD_A_MODEL = """
import json, sys
from transformers import AutoConfig, AutoModel

revision = sys.argv[1]
config = AutoConfig.from_pretrained("user/tiny")
tensors = AutoModel.from_pretrained("user/tiny").state_dict()
old = AutoModel.from_pretrained("user/tiny", revision=revision).state_dict()
differing = [name for name in tensors if not tensors[name].equal(old[name])]
values = {name: tensor.tolist() for name, tensor in tensors.items()}
print(json.dumps([config.model_type, config.hidden_size, values, differing]))
"""


@pytest.mark.slow
def test_transformers_loads_the_model_that_it_has_pushed(hub, tmp_path):
    run_with_hub(hub, PUSH_A_MODEL, tmp_path / "push")
    _, pushed, saved = hub.commits("user/tiny", "model")
    assert [commit.title for commit in (pushed, saved)] == ["Push", "Save"]
    assert {"config.json", "model.safetensors"} <= set(saved.files)

    # Another process, with an empty cache.
    script = tmp_path / "load.py"
    script.write_text(LOAD_A_MODEL)
    printed = run_with_hub(hub, [str(script), pushed.id], tmp_path / "load")
    kind, width, values, differing = json.loads(printed.splitlines()[-1])
    assert (kind, width) == ("bert", 8)
    tensors = safetensors.torch.load(saved.files["model.safetensors"])
    assert values == {name: tensor.tolist() for name, tensor in tensors.items()}
    assert differing == ["pooler.dense.bias"]
    assert values["pooler.dense.bias"] == [0.5] * 8
    assert hub.unhandled == []
