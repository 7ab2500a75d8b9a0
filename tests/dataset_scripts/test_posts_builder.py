"""The builders: the same rows in every form that `datasets` knows, and nothing stale."""

import hashlib
import io
import logging
import pickle

import numpy as np
import pytest
from datasets import Image, List
from PIL import Image as PILImage

from dataset_scripts.features import TAG_NAMES, post_features
from dataset_scripts.mner_mi import MNERMI
from dataset_scripts.mner_mi_plus import MNERMIPlus
from dataset_scripts.registry import BUILDERS
from dataset_scripts.twitter2015 import Twitter2015
from dataset_scripts.twitter2017 import Twitter2017
from tests.small_release import MNER_MI, PICTURES, TWITTER_PICTURES

SPLITS = ("train", "validation", "test")


def rows(builder, split="train") -> list[dict]:
    return list(builder.rows(split))


def tags(row) -> list[str]:
    return [TAG_NAMES[tag] for tag in row["ner_tags"]]


def names(row) -> list[str]:
    return [image["path"] for image in row["images"]]


def test_rows_are_what_the_release_says(release):
    first, second = rows(MNERMI(data_dir=str(release)))
    assert first == {
        "id": "5302",
        "tokens": ["Washington", "wins", "again", "!"],
        "ner_tags": [1, 0, 0, 0],
        "images": [{"bytes": PICTURES[f"5302_{k}.jpg"], "path": f"5302_{k}.jpg"} for k in range(5)],
        "url": "https://twitter.com/i/5302",
        "source": "mner-mi",
    }
    assert tags(second) == ["O", "B-MISC", "O", "B-LOC", "I-LOC"]  # MIS and MISC are one type
    assert names(second) == ["7_0.jpg"]


def test_jpeg_without_its_end_marker_becomes_one_that_anybody_can_read(release):
    (picture,) = rows(MNERMI(data_dir=str(release)))[1]["images"]
    whole = PILImage.open(io.BytesIO(PICTURES["7_0.jpg"] + b"\xff\xd9"))
    assert np.array_equal(PILImage.open(io.BytesIO(picture["bytes"])), whole)
    with pytest.raises(OSError, match="truncated"):
        PILImage.open(io.BytesIO(PICTURES["7_0.jpg"])).load()


def test_every_form_has_the_same_rows(release):
    builder = MNERMIPlus(data_dir=str(release))
    builder.download_and_prepare()
    for split in SPLITS:
        expected = rows(MNERMIPlus(data_dir=str(release)), split)
        undecoded = List(Image(decode=False))
        assert builder.as_dataset(split).cast_column("images", undecoded).to_list() == expected
        streamed = MNERMIPlus(data_dir=str(release)).as_streaming_dataset(split)
        assert list(streamed.cast_column("images", undecoded)) == expected
        assert next(iter(streamed))["images"][0].mode == "RGB"
        assert builder.as_dataset(split).features == streamed.features == post_features()


def test_every_corpus_has_the_same_columns(release, twitter2017):
    sources = {"mner-mi": release, "mner-mi-plus": release, "twitter2017": twitter2017, "twitter2015": twitter2017}
    for name, source in sources.items():
        roots = {"images": [str(twitter2017 / "twitter2017_images")]} if name == "twitter2015" else {}
        assert BUILDERS[name](data_dir=str(source), **roots).info.features == post_features()
    assert set(BUILDERS) == {*sources, "pictured-posts", "folder"}
    six = {"id", "tokens", "ner_tags", "images", "url", "source"}
    assert six < set(BUILDERS["pictured-posts"]().info.features)


def test_plus_tells_its_sources_apart_and_numbers_them_apart(release):
    train = rows(MNERMIPlus(data_dir=str(release)))
    assert [(row["id"], row["source"]) for row in train] == [
        ("5302", "mner-mi"),
        ("7", "mner-mi"),
        ("twitter2017-7", "twitter2017"),
    ]
    # The name in the record begins with the corpus; the file's own name begins after the first dash.
    assert train[2]["images"] == [{"bytes": TWITTER_PICTURES["16_05_01_1.jpg"], "path": "twitter2017-16_05_01_1.jpg"}]
    (*_, last) = rows(MNERMIPlus(data_dir=str(release)), "test")
    assert last["images"] == [{"bytes": TWITTER_PICTURES["17-06_3.jpg"], "path": "twitter2017-17-06_3.jpg"}]


@pytest.mark.parametrize("inside", [True, False])
def test_plus_is_put_together_where_its_files_are_missing(release, twitter2017, inside):
    whole = {split: rows(MNERMIPlus(data_dir=str(release)), split) for split in SPLITS}
    for path in (release / "text").glob("MNER-UNI_*"):
        path.unlink()
    if inside:
        twitter2017.rename(release / "twitter2017")
    options = {} if inside else {"twitter2017": str(twitter2017)}
    for split in SPLITS:
        together = rows(MNERMIPlus(data_dir=str(release), **options), split)
        for row in (*together, *whole[split]):
            if row["source"] == "twitter2017":
                assert row.pop("id").startswith("twitter2017-")
        assert together == whole[split]


