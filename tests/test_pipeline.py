"""The pipeline: what it takes and gives, alone and in batches, with and without scores, and what it refuses."""

import io
import itertools
import logging
import math
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from dataset_scripts.features import post_features
from modeling_iqcr import MultimodalNERPipeline
from processing_iqcr import IQCRProcessor, image_fetching, post_scoring, scorers
from processing_iqcr.scorer_files import UnscorableImageError
from processing_iqcr.scorers import register_quality_scorer, register_relevance_scorer
from tests.hidden_packages import hide_packages


@pytest.fixture
def tagger(make_lively_model):
    return make_lively_model(3)


@pytest.fixture
def ner(tagger, tiny_processor):
    return MultimodalNERPipeline(model=tagger, processor=tiny_processor, device="cpu", compute_scores=False)


@pytest.fixture
def posts(make_pictures):
    """Posts of every kind: text, words, many and none of them; no, one, two and four pictures; some with scores."""
    pictures = make_pictures(7)
    return [
        {"text": "#Washington wins @paris: https://t.co/x?a=1 again!", "images": pictures[:2]},
        {"words": ["in", "the New York", "", "jordan"], "images": pictures[2:3], "quality_scores": [0.4]},
        {"text": "\U0001f600 today  \n in   paris", "images": []},
        {
            "words": [f"{word}{number}" for number in range(30) for word in ("paris", "the")],
            "images": pictures[3:],
            "quality_scores": [0.1, None, 0.9, 0.5],
            "relevance_scores": [0.3, 0.2, 0.1, None],
        },
        {"text": "  ", "images": pictures[:1], "relevance_scores": [0.2]},
        {"text": "jordan"},
    ]


def close(answers, expected) -> bool:
    """Whether two answers are equal, to 1e-5 in their numbers."""
    if isinstance(answers, dict):
        return answers.keys() == expected.keys() and all(close(answers[key], expected[key]) for key in answers)
    if isinstance(answers, list):
        return len(answers) == len(expected) and all(map(close, answers, expected))
    if isinstance(answers, float) and isinstance(expected, float):
        return abs(answers - expected) < 1e-5
    return answers == expected


def test_an_answer_is_what_processor_and_model_say(ner, tagger, tiny_processor, posts):
    (post, *_) = posts
    answer = ner(post)
    inputs = tiny_processor(text=post["text"], images=post["images"])
    with torch.no_grad():
        outputs = tagger(**inputs)
        _, words = tiny_processor.locate_words(text=post["text"])
        tags = [tagger.config.id2label[tag] for tag in outputs.predictions[0].tolist() if tag != -100]
        assert len(tags) == len(words)
        expected = []
        for start, tag in enumerate(tags):
            if tag == "O" or (tag[0] == "I" and tags[start - 1][2:] == tag[2:] and start):
                continue
            end = next((k for k in range(start + 1, len(tags)) if tags[k] != f"I-{tag[2:]}"), len(tags))
            span = (words[start].start, words[end - 1].end)
            entity = [[(start, end, tag[2:])]]
            (log_p,) = tagger.entity_log_probability(outputs.logits, inputs["word_mask"], entity)[0].tolist()
            expected.append((tag[2:], post["text"][slice(*span)], *span, math.exp(log_p)))
    assert expected
    assert close([list(entity.values()) for entity in answer["entities"]], list(map(list, expected)))
    assert list(answer["entities"][0]) == ["entity_group", "word", "start", "end", "score"]
    weights, gates = outputs.image_weights[0].tolist(), outputs.image_gates[0].tolist()
    assert [image["weight"] for image in answer["images"]] == pytest.approx(weights)
    assert [image["gate"] for image in answer["images"]] == pytest.approx(gates)
    assert all(image["quality"] is image["relevance"] is None for image in answer["images"])


def test_words_have_offsets_in_the_text_that_they_make(ner, posts):
    answer = ner(posts[1])
    assert answer["text"] == "in the New York  jordan"
    assert answer["images"][0]["quality"] == 0.4
    for post in posts:
        answer = ner(post)
        assert all(answer["text"][e["start"] : e["end"]] == e["word"] for e in answer["entities"])
        assert len(answer["images"]) == len(post.get("images", ()))


