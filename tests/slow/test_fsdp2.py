"""run_mner.py in two processes that share a model (FSDP2), beside one process with as many posts a step."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForTokenClassification

from tests.killed_runs import run_server
from tests.two_processes import (
    ONE,
    TRAIN,
    TWO,
    Runs,
    assert_same,
    assert_same_predictions,
    history,
    launch,
    lopsided_corpus,
    results,
    small_corpus,
    weights,
    without_dropout,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tiny_backbones, tiny_corpus, make_posts, tmp_path_factory) -> Runs:
    folder = tmp_path_factory.mktemp("processes")
    with run_server() as server:
        corpus = lopsided_corpus(make_posts, tiny_corpus, folder / "corpus")
        yield Runs(server, corpus, without_dropout(tiny_backbones, folder))


@pytest.fixture(scope="module")
def alone(runs, tmp_path_factory):
    """The folder of a run in one process."""
    return runs(tmp_path_factory.mktemp("alone") / "run", *runs.fresh, *TRAIN, *ONE)


def test_the_launched_run_is_that_of_one_process(runs, alone, tmp_path):
    # One process has all pictures and few of the words.
    shared = launch(
        tmp_path / "shared", "fsdp2.yaml", "tests/fsdp2_on_cpu.py", [*runs.flags, *runs.fresh, *TRAIN, *TWO]
    )
    assert_same(shared, alone)
    # The folder is an ordinary checkpoint, with the same files of code, and the best epoch's weights.
    assert {path.name for path in shared.iterdir()} == {path.name for path in alone.iterdir()}
    assert json.loads((shared / "config.json").read_text()) == json.loads((alone / "config.json").read_text())
    _, report = AutoModelForTokenClassification.from_pretrained(shared, output_loading_info=True)
    assert not report["missing_keys"] | report["unexpected_keys"]


def test_evaluation_loses_and_doubles_no_post(runs, alone, make_posts, tiny_corpus, tmp_path):
    corpus = small_corpus(make_posts, tiny_corpus, tmp_path / "corpus")
    flags = ["--dataset", str(corpus), "--do_eval", "--do_predict", "--model_name_or_path", str(alone)]
    # One post at a time: some have no picture while the other process needs its share of the vision backbone.
    shared = runs(tmp_path / "shared", *flags, "--per_device_eval_batch_size", "1", config="fsdp2.yaml")
    one = runs(tmp_path / "one", *flags)
    assert (results(shared)["eval_posts"], results(shared)["test_posts"]) == (1, 13)
    assert results(shared) == pytest.approx(results(one), rel=1e-5)
    assert_same_predictions(shared, one)


def test_half_precision_is_that_of_whole_models(runs, tmp_path):
    # One step, for a later one enlarges the rounding of the first; alpha and the CRF compute in float32 in both.
    flags = [*runs.fresh, *TRAIN, *TWO, "--max_steps", "1", "--optim", "sgd", "--learning_rate", "0.5"]
    flags += ["--model_config", '{"dropout": 0.0, "initial_quality_scale": 10.017, "initial_relevance_scale": 20.03}']
    whole = runs(tmp_path / "whole", *flags, "--bf16", config="ddp.yaml")
    shared = runs(tmp_path / "shared", *flags, "--bf16", config="fsdp2.yaml")
    for name, tensor in weights(whole).items():
        assert tensor.dtype == weights(shared)[name].dtype == torch.float32
        torch.testing.assert_close(weights(shared)[name], tensor, atol=1e-6, rtol=0)
    exact = runs(tmp_path / "exact", *flags, config="ddp.yaml")
    assert any(not tensor.allclose(weights(exact)[name], atol=1e-6, rtol=0) for name, tensor in weights(whole).items())


def test_goes_on_from_a_checkpoint_with_a_frozen_backbone(runs, tmp_path):
    flags = [*runs.fresh, *TRAIN, *TWO, "--freeze_text", "--model_config", '{"dropout": 0.3, "image_dropout": 0.3}']
    flags += ["--save_total_limit", "9", "--resume_from_checkpoint", "last"]
    whole = runs(tmp_path / "whole", *flags, config="fsdp2.yaml")
    (tmp_path / "resumed").mkdir()
    shutil.copytree(whole / "checkpoint-6", tmp_path / "resumed" / "checkpoint-6")
    resumed = runs(tmp_path / "resumed", *flags, config="fsdp2.yaml")
    for name, tensor in weights(whole).items():
        assert tensor.equal(weights(resumed)[name]), name
    assert history(resumed) == history(whole)
    assert results(resumed) | {"train_loss": 0} == results(whole) | {"train_loss": 0}
    # What is shared out is gone on from by those who share, and what is not is not.
    message = runs.fail(tmp_path / "resumed", *flags, "--num_train_epochs", "5")
    assert "was written with FSDP2: go on with it" in message
