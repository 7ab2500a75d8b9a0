"""Which pictures are scored, how often, and what becomes of those that cannot be; every score worked out beside."""

import hashlib
import io
import logging
import math
import time
from collections import Counter
from contextlib import closing

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value, concatenate_datasets
from PIL import Image as PILImage

from mner_training import picture_scoring
from mner_training.picture_scoring import ScoringError
from mner_training.score_cache import DiskFullError, ScoreCache
from mner_training.scoring import score_posts
from processing_iqcr.scorer_files import UnscorableImageError
from processing_iqcr.scorers import RegisteredScorer

QUALITY, RELEVANCE = "quality_scorer", "relevance_scorer"
COLUMNS = ["quality_scores", "relevance_scores"]


class Bright:
    """Mean of the pixels, of which black has 0 and white 1. It remembers the pictures of each call."""

    def __init__(self, seconds: float = 0, **answers: float):
        self.calls: list[list[str]] = []
        self.seconds = seconds  # that a picture takes
        # What is given for some pictures instead, by the grey value of their first pixel: "grey7".
        self.answers = answers

    def __call__(self, images) -> list[float]:
        self.calls.append([fingerprint(image) for image in images])
        time.sleep(self.seconds * len(images))
        return [self.score(np.asarray(image)) for image in images]

    def score(self, pixels: np.ndarray) -> float:
        return self.answers.get(f"grey{pixels[0, 0, 0]}", float(pixels.mean()) / 255)

    @property
    def pictures(self) -> Counter:
        return Counter(picture for call in self.calls for picture in call)

    @property
    def sizes(self) -> list[int]:
        return list(map(len, self.calls))


class Length(Bright):
    """Letters of the text, a hundredth each, less half the brightness: both of the pair count, and their order."""

    def __call__(self, texts, images) -> list[float]:
        self.calls.append([f"{fingerprint(image)} {text}" for text, image in zip(texts, images, strict=True)])
        return [
            self.answers.get(f"grey{np.asarray(image)[0, 0, 0]}", len(text) / 100 - np.asarray(image).mean() / 510)
            for text, image in zip(texts, images, strict=True)
        ]


def refuse(*_):
    raise AssertionError("nothing was to be scored")


