"""Posts to rows: what is read from a data set, what is refused by name, and that nothing stale comes back."""

import copy
import io
import logging
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from transformers import ViTImageProcessorPil

from dataset_scripts.features import TAG_NAMES, post_features
from mner_training.arguments import DataArguments
from mner_training.corpus_loading import load_posts
from mner_training.data import (
    describe_split,
    encode_split,
    get_split,
    gold_tags,
    mean_scores,
    tag_names,
    training_labels,
    warn_of_missing_scores,
)
from mner_training.metrics import NERMetric
from modeling_iqcr import IQCRConfig
from processing_iqcr import ImageLoadingError, IQCRProcessor

LABELS = list(TAG_NAMES)


@pytest.fixture(scope="module")
def corpus(tiny_corpus) -> DatasetDict:
    return load_posts(DataArguments(dataset=str(tiny_corpus)))[0]


def undecoded(posts: Dataset) -> Dataset:
    return posts.cast_column("images", List(Image(decode=False)))


def from_rows(rows: list[dict], tags: ClassLabel | Value | None = None) -> Dataset:
    features = Features({**post_features(with_scores=True)})
    if tags is not None:
        features["ner_tags"] = List(tags)
    features = Features({name: feature for name, feature in features.items() if name in rows[0]})
    posts = Dataset.from_list(rows, features=features)
    return undecoded(posts) if "images" in posts.column_names else posts


def png(folder: Path, picture, name: str = "picture.png") -> str:
    picture.save(folder / name)
    return str(folder / name)


def test_load_a_folder_with_its_pictures_undecoded(corpus, make_posts):
    assert {name: len(split) for name, split in corpus.items()} == {"train": 48, "validation": 12, "test": 13}
    expected = undecoded(make_posts(12, seed=2))
    assert corpus["validation"].features == expected.features
    assert corpus["validation"].to_list() == expected.to_list()


def test_data_set_without_words_names_its_columns(tmp_path):
    Dataset.from_dict({"words": [["a"]], "label": [[0]]}).to_parquet(tmp_path / "train.parquet")
    posts, _ = load_posts(DataArguments(dataset=str(tmp_path)))  # a split that is not used may hold what it likes
    with pytest.raises(ValueError, match=r"Split train: no column `tokens` \(the words\), only words, label"):
        get_split(posts, "train")


def test_missing_and_empty_splits(corpus):
    with pytest.raises(ValueError, match="no split 'dev', only train, validation, test"):
        get_split(corpus, "dev")
    with pytest.raises(ValueError, match="'test' has no posts"):
        get_split(DatasetDict(test=corpus["test"].select([])), "test")


def test_tag_names_of_class_labels_and_of_strings():
    rows = [{"tokens": ["a", "b"], "ner_tags": ["I-B", "O"]}, {"tokens": ["c"], "ner_tags": ["B-B"]}]
    assert tag_names(from_rows(rows, Value("string"))) == ["O", "B-B", "I-B"]
    named = from_rows([{"tokens": ["a"], "ner_tags": [1]}], ClassLabel(names=["O", "B-X", "I-X"]))
    assert tag_names(named) == ["O", "B-X", "I-X"]
    assert gold_tags(named, ["I-X", "B-X", "O"]) == ([["B-X"]], 0)
    bare = from_rows([{"tokens": ["a"]}])
    assert tag_names(bare) is None
    assert gold_tags(bare, ["O"]) == (None, 0)


def test_numbers_without_names_are_refused_with_the_cure():
    with pytest.raises(ValueError, match=r"holds int64 without names.*cast_column.*ClassLabel"):
        tag_names(from_rows([{"tokens": ["a"], "ner_tags": [1]}], Value("int64")))


def test_training_needs_bio_tags():
    with pytest.raises(ValueError, match="'S-PER' is not a BIO tag"):
        training_labels(from_rows([{"tokens": ["a"], "ner_tags": ["S-PER"]}], Value("string")))


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.5, 0.5]])
def test_scores_of_the_wrong_length_name_their_post_when_pictures_are_dropped(tiny_processor, make_pictures, scores):
    pictures = []
    for picture in make_pictures(2):
        file = io.BytesIO()
        picture.save(file, "PNG")
        pictures.append({"bytes": file.getvalue(), "path": None})
    posts = from_rows([{"id": "x", "tokens": ["a"], "images": pictures, "quality_scores": scores}])
    with pytest.raises(ValueError, match=f"Post 'x': {len(scores)} quality_scores for 2 images"):
        encode_split("train", posts, tiny_processor, LABELS, drop_broken=True)


