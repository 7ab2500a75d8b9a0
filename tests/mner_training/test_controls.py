"""Negative controls: what they change, what they leave, and that a run's record says so."""

import io
import json
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

import run_mner
from mner_training.arguments import DataArguments
from mner_training.controls import CONTROLS, GREY, apply_control, draw_swap
from mner_training.corpus_loading import load_posts

COLUMNS = ("quality_scores", "relevance_scores")


@pytest.fixture(scope="module")
def posts(tiny_corpus):
    """The tiny corpus as a run has it: pictures not decoded, some scores missing."""
    return load_posts(DataArguments(dataset=str(tiny_corpus)))[0]


def names(post: dict) -> list[str]:
    return [image["path"] for image in post["images"]]


def known(scores: list | None) -> list[float]:
    return [score for score in scores or () if score is not None]


def scored(post: dict) -> list[tuple]:
    """Each picture with its scores."""
    return list(zip(names(post), *(post[column] or [None] * len(post["images"]) for column in COLUMNS), strict=True))


def controlled(control: str, posts, seed: int = 1) -> dict[str, list[dict]]:
    return {name: split.to_list() for name, split in apply_control(control, posts, seed)[0].items()}


@pytest.mark.parametrize("control", CONTROLS)
class TestEveryControl:
    def test_same_seed_gives_same_posts(self, posts, control):
        assert controlled(control, posts) == controlled(control, posts)

    def test_words_tags_and_features_stay(self, posts, control):
        changed, _ = apply_control(control, posts, 1)
        for name, split in posts.items():
            assert changed[name].features == split.features
            assert changed[name].column_names == split.column_names
            kept = ["id", "tokens", "ner_tags", "url", "source"]
            assert changed[name].select_columns(kept).to_list() == split.select_columns(kept).to_list()

    def test_scores_stay_scores_of_the_pictures(self, posts, control):
        for split in controlled(control, posts).values():
            for post in split:
                for column in COLUMNS:
                    assert post[column] is None or len(post[column]) == len(post["images"])

    def test_counts_are_those_of_the_posts(self, posts, control):
        changed, record = apply_control(control, posts, 1)
        assert record["name"] == control
        for name, counts in record["splits"].items():
            assert counts["posts"] == len(posts[name])
            before, after = posts[name].to_list(), changed[name].to_list()
            if control in ("swapped_pictures", "blank_pictures"):
                able = [post for post in before if post["images"]]
            else:
                least = 2 if control == "shuffled_scores" else 1
                able = [post for post in before if max(len(known(post[column])) for column in COLUMNS) >= least]
            different = [one != other for one, other in zip(before, after, strict=True)]
            assert 0 < counts["changed"] == sum(different)
            assert counts["changed"] + counts["with what they had before"] == len(able) < len(before)

    def test_nothing_to_change_is_an_error(self, posts, control):
        bare = {"test": posts["test"].remove_columns(["images", *COLUMNS])}
        with pytest.raises(ValueError, match=f"'{control}' finds nothing to change"):
            apply_control(control, bare, 1)


@pytest.mark.parametrize("control", ["shuffled_scores", "random_scores"])
def test_scores_that_are_all_alike_are_nothing_to_change(control):
    features = Features({column: List(Value("float64")) for column in COLUMNS})
    alike = Dataset.from_dict({column: [[0.3, 0.3]] * 5 for column in COLUMNS}, features=features)
    with pytest.raises(ValueError, match=f"'{control}' finds nothing to change"):
        apply_control(control, {"test": alike}, 1)


@pytest.mark.parametrize("same", [True, False])
def test_pictures_count_as_swapped_by_their_content(posts, same):
    image = next(post for post in posts["train"].to_list() if post["images"])["images"][0]
    images = [
        [image | {"path": "a.png"}],
        [image | {"path": "b.png"} if same else {"bytes": b"other", "path": "b.png"}],
    ]
    two = Dataset.from_dict({"images": images}, features=Features({"images": List(Image(decode=False))}))
    if same:
        with pytest.raises(ValueError, match="finds nothing to change"):
            apply_control("swapped_pictures", {"test": two}, 1)
    else:
        assert apply_control("swapped_pictures", {"test": two}, 1)[1]["splits"]["test"]["changed"] == 2


