"""What the benchmarks measure on, and the page that shows their figures."""

import json

import pytest
import torch

from benchmarks import table
from benchmarks.plus_shaped import make_batch, make_shapes, make_tagger, pad_batch, typical_batches


def test_posts_have_the_published_numbers_of_pictures():
    shapes = make_shapes()
    assert len(shapes) == 10_229
    assert sum(shape.num_images for shape in shapes) == pytest.approx(22_561, rel=0.01)
    assert all(shape.num_words <= shape.length - 2 for shape in shapes)


@pytest.mark.parametrize("size", [1, 4, 16, 64])
def test_typical_batches_have_the_mean_number_of_pictures(size):
    batches = typical_batches(size, 8)
    assert [len(batch) for batch in batches] == [size] * 8
    for batch in batches:
        assert sum(shape.num_images for shape in batch) == pytest.approx(2.2 * size, abs=1.5)


def test_padded_batch_is_the_same_to_the_model():
    model = make_tagger(tiny=True).eval()
    batch = make_batch(typical_batches(4, 1)[0], model, "cpu")
    with torch.no_grad():
        packed, padded = model(**batch), model(**pad_batch(batch))
    width = batch["input_ids"].shape[1]
    assert (padded.logits.shape[1], padded.image_weights.shape[1]) == (128, 4)
    torch.testing.assert_close(padded.logits[:, :width], packed.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded.loss, packed.loss, rtol=1e-4, atol=1e-5)


def test_page_shows_the_figures_that_are_there():
    assert table.make_table() in table.PAGE.read_text(encoding="utf-8")


def test_figures_come_from_whole_models():
    for path in table.RESULTS.glob("*.json"):
        assert "--tiny" not in json.loads(path.read_text(encoding="utf-8")).get("command", [])