def test_training_needs_tags():
    with pytest.raises(ValueError, match="Training needs a column `ner_tags`, there are only id, tokens"):
        training_labels(from_rows([{"id": "1", "tokens": ["a"]}]))


@pytest.mark.parametrize(
    ("row", "tags", "message"),
    [
        (
            {"ner_tags": ["O", "B-FOO"]},
            Value("string"),
            r"Post 'seven': word 1 has the tag 'B-FOO', which is not in the tag set",
        ),
        ({"ner_tags": [0, -1]}, ClassLabel(names=["O", "B-PER"]), "Post 'seven': word 1 has the tag '-1'"),
        ({"ner_tags": ["O"]}, Value("string"), "Post 'seven': 2 words and 1 tags"),
        ({"ner_tags": None}, Value("string"), "Post 'seven': 2 words and 0 tags"),
        ({"ner_tags": ["O"], "tokens": None}, Value("string"), "Post 'seven': 0 words and 1 tags"),
    ],
)
def test_wrong_tags_name_post_and_word(row, tags, message):
    first = {"id": "six", "tokens": ["a"], "ner_tags": [0] if isinstance(tags, ClassLabel) else ["O"]}
    posts = from_rows([first, {"id": "seven", "tokens": ["paris", "wins"], **row}], tags)
    with pytest.raises(ValueError, match=message):
        gold_tags(posts, LABELS)


@pytest.mark.parametrize(
    ("policy", "expected"), [("keep", ["O", "I-PER", "I-PER"]), ("repair", ["O", "B-PER", "I-PER"])]
)
def test_illegal_tags_of_a_built_data_set_are_counted(tiny_processor, policy, expected):
    posts = from_rows([{"tokens": ["a", "b", "c"], "ner_tags": ["O", "I-PER", "I-PER"]}], Value("string"))
    split = encode_split("test", posts, tiny_processor, LABELS, illegal_tags=policy)
    assert split.tags == [expected]
    assert describe_split(split)["illegal_tags"] == 1
    assert [LABELS[label] for label in split.rows[0]["labels"] if label != -100] == expected


def test_illegal_tags_may_be_refused(tiny_processor):
    posts = from_rows([{"id": "x", "tokens": ["a"], "ner_tags": ["I-PER"]}], Value("string"))
    with pytest.raises(ValueError, match="Post 'x': word 0 has 'I-PER', but no PER entity is open"):
        encode_split("test", posts, tiny_processor, LABELS, illegal_tags="error")


def test_tags_of_other_splits_do_not_enter_the_vocabulary(tiny_processor):
    train = from_rows([{"tokens": ["a"], "ner_tags": ["O"]}], Value("string"))
    test = from_rows([{"tokens": ["a"], "ner_tags": ["B-PER"]}], Value("string"))
    with pytest.raises(ValueError, match=r"Post 0: word 0 has the tag 'B-PER', which is not in the tag set \(O\)"):
        encode_split("test", test, tiny_processor, training_labels(train))


def test_rows_equal_what_the_processor_makes_of_each_post(corpus, tiny_processor):
    split = encode_split("test", corpus["test"], tiny_processor, LABELS)
    assert len(split.rows) > len(split.posts) == 13
    for index, post in enumerate(corpus["test"]):
        rows = [row for row in split.rows if row["post"] == index]
        expected = tiny_processor(
            words=post["tokens"],
            images=post["images"],
            quality_scores=post["quality_scores"],
            relevance_scores=post["relevance_scores"],
            word_labels=post["ner_tags"],
        )
        # the 8-bit path out of a data set and the direct one end in the same tensors
        actual = tiny_processor.pad(rows)
        assert set(actual) == set(expected)
        for name, tensor in actual.items():
            torch.testing.assert_close(tensor, expected[name], equal_nan=True, atol=0, rtol=0)
        assert [window[1:] for window in actual.windows] == [window[1:] for window in expected.windows]
        assert [row["num_images"] for row in rows] == [len(post["images"])] * len(rows)
        assert [row["length"] for row in rows] == [len(row["input_ids"]) for row in rows]
    assert [window.post for window in split.windows] == split.rows["post"][:]