@pytest.mark.parametrize("batch_size", [1, 2, 4, 6, 16])
def test_batches_of_mixed_posts_give_each_its_own_answer(ner, posts, batch_size):
    alone = [ner(post) for post in posts]
    assert sum(len(answer["entities"]) for answer in alone) > 10
    assert close(ner(posts, batch_size=batch_size), alone)
    assert close(ner(posts[::-1], batch_size=batch_size), alone[::-1])


@pytest.mark.parametrize("kind", ["generator", "iterator", "map", "tuple", "torch", "workers"])
def test_many_posts_in_any_form(ner, posts, kind):
    alone = [ner(post) for post in posts]
    if kind == "workers":
        return assert_close_all(ner(posts, batch_size=2, num_workers=2), alone)
    source = {
        "generator": lambda: (post for post in posts),
        "iterator": lambda: iter(posts),
        "map": lambda: map(dict, posts),
        "tuple": lambda: tuple(posts),
        "torch": lambda: KeyDataset([{"post": post} for post in posts], "post"),
    }[kind]()
    answers = ner(source, batch_size=4)
    assert not isinstance(answers, list)
    return assert_close_all(answers, alone)


def assert_close_all(answers, expected) -> None:
    assert close(list(answers), expected)


def test_rows_of_a_data_set(ner, make_pictures):
    pictures = make_pictures(3)
    rows = [
        {
            "id": f"post-{number}",
            "url": None,
            "source": "mine",
            "tokens": ["washington", "wins", "in", "paris"][: number + 1],
            "ner_tags": [0] * (number + 1),
            "images": pictures[:number],
            "quality_scores": [0.5] * number,
            "relevance_scores": [None] * number,
        }
        for number in range(3)
    ]
    dataset = Dataset.from_list(rows, features=post_features(with_scores=True))
    alone = [ner({"words": row["tokens"]} | {key: row[key] for key in list(row)[-3:]}) for row in rows]
    assert any(answer["entities"] for answer in alone)
    assert_close_all(ner(dataset, batch_size=2), alone)
    assert_close_all(ner(dataset.to_iterable_dataset(), batch_size=2), alone)
    assert_close_all(ner(IterableDataset.from_generator(lambda: iter(rows))), alone)
    assert close(ner(rows[2]), alone[2])


def test_no_posts_at_all(ner):
    assert ner([]) == ner.explain([]) == list(ner(iter([]))) == []


def test_a_row_with_an_empty_column_and_an_explained_iterator(ner, posts):
    assert close(ner({"words": None, "tokens": ["paris", "wins"]}), ner({"words": ["paris", "wins"]}))
    assert close(ner.explain(iter(posts[:2])), ner.explain(posts[:2]))
    with pytest.raises(TypeError, match="takes no 'batch_size' here"):
        ner.explain(posts, batch_size=2)


def test_threshold_drops_what_lies_below(ner, posts):
    everything = ner(posts)
    scores = sorted(entity["score"] for answer in everything for entity in answer["entities"])
    middle = max(itertools.pairwise(scores), key=lambda pair: pair[1] - pair[0])
    middle = sum(middle) / 2  # of the widest gap: rounding moves no score across it
    some = ner(posts, threshold=middle, batch_size=3)
    kept = [[e for e in answer["entities"] if e["score"] >= middle] for answer in everything]
    assert sum(map(len, kept)) not in (0, len(scores))
    assert close([answer["entities"] for answer in some], kept)
    assert close([answer["images"] for answer in some], [answer["images"] for answer in everything])


@pytest.mark.parametrize("threshold", [-0.1, 1.5, "0.5", True, None, math.nan])
def test_a_threshold_is_a_probability(ner, threshold):
    with pytest.raises(ValueError, match=r"`threshold` must be a number in \[0, 1\], got"):
        ner("paris", threshold=threshold)