def test_some_of_the_plus_files_are_an_error_and_no_reason_to_put_it_together(release, twitter2017):
    (release / "text" / "MNER-UNI_val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"MNER-UNI_val\.txt'; the folder .* holds MNER-MI_test\.txt"):
        MNERMIPlus(data_dir=str(release), twitter2017=str(twitter2017))


def test_twitter_corpora_share_one_form(twitter2017):
    (row,) = rows(Twitter2017(data_dir=str(twitter2017)))
    assert row["tokens"] == ["#", "NBA", "", "Finals"]
    assert tags(row) == ["O", "B-ORG", "O", "B-MISC"]  # OTHER and MISC are one type
    assert (row["id"], row["source"], names(row)) == ("16_05_01_1", "twitter2017", ["16_05_01_1.jpg"])
    other = rows(Twitter2015(data_dir=str(twitter2017), images=[str(twitter2017 / "twitter2017_images")]))
    assert other == [{**row, "source": "twitter2015"}]


def test_named_image_roots_take_the_place_of_the_release_s_own_in_their_order(release, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "5302_0.jpg").write_bytes(TWITTER_PICTURES["O_2.jpg"])
    for roots, content in (
        ([other, release / "images"], TWITTER_PICTURES["O_2.jpg"]),
        ([release / "images", release / "new_images.zip", other], PICTURES["5302_0.jpg"]),
    ):
        first = rows(MNERMI(data_dir=str(release), images=[str(root) for root in roots]))[0]
        assert first["images"][0]["bytes"] == content


def test_text_alone_keeps_the_names_of_its_pictures(release):
    for path in (release / "images").iterdir():
        path.unlink()
    (release / "images").rmdir()
    (release / "new_images.zip").unlink()
    builder = MNERMI(data_dir=str(release), with_images=False)
    first = rows(builder)[0]
    assert first["images"] == []
    assert first["image_names"] == [f"5302_{k}.jpg" for k in range(5)]
    assert first["image_sha256"] == [None] * 5
    builder.download_and_prepare()
    assert builder.as_dataset("train").features == post_features(with_pictures=False)
    with pytest.raises(FileNotFoundError, match=r"holds no pictures: expected images, images\.zip, new_images,"):
        MNERMI(data_dir=str(release))


def test_changed_files_are_read_anew(release):
    def prepared():
        builder = MNERMI(data_dir=str(release))
        builder.download_and_prepare()
        return builder.as_dataset("train").cast_column("images", List(Image(decode=False)))

    before = prepared()
    assert prepared()._fingerprint == before._fingerprint
    text = release / "text" / "MNER-MI_train.txt"
    text.write_text(text.read_text().replace("Washington", "Jefferson"))
    assert prepared()[0]["tokens"][0] == "Jefferson"
    (release / "images" / "5302_0.jpg").write_bytes(TWITTER_PICTURES["O_2.jpg"])
    (release / "images" / "8_1.jpg").touch()
    assert hashlib.sha256(prepared()[0]["images"][0]["bytes"]).digest() in {
        hashlib.sha256(content).digest() for content in (TWITTER_PICTURES["O_2.jpg"], PICTURES["5302_0.jpg"])
    }


def test_builders_survive_a_pickle(release):
    builder = pickle.loads(pickle.dumps(MNERMI(data_dir=str(release))))
    assert rows(builder) == rows(MNERMI(data_dir=str(release)))


def test_what_was_left_out_is_logged_in_the_end(release, caplog):
    with caplog.at_level(logging.WARNING):
        list(MNERMI(data_dir=str(release)).as_streaming_dataset("train"))
    assert "MNER-MI, train: 1 missing pictures, 1 repaired pictures." in caplog.text


@pytest.mark.parametrize(
    ("policy", "ids", "kept"), [("keep-post", ["8", "9"], ["8_1.jpg"]), ("drop-post", ["9"], ["9_0.jpg"])]
)
def test_policy_for_a_file_that_is_no_picture(release, policy, ids, kept):
    validation = rows(MNERMI(data_dir=str(release), broken_images=policy), "validation")
    assert [row["id"] for row in validation] == ids
    assert names(validation[0]) == kept


def test_policy_error_names_the_post_the_line_and_the_picture(release):
    with pytest.raises(ValueError, match=r"MNER-MI_val\.txt:1, post '8': .*8_0\.jpg.*--broken-images keep-post"):
        rows(MNERMI(data_dir=str(release), broken_images="error"), "validation")
    with pytest.raises(ValueError, match=r"`broken_images` must be one of .*got 'ignore'"):
        MNERMI(data_dir=str(release), broken_images="ignore")


def test_two_posts_with_one_id_are_an_error_that_names_both_lines(release):
    text = release / "text" / "MNER-MI_train.txt"
    text.write_text(text.read_text() + repr(MNER_MI["train"][0] | {"id": "7"}) + "\n")
    with pytest.raises(ValueError, match=r"MNER-MI_train\.txt:3, post '7': the id occurs before, at .*train\.txt:2\."):
        rows(MNERMI(data_dir=str(release)))


def test_another_loader_s_placeholder_is_no_picture(release):
    text = release / "text" / "MNER-MI_test.txt"
    text.write_text(text.read_text().replace("'10_0.jpg'", "'10_0.jpg', 'inf.png'"))
    PILImage.new("RGB", (9, 9)).save(release / "images" / "inf.png")
    (row,) = rows(MNERMI(data_dir=str(release)), "test")
    assert names(row) == ["10_0.jpg"]
