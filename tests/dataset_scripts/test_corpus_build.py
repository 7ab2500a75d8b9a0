"""A build proves what it is: its counts beside the published ones, and everything that is wrong with it by name."""

import hashlib
import json
import os
import zipfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Image, List, load_dataset
from seqeval.metrics.sequence_labeling import get_entities

from dataset_scripts import dataset_folder
from dataset_scripts.build import main
from dataset_scripts.corpus_build import build_corpus, cached_build
from dataset_scripts.features import ENTITY_TYPES, post_features
from dataset_scripts.folder import FolderPosts
from dataset_scripts.mner_mi import MNERMI
from dataset_scripts.mner_mi_plus import MNERMIPlus
from dataset_scripts.published_counts import PUBLISHED_COUNTS
from dataset_scripts.twitter2015 import Twitter2015
from dataset_scripts.twitter2017 import Twitter2017
from tests.small_release import PICTURES

DATA = Path(os.environ.get("IQCR_MI_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
TWITTER_2017 = DATA / "twitter2017"
TABLES = DATA.parent / "paper" / "tables.json"
SPLITS = ("train", "validation", "test")

needs_tweets = pytest.mark.skipif(
    not (TWITTER_2017 / "train.txt").is_file(),
    reason=f"the Twitter-2017 texts are not in {TWITTER_2017}; set IQCR_MI_DATA to the folder that holds twitter2017/",
)
needs_tables = pytest.mark.skipif(not TABLES.is_file(), reason=f"the paper's tables are not at {TABLES}")


@needs_tables
def test_published_counts_are_the_paper_s():
    table = json.loads(TABLES.read_text())["table_1"]
    assert PUBLISHED_COUNTS["mner-mi"] == table["mner-mi"]
    assert PUBLISHED_COUNTS["mner-mi-plus"] == table["mner-mi-plus"]
    (difference,) = (counts for name, counts in table.items() if name.startswith("twitter2017"))
    for split, counts in difference.items():
        assert counts.items() <= PUBLISHED_COUNTS["twitter2017"][split].items()


@pytest.fixture(scope="module")
def tweets(tmp_path_factory):
    output = tmp_path_factory.mktemp("tweets") / "twitter2017"
    main(["twitter2017", "--source", str(TWITTER_2017), "--without-images", "--output", str(output)])
    return output


@needs_tweets
@needs_tables
def test_twitter_2017_verifies_against_the_paper(tweets):
    report = json.loads((tweets / "build_report.json").read_text())
    assert (report["variant"], report["differences"]) == ("published", [])
    table = json.loads(TABLES.read_text())["table_1"]
    corpus = load_dataset(str(tweets))
    for split in SPLITS:
        plus, mi, counts = table["mner-mi-plus"][split], table["mner-mi"][split], report["splits"][split]
        assert counts["entities"] == {name: plus[name] - mi[name] for name in ENTITY_TYPES}
        assert counts["posts"] == counts["images_listed"] == plus["posts"] - mi["posts"] == len(corpus[split])
        names = corpus[split].features["ner_tags"].feature.names
        by_seqeval = Counter(
            entity_type
            for ids in corpus[split]["ner_tags"]
            for entity_type, _, _ in get_entities([names[i] for i in ids])
        )
        assert counts["entities"] == by_seqeval


@needs_tweets
def test_twitter_2017_words_are_the_lines_of_its_files(tweets):
    corpus = load_dataset(str(tweets))
    report = json.loads((tweets / "build_report.json").read_text())
    for split, name in (("train", "train.txt"), ("validation", "valid.txt"), ("test", "test.txt")):
        content = (TWITTER_2017 / name).read_bytes()
        lines = [line for line in content.split(b"\n") if b"\t" in line]
        words = [line.rpartition(b"\t")[0].decode() for line in lines]
        assert [word for tokens in corpus[split]["tokens"] for word in tokens] == words
        assert {
            "file": name,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        } in (report["sources"])


@needs_tweets
def test_twitter_2017_has_four_texts_in_two_splits(tweets):
    report = json.loads((tweets / "build_report.json").read_text())
    assert sorted(shared["posts"] for shared in report["texts_in_two_splits"]) == [
        [["train", "17_01_22771"], ["test", "17_01_22630"]],
        [["train", "O_1837"], ["test", "O_3132"]],
        [["train", "O_3774"], ["validation", "17_06_2136"]],
        [["train", "O_4105"], ["test", "O_3984"]],
    ]
    corpus = load_dataset(str(tweets))
    texts = {
        (split, post_id): " ".join(tokens).lower()
        for split in SPLITS
        for post_id, tokens in zip(corpus[split]["id"], corpus[split]["tokens"], strict=True)
    }
    for shared in report["texts_in_two_splits"]:
        first, second = map(tuple, shared["posts"])
        assert texts.pop(first) == texts.pop(second)
    for split in SPLITS:  # and no others
        own = {text for (name, _), text in texts.items() if name == split}
        assert not own & {text for (name, _), text in texts.items() if name != split}


@needs_tweets
def test_a_copy_with_another_tag_does_not_verify(tmp_path, capsys):
    for name in ("train.txt", "valid.txt", "test.txt"):
        (tmp_path / name).write_bytes((TWITTER_2017 / name).read_bytes())
    text = (tmp_path / "test.txt").read_text().replace("\tB-ORG", "\tB-LOC", 1)
    (tmp_path / "test.txt").write_text(text)
    command = ["twitter2017", "--source", str(tmp_path), "--without-images", "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="1"):
        main(command)
    error = capsys.readouterr().err
    assert "unrecognised variant of Twitter-2017: test LOC 179 instead of 178, test ORG 394 instead of 395." in error
    assert "--no-verify" in error
    assert not (tmp_path / "out").exists()
    main([*command, "--no-verify"])
    assert "DIFFERS: test LOC: 179, published 178" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "build_report.json").read_text())
    assert report["variant"] == "unrecognised"
    assert [(found["split"], found["what"]) for found in report["differences"]] == [("test", "LOC"), ("test", "ORG")]


def test_twitter_2015_is_known_by_its_illegal_tags(tmp_path):
    """4000 / 1000 / 3257 posts, 5,072 test entities by their B- tags and 135 more read leniently: the original."""
    for name, posts, illegal, begun in (("train", 4000, 186, 9), ("valid", 1000, 53, 9), ("test", 3257, 135, 5072)):
        tags = [["I-PER"]] * illegal + [["B-LOC", "B-ORG"]] * (begun // 2) + [["B-MISC"]] * (begun % 2)
        tags += [["O"]] * (posts - len(tags))
        texts = (f"IMGID:{name}{n}\n" + "".join(f"w\t{tag}\n" for tag in post) for n, post in enumerate(tags))
        (tmp_path / f"{name}.txt").write_text("\n".join(texts))
    builder = Twitter2015(data_dir=str(tmp_path), with_images=False)
    assert build_corpus(builder, tmp_path / "out")["variant"] == "published"
    (tmp_path / "original").mkdir()
    for name in ("train.txt", "valid.txt", "test.txt"):
        (tmp_path / "original" / name).write_text((tmp_path / name).read_text())
    text = (tmp_path / "test.txt").read_text()
    (tmp_path / "test.txt").write_text(text.replace("I-PER", "B-PER", 1))  # as a corrected copy has it
    repaired = Twitter2015(data_dir=str(tmp_path / "original"), with_images=False, illegal_tags="repair")
    report = build_corpus(repaired, tmp_path / "repaired")
    assert (report["variant"], report["splits"]["test"]["entities_begun"]["PER"]) == ("published", 135)
    corrected = Twitter2015(data_dir=str(tmp_path), with_images=False)
    with pytest.raises(
        ValueError, match=r"test illegal steps 134 instead of 135, test entities begun 5,073 instead of 5,072"
    ):
        build_corpus(corrected, tmp_path / "corrected")


def test_report_lists_every_fault_by_name(release):
    output = release.parent / "built"
    main(["mner-mi-plus", "--source", str(release), "--output", str(output), "--no-verify"])
    report = json.loads((output / "build_report.json").read_text())
    train, validation = (report["splits"][split] for split in SPLITS[:2])
    assert [(found["post"], found["image"]) for found in train["missing_images"]] == [("7", "7_1.jpg")]
    assert [(found["post"], found["image"]) for found in train["repaired_images"]] == [("7", "7_0.jpg")]
    assert [(found["post"], found["image"]) for found in validation["broken_images"]] == [("8", "8_0.jpg")]
    (illegal,) = validation["repaired_tags"]
    assert illegal == {
        "post": "8",
        "where": "MNER-UNI_val.txt:1",
        "what": "word 2: I-MISC continues nothing, kept",
    }
    assert (train["posts_by_source"], train["posts"]) == ({"mner-mi": 2, "twitter2017": 1}, 3)
    assert (train["images_listed"], train["images_found"], train["images"]) == (8, 7, 7)
    assert train["posts_by_number_of_images"] == {"1": 2, "5": 1}
    assert train["entities"] == {"PER": 1, "LOC": 1, "ORG": 1, "MISC": 2}
    assert (validation["entities"], validation["entities_begun"]) == (
        {"PER": 1, "LOC": 1, "ORG": 1, "MISC": 1},
        {"PER": 1, "LOC": 1, "ORG": 1, "MISC": 0},
    )
    assert report["texts_in_two_splits"] == [
        {"text": "washington wins again !", "posts": [["train", "5302"], ["test", "10"]]}
    ]
    assert report["entities_seen_in_training"] == {
        "validation": {
            "LOC": {"seen": 1, "unseen": 0},
            "MISC": {"seen": 0, "unseen": 1},
            "ORG": {"seen": 0, "unseen": 1},
            "PER": {"seen": 0, "unseen": 1},
        },
        "test": {"ORG": {"seen": 0, "unseen": 1}, "PER": {"seen": 1, "unseen": 0}},
    }
    assert [source["file"] for source in report["sources"]] == [
        "text/MNER-UNI_train.txt",
        "text/MNER-UNI_val.txt",
        "text/MNER-UNI_test.txt",
        "new_images.zip",
        "twitter2017_images.zip",
    ]
    assert validation["text"]["posts_with_url"] == 1
    assert (report["variant"], len(report["differences"])) == ("unrecognised", 21 + 1)
    page = (output / "build_report.html").read_text()
    HTMLParser().feed(page)
    for name in ("7_1.jpg", "7_0.jpg", "8_0.jpg"):
        assert name in page
    assert str(release.parent) not in page + json.dumps(report)  # nothing of where somebody keeps it


def test_published_image_counts_stand_against_the_files_that_are_there(release, monkeypatch):
    report = build_corpus(MNERMI(data_dir=str(release)), release.parent / "a", verify=False)
    published = {
        split: {"posts": counts["posts"], "images": counts["images_listed"]}
        for split, counts in report["splits"].items()
    }
    monkeypatch.setitem(PUBLISHED_COUNTS, "mner-mi", published)
    monkeypatch.setattr("dataset_scripts.published_counts.MAX_BROKEN_SHARE", 0.4)  # one of three is, here
    with pytest.raises(ValueError, match=r"train images 6 instead of 7\. Missing pictures: 7_1\.jpg\."):
        build_corpus(MNERMI(data_dir=str(release)), release.parent / "b")
    assert not (release.parent / "b").exists()
    (release / "images" / "7_1.jpg").write_bytes((release / "images" / "5302_0.jpg").read_bytes())
    assert build_corpus(MNERMI(data_dir=str(release)), release.parent / "b")["variant"] == "published"
    text = build_corpus(MNERMI(data_dir=str(release), with_images=False), release.parent / "c")
    assert text["variant"] == "published"
    # A post that the policy drops was published: verification is about the files, not about what is made of them.
    dropped = build_corpus(MNERMI(data_dir=str(release), broken_images="drop-post"), release.parent / "d")
    assert (dropped["variant"], dropped["splits"]["validation"]["posts"]) == ("published", 1)


def test_texts_that_differ_are_refused_before_any_picture_is_read(release, monkeypatch):
    monkeypatch.setattr(
        "dataset_scripts.posts_builder.read_pictures_ahead", lambda *_: pytest.fail("a picture was read")
    )
    with pytest.raises(ValueError, match="unrecognised variant of MNER-MI: train PER 1 instead of 4,529"):
        build_corpus(MNERMI(data_dir=str(release)), release.parent / "out")


@pytest.mark.parametrize("with_images", [True, False])
def test_parquet_gives_back_the_rows_of_the_builder(release, with_images):
    builder = MNERMIPlus(data_dir=str(release), with_images=with_images)
    build_corpus(builder, release.parent / "built", verify=False)
    corpus = load_dataset(str(release.parent / "built"))
    assert list(corpus) == list(SPLITS)
    undecoded = List(Image(decode=False))
    for split in SPLITS:
        assert corpus[split].features == post_features(with_pictures=with_images)
        assert corpus[split].cast_column("images", undecoded).to_list() == list(builder.rows(split))
        streamed = load_dataset(str(release.parent / "built"), split=split, streaming=True)
        assert list(streamed.cast_column("images", undecoded)) == list(builder.rows(split))


def test_a_large_split_is_written_in_several_files(release, monkeypatch):
    monkeypatch.setattr(dataset_folder, "_SHARD_BYTES", 4000)
    builder = MNERMIPlus(data_dir=str(release))
    build_corpus(builder, release.parent / "built", verify=False)
    files = sorted(path.name for path in (release.parent / "built").glob("train-*.parquet"))
    assert files == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert [pq.ParquetFile(release.parent / "built" / file).metadata.num_rows for file in files] == [1, 2]
    corpus = load_dataset(str(release.parent / "built"), split="train")
    assert corpus["id"] == [row["id"] for row in builder.rows("train")]


def test_cached_build_is_found_again_until_a_file_changes(twitter2017):
    def build():
        return cached_build(Twitter2017(data_dir=str(twitter2017)))

    folder, report = build()
    made = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert build() == (folder, report)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == made
    (twitter2017 / "twitter2017_images" / "O_2.jpg").unlink()
    other, report = build()
    assert other != folder
    assert [found["image"] for found in report["splits"]["validation"]["missing_images"]] == ["O_2.jpg"]


def test_users_folder_of_each_kind_gives_the_same_posts(tmp_path, make_pictures):
    rows = {}
    for kind in ("imagefolder", "spans", "iobes"):
        folder = tmp_path / kind / "train"
        folder.mkdir(parents=True)
        for number, picture in enumerate(make_pictures(2)):
            picture.save(folder / f"{number}.png")
        post = {"id": "a", "file_names": ["0.png", "1.png"]}
        if kind == "imagefolder":
            post |= {"tokens": ["Kobe", "Bryant", "!"], "ner_tags": ["B-player", "I-player", "O"]}
        elif kind == "spans":
            post |= {"text": "Kobe Bryant!", "entities": [{"start": 0, "end": 11, "label": "player"}]}
        else:
            post |= {"tokens": ["Kobe", "Bryant", "!"], "ner_tags": ["B-player", "E-player", "O"]}
        (folder / "metadata.jsonl").write_text(json.dumps(post) + "\n")
        scheme = {"tag_scheme": "iobes"} if kind == "iobes" else {}
        builder = FolderPosts(data_dir=str(tmp_path / kind), **scheme)
        assert builder.tag_names == ["O", "B-player", "I-player"]
        assert builder.splits == ["train"]
        rows[kind] = list(builder.rows("train"))
    assert rows["imagefolder"] == rows["spans"] == rows["iobes"]
    (row,) = rows["spans"]
    assert (row["ner_tags"], row["source"]) == ([1, 2, 0], "folder")
    assert [image["bytes"] for image in row["images"]] == [(folder / f"{k}.png").read_bytes() for k in (0, 1)]


def test_users_folder_of_conll_text_builds_by_the_command_line(tmp_path, make_pictures):
    source, pictures = tmp_path / "mine", tmp_path / "pictures"
    source.mkdir()
    pictures.mkdir()
    make_pictures(1)[0].save(pictures / "7.jpg")
    (source / "train.txt").write_text("Kobe I-PER\nBryant I-PER\n\nIMGID:7\nin O\nL.A. I-LOC\n")
    (source / "dev.conll").write_text("Paris I-LOC\n")
    command = ["folder", "--source", str(source), "--images", str(pictures), "--output", str(tmp_path / "out")]
    main([*command, "--tag-scheme", "iob1"])
    corpus = load_dataset(str(tmp_path / "out"))
    assert corpus["train"]["id"] == ["train-1", "7"]
    assert corpus["train"]["ner_tags"] == [[3, 4], [0, 1]]
    assert [len(images) for images in corpus["train"]["images"]] == [0, 1]
    assert corpus["validation"]["tokens"] == [["Paris"]]
    report = json.loads((tmp_path / "out" / "build_report.json").read_text())
    assert (report["variant"], report["published"]) == ("not verified", None)


def test_posts_without_any_entity_are_refused(tmp_path):
    (tmp_path / "train.txt").write_text("no O\n")
    with pytest.raises(ValueError, match="has an entity: there is nothing to learn"):
        FolderPosts(data_dir=str(tmp_path))


def test_split_without_posts_is_refused(tmp_path, release):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.txt").write_text("Kobe B-PER\n")
    (tmp_path / "mine" / "test.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"'test' of .* has no posts\. A data set cannot hold an empty split"):
        build_corpus(FolderPosts(data_dir=str(tmp_path / "mine")), tmp_path / "out")
    (release / "new_images.zip").unlink()
    builder = MNERMI(data_dir=str(release), broken_images="drop-post")
    with pytest.raises(ValueError, match=r"'train' of .* has no posts left: all 2 were dropped for their pictures"):
        build_corpus(builder, tmp_path / "out", verify=False)
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_there_and_cannot_be_used_are_no_published_copy(release, monkeypatch):
    (release / "images" / "7_1.jpg").write_bytes((release / "images" / "5302_0.jpg").read_bytes())
    whole = build_corpus(MNERMI(data_dir=str(release)), release.parent / "a", verify=False)
    published = {split: {"images": counts["images_listed"]} for split, counts in whole["splits"].items()}
    monkeypatch.setitem(PUBLISHED_COUNTS, "mner-mi", published)
    for path in (release / "images").iterdir():
        path.write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match="MNER-MI: train readable images"):
        build_corpus(MNERMI(data_dir=str(release)), release.parent / "b")
    # An archive that names its pictures and cannot give them has none: two entries could be the one that is meant.
    for path in (release / "images").iterdir():
        path.unlink()
    with zipfile.ZipFile(release / "new_images.zip", "w") as archive:
        for name, content in PICTURES.items():
            archive.writestr(f"a/{name}", content or b"")
            archive.writestr(f"b/{name}", content or b"")
    with pytest.raises(ValueError, match="MNER-MI: train images 0 instead of 7"):
        build_corpus(MNERMI(data_dir=str(release)), release.parent / "b")


def test_files_that_change_while_they_are_read_end_the_build(release, monkeypatch):
    builder = MNERMI(data_dir=str(release))
    text = release / "text" / "MNER-MI_train.txt"

    def rows(split, *arguments, **options):
        yield from MNERMI.rows(builder, split, *arguments, **options)
        if split == "test":
            text.write_text(text.read_text().replace("Washington", "Jefferson"))

    monkeypatch.setattr(builder, "rows", rows)
    with pytest.raises(ValueError, match="The files of MNER-MI changed while they were read"):
        build_corpus(builder, release.parent / "built", verify=False)
    assert not (release.parent / "built").exists()


def test_output_inside_an_image_root_is_refused(release):
    with pytest.raises(ValueError, match="lies inside the image folder"):
        build_corpus(MNERMI(data_dir=str(release)), release / "images" / "built", verify=False)


def test_output_may_be_a_link_to_an_empty_folder(twitter2017, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    build_corpus(Twitter2017(data_dir=str(twitter2017)), tmp_path / "link", verify=False)
    assert load_dataset(str(tmp_path / "link"))["test"].num_rows == 1
    assert (tmp_path / "link").is_symlink()
