"""Rows of a lake against the pipeline, one post after the other; and posts that cannot be read, among others."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Image, List
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mner_training.lake_files import plan_stretches
from mner_training.lake_parts import SCHEMA
from mner_training.lake_reading import Reading, read_stretch
from mner_training.lake_tagger import LakeTagger, find_model
from modeling_iqcr import IQCRForTokenClassification, MultimodalNERPipeline
from processing_iqcr import IQCRProcessor
from processing_iqcr.scorers import register_quality_scorer


@pytest.fixture(scope="module")
def model_folder(make_lively_model, tiny_processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make_lively_model(3).save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pictures(make_pictures, tmp_path_factory):
    """A folder with five pictures, one of them in a folder below, and files that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "below").mkdir()
    for name, picture in zip(("0", "1", "2", "3", "below/4"), make_pictures(5), strict=True):
        picture.save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"rubbish")
    return folder


@pytest.fixture(scope="module")
def tagger(model_folder, pictures):
    return LakeTagger(model_folder, [str(pictures)], batch_size=4, compute_scores=False)


@pytest.fixture(scope="module")
def ner(model_folder):
    model = IQCRForTokenClassification.from_pretrained(model_folder)
    processor = IQCRProcessor.from_pretrained(model_folder)
    return MultimodalNERPipeline(model=model.eval(), processor=processor, device="cpu", compute_scores=False)


def reading(row: int, post) -> Reading:
    return Reading("lake.jsonl", row, post)


def tag(tagger, *posts) -> list[dict]:
    return list(tagger.rows([reading(row, post) for row, post in enumerate(posts, start=1)]))


def close(row, expected) -> bool:
    """Whether two rows are equal, to 1e-5 in their numbers."""
    if isinstance(row, dict):
        return row.keys() == expected.keys() and all(close(row[key], expected[key]) for key in row)
    if isinstance(row, list):
        return len(row) == len(expected) and all(map(close, row, expected))
    if isinstance(row, float) and isinstance(expected, float):
        return abs(row - expected) < 1e-5
    return row == expected


def test_rows_are_the_pipelines_answers(tagger, ner, pictures, make_posts):
    posts = [
        {"text": f"washington wins in {'the red zoo ' * (number % 9)}paris today!", "images": [f"{number % 4}.png"]}
        for number in range(20)
    ]
    posts += [{"words": ["in", "the New York", "", "jordan"], "images": ["below/4.png", "1.png"], "id": 7}]
    posts += [{"text": "  "}, {"text": "\U0001f600 today  \n in   paris", "images": []}, {"tokens": ["paris"] * 90}]
    columns = ("id", "tokens", "images", "quality_scores", "relevance_scores")
    posts += [
        {name: post[name] for name in columns if post[name] is not None}
        for post in make_posts(12, seed=8).cast_column("images", List(Image(decode=False))).to_list()
    ]
    rows = tag(tagger, *posts)
    assert [row["row"] for row in rows] == list(range(1, len(posts) + 1))
    assert any(len(row["entities"]) > 1 for row in rows)
    for post, row in zip(posts, rows, strict=True):
        images = [str(pictures / image) if isinstance(image, str) else image for image in post.get("images", [])]
        answer = ner(post | {"images": images})
        assert close({name: row[name] for name in answer}, answer)
        assert (row["file"], row["error"]) == ("lake.jsonl", None)
        assert row["id"] == (None if "id" not in post else str(post["id"]))
    pa.Table.from_pylist(rows, schema=SCHEMA)


def test_words_and_tags_are_the_models(tagger, ner, pictures):
    posts = [{"text": f"#washington wins @paris: {'jordan ' * number}again"} for number in range(6)]
    posts += [{"words": ["paris", "", "x" * number, "zoo"], "images": ["0.png"]} for number in range(6)]
    for post, row in zip(posts, tag(tagger, *posts), strict=True):
        images = [str(pictures / image) for image in post.get("images", [])]
        words = post.get("words") or [word.text for word in ner.processor.locate_words(text=post["text"])[1]]
        with torch.no_grad():
            outputs = ner.model(**ner.processor(words=words, images=images))
        predictions = [ner.model.config.id2label[tag] for tag in outputs.predictions[0].tolist() if tag != -100]
        assert row["words"] == words
        # an I- that begins an entity, or follows another type, is a B- in good BIO, and reads as one
        types = [tag[2:] for tag in predictions]
        begins = [
            tag[0] == "B" or (tag[0] == "I" and (place == 0 or types[place - 1] != tag[2:]))
            for place, tag in enumerate(predictions)
        ]
        assert row["tags"] == [
            tag if tag == "O" else f"{'B' if begin else 'I'}-{tag[2:]}"
            for tag, begin in zip(predictions, begins, strict=True)
        ]