@pytest.mark.parametrize("control", ["shuffled_scores", "random_scores", "swapped_pictures"])
def test_other_seed_gives_other_posts(posts, control):
    assert controlled(control, posts, 1) != controlled(control, posts, 2)


@pytest.mark.parametrize("control", ["shuffled_scores", "random_scores", "swapped_pictures"])
def test_splits_are_changed_apart(posts, control):
    same = {"train": posts["train"], "other": posts["train"]}
    changed = controlled(control, same)
    assert changed["train"] != changed["other"]
    assert changed["train"] == controlled(control, {"train": posts["train"]})["train"]  # whatever stands beside it


def test_no_control_changes_nothing(posts):
    changed, record = apply_control("none", posts, 1)
    assert record is None
    assert all(changed[name] is posts[name] for name in posts)


def test_arguments_offer_every_control():
    control = next(field for field in fields(DataArguments) if field.name == "control")
    assert control.metadata["choices"] == [control.default, *CONTROLS]


class TestShuffledScores:
    def test_each_post_keeps_its_scores_and_missing_ones_stay_missing(self, posts):
        moved = Counter()
        for name, split in controlled("shuffled_scores", posts).items():
            for before, after in zip(posts[name].to_list(), split, strict=True):
                assert after["images"] == before["images"]
                for column in COLUMNS:
                    assert (after[column] is None) == (before[column] is None)
                    assert sorted(known(after[column])) == sorted(known(before[column]))
                    gaps = [[score is None for score in post[column] or ()] for post in (before, after)]
                    assert gaps[0] == gaps[1]
                    moved[column] += after[column] != before[column]
        assert min(moved.values()) > 10

    def test_kinds_are_permuted_apart_and_all_permutations_are_as_likely(self):
        scores = [0.1, 0.2, 0.3]
        features = Features({column: List(Value("float32")) for column in COLUMNS})
        posts = Dataset.from_dict({column: [scores] * 3000 for column in COLUMNS}, features=features)
        changed = apply_control("shuffled_scores", {"train": posts}, 1)[0]["train"]
        places = [tuple(np.argsort(post[column]) for column in COLUMNS) for post in changed.to_list()]
        counts = Counter((tuple(quality.tolist()), tuple(relevance.tolist())) for quality, relevance in places)
        # 36 pairs of permutations, each expected 83 times with a standard deviation of 9
        assert len(counts) == 36
        assert min(counts.values()) > 83.3 - 4.5 * 9
        assert max(counts.values()) < 83.3 + 4.5 * 9


class TestRandomScores:
    def test_scores_come_from_the_split_and_missing_ones_stay_missing(self, posts):
        for name, split in controlled("random_scores", posts).items():
            for column in COLUMNS:
                pool = {score for post in posts[name].to_list() for score in known(post[column])}
                drawn = [score for post in split for score in known(post[column])]
                assert set(drawn) <= pool
                assert len(set(drawn)) > 3
                gaps = [
                    [[s is None for s in p[column] or ()] for p in part] for part in (posts[name].to_list(), split)
                ]
                assert gaps[0] == gaps[1]

    def test_draws_follow_the_shares_of_the_split(self):
        column = [[0.25]] * 900 + [[0.75, 0.75, 0.75]] * 100
        features = Features({"id": Value("string"), "quality_scores": List(Value("float32"))})
        posts = Dataset.from_dict({"id": ["a"] * 1000, "quality_scores": column}, features)
        changed = apply_control("random_scores", {"train": posts}, 1)[0]["train"]
        drawn = [score for scores in changed["quality_scores"] for score in scores]
        assert len(drawn) == 1200
        assert drawn.count(0.25) / 1200 == pytest.approx(0.75, abs=0.06)  # 4.8 standard deviations


