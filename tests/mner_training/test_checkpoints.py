"""The checkpoint to go on from, and its weights back in the model."""

import pytest
import torch
from transformers import AutoModelForTokenClassification

from mner_training.checkpoints import last_checkpoint, load_weights, prepare_output_dir


@pytest.fixture
def run(tmp_path):
    for step, state in {"9": "{}", "10": '{"global_step": 10}', "100": None, "101": '{"global_st', "x": "{}"}.items():
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    return tmp_path


def test_newest_whole_checkpoint_by_number(run):
    assert last_checkpoint(run) == str(run / "checkpoint-10")


def test_nothing_to_go_on_from(tmp_path):
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "not there yet") is None
    (tmp_path / "checkpoint-1").mkdir()
    assert last_checkpoint(tmp_path) is None


@pytest.mark.parametrize("left", ["run.json", "all_results.json", "predictions.jsonl", "checkpoint-10"])
def test_folder_of_an_earlier_run_is_refused(tmp_path, left):
    (tmp_path / left).mkdir() if left.startswith("checkpoint") else (tmp_path / left).write_text("{}")
    with pytest.raises(FileExistsError, match=f"holds an earlier run \\({left}\\).*overwrite_output_dir"):
        prepare_output_dir(tmp_path, do_train=True, overwrite=False)


def test_overwriting_removes_the_earlier_run_and_nothing_else(run):
    for name in ("run.json", "all_results.json", "notes.txt", "model.safetensors"):
        (run / name).write_text("{}")
    prepare_output_dir(run, do_train=False, overwrite=True)
    assert (run / "checkpoint-10").is_dir()
    prepare_output_dir(run, do_train=True, overwrite=True)
    assert sorted(path.name for path in run.iterdir()) == ["model.safetensors", "notes.txt"]
    prepare_output_dir(run / "new", do_train=True, overwrite=False)


@pytest.mark.parametrize("origin", ["made", "loaded"])
def test_every_weight_comes_back(make_model, tmp_path, origin):
    """A model that was loaded remembers how its weights were named, and saves them under those names."""
    trained = make_model(seed=1)
    if origin == "loaded":
        trained.save_pretrained(tmp_path / "before")
        trained = AutoModelForTokenClassification.from_pretrained(tmp_path / "before")
    trained.save_pretrained(tmp_path / "checkpoint")
    expected = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    for parameter in trained.parameters():
        parameter.data.add_(1)
    for model in (trained, make_model(seed=2)):
        load_weights(model, tmp_path / "checkpoint")
        assert model.state_dict().keys() == expected.keys()
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, expected[name]), name


def test_checkpoint_of_another_model_is_refused(make_model, tmp_path):
    make_model(use_images=False).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"does not fit the model: .*cannot be taken from it"):
        load_weights(make_model(), tmp_path)
    with pytest.raises((ValueError, RuntimeError), match=r"does not fit the model|mismatched"):
        load_weights(make_model(use_images=False, num_labels=3), tmp_path)
