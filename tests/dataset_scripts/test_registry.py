import json
import os
from collections import Counter
from pathlib import Path

import pytest
from datasets import Image, List
from PIL import Image as PILImage
from seqeval.metrics.sequence_labeling import get_entities

from dataset_scripts.features import ENTITY_TYPES, TAG_NAMES, post_features
from dataset_scripts.registry import load_corpus

DATA = Path(os.environ.get("IQCR_MI_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
TWITTER_2017 = DATA / "twitter2017"
TABLES = DATA.parent / "paper" / "tables.json"

needs_tweets = pytest.mark.skipif(
    not (TWITTER_2017 / "train.txt").is_file(),
    reason=f"the Twitter-2017 texts are not in {TWITTER_2017}; set IQCR_MI_DATA to the folder that holds twitter2017/",
)


@pytest.fixture
def twitter(tmp_path):
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(f"IMGID:{name}_1\nYork\tB-LOC\n\nIMGID:{name}_2\nx\tI-OTHER\n")
    return tmp_path


@pytest.fixture
def mner_mi(tmp_path):
    (tmp_path / "text").mkdir()
    for number, name in enumerate(("train", "val", "test")):
        record = {"id": number, "text": ["Kobe", "!"], "images": [f"{number}_0.jpg"], "label": ["B-PER", "O"]}
        (tmp_path / "text" / f"MNER-MI_{name}.txt").write_text(f"{record}\n{json.dumps({**record, 'id': 9})}\n")
    return tmp_path


def test_both_corpora_load_with_the_same_features(twitter, mner_mi):
    for name, folder in (("twitter2017", twitter), ("mner-mi", mner_mi)):
        corpus, report = load_corpus(name, folder)
        assert list(corpus) == list(report) == ["train", "validation", "test"]
        for split in corpus:
            assert corpus[split].features == post_features()
            assert corpus[split]["source"] == [name, name]
            assert report[split]["posts"] == 2
    assert corpus["validation"]["id"] == ["1", "9"]


def test_report_counts_illegal_steps_and_missing_pictures(twitter):
    (twitter / "pictures").mkdir()
    PILImage.new("RGB", (3, 2)).save(twitter / "pictures" / "valid_2.jpg")
    corpus, report = load_corpus("twitter2017", twitter, [twitter / "pictures"])
    assert report["validation"] == {
        "posts": 2,
        "images": 1,
        "entities": {"PER": 0, "LOC": 1, "ORG": 0, "MISC": 1},
        "illegal_steps": 1,
        "missing_images": 1,
    }
    assert corpus["validation"][0]["images"] == []
    assert corpus["validation"][1]["images"][0].size == (3, 2)
    undecoded = corpus["validation"].cast_column("images", List(Image(decode=False)))
    assert undecoded[1]["images"] == [{"bytes": None, "path": str(twitter / "pictures" / "valid_2.jpg")}]


def test_changed_files_are_read_anew(twitter):
    before = load_corpus("twitter2017", twitter)[0]
    (twitter / "train.txt").write_text("IMGID:other\nParis\tB-LOC\n")
    after = load_corpus("twitter2017", twitter)[0]
    assert after["train"]["id"] == ["other"]
    assert after["train"]._fingerprint != before["train"]._fingerprint  # the key of every cache of datasets


def test_missing_split_says_what_was_expected_and_found(mner_mi):
    (mner_mi / "text" / "MNER-MI_val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"MNER-MI_val\.txt.*holds MNER-MI_test\.txt, MNER-MI_train\.txt\."):
        load_corpus("mner-mi", mner_mi)
    with pytest.raises(FileNotFoundError, match=r"train\.txt.*holds .*text/.*train\.txt, valid\.txt, test\.txt"):
        load_corpus("twitter2017", mner_mi)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_corpus("twitter2017", mner_mi / "nowhere")


def test_unknown_corpus_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"'conll03', only twitter2017, mner-mi\."):
        load_corpus("conll03", tmp_path)


@needs_tweets
def test_twitter_2017_has_the_published_counts():
    corpus, report = load_corpus("twitter2017", TWITTER_2017)
    assert [len(corpus[split]) for split in corpus] == [3373, 723, 723]
    for split, num_entities in (("train", 6049), ("validation", 1324), ("test", 1351)):
        by_seqeval = Counter()
        for ids in corpus[split]["ner_tags"]:
            by_seqeval.update(entity_type for entity_type, _, _ in get_entities([TAG_NAMES[i] for i in ids]))
        assert by_seqeval.total() == num_entities
        assert report[split]["entities"] == by_seqeval
        assert report[split]["illegal_steps"] == 0


@needs_tweets
@pytest.mark.skipif(not TABLES.is_file(), reason=f"the paper's tables are not at {TABLES}")
def test_twitter_2017_is_plus_less_mner_mi():
    table = json.loads(TABLES.read_text())["table_1"]
    _, report = load_corpus("twitter2017", TWITTER_2017)
    for split, counts in report.items():
        plus, mi = table["mner-mi-plus"][split], table["mner-mi"][split]
        assert counts["entities"] == {name: plus[name] - mi[name] for name in ENTITY_TYPES}
        assert sum(counts["entities"].values()) == plus["entities"] - mi["entities"]
        assert counts["posts"] == plus["posts"] - mi["posts"]


@needs_tweets
def test_twitter_2017_words_are_the_lines_of_the_file():
    corpus, _ = load_corpus("twitter2017", TWITTER_2017)
    for split, name in (("train", "train.txt"), ("validation", "valid.txt"), ("test", "test.txt")):
        lines = (TWITTER_2017 / name).read_bytes().split(b"\n")
        words = [line.rpartition(b"\t")[0].decode() for line in lines if b"\t" in line]
        assert [word for tokens in corpus[split]["tokens"] for word in tokens] == words
