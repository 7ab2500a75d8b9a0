"""Counts against posts counted by hand, and against what is known of Twitter-2017."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_scripts.conll import read_conll
from dataset_scripts.features import TAG_NAMES
from dataset_scripts.tag_schemes import count_entities
from dataset_scripts.text_audit import TextAudit


def audit(*texts):
    """What is counted over posts of no entities, written as their words joined by spaces."""
    counter = TextAudit()
    for text in texts:
        counter.add(text.split(" "), ["O"] * len(text.split(" ")))
    return counter.counts()


def found(counts):
    return {name: number for name, number in counts.items() if number}


def test_nothing_added_is_all_zeros():
    counts = TextAudit().counts()
    assert not any(counts.values())
    assert {"posts", "words", "posts_with_url", "mentions_split", "entities_capitalised"} <= counts.keys()


def test_kinds_and_forms_by_hand():
    counts = audit(
        "@nba and @ nba , @ , @",  # one joined, one split, two bare signs
        "# nba #nba #nba R&amp;B",
        "& gt ; & # 39 ; & foo ; & https://t.co/x & lt; p",
        "https : //t.co/x HTTP : / / x . org http www.x.org",
        "me @ nba.com & # tag",
        "plain",
    )
    expected = {
        "posts": 6,
        "words": 47,
        "posts_with_url": 2,
        "urls_joined": 2,
        "urls_split": 2,
        "posts_with_mention": 2,
        "mentions_joined": 1,
        "mentions_split": 2,
        "posts_with_hashtag": 2,
        "hashtags_joined": 2,
        "hashtags_split": 2,
        "posts_with_html": 2,
        "html_joined": 1,
        "html_split": 3,
        # all but the last post: "@nba"; "#nba" and "R&amp;B"; "lt;"; "//t.co"; "nba.com"
        "posts_split_otherwise": 5,
    }
    assert {name: counts[name] for name in expected} == expected


def test_casing_by_hand():
    counts = audit("i saw paris", "I SAW IT", "Paris and McDonald saw NBA on a B-side", "1 2 漢字 😀")
    assert found(counts) == {
        "posts": 4,
        "words": 18,
        "posts_cased": 3,
        "posts_all_lower": 1,
        "posts_all_upper": 1,
        "words_lower": 7,  # i saw paris; and saw on a
        "words_title": 3,  # I; Paris B-side
        "words_upper": 3,  # SAW IT; NBA
        "words_mixed": 1,  # McDonald
        "posts_split_otherwise": 1,  # B-side
    }


def test_entities_by_hand():
    counter = TextAudit()
    counter.add(
        ["New", "york", "paris", "@NBA", "漢", "Élan", "x", "Nba"],
        ["B-LOC", "I-LOC", "B-LOC", "B-ORG", "B-PER", "I-ORG", "O", "I-PER"],
    )
    counts = counter.counts()
    assert counts["entities"] == 6
    assert counts["entities_cased"] == 4  # New, paris, Élan, Nba
    assert counts["entities_capitalised"] == 3


@given(st.lists(st.tuples(st.text(max_size=6), st.sampled_from(TAG_NAMES)), max_size=12))
def test_counts_of_any_post_hold_together(post):
    tokens, tags = [token for token, _ in post], [tag for _, tag in post]
    counter = TextAudit()
    counter.add(tokens, tags)
    counts = counter.counts()
    assert counts["words"] == len(post)
    assert counts["entities"] == sum(count_entities(tags).values())
    assert counts["entities_capitalised"] <= counts["entities_cased"] <= counts["entities"]
    casings = sum(counts[f"words_{casing}"] for casing in ("lower", "title", "upper", "mixed"))
    assert bool(casings) == counts["posts_cased"]
    assert counts["posts_all_lower"] + counts["posts_all_upper"] <= counts["posts_cased"]
    assert json.loads(json.dumps(counts)) == counts


def test_lower_casing_a_corpus_shows():
    words, tags = ["RT", "@", "NBA", "in", "Paris"], ["O", "O", "B-ORG", "O", "B-LOC"]
    raw, lowered = TextAudit(), TextAudit()
    raw.add(words, tags)
    lowered.add([word.lower() for word in words], tags)
    assert (raw.counts()["posts_all_lower"], raw.counts()["entities_capitalised"]) == (0, 2)
    assert (lowered.counts()["posts_all_lower"], lowered.counts()["entities_capitalised"]) == (1, 0)


def test_post_with_too_few_tags_is_refused_and_not_counted():
    counter = TextAudit()
    with pytest.raises(ValueError, match="2 words and 1 tags"):
        counter.add(["in", "Paris"], ["O"])
    assert not any(counter.counts().values())


def test_twitter2017_is_decoded_cased_and_split_as_raw_text_is(data_dir):
    counter = TextAudit()
    for name in ("train.txt", "valid.txt", "test.txt"):
        path = data_dir / "twitter2017" / name
        if not path.is_file():
            pytest.skip(f"no tweets at {path}; set IQCR_MI_DATA to the folder that holds twitter2017/")
        for record in read_conll(path, source="twitter2017"):
            counter.add(record.tokens, record.tags)
    counts = counter.counts()
    assert counts["posts"] == 4819
    assert counts["html_split"] == 32
    absent = ("posts_with_url", "mentions_joined", "hashtags_joined", "html_joined")
    assert [counts[name] for name in absent] == [0] * 4
    assert counts["mentions_split"] > 500
    assert counts["hashtags_split"] > 500
    assert counts["posts_split_otherwise"] < 0.01 * counts["posts"]
    assert counts["entities_capitalised"] > 0.9 * counts["entities_cased"]
    assert counts["posts_all_lower"] < 0.05 * counts["posts_cased"]
