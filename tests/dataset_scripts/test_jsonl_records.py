import json
import sys

import pytest
from datasets import load_dataset
from PIL import Image

from dataset_scripts.jsonl_records import read_jsonl

TAGGED = {"tokens": ["Kobe", "\u2028", "!"], "ner_tags": ["B-PER", "O", "O"]}
SPANNED = {"text": "Kobe!", "entities": [{"start": 0, "end": 4, "label": "PER"}]}


def read(tmp_path, *posts, **options):
    path = tmp_path / "posts.jsonl"
    lines = [post if isinstance(post, str) else json.dumps(post) for post in posts]
    path.write_text("\n".join(lines), encoding="utf-8")
    return list(read_jsonl(path, source="mine", **options))


def test_post_with_tags_comes_back(tmp_path):
    pictures = {"file_names": ["a.jpg", "sub/b.png"]}
    (post,) = read(tmp_path, {**TAGGED, **pictures, "id": 17, "url": "https://t.co/x", "lang": "en"})
    assert post.id == "17"
    assert (post.tokens, post.tags) == (TAGGED["tokens"], TAGGED["ner_tags"])
    assert post.pictures == ["a.jpg", "sub/b.png"]
    assert (post.url, post.source, post.repairs) == ("https://t.co/x", "mine", ())
    assert post.where == f"{tmp_path / 'posts.jsonl'}:1"


def test_post_with_spans_comes_back_as_words(tmp_path):
    (post,) = read(tmp_path, {**SPANNED, "id": "x"})
    assert (post.tokens, post.tags, post.pictures) == (["Kobe", "!"], ["B-PER", "O"], [])
    assert (post.url, post.repairs) == ("", ())


def test_extra_keys_of_an_entity_are_passed_over(tmp_path):
    (post,) = read(tmp_path, {"text": "Kobe", "entities": [{"start": 0, "end": 4, "label": "PER", "score": 0.5}]})
    assert post.tags == ["B-PER"]


def test_trimmed_span_is_reported_with_the_post(tmp_path):
    (post,) = read(tmp_path, {"text": "Hi Kobe", "entities": [{"start": 2, "end": 6, "label": "PER"}]})
    assert post.tags == ["O", "B-PER"]
    (repair,) = post.repairs
    assert repair.startswith("The entity (2, 6, 'PER'), ' Kob', was trimmed and widened")


def test_kinds_mix_and_a_post_without_id_has_its_line_number(tmp_path):
    posts = read(tmp_path, TAGGED, "", " \t", {**SPANNED, "id": "x"}, SPANNED, id_prefix="train-")
    assert [post.id for post in posts] == ["train-1", "x", "train-5"]
    assert [post.where.rpartition(":")[2] for post in posts] == ["1", "4", "5"]
    assert read(tmp_path, TAGGED)[0].id == "1"


def test_byte_order_mark_and_windows_line_ends_make_no_difference(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(TAGGED).encode() + b"\r\n" + json.dumps(SPANNED).encode() + b"\r\n")
    assert [post.tokens[0] for post in read_jsonl(path, source="mine")] == ["Kobe", "Kobe"]


def test_null_counts_as_absent(tmp_path):
    nothing = dict.fromkeys(("id", "url", "file_name", "file_names", "images"))
    tagged, spanned = read(
        tmp_path,
        {**nothing, **TAGGED, "text": None, "entities": None},
        {**nothing, **SPANNED, "tokens": None, "ner_tags": None, "file_name": "a.jpg"},
    )
    assert (tagged.id, tagged.url, tagged.pictures) == ("1", "", [])
    assert (spanned.tags, spanned.pictures) == (["B-PER", "O"], ["a.jpg"])


@pytest.mark.parametrize(
    ("field", "pictures"),
    [
        ({"file_name": "a.jpg"}, ["a.jpg"]),
        ({"file_names": ["a.jpg"]}, ["a.jpg"]),
        ({"images": ["a.jpg", "b.jpg"]}, ["a.jpg", "b.jpg"]),
        ({"images": []}, []),
    ],
)
def test_pictures_have_three_names(tmp_path, field, pictures):
    assert read(tmp_path, {**SPANNED, **field})[0].pictures == pictures