def test_explaining_is_tagging_without_each_picture(ner, posts):
    decided = 0
    for post, explained in zip(posts, ner.explain(posts), strict=True):
        plain = ner(post)
        assert close(
            [{key: entity[key] for key in list(entity)[:5]} for entity in explained["entities"]], plain["entities"]
        )
        assert close(explained["images"], plain["images"])
        pictures = post.get("images", [])
        kinds = [kind for kind in ("images", "quality_scores", "relevance_scores") if post.get(kind)]
        without = [
            ner(post | {kind: [*post[kind][:left_out], *post[kind][left_out + 1 :]] for kind in kinds})
            for left_out in range(len(pictures))
        ]
        for entity in explained["entities"]:
            assert len(entity["score_without"]) == len(pictures)
            key = tuple(entity[name] for name in ("entity_group", "start", "end"))
            lost = []
            for number, answer in enumerate(without):
                found = {(e["entity_group"], e["start"], e["end"]): e["score"] for e in answer["entities"]}
                if key in found:
                    assert found[key] == pytest.approx(entity["score_without"][number], abs=1e-5)
                else:
                    lost.append(number)
            lowest = min(lost, key=lambda number: entity["score_without"][number], default=None)
            assert entity["decided_by"] == lowest
            decided += lowest is not None
    assert decided, "no picture decided anything, so nothing was tested"


def test_explaining_runs_the_model_once(ner, tagger, posts, monkeypatch):
    batches = []
    forward = tagger.forward
    monkeypatch.setattr(
        tagger, "forward", lambda **inputs: batches.append(len(inputs["input_ids"])) or forward(**inputs)
    )
    ner.explain(posts[0])
    assert batches == [3]


@pytest.mark.parametrize("num_images", [5, 6])
def test_more_pictures_than_the_model_takes(ner, make_pictures, caplog, num_images):
    pictures = make_pictures(num_images)
    scores = [0.1 * number for number in range(num_images)]
    post = {"text": "paris wins in washington", "images": pictures, "quality_scores": scores}
    with caplog.at_level(logging.WARNING, logger="transformers_modules"):
        answer = ner(post)
    assert [image["weight"] is None for image in answer["images"]] == [False] * 4 + [True] * (num_images - 4)
    assert [image["quality"] for image in answer["images"]] == scores
    cut = ner(post | {"images": pictures[:4], "quality_scores": scores[:4]})
    assert cut["entities"]
    assert close(answer["entities"], cut["entities"])
    for entity in ner.explain(post)["entities"]:
        assert [score is None for score in entity["score_without"]] == [False] * 4 + [True] * (num_images - 4)


def test_a_text_only_model_never_opens_a_picture(make_lively_model, tiny_processor):
    ner = MultimodalNERPipeline(model=make_lively_model(use_images=False), processor=tiny_processor, device="cpu")
    answer = ner({"text": "paris wins", "images": ["not there.jpg"], "quality_scores": [0.3]})
    assert answer["images"] == [{"quality": 0.3, "relevance": None, "weight": None, "gate": None}]
    explained = ner.explain({"text": "paris wins", "images": ["not there.jpg"]})
    assert all(e["score_without"] == [None] and e["decided_by"] is None for e in explained["entities"])


def test_a_model_in_half_precision(tagger, tiny_processor, posts):
    ner = MultimodalNERPipeline(model=tagger.to(torch.bfloat16), processor=tiny_processor, device="cpu")
    assert all(0 <= e["score"] <= 1 for answer in ner(posts, batch_size=3) for e in answer["entities"])


def test_the_installed_pipeline_is_known_by_its_name(tagger, tiny_processor, tmp_path, posts):
    given = pipeline("multimodal-ner", model=tagger, processor=tiny_processor, device="cpu")
    given.save_pretrained(tmp_path)
    loaded = pipeline("multimodal-ner", model=str(tmp_path), trust_remote_code=True, device="cpu", threshold=0.2)
    inferred = pipeline(model=str(tmp_path), trust_remote_code=True, device="cpu")
    assert close(inferred(posts[0]), given(posts[0]))
    assert close(loaded(posts[0]), given(posts[0], threshold=0.2))


# Scores


