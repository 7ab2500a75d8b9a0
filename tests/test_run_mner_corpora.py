"""run_mner.py takes a corpus by name, folder or Hub id in the one field `dataset`, and scores its sources apart."""

import json

import pytest

import run_mner
from dataset_scripts.corpus_build import build_corpus
from dataset_scripts.mner_mi_plus import MNERMIPlus
from dataset_scripts.push import leave_out_pictures
from tests.fake_hub import FakeHub, run_with_hub
from tests.small_release import write_release

# Test posts of the small release, and their entities, by source.
EXPECTED = {"mner-mi": (1, 1), "twitter2017": (1, 1)}


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "MNER-MI")


@pytest.fixture
def flags(tiny_backbones, tmp_path):
    text, vision = map(str, tiny_backbones)
    backbones = ["--text_backbone", text, "--vision_backbone", vision, "--max_length", "32", "--window_overlap", "8"]
    run = ["--do_train", "--do_eval", "--do_predict", "--num_train_epochs", "1", "--use_cpu", "--disable_tqdm", "true"]
    run += ["--broken_images", "drop"]
    return [*backbones, *run, "--output_dir", str(tmp_path / "run")]


def check(results: dict, folder, variant: str) -> None:
    """The run saw both sources with their pictures, and says so in every place."""
    for source, (posts, support) in EXPECTED.items():
        assert (results[f"test_source_{source}_posts"], results[f"test_source_{source}_support"]) == (posts, support)
        assert 0 <= results[f"test_source_{source}_f1"] <= 1
    assert results["test_support"] == sum(support for _, support in EXPECTED.values())
    assert json.loads((folder / "all_results.json").read_text()) == results
    record = json.loads((folder / "run.json").read_text())
    assert record["data"]["corpus"]["variant"] == variant
    assert record["data"]["train"]["posts_by_number_of_images"] == {"1": 2, "5": 1}
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [post["source"] for post in predictions] == list(EXPECTED)
    assert [image["name"] for image in predictions[1]["images"]] == ["twitter2017-17-06_3.jpg"]


@pytest.mark.parametrize("form", ["name", "folder", "folder without pictures"])
def test_one_field_takes_a_name_or_a_folder(release, flags, tmp_path, capsys, form):
    roots = [str(release / root) for root in ("images", "new_images.zip", "twitter2017_images.zip")]
    dataset = {
        "name": ["mner-mi-plus", "--dataset_source", str(release)],
        "folder": [str(tmp_path / "built")],
        "folder without pictures": [str(tmp_path / "bare"), "--images_dirs", *roots],
    }[form]
    if form != "name":
        build_corpus(MNERMIPlus(data_dir=str(release)), tmp_path / "built", verify=False)
        leave_out_pictures(tmp_path / "built", tmp_path / "bare")
    results = run_mner.main([*flags, "--dataset", *dataset])
    check(results, tmp_path / "run", "unrecognised")
    printed = capsys.readouterr().out
    for name in ("test_f1 ", "test_source_mner-mi_f1 ", "test_source_twitter2017_f1 "):
        assert name in printed


@pytest.mark.slow
def test_one_field_takes_a_hub_id(release, flags, tmp_path):
    push = "import sys; from dataset_scripts.build import main; main(sys.argv[1:])"
    source = ["mner-mi-plus", "--source", str(release), "--no-verify", "--output", str(tmp_path / "built")]
    train = "import sys, json, run_mner; print(json.dumps(run_mner.main(sys.argv[1:])))"
    roots = [str(release / root) for root in ("images", "new_images.zip", "twitter2017_images.zip")]
    with FakeHub() as hub:
        run_with_hub(hub, ["-c", push, *source, "--push-to-hub", "me/plus"], tmp_path / "pusher")
        arguments = [*flags, "--dataset", "me/plus", "--images_dirs", *roots]
        printed = run_with_hub(hub, ["-c", train, *arguments], tmp_path / "trainer")
        commit = hub.commits("me/plus")[-1].id
    check(json.loads(printed.splitlines()[-1]), tmp_path / "run", "unrecognised")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["corpus"]["commit"] == commit
