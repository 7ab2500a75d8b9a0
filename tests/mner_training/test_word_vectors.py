"""Word vectors from files of both formats, and what is wrong with broken ones."""

import gzip
import hashlib

import pytest
import torch

from mner_training.word_vectors import read_word_vectors

GLOVE = "the 0.5 -1 2e-3\n. . . 1 2 3\nÉcole\u00a0x 4 5 6\n"
WORD2VEC = "3 3\nthe 0.5 -1 2e-3 \n. . . 1 2 3 \nÉcole\u00a0x 4 5 6 \n"


def write(folder, content: str | bytes, name: str = "vectors.txt"):
    path = folder / name
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz"])
@pytest.mark.parametrize("content", [GLOVE, WORD2VEC, GLOVE.replace("\n", "\r\n"), "\ufeff" + WORD2VEC, GLOVE[:-1]])
def test_both_formats(tmp_path, name, content):
    path = write(tmp_path, content, name)
    read = read_word_vectors(path, 3)
    assert read.rows == {"the": 0, ". . .": 1, "École\u00a0x": 2}
    assert torch.equal(read.vectors, torch.tensor([[0.5, -1, 2e-3], [1, 2, 3], [4, 5, 6]]))
    assert read.duplicates == 0
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_first_of_two_vectors_counts(tmp_path):
    read = read_word_vectors(write(tmp_path, "3 2\na 1 2\nb 3 4\na 5 6\n"), 2)
    assert read.vectors.tolist() == [[1, 2], [3, 4]]
    assert read.duplicates == 1


def test_words_may_look_like_numbers(tmp_path):
    assert read_word_vectors(write(tmp_path, "2017 1 2\n12 34 5 6\n"), 2).rows == {"2017": 0, "12 34": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a 1 2\n", r"vectors\.txt:1: vectors of 2 numbers, but `word_embedding_size` is 3"),
        ("a 1 2 3 4\nb 1 2 3 4\n", r"vectors\.txt:1: vectors of 4 numbers"),
        ("2 4\na 1 2 3 4\nb 1 2 3 4\n", r"vectors\.txt:1: vectors of 4 numbers"),
        ("<html>\n", r"vectors\.txt:1: vectors of 0 numbers"),
        ("a 1 2 3\nb 1 2\n", r"vectors\.txt:2: expected a word and 3 finite numbers, got 'b 1 2'"),
        ("a 1 2 3\n 4 5 6\n", r"vectors\.txt:2: expected a word"),
        ("a 1 2 3\n\nb 1 2 3\n", r"vectors\.txt:2: expected a word"),
        ("a 1 2 3\nb 1 nan 2\n", r"vectors\.txt:2: .* finite numbers"),
        ("a 1 2 3\nb 1 2,5 3\n", r"vectors\.txt:2: expected a word"),
        ("a\t1\t2\t3\n", r"vectors\.txt:1: vectors of 0 numbers"),
        ("3 3\na 1 2 3\na 1 2 3\n", r"vectors\.txt:1 announces 3 words, but 2 follow"),
        ("1 3\na 1 2 3\nb 1 2 3\n", r"vectors\.txt:1 announces 1 words, but 2 follow"),
        ("0 3\n", r"vectors\.txt holds no word vectors"),
        ("", r"vectors\.txt holds no word vectors"),
        (b"a 1 2 3\n\xff\xfe 1 2 3\n", r"vectors\.txt:2: byte 0 of the line is not UTF-8"),
        ("a 1 2 3\n" + "x" * 1_000_001, r"vectors\.txt:2: the line is longer than 1,000,000 bytes"),
    ],
)
def test_broken_files(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_word_vectors(write(tmp_path, content), 3)


def test_broken_gzip(tmp_path):
    whole = write(tmp_path, GLOVE * 1000, "vectors.gz")
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"vectors\.gz:\d+: the gzipped file is broken"):
        read_word_vectors(whole, 3)
    plain = tmp_path / "plain.gz"
    plain.write_text(GLOVE)
    with pytest.raises(ValueError, match=r"plain\.gz:1: the gzipped file is broken"):
        read_word_vectors(plain, 3)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read_word_vectors(tmp_path / "nowhere.txt", 3)