@pytest.fixture
def brightness(monkeypatch):
    """Scorers of the test's own; the second refuses pictures of one width, and gives NaN for another one."""
    monkeypatch.setattr(scorers, "_registered", {})
    calls = []

    def quality(images):
        calls.append(len(images))
        return [float(np.asarray(image).mean()) / 255 for image in images]

    def relevance(texts, images):
        if any(image.width == 13 for image in images):
            raise UnscorableImageError("It is 13 wide.")
        return [math.nan if image.width == 14 else len(text) / 100 for text, image in zip(texts, images, strict=True)]

    register_quality_scorer("brightness", quality, version="1")
    register_relevance_scorer("length", relevance, version="1")
    return calls


@pytest.fixture
def make_ner(tagger, tiny_processor):
    """Function that makes a pipeline whose processor names these scorers."""

    def make(model=tagger, **names) -> MultimodalNERPipeline:
        specs = {kind: None if name is None else {"name": name} for kind, name in names.items()}
        processor = IQCRProcessor(tiny_processor.image_processor, tiny_processor.tokenizer, 4, 32, 8, **specs)
        return MultimodalNERPipeline(model=model, processor=processor, device="cpu")

    return make


@pytest.fixture
def warned(monkeypatch):
    """The warnings about scores, those that are given once as often as they are given."""
    found, once = [], set()
    monkeypatch.setattr(post_scoring.logger, "warning", found.append)
    monkeypatch.setattr(
        post_scoring.logger, "warning_once", lambda text: text in once or once.add(text) or found.append(text)
    )
    return found


def test_scores_are_computed_by_the_scorers_that_the_processor_names(make_ner, brightness, posts, warned):
    ner = make_ner(quality_scorer="brightness", relevance_scorer="length")
    computed = ner(posts[0])
    qualities = [float(np.asarray(picture).mean()) / 255 for picture in posts[0]["images"]]
    relevances = [len("# Washington wins : again !") / 100] * 2
    assert [image["quality"] for image in computed["images"]] == pytest.approx(qualities)
    assert [image["relevance"] for image in computed["images"]] == pytest.approx(relevances)
    given = posts[0] | {"quality_scores": qualities, "relevance_scores": relevances}
    before = len(brightness)
    assert close(ner(given), computed)
    assert len(brightness) == before, "given scores were computed again"
    missing = ner(posts[0], compute_scores=False)
    assert len(brightness) == before
    assert all(image["quality"] is None for image in missing["images"])
    assert not close(missing, computed)
    assert warned == []


def test_a_score_that_is_given_as_missing_stays_missing(make_ner, brightness, posts):
    ner = make_ner(quality_scorer="brightness", relevance_scorer="length")
    answer = ner(posts[0] | {"quality_scores": [None, 0.5]})
    assert [image["quality"] for image in answer["images"]] == [None, 0.5]
    assert brightness == []


def test_only_pictures_that_the_model_looks_at_are_scored(make_ner, brightness, make_pictures):
    ner = make_ner(quality_scorer="brightness", relevance_scorer="length")
    answer = ner({"text": "paris", "images": make_pictures(6)})
    assert brightness == [4]
    assert [image["quality"] is None for image in answer["images"]] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("switch", ["use_quality", "use_relevance"])
def test_what_the_model_does_not_use_is_not_computed(make_ner, make_lively_model, brightness, posts, switch):
    model = make_lively_model(**{switch: False})
    answer = make_ner(model, quality_scorer="brightness", relevance_scorer="length")(posts[0])
    missing = "quality" if switch == "use_quality" else "relevance"
    assert [name for name in ("quality", "relevance") if answer["images"][0][name] is None] == [missing]


@pytest.mark.parametrize(
    ("names", "hidden", "said"),
    [
        ({}, (), "names no quality_scorer"),
        ({"quality_scorer": "maniqa"}, ("pyiqa",), r"'maniqa' cannot be had. .*pip install 'iqcr-mi\[scoring\]'"),
        ({"quality_scorer": "no such metric"}, (), "pyiqa has no metric"),
        ({"quality_scorer": "maniqa"}, (), "'maniqa' failed at Post 0"),  # no network here
    ],
)
def test_a_scorer_that_cannot_be_had_is_warned_of_once(
    make_ner, posts, warned, names, hidden, said, monkeypatch, tmp_path
):
    hide_packages(monkeypatch, *hidden)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    ner = make_ner(**names)
    answers = ner(posts, batch_size=2)
    of_quality = [warning for warning in warned if "quality" in warning]
    assert len(of_quality) == 1
    assert "replaced by the mean of the training data" in of_quality[0]
    assert re.search(said, of_quality[0]), of_quality[0]
    assert close(answers, ner(posts, compute_scores=False))


