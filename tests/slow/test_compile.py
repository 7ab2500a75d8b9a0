"""torch.compile: the same numbers, and a handful of graphs for batches of every shape."""

import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.testing import CompileCounterWithBackend

from mner_training.data_collator import PostCollator
from run_mner import main

pytestmark = pytest.mark.slow

# The whole pass through the model, the loss behind the CRF, and what follows it.
PARTS = 4


@pytest.fixture(autouse=True)
def forget_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def make_batch(tiny_processor, make_pictures):
    """Function that makes a batch out of the lengths of its posts in words, and their numbers of pictures."""
    names = ["washington", "wins", "again", "paris", "zoo", "jordan", "in", "the"]

    def make(model, lengths, num_images) -> dict:
        rows = []
        for index, (length, number) in enumerate(zip(lengths, num_images, strict=True)):
            words = [names[(index + position) % len(names)] for position in range(length)]
            labels = [(index + position) % 9 for position in range(length)]
            scores = [0.1 * (image + 1) for image in range(number)]
            rows += tiny_processor.encode_post(
                words,
                images=make_pictures(number, seed=index),
                quality_scores=scores,
                relevance_scores=scores,
                word_labels=labels,
                index=index,
            )
        collate = PostCollator(tiny_processor, model, with_images=True)
        return collate.normalize(collate(rows))

    return make


def test_shapes_share_their_graphs(make_lively_model, make_batch):
    model = make_lively_model()
    backend = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=backend)
    num_graphs = []
    for length in range(4, 16):
        batch = make_batch(model, (length, 3, 5), (2 + length % 3, 1, length % 2))
        output, expected = compiled(**batch), model(**batch)
        torch.testing.assert_close(output.loss, expected.loss, rtol=1e-5, atol=1e-5)
        assert torch.equal(output.predictions, expected.predictions)
        gradients = [torch.autograd.grad(result.loss, list(model.parameters())) for result in (output, expected)]
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
        num_graphs.append(backend.frame_count)
    # One set of graphs for the very first shape, one for any, and one more where two sizes happened to agree.
    assert num_graphs[2] <= 3 * PARTS
    assert num_graphs[2:] == [num_graphs[2]] * 10


def test_trainer_trains_a_compiled_model_as_another(tiny_backbones, tiny_corpus, tmp_path):
    text, vision = map(str, tiny_backbones)
    flags = ["--text_backbone", text, "--vision_backbone", vision, "--dataset", str(tiny_corpus), "--max_length", "32"]
    flags += ["--window_overlap", "8", "--do_train", "--do_eval", "--do_predict", "--num_train_epochs", "3"]
    flags += ["--learning_rate", "3e-3", "--use_cpu", "--disable_tqdm", "true"]
    plain = main([*flags, "--output_dir", str(tmp_path / "plain")])
    compiled = main([*flags, "--output_dir", str(tmp_path / "compiled"), "--torch_compile_backend", "aot_eager"])
    assert compiled["test_f1"] == plain["test_f1"] > 0.8
    assert compiled["test_loss"] == pytest.approx(plain["test_loss"], rel=1e-3)
    assert set(load_file(tmp_path / "compiled" / "model.safetensors")) == set(
        load_file(tmp_path / "plain" / "model.safetensors")
    )
