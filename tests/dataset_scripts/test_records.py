import logging

import pytest

from dataset_scripts.features import TAG_NAMES
from dataset_scripts.records import Record, SplitReport, read_rows

RECORDS = [
    Record("1", ["in", "York"], ["O", "I-LOC"], ["1_0.jpg", "1_1.jpg", "1_2.jpg"], "u", "test", "a.txt:1"),
    Record("2", ["Kobe", "!"], ["B-PER", "O"], ["2_0.jpg"], "", "test", "a.txt:2"),
]


@pytest.fixture
def roots(tmp_path):
    for name in ("old/1_0.jpg", "old/1_2.jpg", "new/1_2.jpg", "new/unused.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return [tmp_path / "old", tmp_path / "new"]


def test_first_root_that_has_a_picture_gives_it(roots):
    old, new = roots
    assert next(read_rows(RECORDS, [new, old]))["images"] == [str(old / "1_0.jpg"), str(new / "1_2.jpg")]


def test_missing_pictures_are_left_out_counted_and_logged(roots, caplog):
    report = SplitReport()
    with caplog.at_level(logging.WARNING):
        rows = list(read_rows(RECORDS, roots, report=report))
    assert [row["tokens"] for row in rows] == [["in", "York"], ["Kobe", "!"]]
    assert rows[1]["images"] == []
    assert report.missing_images == ["1: 1_1.jpg", "2: 2_0.jpg"]
    assert report.counts() == {
        "posts": 2,
        "images": 2,
        "entities": {"PER": 1, "LOC": 1, "ORG": 0, "MISC": 0},
        "illegal_steps": 1,
        "missing_images": 2,
    }
    assert "2 pictures" in caplog.text
    assert "1: 1_1.jpg" in caplog.text
    assert "1 I- tags" in caplog.text


def test_without_image_roots_the_corpus_is_text_only(caplog):
    report = SplitReport()
    with caplog.at_level(logging.WARNING):
        rows = list(read_rows(RECORDS[1:], report=report))
    assert rows == [
        {
            "id": "2",
            "tokens": ["Kobe", "!"],
            "ner_tags": [TAG_NAMES.index("B-PER"), 0],
            "images": [],
            "url": "",
            "source": "test",
        }
    ]
    assert report.counts()["missing_images"] == 0
    assert not caplog.text


def test_missing_image_root_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(read_rows(RECORDS, [tmp_path / "nowhere"]))


def test_errors_name_post_file_and_line():
    with pytest.raises(ValueError, match=r"a\.txt:1, post '1': word 1 has 'I-LOC'"):
        list(read_rows(RECORDS, illegal_tags="error"))
    with pytest.raises(ValueError, match=r"a\.txt:2, post '2': 3 words and 2 tags"):
        list(read_rows([RECORDS[1]._replace(tokens=["a", "b", "c"])]))


def test_repair_reaches_the_rows():
    (row,) = read_rows(RECORDS[:1], illegal_tags="repair")
    assert row["ner_tags"] == [0, TAG_NAMES.index("B-LOC")]