def test_a_picture_that_cannot_be_scored_is_named(make_ner, brightness, make_pictures, warned):
    ner = make_ner(quality_scorer="brightness", relevance_scorer="length")
    wide, refused, without_number = make_pictures(3)
    pictures = [wide, refused.resize((13, 20)), without_number.resize((14, 20))]
    answer = ner([{"text": "paris", "images": []}, {"id": "O_17", "text": "paris", "images": pictures}])[1]
    assert [image["relevance"] is None for image in answer["images"]] == [False, True, True]
    assert [image["quality"] is None for image in answer["images"]] == [False] * 3
    assert [warning.partition(":")[0] for warning in warned] == ["Post 'O_17', image 1", "Post 'O_17', image 2"]
    assert "13 wide" in warned[0]
    assert "NaN" in warned[1]


def test_a_scorer_that_fails_once_is_asked_again_if_it_worked_before(make_ner, brightness, posts, warned):
    calls = []

    def moody(images):
        calls.append(len(images))
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return [0.5] * len(images)

    register_quality_scorer("moody", moody, version="1")
    ner = make_ner(quality_scorer="moody", relevance_scorer="length")
    answers = ner([posts[0]] * 3)
    assert [answer["images"][0]["quality"] for answer in answers] == [0.5, None, 0.5]
    assert len(warned) == 1
    assert "'moody' failed at Post 1 (RuntimeError). out of memory" in warned[0]


def test_another_scorer_than_that_of_the_training_gives_no_score(make_ner, brightness, posts, warned):
    ner = make_ner(quality_scorer="brightness", relevance_scorer="length")
    other = {"library": "registered", "name": "brightness", "version": "2"}
    ner.processor.quality_scorer = {"name": "brightness", "description": other}
    assert [image["quality"] for image in ner(posts[0])["images"]] == [None, None]
    assert "is not the one that scored the training data" in warned[0]


# Bad input


@pytest.mark.parametrize(
    ("post", "said"),
    [
        ({"text": "paris", "images": "photo.jpg"}, "Post 0: `images` must be a list, got str. For one picture"),
        ({"text": "paris", "images": b"photo"}, "`images` must be a list, got bytes"),
        ({"text": "paris", "images": {"path": "x"}}, "`images` must be a list, got dict"),
        ({"text": "paris", "images": np.zeros((2, 8, 8, 3), np.uint8)}, "`images` must be a list, got ndarray"),
        ({"text": "paris", "image": ["photo.jpg"]}, "Post 0: a post has no 'image'. It may have .*'images'"),
        ({"text": "paris", "words": ["paris"]}, "give either 'text' or 'words', got 'text' and 'words'"),
        ({"images": []}, "Post 0: give either 'text' or 'words', got only 'images'"),
        ({}, "got only nothing"),
        ({"text": 3}, "Post 0: `text` must be a string, got 3"),
        ({"words": "paris"}, "Post 0: give either `text`, a string, or `words`, a list"),
        ({"words": ["paris", 3]}, "Post 0, word 1: expected a string, got 3"),
        (3, "Post 0 must be a text or a mapping with 'text' or 'words', got int"),
        ({"text": "paris", "images": ["not there.jpg"]}, "Post 0, image 0: 'not there.jpg' cannot be opened"),
        ({"text": "paris", "images": [b"nonsense"]}, "Post 0, image 0: data of 8 bytes is not a picture"),
        ({"id": "O_3", "text": "paris", "images": ["https://a.org/x"]}, "'O_3', image 0: .* is a URL, .*allow_urls"),
        ({"words": None, "tokens": None}, "give either 'text' or 'words', got only 'words', 'tokens'"),
        ({"text": "paris", "images": [], "quality_scores": 0.5}, "`quality_scores` must be a list with one score per"),
        ({"text": "paris", "images": [], "quality_scores": [0.5]}, "Post 0: 1 quality_scores for 0 images"),
    ],
)  # fmt: skip
def test_bad_input_is_answered_by_a_sentence(ner, post, said):
    with pytest.raises(ValueError, match=said):
        ner(post)
    if isinstance(post, dict) and post.get("id") is None:
        with pytest.raises(ValueError, match=said.replace("Post 0", "Post 1")):
            ner(["fine", post])
    with pytest.raises(ValueError, match=said.replace("Post 0", "Post 2")):
        list(ner(iter(["fine", "fine", post]), batch_size=2))