def test_long_post_has_every_word_in_some_row(corpus, tiny_processor):
    split = encode_split("test", corpus["test"], tiny_processor, LABELS)
    windows = [window for window in split.windows if window.post == 12]
    assert len(windows) > 1
    assert {k for window in windows for k in range(window.start, window.end)} == set(range(len(split.tags[12])))


def test_scores_missing_for_the_first_posts_only(tiny_processor, make_pictures, tmp_path):
    path = png(tmp_path, make_pictures(1)[0])
    rows = [{"tokens": ["a"], "images": [{"path": path}], "quality_scores": None, "relevance_scores": None}] * 70
    rows += [{"tokens": ["a"], "images": [{"path": path}], "quality_scores": [0.5], "relevance_scores": [None]}]
    split = encode_split("train", from_rows(rows), tiny_processor, LABELS)
    assert split.rows["quality_scores"][:] == [None] * 70 + [[0.5]]
    assert split.rows["relevance_scores"][:] == [None] * 70 + [[None]]


def test_posts_without_pictures_column_or_with_none(tiny_processor):
    bare = encode_split("train", from_rows([{"tokens": ["a"]}]), tiny_processor, LABELS)
    none = encode_split(
        "train", from_rows([{"tokens": ["a"], "images": None}]), tiny_processor, LABELS, drop_broken=True
    )
    assert bare.rows["num_images"][:] == none.rows["num_images"][:] == [0]
    assert describe_split(none)["posts_by_number_of_images"] == {"0": 1}
    assert bare.tags is None
    assert "labels" not in bare.rows.column_names


def test_text_only_model_needs_no_picture_to_be_readable(tiny_processor):
    posts = from_rows([{"tokens": ["a"], "images": [{"path": "/nowhere.jpg"}], "quality_scores": [0.5]}])
    split = encode_split("train", posts, tiny_processor, LABELS, with_images=False)
    assert split.rows["num_images"][:] == [0]
    assert describe_split(split)["posts_by_number_of_images"] == {"1": 1}


def test_empty_post_is_named(tiny_processor):
    with pytest.raises(ValueError, match="Post 'b' has no words"):
        encode_split(
            "train", from_rows([{"id": "a", "tokens": ["x"]}, {"id": "b", "tokens": []}]), tiny_processor, LABELS
        )


@pytest.fixture
def broken(tmp_path, make_pictures):
    """1,003 posts, of which the first 1,000 have no picture and the last two broken ones."""
    good, other = (png(tmp_path, picture, f"{n}.png") for n, picture in enumerate(make_pictures(2)))
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    cut = str(tmp_path / "cut.jpg")
    rows = [{"id": str(n), "tokens": ["a"], "images": [], "quality_scores": []} for n in range(1000)]
    rows.append({"id": "whole", "tokens": ["a"], "images": [good], "quality_scores": [0.1]})
    rows.append(
        {
            "id": "mixed",
            "tokens": ["a"],
            "images": [cut, good, "gone.png", other],
            "quality_scores": [0.1, 0.2, 0.3, None],
        }
    )
    rows.append({"id": "lost", "tokens": ["a"], "images": [cut], "quality_scores": None})
    return from_rows([{**row, "images": [{"path": path} for path in row["images"]]} for row in rows])


def test_broken_picture_is_an_error_that_names_it(broken, tiny_processor):
    with pytest.raises(ImageLoadingError, match=r"Post 'mixed', image 0: .*cut\.jpg"):
        encode_split("train", broken, tiny_processor, LABELS)


def test_broken_pictures_are_dropped_with_their_scores_and_counted(broken, tiny_processor):
    library = logging.getLogger("mner_training")
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    library.addHandler(handler)
    try:
        split = encode_split("train", broken, tiny_processor, LABELS, drop_broken=True)
    finally:
        library.removeHandler(handler)
    assert len(split.posts) == 1003
    assert split.rows["num_images"][-3:] == [1, 2, 0]
    assert split.rows[1001]["quality_scores"] == [pytest.approx(0.2), None]
    assert split.rows[1002]["quality_scores"] is None
    assert [Path(image["path"]).name for image in split.posts[1001]["images"]] == ["0.png", "1.png"]
    named = [message.split(":")[0] for message in split.dropped_images]
    assert named == ["Post 'mixed', image 0", "Post 'mixed', image 2", "Post 'lost', image 0"]
    assert len(records) == 3
    assert describe_split(split)["dropped_images"] == split.dropped_images
    pad = tiny_processor.pad([split.rows[1001]])
    expected = tiny_processor(words=["a"], images=[image["path"] for image in split.posts[1001]["images"]])
    assert torch.equal(pad["pixel_values"], expected["pixel_values"])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5, 60.0], r"Post 'b', image 1: 60\.0 in `quality_scores`.*divide by 100"),
        ([float("nan")], "Post 'b', image 0: .*NaN"),
    ],
)
def test_wrong_score_names_its_post_before_the_model_is_built(scores, message):
    posts = from_rows(
        [{"id": "a", "tokens": ["x"], "quality_scores": [1.0]}, {"id": "b", "tokens": ["x"], "quality_scores": scores}]
    )
    with pytest.raises(ValueError, match=message):
        mean_scores(posts)


