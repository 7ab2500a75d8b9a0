from collections import Counter
from dataclasses import FrozenInstanceError, replace
from io import BytesIO

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image
from scipy import ndimage, stats
from seqeval.metrics.sequence_labeling import get_entities
from skimage.color import rgb2hsv
from skimage.feature import hog
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB

from dataset_scripts import pictured_posts_generator
from dataset_scripts.features import ENTITY_TYPES, TAG_NAMES
from dataset_scripts.pictured_posts_generator import PicturedPostsDials, generate_posts, pictured_posts_features

# Degrees on the colour circle that a person gives each name to.
HUES = {
    "red": (345, 375),
    "yellow": (40, 65),
    "green": (95, 150),
    "blue": (195, 245),
    "purple": (255, 295),
    "pink": (308, 344),
}
SPOILT = ("dark", "blurred", "noisy")


@pytest.fixture(scope="module")
def posts():
    return list(generate_posts(PicturedPostsDials(seed=5), "train", 300))


@pytest.fixture(scope="module")
def text_posts():
    """Many posts, each picture only the words for what it would show: type, colour, kind, size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictured_posts_generator, "draw_picture", lambda rng, *shown: " ".join(map(str, shown)).encode())
        return list(generate_posts(PicturedPostsDials(seed=6), "train", 6000))


def pixels(image):
    with Image.open(BytesIO(image["bytes"])) as picture:
        assert picture.format == "JPEG"
        assert picture.mode == "RGB"
        return np.asarray(picture)


def grey(image):
    return np.asarray(Image.fromarray(pixels(image)).convert("L"), dtype=float)


def entity(post):
    ((entity_type, start, last),) = get_entities([TAG_NAMES[tag] for tag in post["ner_tags"]])
    return entity_type, tuple(post["tokens"][start : last + 1])


def pictures(posts, *kinds):
    """The post and the image of each picture of these kinds."""
    return [
        (post, image)
        for post in posts
        for image, kind in zip(post["images"], post["picture_kinds"], strict=True)
        if kind in kinds
    ]


def seen_colour(image):
    """The colour word for the mean hue of the picture's vivid pixels."""
    hue, saturation, value = np.moveaxis(rgb2hsv(pixels(image)), -1, 0)
    weights = np.where(saturation > 0.4, saturation**2 * value, 0)
    mean = np.degrees(np.angle((weights * np.exp(2j * np.pi * hue)).sum())) % 360
    return next((name for name, (low, high) in HUES.items() if low <= mean <= high or low <= mean + 360 <= high), None)


def outline(image):
    small = ndimage.gaussian_filter(grey(image), 2)[::2, ::2]
    return hog(small, pixels_per_cell=(8, 8), cells_per_block=(2, 2))


def test_same_seed_gives_the_same_bytes_and_another_seed_other_ones():
    config = PicturedPostsDials(seed=3)
    first = list(generate_posts(config, "test", 6))
    assert first == list(generate_posts(config, "test", 6))
    for other in (generate_posts(replace(config, seed=4), "test", 6), generate_posts(config, "validation", 6)):
        for post, other_post in zip(first, other, strict=True):
            assert post["images"][0]["bytes"] != other_post["images"][0]["bytes"]


def test_a_post_does_not_depend_on_how_many_are_made_nor_on_what_was_made_before():
    config = PicturedPostsDials(seed=3)
    few = list(generate_posts(config, "train", 3))
    list(generate_posts(replace(config, image_size=160), "train", 2))
    assert list(generate_posts(config, "train", 8))[:3] == few


def test_scores_and_texts_of_posts_stay_when_only_the_picture_size_changes():
    config = PicturedPostsDials(seed=3)
    for small, large in zip(
        generate_posts(config, "train", 4), generate_posts(replace(config, image_size=200), "train", 4), strict=True
    ):
        assert small["tokens"] == large["tokens"]
        assert [pixels(image).shape for image in large["images"]] == [(200, 200, 3)] * len(small["images"])


def test_every_post_has_one_entity_and_one_right_picture(posts):
    positions = Counter()
    for post in posts:
        entity(post)
        assert post["picture_kinds"].count("right") == 1
        columns = ("images", "picture_kinds", "quality_scores", "relevance_scores")
        assert len({len(post[name]) for name in columns}) == 1
        assert [image["path"] for image in post["images"]] == [
            f"{post['id']}_{k}.jpg" for k in range(len(post["images"]))
        ]
        if len(post["images"]) == 4:
            positions[post["picture_kinds"].index("right")] += 1
    assert stats.chisquare([positions[k] for k in range(4)]).pvalue > 1e-3