def test_what_imagefolder_loads_is_read_alike(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    names = [["a.jpg", "b.jpg"], ["b.jpg"]]
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (2, 2)).save(folder / name)
    lines = [json.dumps({**TAGGED, "file_names": pictures}) for pictures in names]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    loaded = load_dataset("imagefolder", data_dir=str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    posts = list(read_jsonl(folder / "metadata.jsonl", source="mine"))
    assert [post.tokens for post in posts] == list(loaded["tokens"])
    assert [post.tags for post in posts] == list(loaded["ner_tags"])
    assert [len(post.pictures) for post in posts] == [len(images) for images in loaded["images"]]


def test_scheme_reaches_the_tags(tmp_path):
    post = {"tokens": ["New", "York", "!"], "ner_tags": ["B-LOC", "E-LOC", "O"]}
    assert read(tmp_path, post, scheme="iobes")[0].tags == ["B-LOC", "I-LOC", "O"]
    with pytest.raises(ValueError, match=r"posts\.jsonl:1, post '1': word 1 has the tag 'E-LOC'.*--tag-scheme iobes"):
        read(tmp_path, post)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        '{"id": 1,',
        "{'id': 1}",
        "[" * 100_000,
        '{"a":' * 50_000,
        "[" * 100_000 + "]" * 100_000,
        "9" * (sys.get_int_max_str_digits() + 1),
        "\x00",
    ],
    ids=lambda line: line[:12],
)
def test_line_that_is_no_json_is_an_error_with_its_number(tmp_path, line):
    with pytest.raises(ValueError, match=r"posts\.jsonl:2: the line cannot be read as JSON"):
        read(tmp_path, TAGGED, line)


@pytest.mark.parametrize("line", ["[1, 2]", '"text"', "17", "null", "NaN"])
def test_json_that_is_no_object_is_an_error(tmp_path, line):
    with pytest.raises(ValueError, match=r"posts\.jsonl:2: expected an object"):
        read(tmp_path, TAGGED, line)


def test_half_a_surrogate_pair_is_an_error_and_a_whole_one_is_not(tmp_path):
    with pytest.raises(ValueError, match=r"posts\.jsonl:1: the line holds '\\ud83d', half a surrogate pair"):
        read(tmp_path, r'{"tokens": ["\ud83d"], "ner_tags": ["O"]}')
    assert read(tmp_path, r'{"tokens": ["\ud83d\ude00"], "ner_tags": ["O"]}')[0].tokens == ["\U0001f600"]


@pytest.mark.parametrize(
    ("post", "message"),
    [
        ({"tokens": ["a"]}, "has `tokens` but no entities, and a corpus to train on needs them"),
        ({"tokens": ["a"], "ner_tags": None}, "has `tokens` but no entities"),
        ({"text": "a"}, "has `text` but no entities"),
        ({"ner_tags": ["O"], "url": "x"}, "lacks its words; it has ner_tags, url"),
        ({"entities": []}, "lacks its words; it has entities"),
        ({"words": ["a"], "tags": ["O"]}, "lacks its words; it has words, tags"),
        ({}, "lacks its words; it has no fields"),
        (
            {**TAGGED, **SPANNED},
            "has tokens, ner_tags, text, entities, so its words and entities are given in two ways",
        ),
        ({"tokens": ["a"], "entities": []}, "has tokens, entities, so"),
        ({**SPANNED, "tokens": ["a"]}, "has tokens, text, entities, so"),
    ],
)
def test_neither_or_both_kinds_are_an_error_that_says_what_is_there(tmp_path, post, message):
    with pytest.raises(ValueError, match=rf"posts\.jsonl:2, post '2': the post {message}.*Give `tokens`"):
        read(tmp_path, TAGGED, post)


