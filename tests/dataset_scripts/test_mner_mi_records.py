import json
import sys

import pytest

from dataset_scripts.mner_mi_records import read_mner_mi_records

RECORD = {
    "id": 5302,
    "text": ["It's", 'a "good"', "\u2028", "día", "\\d"],
    "images": ["5302_0.jpg", "5302_1.jpg", "5302_2.jpg", "5302_3.jpg", "5302_4.jpg"],
    "label": ["O", "O", "O", "B-MIS", "O"],
    "url": "https://t.co/x",
}


def read(tmp_path, *lines):
    path = tmp_path / "posts.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return list(read_mner_mi_records(path, source="mner-mi"))


@pytest.mark.parametrize("write", [json.dumps, repr, lambda value: json.dumps(value, ensure_ascii=False)])
def test_json_and_literals_read_alike(tmp_path, write):
    (post,) = read(tmp_path, write(RECORD))
    assert post.id == "5302"
    assert post.tokens == RECORD["text"]
    assert post.tags == RECORD["label"]
    assert post.pictures == RECORD["images"]
    assert (post.url, post.source) == ("https://t.co/x", "mner-mi")


def test_lines_may_differ_in_kind_and_be_blank(tmp_path):
    without_url = {key: RECORD[key] for key in RECORD if key != "url"} | {"id": "7"}
    posts = read(tmp_path, json.dumps(RECORD), "", repr(without_url), "")
    assert [(post.id, post.url) for post in posts] == [("5302", "https://t.co/x"), ("7", "")]
    assert posts[1].where.endswith("posts.txt:3")


def test_code_is_never_run(tmp_path):
    trap = tmp_path / "trap"
    line = f"{{'id': 1, 'text': [open({str(trap)!r}, 'w').write('x')], 'images': [], 'label': ['O']}}"
    with pytest.raises(ValueError, match=r"posts\.txt:1: the line is neither JSON nor a Python literal"):
        read(tmp_path, line)
    assert not trap.exists()


@pytest.mark.parametrize(
    "line",
    [
        "not a record",
        "{'id': 1,",
        "[" * 100_000,
        "(" * 100_000,
        '{"a":' * 50_000,
        "-" * 100_000 + "1",
        "1" + "+1" * 50_000,
        "9" * (sys.get_int_max_str_digits() + 1),
        "{[]: 1}",
        "{1: 2}[1]",
        "__import__('os')",
        "'\\ud800",
        "\x00",
    ],
    ids=lambda line: line[:12],
)
def test_line_that_is_no_literal_is_an_error_with_its_number(tmp_path, line):
    with pytest.raises(ValueError, match=r"posts\.txt:2: the line is neither JSON nor a Python literal"):
        read(tmp_path, json.dumps(RECORD), line)


def test_overlong_line_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"posts\.txt:1: the line is longer than"):
        read(tmp_path, json.dumps({**RECORD, "url": "x" * 1_000_000}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": []}, "post '5302': `text` has no words"),
        ({"text": "one string"}, "post '5302': `text` must be a list of strings"),
        ({"text": ["a", 1]}, "post '5302': `text` must be a list of strings"),
        ({"label": None}, "post '5302': `label` must be a list of strings"),
        ({"images": "x.jpg"}, "post '5302': `images` must be a list of strings"),
        ({"id": None}, "`id` must be a number or a string"),
        ({"id": True}, "`id` must be a number or a string"),
        ({"url": 3}, "`url` must be a string"),
    ],
)
def test_field_of_a_wrong_type_is_an_error(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"posts\.txt:1.*{message}"):
        read(tmp_path, json.dumps({**RECORD, **change}))


@pytest.mark.parametrize("line", ["[1, 2]", "'text'", "17", "None"])
def test_literal_that_is_no_record_is_an_error(tmp_path, line):
    with pytest.raises(ValueError, match=r"posts\.txt:1: expected a record"):
        read(tmp_path, line)


def test_missing_fields_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"posts\.txt:1: the record lacks images, label; it has id, text"):
        read(tmp_path, '{"id": 1, "text": ["a"]}')


@pytest.mark.parametrize(
    "name",
    [
        "../x.jpg",
        "a/../../x.jpg",
        "..",
        "/etc/passwd",
        "C:\\x.jpg",
        "..\\x.jpg",
        "a\\b.jpg",
        "",
        "x\x00.jpg",
        "c:x.jpg",
    ],
)
def test_picture_that_would_leave_its_folder_names_the_post(tmp_path, name):
    with pytest.raises(ValueError, match=r"post '5302': the picture name"):
        read(tmp_path, json.dumps({**RECORD, "images": ["5302_0.jpg", name]}))


@pytest.mark.parametrize("name", ["a..b.jpg", "sub/x.jpg", "...jpg", "twitter2017-1.jpg"])
def test_harmless_picture_names_pass(tmp_path, name):
    assert read(tmp_path, json.dumps({**RECORD, "images": [name]}))[0].pictures == [name]