def test_rows_are_what_a_dataset_of_these_features_gives_back(posts):
    rows = [{**post, "images": []} for post in posts[:50]]
    assert Dataset.from_list(rows, features=pictured_posts_features()).to_list() == rows


def test_right_and_spoilt_pictures_have_the_colour_of_the_text_and_irrelevant_ones_do_not(posts):
    for kinds, share in ((("right",), 0.98), (SPOILT, 0.95)):
        matches = [seen_colour(image) in post["tokens"] for post, image in pictures(posts, *kinds)]
        assert np.mean(matches) >= share
    assert not any(seen_colour(image) in post["tokens"] for post, image in pictures(posts, "irrelevant"))


def test_right_pictures_show_the_type_and_the_others_a_wrong_one(posts):
    # Outlines alone, learnt by a linear model from some right pictures, tell the type in others.
    outlines, types = zip(
        *((outline(image), entity(post)[0]) for post, image in pictures(posts, "right")), strict=True
    )
    model = LogisticRegression(max_iter=300).fit(outlines[:200], types[:200])
    assert model.score(outlines[200:], types[200:]) >= 0.9
    for kind in ("irrelevant", *SPOILT):
        outlines, types = zip(
            *((outline(image), entity(post)[0]) for post, image in pictures(posts, kind)), strict=True
        )
        shown = model.predict(outlines)
        assert np.mean(shown == np.array(types)) < 0.2


def test_wrong_types_and_other_colours_are_all_equally_likely(text_posts):
    wrong_types, other_colours = Counter(), Counter()
    for post in text_posts:
        (colour,) = HUES.keys() & post["tokens"]
        for image, kind in zip(post["images"], post["picture_kinds"], strict=True):
            shown_type, shown_colour, shown_kind, size = image["bytes"].decode().split()
            assert (shown_kind, size) == (kind, "128")
            assert (shown_type == entity(post)[0]) == (kind == "right")
            assert (shown_colour == colour) == (kind != "irrelevant")
            if kind != "right":
                wrong_types[entity(post)[0], shown_type] += 1
            if kind == "irrelevant":
                other_colours[colour, shown_colour] += 1
    for pairs, num_others in ((wrong_types, 3), (other_colours, 5)):
        for value in {first for first, _ in pairs}:
            observed = [count for (first, _), count in pairs.items() if first == value]
            assert len(observed) == num_others
            assert stats.chisquare(observed).pvalue > 1e-3


def test_spoilt_pictures_are_darker_blurrier_and_noisier_than_clear_ones(posts):
    def brightness(image):
        return grey(image).mean()

    def sharpness(image):
        return ndimage.laplace(grey(image)).var()

    def noise(image):
        return (grey(image) - ndimage.median_filter(grey(image), 3)).std()

    clear = [image for _, image in pictures(posts, "right", "irrelevant")]
    spoilt = {kind: [image for _, image in pictures(posts, kind)] for kind in SPOILT}
    assert max(map(brightness, spoilt["dark"])) < min(map(brightness, clear))
    assert max(map(sharpness, spoilt["blurred"])) < 0.2 * min(map(sharpness, clear))
    assert min(map(noise, spoilt["noisy"])) > 2 * max(map(noise, clear))
    # A shape is still there: even the spoilt ones have light and shade.
    assert all(grey(image).std() > 2.5 for images in spoilt.values() for image in images)


def test_no_clear_picture_is_flat_anywhere(posts):
    for _, image in pictures(posts, "right", "irrelevant"):
        values = pixels(image).astype(float)
        assert min(values.shape[:2]) >= 128
        blocks = values.reshape(8, 16, 8, 16, 3).std(axis=(1, 3)).max(axis=-1)
        assert blocks.min() > 1


def test_scores_follow_how_the_pictures_were_made(text_posts):
    scores = {kind: [] for kind in pictured_posts_generator.PICTURE_KINDS}
    for post in text_posts:
        for row in zip(post["picture_kinds"], post["quality_scores"], post["relevance_scores"], strict=True):
            scores[row[0]].append(row[1:])
    for kind, values in scores.items():
        means, spreads = np.mean(values, axis=0), np.std(values, axis=0)
        assert means == pytest.approx(
            [0.40 if kind in SPOILT else 0.62, 0.225 if kind == "irrelevant" else 0.285], abs=0.01
        )
        assert spreads == pytest.approx([0.07, 0.025], rel=0.1)
        assert np.min(values) >= 0
        assert np.max(values) <= 1