@pytest.mark.parametrize(
    ("post", "message"),
    [
        ({**TAGGED, "tokens": []}, "`tokens` has no words"),
        ({**TAGGED, "tokens": "one string"}, "`tokens` must be a list of strings, got 'one string'"),
        ({**TAGGED, "tokens": ["a", 1]}, "`tokens` must be a list of strings"),
        ({**TAGGED, "ner_tags": [0, 1, 0]}, "`ner_tags` holds numbers, .* Write the tags as strings"),
        ({**TAGGED, "ner_tags": ["O", None]}, "`ner_tags` must be a list of strings"),
        ({**TAGGED, "ner_tags": "O O O"}, "`ner_tags` must be a list of strings"),
        ({**TAGGED, "ner_tags": ["O", "PER", "O"]}, "word 1 has the tag 'PER'"),
        ({**SPANNED, "text": ["Kobe"]}, "`text` must be a string, got list"),
        ({"text": " \n", "entities": []}, "`text` has no words"),
        ({"text": "", "entities": []}, "`text` has no words"),
        ({**SPANNED, "entities": {}}, "`entities` must be a list of"),
        ({**SPANNED, "entities": [[0, 4, "PER"]]}, "`entities` must be a list of"),
        ({**SPANNED, "entities": [{"start": 0, "end": 4}]}, "`entities` must be a list of .*'start': 0"),
        (
            {**SPANNED, "entities": [{"start": 0, "end": 9, "label": "PER"}]},
            r"the entity \(0, 9, 'PER'\) is empty, rev",
        ),
        ({**SPANNED, "entities": [{"start": 0, "end": 4, "label": None}]}, r"the entity \(0, 4, None\) has a label"),
        ({**TAGGED, "url": 3}, "`url` must be a string, got int"),
        ({**TAGGED, "file_name": ["a.jpg"]}, "`file_name` must be a string, .*`file_names`"),
        ({**TAGGED, "file_names": "a.jpg"}, "`file_names` must be a list of strings"),
        ({**TAGGED, "images": [{"path": "a.jpg"}]}, "`images` must be a list of strings"),
        ({**TAGGED, "images": ["a.jpg"], "file_name": "a.jpg"}, "the pictures are named in file_name and images"),
    ],
)
def test_field_of_a_wrong_kind_names_file_line_and_post(tmp_path, post, message):
    with pytest.raises(ValueError, match=rf"posts\.jsonl:2, post 'x': .*{message}"):
        read(tmp_path, SPANNED, {**post, "id": "x"})


@pytest.mark.parametrize("post_id", [True, 1.5, "", [1]])
def test_odd_id_is_an_error(tmp_path, post_id):
    with pytest.raises(ValueError, match=r"posts\.jsonl:1: `id` must be a whole number or a string that is not empty"):
        read(tmp_path, {**TAGGED, "id": post_id})


@pytest.mark.parametrize("field", ["file_name", "file_names", "images"])
@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "a\\b.jpg", "", "c:x.jpg"])
def test_picture_that_would_leave_its_folder_names_the_post(tmp_path, field, name):
    value = name if field == "file_name" else ["a.jpg", name]
    with pytest.raises(ValueError, match=r"posts\.jsonl:1, post '1': the picture name"):
        read(tmp_path, {**TAGGED, field: value})


def test_overlong_line_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"posts\.jsonl:1: the line is longer than"):
        read(tmp_path, {**TAGGED, "url": "x" * 1_000_000})


def test_file_that_is_not_utf8_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_bytes(json.dumps(TAGGED).encode() + b'\n{"text": "\xff"}\n')
    with pytest.raises(ValueError, match=r"posts\.jsonl:2: byte 10 of the line is not UTF-8"):
        list(read_jsonl(path, source="mine"))


def test_posts_come_one_at_a_time(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text(json.dumps(TAGGED) + "\nbroken\n", encoding="utf-8")
    assert next(read_jsonl(path, source="mine")).id == "1"