def fingerprint(image: PILImage.Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def make_scorers(quality=None, relevance=None, version: str = "1") -> dict[str, RegisteredScorer]:
    """Registered scorers, as `make_scorer` gives them."""
    return {
        QUALITY: RegisteredScorer("bright", quality or Bright(), version),
        RELEVANCE: RegisteredScorer("length", relevance or Length(), version),
    }


def grey(value: int, size: tuple[int, int] = (6, 4)) -> dict:
    """A picture of one grey, as `datasets` has it."""
    file = io.BytesIO()
    PILImage.new("RGB", size, (value, value, value)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": f"grey{value}.png"}


def from_rows(rows: list[dict]) -> Dataset:
    """Posts of rows with `tokens`, `images` and what else they have."""
    kinds = {"id": Value("string"), "tokens": List(Value("string")), "images": List(Image(decode=False))}
    kinds |= dict.fromkeys(COLUMNS, List(Value("float32")))
    return Dataset.from_list(rows, features=Features({column: kinds[column] for column in rows[0]}))


def undecoded(posts: Dataset) -> Dataset:
    return posts.cast_column("images", List(Image(decode=False)))


def work_out(post: dict) -> dict[str, list[float]]:
    """Both scores of a post's pictures, without anything of the package."""
    means = [np.asarray(PILImage.open(io.BytesIO(image["bytes"]))).mean() / 255 for image in post["images"] or ()]
    text = " ".join(post["tokens"])
    return {"quality_scores": means, "relevance_scores": [len(text) / 100 - mean / 2 for mean in means]}


def rows_by_column(posts: Dataset, without: tuple[str, ...] = ()) -> dict[str, list]:
    return {column: posts[column][:] for column in posts.column_names if column not in without}


@pytest.fixture
def cache(tmp_path):
    with closing(ScoreCache(tmp_path / "scores.sqlite")) as cache:
        yield cache


@pytest.fixture
def bare(make_posts) -> dict[str, Dataset]:
    """Two splits without scores."""
    splits = {"train": make_posts(12, seed=11), "test": make_posts(7, seed=12)}
    return {name: undecoded(split).remove_columns(COLUMNS) for name, split in splits.items()}


@pytest.fixture
def few() -> dict[str, Dataset]:
    """Three posts with greys 10, 20, 30 and 40."""
    pictures = [[grey(10), grey(20)], [grey(30)], [grey(40)]]
    rows = [{"id": f"p{n}", "tokens": ["x" * (n + 1)], "images": part} for n, part in enumerate(pictures)]
    return {"train": from_rows(rows)}


def many(number: int) -> dict[str, Dataset]:
    """Posts of one picture each, of which no two are the same."""
    rows = []
    for n in range(number):
        file = io.BytesIO()
        PILImage.new("RGB", (5, 4), (n % 256, n // 256, 9)).save(file, "PNG")
        images = [{"bytes": file.getvalue(), "path": f"{n}.png"}]
        rows.append({"id": str(n), "tokens": ["y" * (n % 50)], "images": images})
    return {"train": from_rows(rows)}


def greys(*values: int) -> dict[str, Dataset]:
    """Posts of one grey picture each, `p` and the grey in their ids."""
    return {"train": from_rows([{"id": f"p{v}", "tokens": ["x"], "images": [grey(v)]} for v in values])}


class TestValues:
    def test_every_picture_gets_both_scores(self, bare, cache):
        scored, counts = score_posts(bare, make_scorers(), cache)
        assert list(scored) == ["train", "test"]
        number = 0
        for name, split in scored.items():
            assert rows_by_column(split, without=COLUMNS) == rows_by_column(bare[name])
            assert split.features == bare[name].features | dict.fromkeys(COLUMNS, List(Value("float32")))
            for post in split:
                for column, expected in work_out(post).items():
                    assert post[column] == pytest.approx(expected, abs=1e-6)
                number += len(post["images"])
        assert number > 20
        expected = {"given": 0, "found": 0, "computed": number, "missing": 0}  # noise: no picture occurs twice
        assert counts == {QUALITY: expected, RELEVANCE: expected}

    def test_scorers_get_the_text_without_handles_and_addresses(self, cache):
        """What `relevance_text` is for; the pictures of posts that differ in no more are scored once."""
        rows = [
            {"tokens": ["@anna", "likes", "R&amp;D", "https://t.co/x"], "images": [grey(0)]},
            {"tokens": ["likes", "@", "bob", "R&D"], "images": [grey(0)]},
            {"tokens": ["@anna"], "images": [grey(0)]},
            {"tokens": [], "images": [grey(0)]},
        ]
        length = Length()
        scored, counts = score_posts({"train": from_rows(rows)}, make_scorers(relevance=length), cache)
        assert [text.partition(" ")[2] for call in length.calls for text in call] == ["likes R&D", "@anna", ""]
        scores = [[len("likes R&D") / 100]] * 2 + [[len("@anna") / 100], [0.0]]
        assert scored["train"]["relevance_scores"] == [pytest.approx(score) for score in scores]
        assert counts[RELEVANCE]["computed"] == 3

    def test_one_kind_alone(self, few, cache):
        scored, counts = score_posts(few, {RELEVANCE: make_scorers()[RELEVANCE]}, cache)
        assert scored["train"].column_names == ["id", "tokens", "images", "relevance_scores"]
        assert list(counts) == [RELEVANCE]

    def test_large_number_keeps_its_order(self, cache):
        scored, counts = score_posts(many(500), make_scorers(), cache)
        means = [(n % 256 + n // 256 + 9) / 3 / 255 for n in range(500)]
        assert np.array(scored["train"]["quality_scores"]) == pytest.approx(np.array(means)[:, None], abs=1e-6)
        expected = [n % 50 / 100 - mean / 2 for n, mean in enumerate(means)]
        assert np.array(scored["train"]["relevance_scores"]) == pytest.approx(np.array(expected)[:, None], abs=1e-6)
        assert counts[QUALITY]["computed"] == 500

    def test_pictures_are_scored_at_their_own_resolution_and_upright(self, cache):
        sizes = []
        file = io.BytesIO()
        exif = PILImage.Exif()
        exif[274] = 6  # lies on its side
        PILImage.new("RGB", (70, 30)).save(file, "JPEG", exif=exif)
        images = [grey(1, size=(900, 3)), grey(2, size=(1, 1)), {"bytes": file.getvalue(), "path": "a.jpg"}]

        def look(pictures):
            sizes.extend((picture.mode, picture.size) for picture in pictures)
            return [0.5] * len(pictures)

        posts = {"train": from_rows([{"tokens": ["x"], "images": images}])}
        score_posts(posts, make_scorers(look), cache)
        assert sizes == [("RGB", (900, 3)), ("RGB", (1, 1)), ("RGB", (30, 70))]


class TestGivenScores:
    def test_stay_and_the_missing_ones_are_filled(self, make_posts, cache):
        """conftest's posts lack some qualities, and all relevances of some posts."""
        posts = {"train": undecoded(make_posts(40, seed=13)), "test": undecoded(make_posts(15, seed=14))}
        bright, length = Bright(), Length()
        scored, counts = score_posts(posts, make_scorers(bright, length), cache)
        seen = {kind: Counter() for kind in counts}
        for name, split in posts.items():
            assert rows_by_column(scored[name], without=COLUMNS) == rows_by_column(split, without=COLUMNS)
            for before, after in zip(split, scored[name], strict=True):
                expected = work_out(before)
                for kind, column in zip(counts, COLUMNS, strict=True):
                    given = before[column] or [None] * len(before["images"])
                    for old, new, right in zip(given, after[column], expected[column], strict=True):
                        seen[kind]["given" if old is not None else "computed"] += 1
                        assert new == (old if old is not None else pytest.approx(right, abs=1e-6))
        for kind, scorer in ((QUALITY, bright), (RELEVANCE, length)):
            assert seen[kind]["given"] > 5
            assert seen[kind]["computed"] > 5
            assert counts[kind] == {"found": 0, "missing": 0, **seen[kind]}
            assert scorer.pictures.total() == seen[kind]["computed"]

    def test_whole_column_given_leaves_its_scorer_alone(self, few, cache):
        scores = [[0.5, 0.25], [0.125], [1.0]]
        posts = {"train": few["train"].add_column("quality_scores", scores)}
        scored, counts = score_posts(posts, make_scorers(quality=refuse), cache)
        assert scored["train"]["quality_scores"] == scores
        assert counts[QUALITY] == {"given": 4, "found": 0, "computed": 0, "missing": 0}
        assert counts[RELEVANCE]["computed"] == 4

    def test_scores_at_the_bounds_are_scores(self, cache):
        """0 is not a missing one, whether the picture's other score is there or not."""
        images = [grey(51), grey(102), grey(153)]
        scores = {"quality_scores": [0, None, 1], "relevance_scores": [None, 0, -1]}
        scored, counts = score_posts(
            {"train": from_rows([{"tokens": ["x"], "images": images, **scores}])}, make_scorers(), cache
        )
        (post,) = scored["train"]
        assert post["quality_scores"] == [0, pytest.approx(0.4), 1]
        assert post["relevance_scores"] == [pytest.approx(0.01 - 0.1), 0, -1]
        assert counts == {kind: {"given": 2, "found": 0, "computed": 1, "missing": 0} for kind in (QUALITY, RELEVANCE)}

    def test_posts_that_are_passed_in_stay_as_they_are(self, make_posts, cache):
        posts = {"train": undecoded(make_posts(10, seed=13))}
        before = posts["train"].to_list()
        score_posts(posts, make_scorers(), cache)
        assert posts["train"].to_list() == before
        assert list(posts) == ["train"]

    @pytest.mark.parametrize(
        ("column", "scores", "message"),
        [
            ("quality_scores", [0.5, 87.0], r"Post 'p0', image 1: 87\.0 in `quality_scores` is not in \[0, 1\]"),
            ("quality_scores", [-0.01, None], r"Post 'p0', image 0: .* is not in \[0, 1\]"),
            ("relevance_scores", [None, 31.5], r"Post 'p0', image 1: 31\.5 in `relevance_scores` is not in \[-1, 1\]"),
            ("relevance_scores", [math.nan, 0.1], "Post 'p0', image 0: `relevance_scores` holds NaN"),
            ("quality_scores", [0.5], "Post 'p0': 1 quality_scores for 2 images"),
            ("quality_scores", [], "Post 'p0': 0 quality_scores for 2 images"),
        ],
    )
    def test_wrong_ones_are_refused_by_name_before_anything_is_scored(self, few, cache, column, scores, message):
        posts = {"train": few["train"].add_column(column, [scores, [0.5], None], feature=List(Value("float32")))}
        with pytest.raises(ValueError, match=message):
            score_posts(posts, make_scorers(refuse, refuse), cache)


class TestOnce:
    @pytest.fixture
    def repeated(self) -> dict[str, Dataset]:
        """Grey 10 four times under two texts, grey 20 twice under one, over two splits."""
        train = [
            {"tokens": ["one"], "images": [grey(10), grey(20)]},
            {"tokens": ["two"], "images": [grey(10), grey(10)]},
        ]
        return {"train": from_rows(train), "test": from_rows([{"tokens": ["one"], "images": [grey(20), grey(10)]}])}

    def test_picture_of_several_posts_and_splits_is_scored_once(self, repeated, cache):
        bright, length = Bright(), Length()
        scored, counts = score_posts(repeated, make_scorers(bright, length), cache)
        assert sorted(bright.pictures.values()) == [1, 1]
        # one picture under two texts, the other under one
        assert sorted(length.pictures.values()) == [1, 1, 1]
        assert {pair.partition(" ")[2] for pair in length.pictures} == {"one", "two"}
        ten, twenty = 10 / 255, 20 / 255
        assert scored["train"]["quality_scores"] == [pytest.approx(s) for s in ([ten, twenty], [ten, ten])]
        assert scored["test"]["quality_scores"] == [pytest.approx([twenty, ten])]
        assert scored["test"]["relevance_scores"] == [pytest.approx([0.03 - twenty / 2, 0.03 - ten / 2])]
        assert counts[QUALITY] == {"given": 0, "found": 0, "computed": 2, "missing": 0}
        assert counts[RELEVANCE] == {"given": 0, "found": 0, "computed": 3, "missing": 0}

    def test_other_file_of_the_same_pixels_is_another_picture(self, cache):
        other = {"bytes": grey(10)["bytes"] + b"trailing", "path": "grey10.png"}
        posts = {"train": from_rows([{"tokens": ["x"], "images": [grey(10), other]}])}
        assert score_posts(posts, make_scorers(), cache)[1][QUALITY]["computed"] == 2

    def test_second_run_computes_nothing(self, make_posts, cache, tmp_path):
        posts = {"train": undecoded(make_posts(30, seed=15))}
        scored, counts = score_posts(posts, make_scorers(), cache)
        for again in (cache, ScoreCache(tmp_path / "scores.sqlite")):
            found, recounted = score_posts(posts, make_scorers(refuse, refuse), again)
            assert found["train"].to_list() == scored["train"].to_list()
            for kind, count in counts.items():
                assert recounted[kind] == count | {"found": count["computed"], "computed": 0}
        again.close()

    def test_what_is_new_is_computed_and_the_rest_found(self, cache):
        score_posts(greys(1, 2, 3), make_scorers(), cache)
        bright = Bright()
        _, counts = score_posts(greys(3, 4, 1, 5), make_scorers(bright), cache)
        assert bright.pictures.total() == 2
        assert counts[QUALITY] == {"given": 0, "found": 2, "computed": 2, "missing": 0}

    def test_new_text_asks_for_relevance_alone(self, few, cache):
        score_posts(few, make_scorers(), cache)
        other = {"train": few["train"].map(lambda post: {"tokens": [*post["tokens"], "new"]})}
        length = Length()
        scored, counts = score_posts(other, make_scorers(refuse, length), cache)
        assert length.pictures.total() == 4
        assert (counts[QUALITY]["found"], counts[RELEVANCE]["computed"]) == (4, 4)
        assert scored["train"]["relevance_scores"][0] == pytest.approx([0.05 - 10 / 510, 0.05 - 20 / 510])

    def test_other_version_of_a_scorer_computes_anew(self, few, cache):
        score_posts(few, make_scorers(), cache)
        scored, counts = score_posts(few, make_scorers(quality=lambda images: [1.0] * len(images), version="2"), cache)
        assert counts[QUALITY]["computed"] == 4
        assert scored["train"]["quality_scores"] == [[1, 1], [1], [1]]
        assert score_posts(few, make_scorers(refuse, refuse), cache)[0]["train"]["quality_scores"][1] == [
            pytest.approx(30 / 255)
        ]


class TestShapesOfPosts:
    def test_posts_without_pictures(self, cache):
        rows = [
            {"tokens": ["a"], "images": []},
            {"tokens": ["b"], "images": None},
            {"tokens": ["c"], "images": [grey(51)]},
        ]
        scored, _ = score_posts({"train": from_rows(rows)}, make_scorers(), cache)
        assert scored["train"]["quality_scores"] == [[], [], [pytest.approx(0.2)]]
        assert scored["train"]["relevance_scores"] == [[], [], [pytest.approx(0.01 - 0.1)]]

    def test_no_picture_at_all(self, cache):
        posts = {"train": from_rows([{"tokens": ["a"], "images": []}]), "test": from_rows([{"tokens": ["a"]}])}
        scored, counts = score_posts(posts, make_scorers(refuse, refuse), cache)
        assert scored["train"].to_list() == [{"tokens": ["a"], "images": [], **{c: [] for c in COLUMNS}}]
        assert scored["test"].to_list() == [{"tokens": ["a"]}]  # no column, no scores
        assert counts[QUALITY] == {"given": 0, "found": 0, "computed": 0, "missing": 0}

    def test_split_without_posts(self, few, cache):
        posts = few | {"test": few["train"].select([])}
        scored, _ = score_posts(posts, make_scorers(), cache)
        assert len(scored["test"]) == 0
        assert scored["test"].features == scored["train"].features

    def test_pictures_behind_paths(self, tmp_path, cache):
        """Read from where they are, and the same as those with the same bytes inside the data set."""
        (tmp_path / "a.png").write_bytes(grey(51)["bytes"])
        (tmp_path / "b.png").write_bytes(grey(102)["bytes"])
        images = [{"bytes": None, "path": str(tmp_path / name)} for name in ("a.png", "b.png")]
        posts = {"train": from_rows([{"tokens": ["x"], "images": [*images, grey(51)]}])}
        bright = Bright()
        scored, counts = score_posts(posts, make_scorers(bright), cache)
        assert scored["train"]["quality_scores"] == [pytest.approx([0.2, 0.4, 0.2])]
        assert (counts[QUALITY]["computed"], bright.pictures.total()) == (2, 2)
        # Known by what they hold, and not by their paths.
        (tmp_path / "a.png").write_bytes(grey(204)["bytes"])
        assert score_posts(posts, make_scorers(), cache)[0]["train"]["quality_scores"] == [
            pytest.approx([0.8, 0.4, 0.2])
        ]

    @pytest.mark.parametrize("order", [[5, 9, 0, 11, 3, 7], list(range(11, -1, -1)), "shuffled"], ids=str)
    def test_rows_that_were_selected_or_shuffled(self, make_posts, cache, order):
        posts = undecoded(make_posts(12, seed=16))
        chosen = posts.shuffle(seed=3) if order == "shuffled" else posts.select(order)
        assert chosen._indices is not None
        scored, counts = score_posts({"train": chosen}, make_scorers(), cache)
        assert rows_by_column(scored["train"], without=COLUMNS) == rows_by_column(chosen, without=COLUMNS)
        assert sum(map(len, scored["train"]["images"])) > 2
        assert counts[QUALITY]["computed"] == sum(s is None for scores in chosen["quality_scores"] for s in scores)
        for before, after in zip(chosen, scored["train"], strict=True):
            for column, right in work_out(before).items():
                given = before[column] or [None] * len(right)
                expected = [r if g is None else g for g, r in zip(given, right, strict=True)]
                assert after[column] == pytest.approx(expected, abs=1e-6)

    def test_posts_of_several_files(self, make_posts, cache):
        """Columns of several chunks."""
        joined = concatenate_datasets([undecoded(make_posts(6, seed=seed)) for seed in (17, 18)])
        scored, _ = score_posts({"train": joined.remove_columns(COLUMNS)}, make_scorers(), cache)
        for post in scored["train"]:
            assert post["quality_scores"] == pytest.approx(work_out(post)["quality_scores"], abs=1e-6)


class TestPicturesThatCannotBeScored:
    @pytest.fixture
    def posts(self, tmp_path) -> dict[str, Dataset]:
        """Greys 10 to 60 in four posts; among them one of rubbish, one that is not there, one 2 pixels wide."""
        rubbish = {"bytes": b"<html>404 Not Found</html>", "path": "rubbish.jpg"}
        missing = {"bytes": None, "path": str(tmp_path / "gone.png")}
        train = [
            {"id": "a", "tokens": ["one"], "images": [grey(10), rubbish, grey(20)]},
            {"id": "b", "tokens": ["two"], "images": [missing, grey(30)]},
        ]
        test = [
            {"id": "c", "tokens": ["six"], "images": [grey(40), grey(50, size=(2, 9)), grey(60)]},
            {"id": "d", "tokens": ["ten"], "images": [rubbish]},
        ]
        return {"train": from_rows(train), "test": from_rows(test)}

    @pytest.fixture
    def narrow(self):
        """A quality scorer that takes no picture below 4 pixels."""
        bright = Bright()

        def score(images):
            if any(image.width < 4 for image in images):
                raise UnscorableImageError("2 x 9 pixels are too few. Leave it out.")
            return bright(images)

        return score

    def test_error_names_them_all_when_all_others_are_scored(self, posts, cache, narrow):
        with pytest.raises(ScoringError) as failed:
            score_posts(posts, make_scorers(narrow), cache)
        message = str(failed.value)
        assert message.startswith("3 pictures cannot be scored: ")
        assert "Split train, Post 'a', image 1" in message
        assert "not a picture of a known format" in message
        assert "Post 'b', image 0" in message
        assert "gone.png' cannot be opened (there is no such file)" in message
        assert "Split test, Post 'c', image 1: 2 x 9 pixels are too few" in message
        assert "set `broken_images` to 'drop'" in message
        assert str(cache.path) in message
        # All others are there, also those of the same batches: the run after it computes nothing.
        assert cache.count(make_scorers()[QUALITY].description) == 5
        assert cache.count(make_scorers()[RELEVANCE].description) == 6  # it took the narrow one
        whole = {
            name: split.map(lambda post: {"images": [i for i in post["images"] if i["path"].startswith("grey")]})
            for name, split in posts.items()
        }
        whole["test"] = whole["test"].map(
            lambda post: {"images": [i for i in post["images"] if "50" not in i["path"]]}
        )
        scored, counts = score_posts(whole, make_scorers(refuse, refuse), cache)
        assert scored["test"]["quality_scores"] == [[pytest.approx(40 / 255), pytest.approx(60 / 255)], []]
        assert counts[QUALITY] == {"given": 0, "found": 5, "computed": 0, "missing": 0}

    def test_dropped_ones_are_missing_named_and_counted(self, posts, cache, narrow, caplog):
        with caplog.at_level(logging.WARNING):
            scored, counts = score_posts(posts, make_scorers(narrow), cache, broken_images="drop")
        near = [pytest.approx(value / 255) for value in range(0, 70, 10)]
        assert scored["train"]["quality_scores"] == [[near[1], None, near[2]], [None, near[3]]]
        assert scored["test"]["quality_scores"] == [[near[4], None, near[6]], [None]]
        halves = [pytest.approx(0.03 - value / 510) for value in range(0, 70, 10)]
        assert scored["train"]["relevance_scores"] == [[halves[1], None, halves[2]], [None, halves[3]]]
        assert scored["test"]["relevance_scores"] == [[halves[4], halves[5], halves[6]], [None]]
        assert counts[QUALITY] == {"given": 0, "found": 0, "computed": 5, "missing": 4}
        assert counts[RELEVANCE] == {"given": 0, "found": 0, "computed": 6, "missing": 3}
        (warning,) = [record.getMessage() for record in caplog.records if "no scores" in record.getMessage()]
        for name in ("Post 'a', image 1", "Post 'b', image 0", "Post 'c', image 1"):
            assert name in warning
        # Again: the good ones are found, the bad ones looked at once more.
        again, recounted = score_posts(posts, make_scorers(narrow, refuse), cache, broken_images="drop")
        assert again["test"].to_list() == scored["test"].to_list()
        assert recounted[QUALITY] == {"given": 0, "found": 5, "computed": 0, "missing": 4}

    def test_refused_by_both_scorers(self, cache):
        def refuse_dark(*arguments):
            if any(np.asarray(image).max() < 20 for image in arguments[-1]):
                raise UnscorableImageError("too dark")
            return [0.5] * len(arguments[-1])

        scored, counts = score_posts(greys(30, 10, 40), make_scorers(refuse_dark, refuse_dark), cache, "drop")
        for kind, column in zip(counts, COLUMNS, strict=True):
            assert scored["train"][column] == [[0.5], [None], [0.5]]
            assert counts[kind]["missing"] == 1

    def test_many_of_them_are_counted_and_some_named(self, cache):
        rows = [
            {"id": str(n), "tokens": ["x"], "images": [{"bytes": b"no picture %d" % n, "path": None}]}
            for n in range(25)
        ]
        with pytest.raises(ScoringError, match=r"^25 pictures cannot .*; and 15 more\. ") as failed:
            score_posts({"train": from_rows(rows)}, make_scorers(refuse, refuse), cache)
        assert len(str(failed.value)) < 5000

    def test_given_score_of_a_broken_picture_needs_no_picture(self, cache):
        images = [{"bytes": b"rubbish", "path": "a.jpg"}, {"bytes": None, "path": "/nowhere/b.jpg"}]
        scores = {"quality_scores": [0.5, 0.25], "relevance_scores": [0.125, -1]}
        rows = [{"tokens": ["x"], "images": images, **scores}]
        scored, _ = score_posts({"train": from_rows(rows)}, make_scorers(refuse, refuse), cache)
        assert scored["train"].to_list() == rows

    def test_place_without_a_picture(self, cache):
        rows = [{"id": "a", "tokens": ["x"], "images": [None, grey(51)]}]
        posts = {"train": from_rows(rows)}
        with pytest.raises(ScoringError, match="Post 'a', image 0"):
            score_posts(posts, make_scorers(), cache)
        scored, _ = score_posts(posts, make_scorers(), cache, broken_images="drop")
        assert scored["train"]["quality_scores"] == [[None, pytest.approx(0.2)]]

    def test_posts_without_ids_are_named_by_their_number(self, cache):
        rows = [{"tokens": ["x"], "images": []}, {"tokens": ["x"], "images": [grey(1), {"bytes": b"?", "path": None}]}]
        with pytest.raises(ScoringError, match="Post 1, image 1"):
            score_posts({"train": from_rows(rows)}, make_scorers(), cache)


WRONG = [
    (QUALITY, math.nan, "its quality is NaN"),
    (QUALITY, math.inf, r"its quality is inf, which is not in \[0, 1\]"),
    (QUALITY, 1.01, r"its quality is 1\.01, which is not in \[0, 1\]"),
    (QUALITY, -0.2, r"its quality is -0\.2, which is not in \[0, 1\]"),
    (RELEVANCE, math.nan, "its relevance is NaN"),
    (RELEVANCE, -math.inf, r"its relevance is -inf, which is not in \[-1, 1\]"),
    (RELEVANCE, 27.5, r"its relevance is 27\.5, which is not in \[-1, 1\]"),
]


@pytest.mark.parametrize(("kind", "answer", "message"), WRONG)
class TestScoresThatNoScorerMayGive:
    """Greys 1 to 8 in batches of 1, 1, 1 and the rest; that of 6 is wrong."""

    def make(self, kind: str, answer: float) -> dict[str, RegisteredScorer]:
        bad = {"grey6": answer}
        quality, relevance = (Bright(**bad), Length()) if kind == QUALITY else (Bright(), Length(**bad))
        return make_scorers(quality, relevance)

    def test_error_names_the_post_and_keeps_all_others(self, cache, kind, answer, message):
        scorers = self.make(kind, answer)
        with pytest.raises(
            ScoringError, match=rf"^Split train, Post 'p6', image 0: {message}, by .*'version': '1'"
        ) as failed:
            score_posts(greys(*range(1, 9)), scorers, cache)
        assert str(cache.path) in str(failed.value)
        assert "'drop'" in str(failed.value)
        # The batch of grey 6 was the last: what was computed before and beside it is kept.
        counts = {name: cache.count(scorer.description) for name, scorer in scorers.items()}
        assert counts == {QUALITY: 8, RELEVANCE: 8} | {kind: 7}
        scored, _ = score_posts(greys(1, 2, 3, 4, 5, 7, 8), make_scorers(refuse, refuse), cache)
        assert scored["train"]["quality_scores"] == [[pytest.approx(v / 255)] for v in (1, 2, 3, 4, 5, 7, 8)]

    def test_dropped_it_is_missing_and_named(self, cache, caplog, kind, answer, message):
        with caplog.at_level(logging.WARNING):
            scored, counts = score_posts(greys(*range(1, 9)), self.make(kind, answer), cache, "drop")
        column = COLUMNS[kind == RELEVANCE]
        assert [score is None for (score,) in scored["train"][column]] == [v == 6 for v in range(1, 9)]
        assert counts[kind] == {"given": 0, "found": 0, "computed": 7, "missing": 1}
        other = {QUALITY: RELEVANCE, RELEVANCE: QUALITY}[kind]
        assert counts[other] == {"given": 0, "found": 0, "computed": 8, "missing": 0}
        assert "Post 'p6', image 0: its " in caplog.text
        # It was not kept: a mended scorer of the same version gives it.
        mended, _ = score_posts(greys(6), make_scorers(), cache)
        assert mended["train"]["quality_scores"] == [[pytest.approx(6 / 255)]]
        assert mended["train"]["relevance_scores"] == [[pytest.approx(0.01 - 6 / 510)]]


class TestScorersThatBreak:
    def test_what_was_stored_before_stays(self, cache, monkeypatch):
        """The scorer breaks at the fourth picture, which comes in the fourth batch."""
        monkeypatch.setattr(picture_scoring, "_BATCH_PICTURES", 1)
        bright = Bright()

        def breaks(images):
            if len(bright.calls) == 3:
                raise RuntimeError("CUDA error")
            return bright(images)

        with pytest.raises(RuntimeError, match="CUDA error"):
            score_posts(many(9), make_scorers(breaks), cache)
        counts = {kind: cache.count(scorer.description) for kind, scorer in make_scorers().items()}
        assert counts == {QUALITY: 3, RELEVANCE: 3}
        bright = Bright()
        _, counts = score_posts(many(9), make_scorers(bright), cache)
        assert bright.pictures.total() == 6
        assert counts[QUALITY] == {"given": 0, "found": 3, "computed": 6, "missing": 0}

    @pytest.mark.parametrize("number", [0, 2])
    def test_not_one_score_per_picture(self, few, cache, number):
        with pytest.raises(ValueError, match=rf"The scorer 'bright' gave {number} scores for 1 pictures"):
            score_posts(few, make_scorers(lambda images: [0.5] * number), cache)
        assert cache.count(make_scorers()[QUALITY].description) == 0

    def test_disk_that_is_full_names_where_it_was(self, cache):
        posts = many(200)
        (pages,) = cache.connection.execute("PRAGMA page_count").fetchone()
        cache.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        bright = Bright()
        with pytest.raises(DiskFullError, match=r"is full\. .* It was at Split train, Post '\d+', image 0\.") as full:
            score_posts(posts, make_scorers(bright), cache)
        assert bright.pictures.total() < 200
        # "All earlier ones are stored": all but the pictures of the last call.
        assert "The scores of the last batch are lost" in str(full.value)
        stored = sum(bright.sizes[:-1])
        assert cache.count(make_scorers()[QUALITY].description) == stored
        cache.connection.execute("PRAGMA max_page_count = 1000000")
        _, counts = score_posts(posts, make_scorers(), cache)
        assert counts[QUALITY] == {"given": 0, "found": stored, "computed": 200 - stored, "missing": 0}


class Clock:
    """The time, for `picture_scoring`: it passes only where somebody lets it."""

    def __init__(self):
        self.seconds = 1000.0

    def perf_counter(self) -> float:
        return self.seconds

    def slow(self, scorer: Bright, seconds: float, loading: float = 0):
        """A scorer that takes so many seconds for a picture, and some for its first call."""

        def score(*arguments):
            self.seconds += seconds * len(arguments[-1]) + (0 if scorer.calls else loading)
            return scorer(*arguments)

        return score


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(picture_scoring, "time", clock)
    return clock


def with_rubbish(posts: dict[str, Dataset], *places: int) -> dict[str, Dataset]:
    """The posts with no pictures at some places."""
    rows = posts["train"].to_list()
    for place in places:
        rows[place]["images"] = [{"bytes": b"rubbish %d" % place, "path": "a.jpg"}]
    return {"train": from_rows(rows)}


class TestLongRuns:
    """60 pictures of a minute each are an hour, and one more is too much."""

    def test_are_refused_after_two_pictures_which_are_kept(self, cache, clock):
        bright = Bright()
        message = r"Scoring 61 pictures will take about 1\.0 hours here \(60 s a picture; .*pass --yes"
        with pytest.raises(ScoringError, match=message) as refused:
            score_posts(many(61), make_scorers(clock.slow(bright, 60)), cache)
        assert str(cache.path) in str(refused.value)
        assert bright.pictures.total() == cache.count(make_scorers()[QUALITY].description) == 2

    def test_both_scorers_count(self, cache, clock):
        scorers = make_scorers(clock.slow(Bright(), 25), clock.slow(Length(), 35))
        with pytest.raises(ScoringError, match=r"Scoring 90 pictures will take about 1\.5 hours here \(60 s a"):
            score_posts(many(90), scorers, cache)

    def test_go_on_when_somebody_said_yes(self, cache, clock):
        bright = Bright()
        _, counts = score_posts(many(70), make_scorers(clock.slow(bright, 60)), cache, yes=True)
        assert counts[QUALITY]["computed"] == bright.pictures.total() == 70

    def test_an_hour_needs_no_yes(self, cache, clock):
        _, counts = score_posts(many(60), make_scorers(clock.slow(Bright(), 60)), cache)
        assert counts[QUALITY]["computed"] == 60

    def test_what_is_found_does_not_count(self, cache, clock):
        score_posts(many(140), make_scorers(), cache)
        _, counts = score_posts(many(150), make_scorers(clock.slow(Bright(), 60)), cache)
        assert counts[QUALITY] == {"given": 0, "found": 140, "computed": 10, "missing": 0}

    def test_loading_of_the_networks_does_not_count(self, cache, clock):
        _, counts = score_posts(many(60), make_scorers(clock.slow(Bright(), 60, loading=200)), cache)
        assert counts[QUALITY]["computed"] == 60

    def test_one_slow_picture_is_not_taken_for_all(self, cache, clock):
        bright = Bright()

        def score(images):
            clock.seconds += 9 if len(bright.calls) == 1 else 0.1 * len(images)
            return bright(images)

        assert score_posts(many(500), make_scorers(score), cache)[1][QUALITY]["computed"] == 500

    @pytest.mark.parametrize("places", [[0], [1], [0, 1], [0, 1, 2, 4, 5, 6]], ids=str)
    def test_broken_pictures_hide_no_long_run(self, cache, clock, places):
        """Nothing is learned from one that takes no time."""
        bright = Bright()
        posts = with_rubbish(many(90), *places)
        with pytest.raises(ScoringError, match=r"pictures will take about 1\.\d hours here \(60 s a picture"):
            score_posts(posts, make_scorers(clock.slow(bright, 60)), cache, broken_images="drop")
        assert 1 <= bright.pictures.total() <= 3

    def test_broken_first_picture_does_not_charge_the_loading(self, cache, clock):
        scorers = make_scorers(clock.slow(Bright(), 60, loading=200))
        _, counts = score_posts(with_rubbish(many(50), 0), scorers, cache, broken_images="drop")
        assert counts[QUALITY]["computed"] == 49


class TestBatches:
    @pytest.mark.parametrize(
        ("seconds", "largest"),
        [(0.001, 64), (0.15, 64), (0.25, 40), (1, 10), (2.6, 3), (5.1, 1), (11, 1)],
    )
    def test_take_about_ten_seconds_and_64_pictures_at_most(self, cache, clock, seconds, largest):
        bright = Bright()
        scorers = make_scorers(clock.slow(bright, seconds, loading=100))
        score_posts(many(2 * largest + 10), scorers, cache)
        assert bright.sizes[:2] == [1, 1]  # to learn how long a picture takes
        assert max(bright.sizes) == largest
        assert sum(bright.sizes) == 2 * largest + 10
        assert set(bright.sizes[3:-1]) <= {largest}

    def test_follow_a_scorer_that_becomes_slow(self, cache, clock):
        """As where the first pictures lack only the score that is soon computed, and later ones the other."""
        bright, durations = Bright(), []

        def score(images):
            durations.append(len(images) * (0.5 if bright.pictures.total() < 400 else 5))
            clock.seconds += durations[-1]
            return bright(images)

        score_posts(many(500), make_scorers(score), cache)
        assert max(bright.sizes) == 20
        # Ten seconds are meant. Where it becomes slow one batch is running, and another one being read.
        assert sum(duration > 20 for duration in durations) <= 3

    def test_of_real_time(self, cache, monkeypatch):
        monkeypatch.setattr(picture_scoring, "_BATCH_SECONDS", 0.2)
        bright = Bright(seconds=0.02)
        score_posts(many(40), make_scorers(bright), cache)
        assert 2 <= max(bright.sizes) <= 10  # 10 on a machine that does nothing else, and never more

    def test_are_bound_by_the_size_of_their_files(self, cache, monkeypatch):
        size = len(grey(0)["bytes"])
        monkeypatch.setattr(picture_scoring, "_BATCH_BYTES", 4 * size)
        bright = Bright()
        score_posts(greys(*range(40)), make_scorers(bright), cache)
        assert max(bright.sizes) in (4, 5)
        assert sum(bright.sizes) == 40

    def test_each_is_stored_before_the_next(self, cache, monkeypatch):
        """What a kill can cost is one batch."""
        monkeypatch.setattr(picture_scoring, "_BATCH_PICTURES", 5)
        bright, stored = Bright(), []
        description = make_scorers()[QUALITY].description

        def score(images):
            with closing(ScoreCache(cache.path)) as other:
                stored.append(other.count(description))
            return bright(images)

        score_posts(many(30), make_scorers(score), cache)
        assert stored == [sum(bright.sizes[:number]) for number in range(len(bright.sizes))]

    @pytest.mark.parametrize("places", [[1], [0, 1], [1, 2, 3]], ids=str)
    def test_are_no_longer_for_broken_pictures(self, cache, clock, places):
        """A batch without a picture took no time, and says nothing of how long one takes."""
        bright = Bright()
        posts = with_rubbish(many(60), *places)
        score_posts(posts, make_scorers(clock.slow(bright, 2)), cache, broken_images="drop")
        assert max(bright.sizes) == 5