def test_names_colours_and_sentences_tell_nothing_about_the_type(text_posts):
    types = [entity(post)[0] for post in text_posts]
    names = [" ".join(entity(post)[1]) for post in text_posts]
    assert len(set(zip(names, types, strict=True))) == 4 * len(set(names))
    colours = [next(word for word in post["tokens"] if word in HUES) for post in text_posts]
    for values in (
        names,
        colours,
        [post["tokens"][-1] for post in text_posts],
        [len(post["tokens"]) for post in text_posts],
    ):
        table = stats.contingency.crosstab(values, types).count
        assert stats.chi2_contingency(table[table.sum(axis=1) >= 40]).pvalue > 1e-3
    words = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, 2)).fit_transform(
        " ".join(post["tokens"]) for post in text_posts
    )
    guesses = MultinomialNB().fit(words[:4000], types[:4000]).predict(words[4000:])
    assert np.mean(guesses == np.array(types[4000:])) < 0.43  # the commonest type is 0.4 of them


def test_default_dials_have_their_shares(text_posts):
    kinds = Counter(kind for post in text_posts for kind in post["picture_kinds"])
    types = Counter(entity(post)[0] for post in text_posts)
    counts = Counter(len(post["images"]) for post in text_posts)
    assert [types[name] / 6000 for name in ENTITY_TYPES] == pytest.approx([0.4, 0.2, 0.2, 0.2], abs=0.02)
    assert [counts[number] / 6000 for number in (1, 2, 3, 4)] == pytest.approx([0.2, 0.3, 0.25, 0.25], abs=0.02)
    wrong = kinds.total() - kinds["right"]
    assert kinds["irrelevant"] / wrong == pytest.approx(0.5, abs=0.02)
    assert [kinds[kind] / wrong for kind in SPOILT] == pytest.approx([1 / 6] * 3, abs=0.02)


def test_dials_turn_what_they_name():
    config = PicturedPostsDials(
        type_prior=[0, 0, 1, 0], image_count_weights=[0, 0, 0, 0, 2], spoilt_share=0, score_noise=0
    )
    for post in generate_posts(config, "train", 3):
        assert entity(post)[0] == "ORG"
        assert sorted(post["picture_kinds"]) == ["irrelevant"] * 4 + ["right"]
        right = post["picture_kinds"].index("right")
        assert post["quality_scores"] == pytest.approx([0.62] * 5)
        assert post["relevance_scores"] == pytest.approx([0.285 if k == right else 0.225 for k in range(5)])
    (post,) = generate_posts(replace(config, spoilt_share=1.0, score_noise=50.0), "train", 1)
    assert "irrelevant" not in post["picture_kinds"]
    assert all(0 <= score <= 1 for score in post["quality_scores"])
    assert all(-1 <= score <= 1 for score in post["relevance_scores"])


def test_config_is_frozen_and_equal_by_value():
    config = PicturedPostsDials(type_prior=[1, 1, 1, 1])
    assert config == PicturedPostsDials(type_prior=(1.0, 1.0, 1.0, 1.0))
    with pytest.raises(FrozenInstanceError):
        config.seed = 1


@pytest.mark.parametrize(
    ("dial", "value"),
    [
        ("seed", -1),
        ("seed", 1.5),
        ("type_prior", (0.5, 0.5)),
        ("type_prior", (0, 0, 0, 0)),
        ("type_prior", (1, 1, 1, -1)),
        ("type_prior", (1, 1, 1, float("nan"))),
        ("image_count_weights", ()),
        ("image_count_weights", (0, 0)),
        ("spoilt_share", 1.01),
        ("spoilt_share", float("nan")),
        ("score_noise", -0.1),
        ("score_noise", float("inf")),
        ("image_size", 127),
        ("image_size", 513),
        ("image_size", 128.0),
    ],
)
def test_dial_out_of_range_is_an_error_that_names_it(dial, value):
    with pytest.raises(ValueError, match=f"`{dial}` must"):
        PicturedPostsDials(**{dial: value})


def test_unknown_split_and_negative_number_are_errors():
    with pytest.raises(ValueError, match="'dev', only train, validation, test"):
        next(generate_posts(PicturedPostsDials(), "dev", 1))
    with pytest.raises(ValueError, match="at least 0, got -1"):
        next(generate_posts(PicturedPostsDials(), "train", -1))
