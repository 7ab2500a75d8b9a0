"""What is shown to others tells nothing of where files lie."""

import json
import shlex

import pytest

from mner_training.public_names import base_name, public_command, public_config, public_scorer, without_token


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/alice/nets/clip", "clip"),
        ("runs/demo/clip/", "clip"),
        ("C:\\Users\\alice\\clip", "clip"),
        ("~/clip.pt", "clip.pt"),
        ("maniqa", "maniqa"),
        ("/", ""),
    ],
)
def test_base_name(path, name):
    assert base_name(path) == name


OPEN_CLIP = {"library": "open_clip", "model": "clip", "weights_sha256": "0a"}


@pytest.mark.parametrize(
    ("kind", "spec", "public"),
    [
        ("quality_scorer", None, None),
        ("quality_scorer", "maniqa", {"name": "maniqa"}),
        (
            "quality_scorer",
            {"name": "maniqa", "weights": "/home/alice/ckpt.pt", "num_crops": 4, "description": {"library": "pyiqa"}},
            {"name": "maniqa", "weights": "ckpt.pt", "num_crops": 4, "description": {"library": "pyiqa"}},
        ),
        (
            "relevance_scorer",
            {"name": "runs/demo/clip", "description": OPEN_CLIP},
            {"name": "clip", "description": OPEN_CLIP},
        ),
        (
            "relevance_scorer",
            {"name": "ViT-B-32-quickgelu", "pretrained": "openai"},
            {"name": "ViT-B-32-quickgelu", "pretrained": "openai"},
        ),
        (
            "relevance_scorer",
            {"name": "ViT-B-32", "pretrained": "../alice/a.bin", "dtype": "bfloat16"},
            {"name": "ViT-B-32", "pretrained": "a.bin", "dtype": "bfloat16"},
        ),
        ("relevance_scorer", {"name": "hf-hub:user/clip"}, {"name": "hf-hub:user/clip"}),
        (  # a registered name is found again as it is
            "quality_scorer",
            {"name": "me/sharp", "description": {"library": "registered", "name": "me/sharp", "version": "1"}},
            {"name": "me/sharp", "description": {"library": "registered", "name": "me/sharp", "version": "1"}},
        ),
    ],
)
def test_scorers_name_their_files_alone(kind, spec, public):
    before = json.dumps(spec)
    assert public_scorer(kind, spec) == public
    assert json.dumps(spec) == before


def test_configurations_lose_the_places_of_their_parts(tmp_path):
    (tmp_path / "vocab.txt").touch()
    config = {
        "_name_or_path": "/home/alice/tagger",
        "vision_config": {"_name_or_path": "/home/alice/vit", "width": 24},
        "files": [str(tmp_path / "vocab.txt"), "/not/there", "</s>", "/"],
        "name_or_path": "x",
        "rate": 0.1,
        "nothing": None,
    }
    assert public_config(config) == {
        "vision_config": {"width": 24},
        "files": ["vocab.txt", "there", "</s>", "/"],
        "rate": 0.1,
        "nothing": None,
    }


def test_json_in_a_command_loses_its_folders_at_any_depth():
    value = json.dumps({"name": "maniqa", "of": {"weights": "/home/alice/w.pt", "more": ["/home/alice/x", 3, None]}})
    command = shlex.split(public_command(["run_mner.py", "--quality_scorer", value], ()))
    assert json.loads(command[-1]) == {"name": "maniqa", "of": {"weights": "w.pt", "more": ["x", 3, None]}}


@pytest.mark.parametrize("flag", ["--hub_token", "--hub-token"])
def test_the_token_of_a_command_is_told_to_nobody(flag):
    assert without_token(["run_mner.py", flag, "hf_secret", "--seed", "1"]) == ["run_mner.py", "--seed", "1"]
    assert without_token(["run_mner.py", f"{flag}=hf_secret", "--seed", "1"]) == ["run_mner.py", "--seed", "1"]
    assert without_token(["run_mner.py", "--seed", "1", flag]) == ["run_mner.py", "--seed", "1"]


def test_command_keeps_what_others_can_use():
    command = ["/home/alice/iqcr/run_mner.py", "recipes/mner_mi.json", "--dataset", "me/posts", "--hub_token=hf_1"]
    command += ["--output_dir=/scratch/alice/run 1", "--learning_rate", "5e-5", "--text_backbone", "nets/alice/bert"]
    command += ["--quality_scorer", '{"name": "/home/alice/net", "num_crops": 4}', "--vision_backbone=google/vit"]
    assert public_command(command, ["me/posts", "google/vit"]) == (
        "python run_mner.py mner_mi.json --dataset me/posts '--output_dir=run 1' --learning_rate 5e-5 "
        '--text_backbone bert --quality_scorer \'{"name": "net", "num_crops": 4}\' --vision_backbone=google/vit'
    )
    assert public_command(["/usr/bin/run-mner", "--text_backbone", "package:a/b"], []) == (
        "run-mner --text_backbone package:a/b"
    )
