"""The vocabulary of training posts, counted by hand, and the vectors of its words."""

import random

import pytest
import torch

from mner_training.word_vocabulary import make_vocabulary, make_word_level
from mner_zoo.word_level import WordLevelProcessor

POSTS = [
    ["Paris", "wins", "again", "!"],
    ["paris", "Wins", "!", "https://t.co/abc", "R&amp;B"],
    ["again", "http://t.co/xyz", "[UNK]", "[PAD]"],
]
WORDS = ["[PAD]", "[UNK]", "!", "again", "http", "Paris", "R&B", "Wins", "paris", "wins"]
VECTORS = "paris 1 1\nWINS 2 2\nwins 3 3\nBerlin 4 4\n[UNK] 5 5\nR&B 6 6\n"


def test_vocabulary_counted_by_hand():
    vocabulary = make_vocabulary(POSTS)
    assert vocabulary.words == WORDS
    assert vocabulary.training_words == (2, 10)
    assert vocabulary.singletons == (5, 10)
    assert vocabulary.characters == "".join(sorted(set("Pariswinagn!phtWR&B[UNK][PAD]")))


def test_order_of_posts_does_not_matter():
    words = [word for post in POSTS for word in post]
    for seed in range(5):
        random.Random(seed).shuffle(words)
        assert make_vocabulary([words]) == make_vocabulary(POSTS)


def test_words_with_a_vector_come_last():
    vocabulary = make_vocabulary(POSTS, ["zoo", "paris", "[PAD]", "Berlin"])
    assert vocabulary.words == [*WORDS, "zoo", "Berlin"]
    assert vocabulary.singletons == (5, 10)


def test_no_words():
    with pytest.raises(ValueError, match="no words to make a vocabulary of"):
        make_vocabulary([[], ["[PAD]"]])


def test_no_word_of_another_split_is_known(tiny_processor):
    train, test = [["paris", "wins"]], ["berlin", "paris", "loses"]
    parts = make_word_level(train, "random", {"char_encoder": "cnn"})
    assert len(parts.tokenizer) == parts.text_model.config.vocab_size == 4
    processor = WordLevelProcessor(tiny_processor.image_processor, parts.tokenizer, characters=parts.characters)
    assert processor(words=test)["input_ids"].tolist() == [[1, 2, 1]]
    assert "b" not in parts.characters


@pytest.fixture
def vectors_file(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(VECTORS)
    return path


def test_vectors_as_written_or_in_small_letters(vectors_file):
    parts = make_word_level(POSTS, str(vectors_file), {"word_embedding_size": 2})
    weight = dict(zip([*WORDS, "WINS", "Berlin"], parts.text_model.word_embeddings.weight.tolist(), strict=True))
    expected = {
        "paris": [1, 1],
        "Paris": [1, 1],
        "wins": [3, 3],
        "Wins": [3, 3],
        "WINS": [2, 2],
        "Berlin": [4, 4],
        "R&B": [6, 6],
        "[PAD]": [0, 0],
    }
    assert {word: weight[word] for word in expected} == expected
    for word in ("[UNK]", "!", "again", "http"):  # without a vector: random, and not that of the file's own [UNK]
        assert 0 < max(map(abs, weight[word])) < 1.23
    assert parts.record == {
        "source": "vectors.txt",
        "sha256": parts.record["sha256"],
        "words": 12,
        "training_words": 8,
        "singletons": 5,
        "characters": len(set("Pariswinagn!phtWR&B[UNK][PAD]")),
        "found_exact": 3,
        "found_lower_cased": 2,
        "without_vector": 3,
        "file_words": 6,
        "duplicates": 0,
    }


@pytest.mark.parametrize("vectors", ["random", None])
def test_random_vectors_say_so(vectors):
    parts = make_word_level(POSTS, vectors, {})
    assert parts.record["source"] == "random"
    assert "sha256" not in parts.record
    assert parts.characters is None
    assert parts.text_model.config.singleton_ids == [5, 10]


def test_same_generator_same_encoder():
    encoders = []
    for _ in range(2):
        torch.manual_seed(1)
        encoders.append(make_word_level(POSTS, "random", {"char_encoder": "lstm"}).text_model.state_dict())
    assert all(torch.equal(tensor, encoders[1][name]) for name, tensor in encoders[0].items())


def test_fields_that_are_not_the_recipes(vectors_file):
    with pytest.raises(ValueError, match=r"`word_encoder`: unknown char_vocab_size, typo\. It takes char_"):
        make_word_level(POSTS, "random", {"typo": 1, "char_vocab_size": 9})
    with pytest.raises(ValueError, match=r"vectors\.txt:1: vectors of 2 numbers, but `word_embedding_size` is 100"):
        make_word_level(POSTS, vectors_file, {})
