"""The demo's scorers: they are trained here, and judged by scikit-learn on posts that they have not seen."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dataset_scripts.pictured_posts_generator import PicturedPostsDials, generate_posts
from dataset_scripts.pictured_posts_pictures import SPOILT_KINDS, draw_picture
from processing_iqcr import load_image
from processing_iqcr.relevance_scorer import RelevanceScorer, relevance_text
from processing_iqcr.scorers import make_scorer
from scripts.demo_scorers import (
    DemoQuality,
    measure_scorers,
    register_demo_quality,
    save_quality_network,
    save_relevance_model,
)

pytestmark = pytest.mark.slow

SEED, NUM_POSTS = 4, 200


@pytest.fixture(scope="module")
def relevance_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("relevance")
    cosines = save_relevance_model(folder, SEED)
    assert cosines["relevant"] > cosines["irrelevant"] + 0.1
    return folder


@pytest.fixture(scope="module")
def quality_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    means = save_quality_network(folder, SEED)
    assert means.pop("clear") > max(means.values()) + 0.2
    return folder


@pytest.fixture(scope="module")
def posts():
    return list(generate_posts(PicturedPostsDials(seed=SEED), "test", NUM_POSTS))


@pytest.fixture(scope="module")
def images(posts):
    return [load_image(image) for post in posts for image in post["images"]]


@pytest.fixture(scope="module")
def texts(posts):
    return [relevance_text(post["tokens"]) for post in posts for _ in post["images"]]


@pytest.fixture(scope="module")
def kinds(posts):
    return np.array([kind for post in posts for kind in post["picture_kinds"]])


@pytest.fixture(scope="module")
def qualities(quality_folder, images):
    return np.array(DemoQuality(quality_folder)(images))


@pytest.fixture(scope="module")
def relevances(relevance_folder, texts, images):
    return np.array(RelevanceScorer(relevance_folder)(texts, images))


def quality_area(scores, kinds, spoilt):
    chosen = np.isin(kinds, ("right", "irrelevant", spoilt))
    return roc_auc_score(kinds[chosen] != spoilt, scores[chosen])


@pytest.mark.parametrize("spoilt", SPOILT_KINDS)
def test_quality_tells_clear_pictures_from_each_spoilt_kind(qualities, kinds, spoilt):
    assert (qualities >= 0).all()
    assert (qualities <= 1).all()
    assert quality_area(qualities, kinds, spoilt) >= 0.9


@pytest.mark.parametrize("relevant", ["right", *SPOILT_KINDS])
def test_relevance_tells_each_relevant_kind_from_irrelevant_pictures(relevances, kinds, relevant):
    chosen = np.isin(kinds, (relevant, "irrelevant"))
    assert roc_auc_score(kinds[chosen] == relevant, relevances[chosen]) >= 0.9


def test_within_a_post_the_right_picture_leads(posts, kinds, qualities, relevances):
    ends = np.cumsum([len(post["images"]) for post in posts])[:-1]
    better, closer = [], []
    for kind, quality, relevance in zip(*(np.split(a, ends) for a in (kinds, qualities, relevances)), strict=True):
        spoilt, irrelevant = np.isin(kind, SPOILT_KINDS), kind == "irrelevant"
        if spoilt.any():
            better.append(quality[kind == "right"].item() > quality[spoilt].max())
        if irrelevant.any():
            closer.append(relevance[kind == "right"].item() > relevance[irrelevant].max())
    assert min(len(better), len(closer)) > 50
    assert np.mean(better) >= 0.95
    assert np.mean(closer) >= 0.95


def test_measured_areas_are_those_of_scikit_learn(quality_folder, relevance_folder, qualities, relevances, kinds):
    measured = measure_scorers(DemoQuality(quality_folder), RelevanceScorer(relevance_folder), SEED, NUM_POSTS)
    for spoilt in SPOILT_KINDS:
        assert measured[f"quality_{spoilt}"] == pytest.approx(quality_area(qualities, kinds, spoilt), abs=1e-9)
    assert measured["relevance"] == pytest.approx(roc_auc_score(kinds != "irrelevant", relevances), abs=1e-9)


def test_measured_areas_are_those_of_scikit_learn_also_for_poor_scores_with_ties(kinds):
    rng = np.random.default_rng(0)
    quality, relevance = rng.integers(4, size=len(kinds)) / 4, rng.integers(-2, 3, size=len(kinds)) / 2
    measured = measure_scorers(lambda _: quality.tolist(), lambda *_: relevance.tolist(), SEED, NUM_POSTS)
    for spoilt in SPOILT_KINDS:
        assert measured[f"quality_{spoilt}"] == pytest.approx(quality_area(quality, kinds, spoilt), abs=1e-9)
    assert measured["relevance"] == pytest.approx(roc_auc_score(kinds != "irrelevant", relevance), abs=1e-9)
    assert 0 < measured["quality_in_post"] < 0.7
    assert 0 < measured["relevance_in_post"] < 0.7


def test_a_saved_relevance_model_gives_the_same_scores_each_time_it_is_loaded(relevance_folder, texts, images):
    first, again = (RelevanceScorer(relevance_folder)(texts[:60], images[:60]) for _ in range(2))
    assert first == again
    assert sorted(file.name for file in relevance_folder.iterdir()) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]


def test_other_pictures_and_their_sizes_do_not_change_a_quality(quality_folder, images):
    score = DemoQuality(quality_folder)
    large = [load_image(draw_picture(np.random.default_rng(k), "LOC", "red", "clear", 192)) for k in range(3)]
    wide = [image.crop((0, 20, 128, 97)) for image in images[:3]]
    mixed = [picture for trio in zip(images[:3], large, wide, strict=True) for picture in trio]
    alone = [score([picture])[0] for picture in mixed]
    assert score(mixed) == pytest.approx(alone, abs=1e-6)
    assert score(images[:3]) == pytest.approx(alone[::3], abs=1e-6)
    assert score([]) == []
    assert 0 <= score([images[0].crop((0, 0, 1, 1))])[0] <= 1


def test_quality_holds_at_another_resolution(quality_folder):
    rng = np.random.default_rng(3)
    means = {}
    for kind in ("clear", *SPOILT_KINDS):
        pictures = [load_image(draw_picture(rng, "ORG", "blue", kind, 256)) for _ in range(20)]
        means[kind] = np.mean(DemoQuality(quality_folder)(pictures))
    assert means.pop("clear") > max(means.values()) + 0.2


def test_a_registered_quality_scorer_is_found_by_name_and_known_by_its_weights(
    quality_folder, images, qualities, monkeypatch
):
    monkeypatch.setattr("processing_iqcr.scorers._registered", {})
    register_demo_quality(quality_folder)
    scorer = make_scorer("quality_scorer", "demo-quality")
    assert scorer.description["version"] == DemoQuality(quality_folder).version
    assert scorer(images) == pytest.approx(qualities.tolist(), abs=1e-6)


def test_weights_are_read_with_the_first_picture_and_missing_ones_are_an_error_at_once(
    quality_folder, tmp_path, images
):
    for file in quality_folder.iterdir():
        (tmp_path / file.name).write_bytes(b"no network")
    score = DemoQuality(tmp_path)
    assert score.version != DemoQuality(quality_folder).version
    with pytest.raises(Exception, match="header"):
        score(images[:1])
    with pytest.raises(FileNotFoundError):
        DemoQuality(tmp_path / "nowhere")


def test_the_same_seed_gives_the_same_weights_in_any_number_of_threads_and_another_one_others(tmp_path):
    threads = torch.get_num_threads()
    runs = {"first": (SEED, 1), "again": (SEED, 2), "other": (SEED + 1, 1)}
    weights = {}
    for name, (seed, num_threads) in runs.items():
        torch.set_num_threads(num_threads)
        try:
            save_quality_network(tmp_path / name, seed, num_pictures=64, num_epochs=1)
            save_relevance_model(tmp_path / name / "relevance", seed, num_pairs=64, num_epochs=1)
            assert torch.get_num_threads() == num_threads
        finally:
            torch.set_num_threads(threads)
        weights[name] = [file.read_bytes() for file in sorted((tmp_path / name).rglob("*.safetensors"))]
    assert weights["first"] == weights["again"]
    assert all(one != another for one, another in zip(weights["first"], weights["other"], strict=True))