def test_mean_scores_pass_over_missing_ones():
    posts = from_rows(
        [
            {"tokens": ["x"], "quality_scores": [0.25, None, 0.5], "relevance_scores": [None]},
            {"tokens": ["x"], "quality_scores": None, "relevance_scores": None},
            {"tokens": ["x"], "quality_scores": [0.75], "relevance_scores": []},
        ]
    )
    assert mean_scores(posts) == {"mean_quality_score": 0.5}
    assert mean_scores(posts.remove_columns(["quality_scores", "relevance_scores"])) == {}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [("quality_scores", 2, 3), ("relevance_scores", 3, 3)]),
        ({"use_quality": False}, [("relevance_scores", 3, 3)]),
        ({"use_images": False}, []),
    ],
)
def test_missing_scores_are_said(tiny_processor, make_pictures, tmp_path, caplog, fields, expected):
    image = {"path": png(tmp_path, make_pictures(1)[0])}
    rows = [
        {"tokens": ["a"], "images": [image] * 2, "quality_scores": [0.5, None]},
        {"tokens": ["a"] * 90, "images": [image], "quality_scores": None},
    ]
    split = encode_split("train", from_rows(rows), tiny_processor, LABELS)
    assert len(split.rows) > 2  # the long post's windows count its picture once
    warn_of_missing_scores([split], IQCRConfig(**fields))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(expected)
    for message, (column, missing, all_pictures) in zip(messages, expected, strict=True):
        assert f"Split train: {missing} of {all_pictures} pictures have no score in `{column}`" in message


def test_missing_column_of_pictures_is_said(tiny_processor, caplog):
    split = encode_split("train", from_rows([{"tokens": ["a"]}]), tiny_processor, LABELS)
    warn_of_missing_scores([split], IQCRConfig())
    assert [record.getMessage() for record in caplog.records] == [
        "Split train has no column `images`, only tokens: no post has a picture."
    ]


class TestCache:
    """Rows are stored between runs; only what would come out the same may be taken from there."""

    @pytest.fixture
    def posts(self, make_posts, tmp_path) -> Dataset:
        make_posts(6, seed=9).to_parquet(tmp_path / "posts" / "train.parquet")
        return load_posts(DataArguments(dataset=str(tmp_path / "posts")))[0]["train"]

    @pytest.fixture
    def encoded_anew(self, monkeypatch):
        """A list that gets an entry whenever a post is really encoded."""
        calls, encode_post = [], IQCRProcessor.encode_post
        monkeypatch.setattr(IQCRProcessor, "encode_post", lambda *a, **k: calls.append(1) or encode_post(*a, **k))
        return calls

    def test_the_same_is_not_done_twice(self, posts, tiny_processor, encoded_anew):
        first = encode_split("train", posts, tiny_processor, LABELS)
        assert len(encoded_anew) == 6
        again = encode_split("train", posts, copy.deepcopy(tiny_processor), LABELS)
        assert len(encoded_anew) == 6
        assert again.rows.to_list() == first.rows.to_list()

    @pytest.mark.parametrize("change", ["labels", "length", "size", "text only", "tag", "word"])
    def test_nothing_stale_after_a_change(self, posts, tiny_processor, encoded_anew, change):
        encode_split("train", posts, tiny_processor, LABELS)
        processor, labels, with_images = tiny_processor, LABELS, True
        if change == "labels":
            labels = LABELS[::-1]
        elif change == "length":
            processor = IQCRProcessor(processor.image_processor, processor.tokenizer, max_length=12, window_overlap=2)
        elif change == "size":
            resized = ViTImageProcessorPil(size={"height": 8, "width": 8})
            processor = IQCRProcessor(resized, processor.tokenizer, max_length=32, window_overlap=8)
        elif change == "text only":
            with_images = False
        elif change == "tag":
            posts = posts.map(lambda post: {"ner_tags": [0] * len(post["ner_tags"])})
        elif change == "word":
            posts = posts.map(lambda post: {"tokens": ["zoo"] * len(post["tokens"])})
        changed = encode_split("train", posts, processor, labels, with_images=with_images).rows.to_list()
        fresh = Dataset.from_list(posts.to_list(), features=posts.features)  # in memory: nothing is stored
        assert changed == encode_split("train", fresh, processor, labels, with_images=with_images).rows.to_list()
        assert len(encoded_anew) == 18

    @pytest.mark.parametrize("drop_broken", [False, True])
    def test_picture_that_changes_behind_its_path(self, tiny_processor, make_pictures, tmp_path, drop_broken):
        old, new = make_pictures(2)
        path = png(tmp_path, old)
        posts = Dataset.from_generator(
            lambda: iter([{"tokens": ["a"], "images": [{"path": path, "bytes": None}]}]),
            features=Features({"tokens": List(Value("string")), "images": List(Image(decode=False))}),
            cache_dir=str(tmp_path / "cache"),
        )
        assert posts.cache_files
        for picture in (old, new):
            png(tmp_path, picture)
            split = encode_split("train", posts, tiny_processor, LABELS, drop_broken=drop_broken)
            assert split.rows[0]["pixel_bytes"] == [tiny_processor.image_to_bytes(picture)]