BAD = [
    ({"id": "x", "images": []}, "Post 'lake.jsonl:5, id x' has no text. Give it one of 'text', 'words', 'tokens'."),
    ({}, "Post 'lake.jsonl:5' has no text."),
    ({"text": "a", "words": ["a"]}, "got 'text' and 'words'"),
    ({"text": 5}, "`text` must be a string, got 5"),
    ({"words": ["a", None]}, "word 1: expected a string, got None"),
    ({"words": "paris"}, "`words`, a list"),
    ({"text": "a", "id": 1.5}, "lake.jsonl:5: `id` must be a string or a whole number, got 1.5"),
    ({"text": "a", "id": True}, "`id` must be a string or a whole number"),
    ({"text": "a", "images": "0.png"}, "`images` must be a list, got str"),
    ({"text": "a", "images": 5}, "`images` must be a list, got int"),
    ({"text": "a", "images": [5]}, "image 0: expected a path, or in Parquet bytes, got int"),
    ({"text": "a", "images": ["0.png", None]}, "image 1: expected a path"),
    ({"text": "a", "images": [{"path": None, "bytes": None}]}, "image 0: expected a path"),
    ({"text": "a", "images": [["0.png"]]}, "image 0: expected a path, or in Parquet bytes, got list"),
    ({"text": "a", "images": ["0.png", "none.png"]}, "image 1: 'none.png' is in none of the image roots"),
    ({"text": "a", "images": ["broken.png"]}, "image 0: data of 7 bytes is not a picture of a known format"),
    ({"text": "a", "images": [b""]}, "image 0: data of 0 bytes is empty"),
    ({"text": "a", "images": ["../model/config.json"]}, "could lead out of the image folder"),
    ({"text": "a", "images": ["/etc/hostname"]}, "could lead out of the image folder"),
    ({"text": "a", "images": ["link.png"]}, "is a link that leads out of the image root"),
    ({"text": "a", "images": ["https://example.org/0.png"]}, "is in none of the image roots"),
    ({"text": "a", "images": ["0.png"], "quality_scores": [0.5, 0.5]}, "2 quality_scores for 1 images"),
    ({"text": "a", "images": ["0.png"], "quality_scores": [1.5]}, "1.5 in `quality_scores` is not in [0, 1]"),
    ({"text": "a", "images": ["0.png"], "relevance_scores": ["high"]}, "'high' in `relevance_scores` is no number"),
    ({"text": "a", "images": ["0.png"], "relevance_scores": 0.5}, "`relevance_scores` must be a list"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_a_bad_post_has_its_error_and_leaves_the_others(tagger, pictures, tmp_path, bad, reason):
    (tmp_path / "0.png").write_bytes((pictures / "0.png").read_bytes())
    if not (pictures / "link.png").is_symlink():
        (pictures / "link.png").symlink_to(tmp_path / "0.png")
    posts = [{"text": f"washington {'wins ' * number}", "images": ["1.png"]} for number in range(8)]
    expected = tag(tagger, *posts)
    rows = tag(tagger, *posts[:4], bad, *posts[4:])
    row = rows.pop(4)
    for other, alone in zip(rows, expected, strict=True):
        assert close(other | {"row": 0}, alone | {"row": 0})
    assert row.pop("error").count(reason) == 1
    good_id = isinstance(bad.get("id"), str)
    assert row == dict.fromkeys(row) | {"file": "lake.jsonl", "row": 5, "id": bad["id"] if good_id else None}


def test_a_mapping_of_json_opens_no_path(tagger, pictures):
    """`load_image` takes a string as the bytes of a mapping for a path, wherever that leads."""
    (row,) = tag(tagger, {"text": "a", "images": [{"bytes": str(pictures / "0.png")}]})
    assert row["error"] is None  # it lies below the folder, so it may
    (row,) = tag(tagger, {"text": "a", "images": [{"bytes": __file__}]})
    assert "could lead out of the image folder" in row["error"]


def test_a_path_may_be_whole_if_it_leads_into_the_folder(tagger, pictures):
    relative, whole, out = tag(
        tagger,
        {"text": "paris", "images": ["below/4.png"]},
        {"text": "paris", "images": [str(pictures / "below" / "4.png")]},
        {"text": "paris", "images": [f"{pictures}/../{pictures.name}/below/4.png"]},
    )
    assert relative["error"] is None
    assert close(whole | {"row": 1}, relative)
    assert "could lead out" in out["error"]


def test_of_a_mapping_the_bytes_win(tagger, pictures):
    content = (pictures / "0.png").read_bytes()
    forms = ["0.png", {"path": "0.png", "bytes": None}, {"path": "0.png"}, content, {"bytes": content, "path": "none"}]
    first, *others = tag(tagger, *({"text": "paris", "images": [form]} for form in forms))
    assert first["error"] is None
    for other in others:
        assert close(other | {"row": 1}, first)
    (empty,) = tag(tagger, {"text": "paris", "images": [{"bytes": b"", "path": "0.png"}]})
    assert "image 0: data of 0 bytes is empty" in empty["error"]


def test_an_error_that_nobody_foresaw_costs_its_post_alone(tagger, monkeypatch):
    preprocess = tagger.pipeline.preprocess

    def fragile(post, **parameters):
        if post["text"] == "paris":
            raise ZeroDivisionError("no such city")
        return preprocess(post, **parameters)

    monkeypatch.setattr(tagger.pipeline, "preprocess", fragile)
    before, failed, after = tag(tagger, {"text": "in"}, {"text": "paris"}, {"text": "today"})
    assert failed["error"] == "lake.jsonl:2: ZeroDivisionError: no such city"
    assert before["error"] is None is after["error"]


def break_model(tagger, monkeypatch, breaks, error) -> list[int]:
    """Let the model fail at batches of some kinds; the list of all batches' sizes."""
    forward, sizes = tagger.pipeline._forward, []

    def fragile(batch, **parameters):
        sizes.append(len(batch.posts))
        if breaks([post["text"] for post in batch.posts]):
            raise error
        return forward(batch, **parameters)

    monkeypatch.setattr(tagger.pipeline, "_forward", fragile)
    return sizes


CITIES = [{"text": text} for text in ("in", "paris", "today", "wins", "jordan", "again")]


def test_a_post_at_which_the_model_fails_costs_itself_alone(tagger, monkeypatch, caplog):
    expected = tag(tagger, *CITIES)
    sizes = break_model(tagger, monkeypatch, lambda texts: "paris" in texts, RuntimeError("no such city"))
    rows = tag(tagger, *CITIES)
    failed = rows.pop(1)
    assert failed == dict.fromkeys(failed) | {
        "file": "lake.jsonl",
        "row": 2,
        "error": "lake.jsonl:2: RuntimeError: no such city",
    }
    assert close(rows, [expected[0], *expected[2:]])
    assert sorted(sizes) == [1, 1, 1, 1, 2, 4]
    assert "A batch of 4 posts failed and is repeated post by post. RuntimeError: no such city" in caplog.text


def test_a_device_too_small_for_a_batch_goes_on_post_by_post(tagger, monkeypatch):
    expected = tag(tagger, *CITIES)
    break_model(tagger, monkeypatch, lambda texts: len(texts) > 1, torch.OutOfMemoryError("out of memory"))
    assert close(tag(tagger, *CITIES), expected)


def test_a_model_that_fails_at_every_post_ends_the_run(tagger, monkeypatch):
    break_model(tagger, monkeypatch, lambda texts: True, torch.OutOfMemoryError("out of memory"))
    message = "fails at each of 6 posts, the last time with OutOfMemoryError: out of memory"
    with pytest.raises(ValueError, match=message):
        tag(tagger, *CITIES, {"text": 5})
    (alone,) = tag(tagger, CITIES[0])  # whose fault it is nobody knows
    assert alone["error"] == "lake.jsonl:1: OutOfMemoryError: out of memory"


def test_posts_that_are_all_wrong_do_not_end_a_run(tagger, monkeypatch):
    break_model(tagger, monkeypatch, lambda texts: True, ValueError("not like this"))
    assert [row["error"] for row in tag(tagger, *CITIES)] == [
        f"lake.jsonl:{row}: ValueError: not like this" for row in range(1, 7)
    ]


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="torch 2.6 and 2.7 call it RuntimeError")
def test_a_lost_device_ends_the_run_at_once(tagger, monkeypatch):
    sizes = break_model(tagger, monkeypatch, lambda texts: "paris" in texts, torch.AcceleratorError("assert"))
    with pytest.raises(ValueError, match="The device is lost: assert"):
        tag(tagger, *CITIES)
    assert 1 not in sizes


def test_without_a_folder_of_pictures_a_path_is_an_error(model_folder):
    tagger = LakeTagger(model_folder, [], batch_size=4, compute_scores=False)
    named, without = tag(tagger, {"text": "a", "images": ["0.png"]}, {"text": "a"})
    assert "'0.png' is a path, and no folder of pictures was given: --images_dirs" in named["error"]
    assert without["error"] is None


def test_pictures_that_the_model_does_not_take_are_not_read(tagger):
    (row,) = tag(tagger, {"text": "a", "images": ["0.png"] * 4 + ["none.png"]})
    assert row["error"] is None
    assert [image["weight"] is None for image in row["images"]] == [False] * 4 + [True]


def test_a_model_of_texts_reads_no_picture(make_lively_model, tiny_processor, tmp_path):
    make_lively_model(3, use_images=False).save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    tagger = LakeTagger(str(tmp_path), [], batch_size=4, compute_scores=False)
    plain, pictured = tag(tagger, {"text": "in paris"}, {"text": "in paris", "images": ["none.png"]})
    assert pictured["error"] is None
    assert close(pictured["entities"], plain["entities"])
    assert pictured["images"] == [dict.fromkeys(("quality", "relevance", "weight", "gate"))]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["0.png", "broken.png", "\0"]),
    st.binary(max_size=4),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["path", "bytes"]), inner)),
    max_leaves=5,
)
POSTS = st.dictionaries(
    st.sampled_from(["id", "text", "words", "tokens", "images", "quality_scores", "relevance_scores"]), VALUES
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(posts=st.lists(POSTS, min_size=1, max_size=5))
def test_no_post_whatever_its_form_ends_a_run(tagger, posts):
    rows = tag(tagger, *posts, {"text": "in paris"})
    assert [row["row"] for row in rows] == list(range(1, len(posts) + 2))
    assert rows[-1]["error"] is None
    for row in rows:
        assert (row["error"] is None) == (row["entities"] is not None) == (row["tags"] is not None)
    pa.Table.from_pylist(rows, schema=SCHEMA)


def test_windows_of_posts_are_bounded_by_bytes(tagger, monkeypatch, pictures):
    content = (pictures / "0.png").read_bytes()
    monkeypatch.setattr("mner_training.lake_tagger._BYTES_AT_A_TIME", 3 * len(content))
    ahead = 0

    def posts():
        nonlocal ahead
        for row in range(1, 13):
            ahead += 1
            yield reading(row, {"text": "paris", "images": [content]})

    most = 0
    for _ in tagger.rows(posts()):
        most = max(most, ahead)
        ahead -= 1
    assert most == 3


def test_posts_of_like_length_share_a_batch(tagger, monkeypatch):
    batches = []
    tag_batch = type(tagger.pipeline).tag
    monkeypatch.setattr(
        type(tagger.pipeline),
        "tag",
        lambda self, prepared: batches.append([len(post["spans"]) for post in prepared]) or tag_batch(self, prepared),
    )
    tag(tagger, *({"text": "paris " * length} for length in (9, 1, 8, 2, 7, 3, 6, 4)))
    assert batches == [[1, 2, 3, 4], [6, 7, 8, 9]]


@pytest.fixture
def save_scored_model(make_lively_model, tiny_processor, tmp_path):
    """Save a model whose processor names a scorer of quality; its folder."""

    def save(scorer: str, **config) -> str:
        processor = IQCRProcessor(
            tiny_processor.image_processor,
            tiny_processor.tokenizer,
            max_length=32,
            window_overlap=8,
            quality_scorer={"name": scorer},
        )
        make_lively_model(3, **config).save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        return str(tmp_path)

    return save


def test_scores_are_computed_as_the_pipeline_does(save_scored_model, pictures):
    register_quality_scorer("for the lake", lambda images: [0.25] * len(images), version="1")
    folder = save_scored_model("for the lake")
    post = {"text": "paris", "images": ["0.png"]}
    given_scores = post | {"quality_scores": [0.75]}
    computed, as_given = tag(LakeTagger(folder, [str(pictures)], 4, True), post, given_scores)
    assert (computed["images"][0]["quality"], as_given["images"][0]["quality"]) == (0.25, 0.75)
    (missing,) = tag(LakeTagger(folder, [str(pictures)], 4, False), post)
    assert missing["images"][0]["quality"] is None
    # relevance has no scorer, and without scores none was to give one
    assert [row["unscored"] for row in (computed, as_given, missing)] == [0, 0, 0]


UNSCORED = [
    ({"images": ["0.png", "1.png"]}, 2),
    ({"images": []}, 0),
    ({"images": ["0.png"] * 5 + ["none.png"]}, 4),  # the model looks at four
    ({"images": ["0.png", "1.png"], "quality_scores": [0.5, None]}, 0),  # whoever gives scores says so himself
    ({"images": ["0.png", "1.png"], "relevance_scores": [0.5, None]}, 2),
    ({"images": ["none.png"]}, None),
]


def test_pictures_without_the_score_of_a_scorer_are_counted(save_scored_model, pictures):
    posts = [{"text": "paris wins"} | post for post, _ in UNSCORED] + [{"text": " ", "images": ["0.png"]}]
    rows = tag(LakeTagger(save_scored_model("not registered"), [str(pictures)], 4, True), *posts)
    assert [row["unscored"] for row in rows] == [number for _, number in UNSCORED] + [0]
    # a model that makes no use of quality wants none
    rows = tag(LakeTagger(save_scored_model("not registered", use_quality=False), [str(pictures)], 4, True), *posts)
    assert not any(row["unscored"] for row in rows)


def test_a_picture_that_its_scorer_cannot_score_is_counted(save_scored_model, pictures):
    register_quality_scorer("for the lake", lambda images: [2.0, 0.5][: len(images)], version="1")
    tagger = LakeTagger(save_scored_model("for the lake"), [str(pictures)], 4, True)
    (row,) = tag(tagger, {"text": "paris", "images": ["0.png", "1.png"]})
    assert ([image["quality"] for image in row["images"]], row["unscored"]) == ([None, 0.5], 1)


def test_a_picture_of_a_data_set_is_read(tagger, ner, make_posts, tmp_path):
    path = tmp_path / "posts.parquet"
    posts = make_posts(10, seed=2)
    posts.to_parquet(path)
    (stretch,) = plan_stretches(str(path), 100)[1]
    rows = list(tagger.rows(read_stretch(stretch)))
    assert [row["id"] for row in rows] == posts["id"]
    for post, row in zip(posts, rows, strict=True):
        answer = ner({name: post[name] for name in ("tokens", "images", "quality_scores", "relevance_scores")})
        assert close({name: row[name] for name in answer}, answer)


def test_a_model_is_known_by_what_decides_its_answers(model_folder, make_lively_model, tiny_processor, tmp_path):
    folder, digest = find_model(model_folder, None)
    assert folder == model_folder
    make_lively_model(3).save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    assert find_model(str(tmp_path), None)[1] == digest
    config = json.loads((tmp_path / "processor_config.json").read_text())
    (tmp_path / "processor_config.json").write_text(json.dumps(config | {"max_images": 2}))
    assert find_model(str(tmp_path), None)[1] != digest
    make_lively_model(4).save_pretrained(tmp_path)
    (tmp_path / "processor_config.json").write_text(json.dumps(config))
    assert find_model(str(tmp_path), None)[1] != digest


def test_a_model_that_cannot_be_had_is_refused(tmp_path, tiny_backbones):
    with pytest.raises(ValueError, match=r"holds no model.safetensors"):
        find_model(str(tmp_path), None)
    with pytest.raises(ValueError, match="is no folder, and cannot be had from the Hub"):
        find_model("nobody/none", None)
    with pytest.raises(ValueError, match="'bert' is no tagger of this package: iqcr, "):
        LakeTagger(str(tiny_backbones[0]), [], 4, False)


def test_a_row_of_parquet_is_as_one_of_json(tagger, tmp_path):
    posts = [{"text": f"paris {number}", "images": ["0.png"], "id": number} for number in range(5)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    pq.write_table(pa.Table.from_pylist(posts), tmp_path / "a.parquet")
    rows = [
        list(tagger.rows(read_stretch(plan_stretches(str(tmp_path / name), 9)[1][0])))
        for name in ("a.jsonl", "a.parquet")
    ]
    assert [row | {"file": ""} for row in rows[0]] == [row | {"file": ""} for row in rows[1]]