class TestSwappedPictures:
    def test_every_post_gets_the_pictures_and_scores_of_one_other(self, posts):
        for name, split in controlled("swapped_pictures", posts).items():
            before = posts[name].to_list()
            assert sorted(map(scored, split), key=str) == sorted(map(scored, before), key=str)
            for old, new in zip(before, split, strict=True):
                assert bool(new["images"]) == bool(old["images"])
                assert not set(names(old)) & set(names(new))

    def test_number_of_pictures_stays_where_another_post_has_it(self):
        numbers = [0, 1, 1, 1, 2, 2, 4, 0, 4, 3]
        order = draw_swap(numbers, np.random.default_rng(0))
        changed = [place for place, giver in enumerate(order) if numbers[giver] != numbers[place]]
        # The only post with three gives them to one with two or four, and gets those that this one would have got.
        assert len(changed) == 2
        assert 9 in changed
        assert numbers[order[9]] in (2, 4)

    @pytest.mark.parametrize("seed", range(20))
    def test_nobody_keeps_what_it_had(self, seed):
        rng = np.random.default_rng(seed)
        numbers = rng.integers(0, 5, size=rng.integers(2, 30)).tolist()
        order = draw_swap(numbers, rng)
        assert sorted(order) == list(range(len(numbers)))
        having = [place for place, number in enumerate(numbers) if number]
        assert [place for place in having if order[place] == place] == (having if len(having) == 1 else [])
        assert all(order[place] == place for place, number in enumerate(numbers) if not number)

    def test_posts_of_different_numbers_swap_with_each_other(self):
        assert draw_swap([2, 5], np.random.default_rng(0)) == [1, 0]

    def test_only_post_with_pictures_keeps_them_and_is_counted(self, posts):
        train = posts["train"]
        one = next(place for place, images in enumerate(train["images"]) if images)
        none = next(place for place, images in enumerate(train["images"]) if not images)
        few = {"train": train, "test": train.select([one, none])}
        changed, record = apply_control("swapped_pictures", few, 1)
        assert changed["test"].to_list() == few["test"].to_list()
        assert record["splits"]["test"]["changed"] == 0
        assert record["splits"]["test"]["alone in having pictures"] == 1


class TestBlankPictures:
    def test_every_picture_is_grey_in_its_size_and_scores_stay(self, posts):
        for name, split in controlled("blank_pictures", posts).items():
            for before, after in zip(posts[name].to_list(), split, strict=True):
                assert scored(after) == scored(before)
                for old, new in zip(before["images"], after["images"], strict=True):
                    pictures = [PILImage.open(io.BytesIO(image["bytes"])) for image in (old, new)]
                    assert pictures[0].size == pictures[1].size
                    assert pictures[1].getcolors() == [(pictures[1].width * pictures[1].height, GREY)]

    def test_picture_that_cannot_be_read_is_left_to_the_run(self, posts):
        good = next(post for post in posts["train"].to_list() if post["images"])["images"][0]
        bad = {"bytes": b"no picture", "path": "bad.png"}
        features = Features({"images": List(Image(decode=False))})
        mixed = Dataset.from_dict({"images": [[bad, good], [bad], []]}, features=features)
        changed, record = apply_control("blank_pictures", {"train": mixed}, 1)
        images = changed["train"]["images"]
        assert images[0][0] == bad
        assert images[0][1]["bytes"] != good["bytes"]
        assert images[1] == [bad]
        assert record["splits"]["train"] == {
            "posts": 3,
            "changed": 1,
            "without a picture": 1,
            "whose pictures cannot be read": 1,
            "with what they had before": 0,
        }


def test_run_sees_the_control_in_every_split_and_records_it(tiny_backbones, tiny_corpus, tmp_path, capsys, posts):
    text, vision = map(str, tiny_backbones)
    flags = ["--text_backbone", text, "--vision_backbone", vision, "--max_length", "32", "--window_overlap", "8"]
    flags += ["--dataset", str(tiny_corpus), "--do_train", "--do_eval", "--do_predict", "--num_train_epochs", "1"]
    flags += ["--use_cpu", "--disable_tqdm", "true", "--seed", "3", "--output_dir", str(tmp_path / "run")]
    run_mner.main([*flags, "--control", "swapped_pictures"])
    assert "Control swapped_pictures, split train:" in capsys.readouterr().out
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["recipe"]["control"] == "swapped_pictures"
    assert set(record["data"]["corpus"]["control"]["splits"]) == {"train", "validation", "test"}
    lines = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    expected = controlled("swapped_pictures", posts, seed=3)["test"]
    assert [[image["name"] for image in line["images"]] for line in lines] == [names(post) for post in expected]
    assert [[image["quality"] for image in line["images"]] for line in lines] == [
        post["quality_scores"] for post in expected
    ]