@pytest.mark.parametrize("scores", [[50], [-0.1], [math.nan], ["0.5"]])
def test_scores_out_of_their_range_are_refused(ner, make_pictures, scores):
    with pytest.raises(ValueError, match=r"Post 0, image 0: .*`quality_scores`"):
        ner({"text": "paris", "images": make_pictures(1), "quality_scores": scores})


def test_unknown_arguments_are_refused(ner):
    with pytest.raises(TypeError, match=r"takes no 'treshold' here\. It takes threshold"):
        ner("paris", treshold=0.5)


def test_a_pipeline_needs_a_processor(tagger):
    with pytest.raises(ValueError, match="needs a `processor`, and found none beside the model"):
        MultimodalNERPipeline(model=tagger, device="cpu")


def test_places_that_hold_no_model(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"Unrecognized model in .*empty\. Should have a `model_type` key in its config"
    ):
        pipeline("multimodal-ner", model=str(tmp_path / "empty"), trust_remote_code=True)


# Addresses


@pytest.fixture
def site(make_pictures, monkeypatch):
    """A web site on the loopback."""
    picture = io.BytesIO()
    make_pictures(1)[0].save(picture, "PNG")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            moved = {"/moved": "/picture.png", "/file": "file:///etc/hostname", "/loop": "/loop"}.get(self.path)
            bodies = {"/picture.png": picture.getvalue(), "/page": b"<html>", "/large": bytes(2000)}
            self.send_response(302 if moved else 200 if self.path in bodies else 404)
            if moved:
                self.send_header("Location", moved)
            self.end_headers()
            self.wfile.write(bodies.get(self.path, b""))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_addresses_are_followed_if_allowed(ner, site, make_pictures):
    post = {"text": "paris wins in washington"}
    expected = ner(post | {"images": make_pictures(1)})
    for path in ("/picture.png", "/moved"):
        assert close(ner(post | {"images": [site + path]}, allow_urls=True), expected)
        assert close(ner(post | {"images": [{"path": site + path, "bytes": None}]}, allow_urls=True), expected)
        with pytest.raises(ValueError, match="allow_urls"):
            ner(post | {"images": [site + path]})


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/none", "Post 0, image 0: 'http.*/none' cannot be downloaded .*Not Found"),
        ("/file", "cannot be downloaded"),
        ("/loop", "cannot be downloaded"),
        ("/page", "is not a picture"),
        ("/large", "has more than 0 MiB"),
    ],
)
def test_addresses_without_a_picture(ner, site, monkeypatch, path, said):
    monkeypatch.setattr(image_fetching, "MAX_BYTES", 1900 if path == "/large" else 64 * 2**20)
    with pytest.raises(ValueError, match=said):
        ner({"text": "paris", "images": [site + path]}, allow_urls=True)


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:image/png;base64,AAAA"])
def test_other_addresses_are_refused_even_so(ner, address):
    with pytest.raises(ValueError, match="Post 0, image 0"):
        ner({"text": "paris", "images": [address]}, allow_urls=True)


def test_nobody_answers(ner):
    with pytest.raises(ValueError, match=r"'http://127\.0\.0\.1/x\.png' cannot be downloaded") as caught:
        ner({"text": "paris", "images": ["http://me:secret@127.0.0.1:1/x.png?signature=secret"]}, allow_urls=True)
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match=r"Post 0, image 0: 'http://\.\.\.' cannot be downloaded"):
        ner({"text": "paris", "images": ["http://[secret/x.png"]}, allow_urls=True)
