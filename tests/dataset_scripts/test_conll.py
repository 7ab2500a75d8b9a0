import os
from pathlib import Path

import pytest

from dataset_scripts.conll import read_conll, read_user_conll

DATA = Path(os.environ.get("IQCR_MI_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
TWITTER_2017 = DATA / "twitter2017"


def write(tmp_path, text):
    path = tmp_path / "posts.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(tmp_path, text):
    return list(read_conll(write(tmp_path, text), source="twitter"))


def read_user(tmp_path, text, **options):
    return list(read_user_conll(write(tmp_path, text), source="mine", **options))


def test_posts_come_back_with_place_and_picture(tmp_path):
    text = "IMGID:17_06_1\nNew\tO\nYork\tB-LOC\n\nIMGID:O_2\nKobe\tB-PER\n\n"
    first, second = read(tmp_path, text)
    assert first.id == "17_06_1"
    assert first.tokens == ["New", "York"]
    assert first.tags == ["O", "B-LOC"]
    assert first.pictures == ["17_06_1.jpg"]
    assert (first.source, first.url) == ("twitter", "")
    assert first.where == f"{tmp_path / 'posts.txt'}:1"
    assert second.where.endswith(":5")


@pytest.mark.parametrize(
    "text",
    [
        "IMGID:1\na\tO\n\nIMGID:2\nb\tO",
        "IMGID:1\na\tO\n\n\n \nIMGID:2\nb\tO\n\n\n",
        "IMGID:1\na\tO\nIMGID:2\nb\tO\n",
        "\nIMGID:1\r\na\tO\r\n\r\nIMGID:2\r\nb\tO\r\n",
        "\ufeffIMGID: 1 \na\tO \n\nIMGID:2\nb\tO\n",
    ],
    ids=["no last newline", "spare blank lines", "no blank line", "CRLF", "byte-order mark and spaces"],
)
def test_line_ends_and_blank_lines_make_no_difference(tmp_path, text):
    assert [(post.id, post.tokens, post.tags) for post in read(tmp_path, text)] == [
        ("1", ["a"], ["O"]),
        ("2", ["b"], ["O"]),
    ]


@pytest.mark.parametrize(
    "word", ["\u2028", "a\u2028b", "\x85", "\x0c", "\x1e", "\ufe0f", "", " ", "a b", "tab\tinside"]
)
def test_odd_words_stay_whole(tmp_path, word):
    (post,) = read(tmp_path, f"IMGID:1\nx\tO\n{word}\tB-PER\ny\tO\n")
    assert post.tokens == ["x", word, "y"]
    assert post.tags == ["O", "B-PER", "O"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("IMGID:1\nword\n", r"posts\.txt:2, post '1': 'word' has no tag"),
        ("IMGID:1\na O\n", r"posts\.txt:2.*has no tag"),
        ("IMGID:1\n\nIMGID:2\na\tO\n", r"posts\.txt:1: the post '1' has no words"),
        ("IMGID:1\na\tO\n\nIMGID:2\n", r"posts\.txt:4: the post '2' has no words"),
        ("a\tO\n", r"posts\.txt:1: .* belongs to no post"),
        ("IMGID:1\na\tO\n\nb\tO\n", r"posts\.txt:4: .* belongs to no post"),
        ("IMGID:\na\tO\n", r"posts\.txt:1: .* has no id"),
        ("IMGID:../../etc/x\na\tO\n", r"posts\.txt:1: the picture name '\.\./\.\./etc/x\.jpg'"),
        (b"IMGID:1\na\tO\nb\xff\tO\n", r"posts\.txt:3: byte 1 of the line is not UTF-8"),
        ("IMGID:1\n" + "a" * 1_000_001, r"posts\.txt:2: the line is longer than 1,000,000 bytes"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_broken_file_is_an_error_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


USER_TEXTS = {
    "headers": "IMGID:1\na\tO\n\nIMGID:2\nb\tB-PER\n",
    "no blank line": "IMGID:1\na\tO\nIMGID:2\nb\tB-PER",
    "spare blank lines": "\n \n\t\nIMGID:1\na\tO\n\t\n\nIMGID:2\nb\tB-PER\n\n",
    "CRLF and byte-order mark": "\ufeffIMGID: 1 \r\na\tO \r\n\r\nIMGID:2\r\nb\tB-PER\r\n",
    "spaces": "IMGID:1\na O\n\nIMGID:2\n  b   B-PER  \n",
    "four columns": "IMGID:1\na NN I-NP O\n\nIMGID:2\nb\tNN\tI-NP\tB-PER\n",
    "documents": "-DOCSTART- -X- -X- O\n\nIMGID:1\na O\n-DOCSTART-\tO\nIMGID:2\nb B-PER\n\n-DOCSTART-\n",
}


@pytest.mark.parametrize("text", USER_TEXTS.values(), ids=USER_TEXTS)
def test_user_file_may_be_written_in_several_ways(tmp_path, text):
    posts = read_user(tmp_path, text)
    assert [(post.id, post.tokens, post.tags, post.pictures) for post in posts] == [
        ("1", ["a"], ["O"], ["1.jpg"]),
        ("2", ["b"], ["B-PER"], ["2.jpg"]),
    ]


def test_user_post_without_header_has_the_line_of_its_first_word_and_no_pictures(tmp_path):
    text = "\na\tO\nb\tO\n\n-DOCSTART-\n\nc\tO\n\nIMGID:9\nd\tO\n\ne\tO"
    posts = read_user(tmp_path, text, id_prefix="dev-")
    assert [(post.id, post.tokens, post.pictures) for post in posts] == [
        ("dev-2", ["a", "b"], []),
        ("dev-7", ["c"], []),
        ("9", ["d"], ["9.jpg"]),
        ("dev-12", ["e"], []),
    ]
    assert [post.where for post in posts] == [f"{tmp_path / 'posts.txt'}:{line}" for line in (2, 7, 9, 12)]
    assert {(post.source, post.url, post.repairs) for post in posts} == {("mine", "", ())}
    assert read_user(tmp_path, "a\tO")[0].id == "1"


def test_user_post_may_have_several_pictures_of_any_format(tmp_path):
    names = ["7_0", "7_1.PNG", "sub/7_2.jpeg", "7.3", "7.jpg.bak"]
    text = "".join(f"IMGID:{name}\n" for name in names) + "a\tO\nIMGID:8.webp\nb\tO\n"
    first, second = read_user(tmp_path, text)
    assert first.id == "7_0"
    assert first.pictures == ["7_0.jpg", "7_1.PNG", "sub/7_2.jpeg", "7.3.jpg", "7.jpg.bak.jpg"]
    assert (second.id, second.pictures) == ("8.webp", ["8.webp"])


@pytest.mark.parametrize("extension", ["jpg", "JPEG", "png", "webp", "gif", "Bmp", "tif", "tiff"])
def test_user_picture_with_an_extension_gets_no_other(tmp_path, extension):
    assert read_user(tmp_path, f"IMGID:x.{extension}\na\tO")[0].pictures == [f"x.{extension}"]
    assert read(tmp_path, f"IMGID:x.{extension}\na\tO")[0].pictures == [f"x.{extension}.jpg"]


@pytest.mark.parametrize(
    "word", ["\u2028", "a\u2028b", "\x85", "\x0c", "\x1e", "\ufe0f", "", " ", "a b", " a ", "\xa0"]
)
def test_odd_words_of_a_user_stay_whole_beside_tabs(tmp_path, word):
    (post,) = read_user(tmp_path, f"x\tO\n{word}\tB-PER\ny\tO\n")
    assert post.tokens == ["x", word, "y"]


@pytest.mark.parametrize("word", ["\u2028", "a\u2028b", "\x85", "\xa0", "\x0cx", "-DOCSTART", "-DOCSTART-x", "#"])
def test_odd_words_of_a_user_stay_whole_beside_spaces(tmp_path, word):
    (post,) = read_user(tmp_path, f"x O\n{word} NN B-PER\ny O\n")
    assert post.tokens == ["x", word, "y"]
    assert post.tags == ["O", "B-PER", "O"]


def test_scheme_of_a_user_reaches_the_tags(tmp_path):
    text = "IMGID:1\nNew\tI-LOC\nYork\tI-LOC\nParis\tB-LOC\n"
    assert read_user(tmp_path, text, scheme="iob1")[0].tags == ["B-LOC", "I-LOC", "B-LOC"]
    assert read_user(tmp_path, text)[0].tags == ["I-LOC", "I-LOC", "B-LOC"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tO\nword\n", r"posts\.txt:2: 'word' has no tag"),
        ("a\tO\n word \n", r"posts\.txt:2: ' word ' has no tag"),
        ("a\tO\n\x85\n", r"posts\.txt:2: .* has no tag"),
        ("a\tO\n \t\x85\n", r"posts\.txt:1, post '1': word 1 has the tag ''"),
        ("a\tO\t\n", r"posts\.txt:1, post '1': word 0 has the tag ''"),
        ("IMGID:7\na\tO\nb\tPER\n", r"posts\.txt:1, post '7': word 1 has the tag 'PER'"),
        ("\na\tO\nb\tS-PER\n", r"posts\.txt:2, post '2': word 1 has the tag 'S-PER'.*--tag-scheme iobes"),
        ("IMGID:1\nIMGID:2\n\nIMGID:3\na\tO\n", r"posts\.txt:1: the post '1' has no words"),
        ("a\tO\n\nIMGID:2\n", r"posts\.txt:3: the post '2' has no words"),
        ("a\tO\n\nIMGID:2\n-DOCSTART-\nb\tO\n", r"posts\.txt:3: the post '2' has no words"),
        ("IMGID:1\nIMGID:\na\tO\n", r"posts\.txt:2: .* has no id"),
        ("IMGID:1\nIMGID:../x\na\tO\n", r"posts\.txt:2: the picture name '\.\./x\.jpg'"),
        ("IMGID:/x.png\na\tO\n", r"posts\.txt:1: the picture name '/x\.png'"),
        (b"a\tO\nb\xff\tO\n", r"posts\.txt:2: byte 1 of the line is not UTF-8"),
        ("a\tO\n" + "a" * 1_000_001, r"posts\.txt:2: the line is longer than 1,000,000 bytes"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_broken_user_file_is_an_error_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_user(tmp_path, text)


@pytest.mark.skipif(
    not (TWITTER_2017 / "train.txt").is_file(),
    reason=f"the Twitter-2017 texts are not in {TWITTER_2017}; set IQCR_MI_DATA to the folder that holds twitter2017/",
)
@pytest.mark.parametrize("name", ["train.txt", "valid.txt", "test.txt"])
def test_both_readers_agree_on_the_release(name):
    path = TWITTER_2017 / name
    assert list(read_user_conll(path, source="x")) == list(read_conll(path, source="x"))
