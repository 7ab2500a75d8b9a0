"""The collator gives a model what its `forward` names, and nothing else."""

import torch
from torch import nn

from mner_training.data_collator import PostCollator


class TextModel(nn.Module):
    def forward(self, input_ids, attention_mask, labels=None, num_items_in_batch=None):
        return input_ids


def rows(processor, pictures):
    posts = [
        {"words": ["washington", "zoo"], "images": pictures, "quality_scores": [0.5, None], "word_labels": [1, 2]},
        {"words": ["paris"], "images": [], "quality_scores": [], "word_labels": [3]},
    ]
    encoded = [row for index, post in enumerate(posts) for row in processor.encode_post(**post, index=index)]
    # columns of a data set that are no tensors of the model
    return posts, [row | {"length": 1, "num_images": 2} for row in encoded]


def test_batch_equals_that_of_the_processor(tiny_processor, make_model, make_pictures):
    posts, encoded = rows(tiny_processor, make_pictures(2))
    collate = PostCollator(tiny_processor, make_model(), with_images=True)
    batch = collate(encoded)
    columns = {name: [post[name] for post in posts] for name in posts[0]}
    expected = tiny_processor(**columns)
    assert set(batch) == set(expected) == {
        "input_ids", "attention_mask", "word_mask", "pixel_values", "image_mask", "quality_scores", "labels"
    }  # fmt: skip
    assert (batch["pixel_values"].dtype, len(batch["pixel_values"])) == (torch.uint8, 2)
    expected["pixel_values"] = expected["pixel_values"][expected["image_mask"]]  # the real ones alone
    for name, tensor in collate.normalize(batch).items():
        torch.testing.assert_close(tensor, expected[name], equal_nan=True, atol=0, rtol=0)
    assert type(batch) is dict


def test_what_forward_does_not_name_is_dropped(tiny_processor, make_pictures):
    _, encoded = rows(tiny_processor, make_pictures(2))
    batch = PostCollator(tiny_processor, TextModel(), with_images=True)(encoded)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}


def test_text_only_model_gets_no_pixels_and_none_are_prepared(tiny_processor, make_model, make_pictures, monkeypatch):
    _, encoded = rows(tiny_processor, make_pictures(2))
    model = make_model(use_images=False)
    monkeypatch.setattr(type(tiny_processor), "normalize_pixels", lambda *_: 1 / 0)
    collate = PostCollator(tiny_processor, model, with_images=False)
    batch = collate.normalize(collate(encoded))
    assert set(batch) == {"input_ids", "attention_mask", "word_mask", "labels"}
    assert model(**batch).loss > 0
