"""What a caller may not pass, each answered by an error that names the post."""

import math

import numpy as np
import pytest
from PIL import Image


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give either `text` or `words`"),
        ({"text": "a", "words": ["a"]}, "Give either `text` or `words`"),
        ({"text": [], "images": []}, "There is no post in `text`"),
        ({"text": ["a", None]}, "Post 1: `text` must be a string, got None"),
        ({"text": 7}, "`text` must be a list, got int"),
        ({"text": ["a", " \n"]}, "Post 1 has no words"),
        ({"words": "paris wins"}, "`words` is the string 'paris wins': pass a list of words"),
        ({"words": []}, "Post 0 has no words"),
        ({"words": [["a"], []]}, "Post 1 has no words"),
        ({"words": [["a"], "paris"]}, "Post 1: `words` must be a list of words, got 'paris'"),
        ({"words": [None, "a"]}, "Post 0: `words` must be a list of words, got None"),
        ({"words": ["a", None]}, "Post 0, word 1: expected a string, got None"),
        ({"words": [["a"], ["b", 3]]}, "Post 1, word 1: expected a string, got 3"),
        ({"words": ["a"], "images": "photo.jpg"}, "`images` must be a list, got str"),
        ({"words": ["a"], "images": b"\xff\xd8"}, "`images` must be a list, got bytes"),
        ({"words": ["a"], "images": Image.new("RGB", (2, 2))}, "`images` must be a list, got Image"),
        ({"words": ["a"], "images": np.zeros((4, 4, 3), np.uint8)}, r"got one array of shape \(4, 4, 3\)"),
        ({"words": [["a"], ["b"]], "images": ["a.jpg", "b.jpg"]}, "Post 0: `images` must be a list, got str"),
        ({"words": [["a"], ["b"]], "images": [[]]}, "2 posts, but 1 entries in `images`"),
        ({"words": [["a"], ["b"]], "word_labels": [0, 1]}, "Post 0: `word_labels` must be a list, got int"),
        ({"words": ["a", "b"], "word_labels": [1]}, "Post 0: 1 labels for 2 words"),
        ({"words": [["a"], ["b"]], "word_labels": [[0], [0, 1]]}, "Post 1: 2 labels for 1 words"),
        ({"words": ["a", "b"], "word_labels": [0, "B-PER"]}, "Post 0, word 1: the label 'B-PER' is no tag id"),
        ({"words": ["a"], "return_tensors": "np"}, "`return_tensors` must be 'pt', got 'np'"),
    ],
)
def test_arguments_that_do_not_fit(tiny_processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_processor(**arguments)


@pytest.mark.parametrize(
    ("name", "scores", "message"),
    [
        ("quality_scores", [0.1], "Post 1: 1 quality_scores for 2 images"),
        ("relevance_scores", [0.1, 0.2, 0.3], "Post 1: 3 relevance_scores for 2 images"),
        (
            "quality_scores",
            [0.1, 53.2],
            r"Post 1, image 1: 53.2 in `quality_scores` is not in \[0, 1\].*divide by 100",
        ),
        ("quality_scores", [-0.1, 0.2], "Post 1, image 0: -0.1 in `quality_scores`"),
        ("relevance_scores", [-1.01, 0.2], r"Post 1, image 0: -1.01 in `relevance_scores` is not in \[-1, 1\]"),
        ("relevance_scores", [0.2, math.inf], "Post 1, image 1: inf"),
        ("quality_scores", [0.2, math.nan], "Post 1, image 1: `quality_scores` holds NaN. Pass None"),
        ("quality_scores", [0.2, np.float32("nan")], "Post 1, image 1: `quality_scores` holds NaN"),
        ("quality_scores", [True, 0.2], "Post 1, image 0: True in `quality_scores` is no number"),
        ("relevance_scores", ["0.5", 0.2], "Post 1, image 0: '0.5' in `relevance_scores` is no number"),
    ],
)
def test_wrong_scores_name_post_and_image(tiny_processor, make_pictures, name, scores, message):
    with pytest.raises(ValueError, match=message):
        tiny_processor(words=[["a"], ["b"]], images=[[], make_pictures(2)], **{name: [[], scores]})


def test_scores_without_images_are_refused(tiny_processor):
    with pytest.raises(ValueError, match="Post 0: 1 quality_scores for 0 images"):
        tiny_processor(words=["a"], quality_scores=[0.5])