class TestDescription:
    @pytest.fixture
    def rows(self, make_posts) -> list[dict]:
        return undecoded(make_posts(6, seed=5)).to_list()

    def describe(self, rows, processor) -> dict:
        return describe_split(encode_split("train", from_rows(rows, ClassLabel(names=LABELS)), processor, LABELS))

    def fingerprints(self, rows, processor) -> tuple[str, str]:
        description = self.describe(rows, processor)
        return description["sha256"], description["words_and_tags_sha256"]

    def test_counts(self, rows, tiny_processor):
        description = self.describe(rows, tiny_processor)
        numbers = [len(row["images"]) for row in rows]
        assert description["posts"] == description["rows"] == 6
        assert description["words"] == sum(len(row["tokens"]) for row in rows)
        assert description["posts_by_number_of_images"] == {str(n): numbers.count(n) for n in sorted(set(numbers))}
        assert self.describe(rows, tiny_processor) == description

    @pytest.mark.parametrize("change", ["word", "tag", "picture", "score", "order of pictures", "owner of a picture"])
    def test_fingerprint_changes_with_the_content(self, rows, tiny_processor, change):
        before, text_before = self.fingerprints(rows, tiny_processor)
        position = next(index for index, row in enumerate(rows) if len(row["images"]) > 1)
        several, following = rows[position : position + 2]
        if change == "word":
            rows[3]["tokens"][0] += "x"
        elif change == "tag":
            rows[3]["ner_tags"][0] = 7 - rows[3]["ner_tags"][0]
        elif change == "picture":
            several["images"][0] = several["images"][1]
        elif change == "score":
            several["quality_scores"] = [0.123] * len(several["images"])
        elif change == "order of pictures":
            several["images"].reverse()
        elif change == "owner of a picture":
            for row in rows:
                row["quality_scores"] = row["relevance_scores"] = None
            before, _ = self.fingerprints(rows, tiny_processor)
            following["images"].insert(0, several["images"].pop())
        after, text_after = self.fingerprints(rows, tiny_processor)
        assert after != before
        assert (text_after != text_before) == (change in ("word", "tag"))

    def test_same_pictures_inside_the_data_set_and_behind_paths(self, rows, tiny_processor, tmp_path):
        before = self.describe(rows, tiny_processor)["sha256"]
        for row in rows:
            for image in row["images"]:
                (tmp_path / image["path"]).write_bytes(image["bytes"])
                image["bytes"], image["path"] = None, str(tmp_path / image["path"])
        assert self.describe(rows, tiny_processor)["sha256"] == before


def test_metric_takes_what_gold_tags_gives(corpus):
    tags, _ = gold_tags(corpus["test"], LABELS)
    assert NERMetric().compute(predictions=tags, references=tags)["f1"] == 1.0
