"""run_mner.py in two processes, each with the whole model (DDP), beside one process with as many posts a step."""

import pytest
from transformers import ConvNextConfig, ConvNextModel, ViTImageProcessorPil

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
    # One process has all pictures and few of the words. That each weight gets a gradient in both is not looked up.
    flags = [*runs.flags, *runs.fresh, *TRAIN, *TWO, "--ddp_find_unused_parameters", "false"]
    both = launch(tmp_path / "both", "ddp.yaml", "run_mner.py", flags)
    assert len(history(alone)) == 12
    assert results(alone)["test_f1"] > 0.5
    assert_same(both, alone)


@pytest.mark.parametrize("size", ["1", "4"])
def test_evaluation_loses_and_doubles_no_post(runs, alone, make_posts, tiny_corpus, tmp_path, size):
    corpus = small_corpus(make_posts, tiny_corpus, tmp_path / "corpus")
    flags = [
        "--dataset",
        str(corpus),
        "--do_eval",
        "--do_predict",
        "--model_name_or_path",
        str(alone),
        "--per_device_eval_batch_size",
        size,
    ]
    both, one = runs(tmp_path / "both", *flags, config="ddp.yaml"), runs(tmp_path / "one", *flags)
    assert (results(both)["eval_posts"], results(both)["test_posts"]) == (1, 13)
    assert results(both) == pytest.approx(results(one), rel=1e-5)
    assert_same_predictions(both, one)
    assert_same_predictions(both, alone)


def test_model_without_images(runs, tmp_path):
    text_only = [*TRAIN, "--num_train_epochs", "1", "--model_config", '{"use_images": false}']
    one = runs(tmp_path / "one", *runs.fresh, *text_only, *ONE)
    assert_same(runs(tmp_path / "both", *runs.fresh, *text_only, *TWO, config="ddp.yaml"), one)


@pytest.fixture
def convnext(tmp_path) -> list[str]:
    """Flags of a vision backbone of which some weights, those of its last norm, have no part in its states."""
    config = ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, patch_size=2, drop_path_rate=0.0)
    ConvNextModel(config).save_pretrained(tmp_path / "convnext")
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "convnext")
    return ["--vision_backbone", str(tmp_path / "convnext")]


def test_weights_without_gradient(runs, convnext, tmp_path):
    flags = [*runs.fresh, *convnext, *TRAIN, "--num_train_epochs", "1"]
    one = runs(tmp_path / "one", *flags, *ONE)
    assert_same(runs(tmp_path / "both", *flags, *TWO, config="ddp.yaml"), one)
    flags += ["--ddp_find_unused_parameters", "false"]
    assert "find_unused_parameters" in runs.fail(tmp_path / "not found", *flags, *TWO, config="ddp.yaml")


def test_all_pictures_of_a_process_may_be_dropped(runs, tmp_path):
    flags = [*runs.fresh, *TRAIN, *TWO, "--model_config", '{"image_dropout": 0.8}', "--seed", "3"]
    both = runs(tmp_path / "both", *flags, "--ddp_find_unused_parameters", "false", config="ddp.yaml")
    assert results(both)["train_loss"] < 2.2
