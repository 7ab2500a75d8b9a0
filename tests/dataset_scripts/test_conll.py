import pytest

from dataset_scripts.conll import read_conll


def read(tmp_path, text):
    path = tmp_path / "posts.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_conll(path, source="twitter"))


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
