"""What holds for every system, IQCR-MI and its ablations among them; a new system is tested by being registered.

Longer than most files: one list of what has to hold, which a new system is read against.
"""

import inspect
import json
import random

import pytest
import torch
from transformers import AutoConfig, AutoModelForTokenClassification, AutoProcessor, pipeline

from mner_training.metrics import NERMetric
from mner_training.model_card import make_model_card
from mner_training.public_files import find_public_files
from mner_training.sharding import sharded_layers
from modeling_iqcr.tagger_config import PAPER_LABELS
from tests.mner_zoo.systems import ORDER_SENSITIVE, Case, Tiny, all_cases, make_tiny

CASES = all_cases()
WITH_IMAGES = [case for case in CASES if case.uses_images]
SEVERAL_IMAGES = [case for case in WITH_IMAGES if case.fields.get("max_images", 4) > 1]
WORDS = ["washington", "paris", "jordan", "wins", "again", "in", "the", "red", "blue", "green", "today", "zoo", "Bax"]


def of_name(cases: list[Case]):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def make_posts(pictures, num_posts: int = 8, seed: int = 0) -> list[dict]:
    """Tagged posts of 2 to 9 words with 0 to 4 pictures; the first has none, the second one, the third four."""
    rng = random.Random(seed)
    posts = []
    for number in range(num_posts):
        num_images = {0: 0, 1: 1, 2: 4}.get(number, rng.randrange(5))
        words = rng.sample(WORDS, rng.randrange(2, 10))
        posts.append(
            {
                "words": words,
                "images": pictures[number * 4 : number * 4 + num_images],
                "quality_scores": [rng.random() for _ in range(num_images)],
                "relevance_scores": [rng.random() / 2 for _ in range(num_images)],
                "word_labels": random_tags(len(words), rng),
            }
        )
    return posts


def random_tags(number: int, rng: random.Random) -> list[int]:
    """Legal tags, by number."""
    tags = []
    for _ in range(number):
        legal = [tag for tag, label in enumerate(PAPER_LABELS) if label[:2] != "I-"]
        if tags and PAPER_LABELS[tags[-1]] != "O":
            legal.append(PAPER_LABELS.index("I-" + PAPER_LABELS[tags[-1]][2:]))
        tags.append(rng.choice(legal))
    return tags


@pytest.fixture(scope="module")
def posts(make_pictures) -> list[dict]:
    return make_posts(make_pictures(32))


@pytest.fixture(scope="module")
def make(tiny_processor, tiny_backbone_configs, posts, enliven):
    """Function that makes a tiny system; ``lively`` with weights so large that every input matters."""

    def of_case(case: Case, lively: bool = True, seed: int = 0) -> Tiny:
        words = [post["words"] for post in posts]
        tiny = make_tiny(case, tiny_processor, tiny_backbone_configs, words + words, seed)
        if lively:
            enliven(tiny.model, seed)
        return tiny

    return of_case


def logits_of_words(tiny: Tiny, batch: dict) -> list[torch.Tensor]:
    """For each post the scores of its words, `(W, C)`."""
    with torch.no_grad():
        logits = tiny.model(**batch).logits
    return [row[mask] for row, mask in zip(logits, batch["word_mask"], strict=True)]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def differ(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return any(not torch.allclose(one, other, atol=1e-3) for one, other in zip(found, expected, strict=True))


@of_name(CASES)
def test_eight_posts_are_learned_by_heart(case, make, posts):
    tiny = make(case, lively=False)
    model, batch = tiny.model, tiny.batch(posts, packed=True)
    if case.uses_images:
        model.freeze_backbones(vision=case.is_convolutional)  # as its authors do
    torch.manual_seed(0)
    # without dropout, whose noise would only make this longer
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    gold = [[PAPER_LABELS[tag] for tag in post["word_labels"]] for post in posts]
    for step in range(400):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 19 and _f1(model.eval(), batch, gold) >= 0.99:
            break
        model.train()
    assert _f1(model.eval(), batch, gold) >= 0.99


def _f1(model, batch: dict, gold: list[list[str]]) -> float:
    with torch.no_grad():
        predictions = model(**batch).predictions
    tags = [[PAPER_LABELS[tag] for tag in row[row != -100].tolist()] for row in predictions]
    return NERMetric().compute(predictions=tags, references=gold)["f1"]


@of_name(CASES)
def test_gradient_reaches_every_parameter(case, make, posts):
    tiny = make(case)
    batch = tiny.batch(posts, packed=True)
    tiny.model.train()
    # enough draws of every dropout, and of words that are forgotten
    for _ in range(3):
        tiny.model(**batch).loss.backward()
    # A key's bias adds the same to all logits of a query, which a softmax does not see.
    without = [
        name
        for name, parameter in tiny.model.named_parameters()
        if parameter.grad is None or (not parameter.grad.any() and not name.endswith("key.bias"))
    ]
    assert without == []


@of_name(CASES)
def test_saved_and_loaded(case, make, posts, tmp_path):
    tiny = make(case)
    tiny.model.save_pretrained(tmp_path)
    tiny.processor.save_pretrained(tmp_path)
    model, processor = (
        AutoModelForTokenClassification.from_pretrained(tmp_path),
        AutoProcessor.from_pretrained(tmp_path),
    )
    assert (type(model), type(processor)) == (case.model_class, type(tiny.processor))
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == model.config.to_dict()
    batch, loaded = tiny.batch(posts), Tiny(model, processor)
    again = loaded.batch(posts)
    assert batch.keys() == again.keys()
    for name, tensor in batch.items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=0, equal_nan=True)
    assert_same(logits_of_words(loaded, again), logits_of_words(tiny, batch))

    is_zoo = case.config_class.model_type != "iqcr"
    public = set(find_public_files(tmp_path))
    assert {"config.json", "model.safetensors", "processor_config.json"} <= public
    assert is_zoo == (not [path for path in tmp_path.iterdir() if path.suffix == ".py"])
    assert is_zoo == ("auto_map" not in json.loads((tmp_path / "processor_config.json").read_text()))
    card = make_model_card(tmp_path).text
    assert ("Pictures are passed over." in card) == (not case.uses_images)
    assert ("import mner_zoo" in card) == ("trust_remote_code" not in card) == is_zoo


@of_name(CASES)
@pytest.mark.parametrize("num_images", [[0, 0], [1, 1], [4, 4], [0, 4, 1, 2]], ids=["none", "one", "four", "mixed"])
def test_any_number_of_pictures(case, num_images, make, make_pictures):
    tiny = make(case)
    posts = make_posts(make_pictures(32), len(num_images), seed=1)
    pictures = make_pictures(16, seed=2)
    for post, number in zip(posts, num_images, strict=True):
        post |= {"images": pictures[:number], "quality_scores": [0.5] * number, "relevance_scores": [0.2] * number}
    for packed in (False, True):
        tiny.model.train()
        loss = tiny.model(**tiny.batch(posts, packed=packed)).loss
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in tiny.model.parameters())
        tiny.model.eval()
    batch = tiny.batch(posts)
    output = tiny.model(**batch)
    assert output.logits.shape == (*batch["input_ids"].shape, len(PAPER_LABELS))
    assert ((output.predictions != -100) == batch["word_mask"]).all()
    assert_same(logits_of_words(tiny, batch), logits_of_words(tiny, tiny.batch(posts, packed=True)))


@of_name(CASES)
def test_other_posts_of_the_batch_change_nothing(case, make, posts, make_pictures):
    tiny = make(case)
    together = logits_of_words(tiny, tiny.batch(posts))
    assert_same([logits_of_words(tiny, tiny.batch([post]))[0] for post in posts], together)
    others = make_posts(make_pictures(32, seed=5), len(posts), seed=5)
    mixed = logits_of_words(tiny, tiny.batch([posts[3], *others]))
    assert_same(mixed[:1], together[3:4])
    assert_same(logits_of_words(tiny, tiny.batch(posts[::-1])), together[::-1])


@of_name(CASES)
def test_longer_padding_changes_nothing(case, make, posts):
    tiny = make(case)
    assert_same(
        logits_of_words(tiny, tiny.batch(posts, length=25, num_images=6)), logits_of_words(tiny, tiny.batch(posts))
    )


@of_name(WITH_IMAGES)
def test_only_real_pictures_count(case, make, posts):
    tiny = make(case)
    batch = tiny.batch(posts)
    before = logits_of_words(tiny, batch)
    empty = ~batch["image_mask"]
    assert empty.any()
    changed = dict(batch, pixel_values=batch["pixel_values"].clone())
    changed["pixel_values"][empty] = 9.0
    assert_same(logits_of_words(tiny, changed), before)
    changed["pixel_values"][~empty] += torch.randn_like(changed["pixel_values"][~empty])
    after = logits_of_words(tiny, changed)
    # with one picture alone IQCR-MI's weight is 1, but its state counts all the same
    assert all(
        differ([one], [other]) == bool(mask.any()) for one, other, mask in zip(after, before, ~empty, strict=True)
    )


@of_name(SEVERAL_IMAGES)
def test_order_of_the_pictures(case, make, posts):
    tiny = make(case)
    turned = [
        post | {name: post[name][::-1] for name in ("images", "quality_scores", "relevance_scores")} for post in posts
    ]
    before, after = logits_of_words(tiny, tiny.batch(posts)), logits_of_words(tiny, tiny.batch(turned))
    if case.name in ORDER_SENSITIVE:
        assert differ(after, before)
    else:
        assert_same(after, before)


@of_name([case for case in CASES if case.fields.get("max_images") == 1])
def test_single_picture_systems_read_the_first(case, make, posts):
    tiny = make(case)
    first = [
        post | {name: post[name][:1] for name in ("images", "quality_scores", "relevance_scores")} for post in posts
    ]
    assert_same(logits_of_words(tiny, tiny.batch(posts)), logits_of_words(tiny, tiny.batch(first)))


@of_name(CASES)
def test_frozen_encoders_stay_as_they_are(case, make, posts):
    tiny = make(case)
    model = tiny.model
    model.freeze_backbones(text=True, vision=True)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(**tiny.batch(posts, packed=True)).loss.backward()
    optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not [name for name in changed if name.startswith(("model.text_model.", "model.vision_model."))]


@of_name(CASES)
def test_loss_is_divided_as_the_configuration_says(case, make, posts):
    tiny = make(case)
    batch, single = tiny.batch(posts), [tiny.batch([post]) for post in posts]
    normalization = getattr(tiny.model.config, "loss_normalization", "words")  # that of IQCR-MI is no field
    divisor = {"num_items_in_batch": int((batch["labels"] != -100).sum())} if normalization == "words" else {}
    with torch.no_grad():
        parts = sum(tiny.model(**one, **divisor).loss.item() for one in single)
        whole = tiny.model(**batch).loss.item()
    assert whole == pytest.approx(parts / len(posts) if normalization == "posts" else parts, rel=1e-4)
    assert tiny.model.accepts_loss_kwargs == (normalization == "words")


@of_name(CASES)
def test_layers_are_known_to_what_shards_a_model(case, make):
    assert bool(sharded_layers(make(case).model)) == (not case.reads_words)


@of_name([case for case in WITH_IMAGES if case.config_class.model_type != "iqcr"])
def test_more_pictures_than_places_are_refused(case, make, posts):
    tiny = make(case)
    most = tiny.model.config.max_images
    pixels, mask = torch.zeros(1, most + 1, 3, 16, 16), torch.ones(1, most + 1, dtype=torch.bool)
    batch = tiny.batch(posts[:1]) | {"pixel_values": pixels, "image_mask": mask}
    with pytest.raises(ValueError, match=f"more images than the model's `max_images`, {most}"):
        tiny.model(**batch)


@of_name(CASES)
def test_half_precision_trains(case, make, posts):
    tiny = make(case, lively=False)
    tiny.model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = tiny.model(**tiny.batch(posts, packed=True)).loss
    loss.backward()
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    assert all(p.grad is None or p.grad.isfinite().all() for p in tiny.model.parameters())


@of_name(CASES)
def test_forward_reads_what_the_processor_gives(case, make, posts):
    tiny = make(case)
    parameters = inspect.signature(tiny.model.forward).parameters
    given = {*tiny.processor.model_input_names, *(["char_ids"] if case.reads_words else [])}
    assert {"input_ids", "attention_mask", "word_mask", "labels"} <= parameters.keys()
    assert {name for name in parameters if name.endswith(("_values", "_ids", "_mask", "_scores"))} <= given | {
        "char_ids"
    }
    if case.config_class.model_type != "iqcr":  # which is one class for all its ablations
        assert ("pixel_values" in parameters) == case.uses_images
        assert not {"quality_scores", "relevance_scores"} & parameters.keys()


@of_name(CASES)
def test_pipeline_from_a_folder(case, make, posts, tmp_path):
    tiny = make(case)
    tiny.model.save_pretrained(tmp_path)
    tiny.processor.save_pretrained(tmp_path)
    # IQCR-MI's folder brings its code, which a pipeline asks for leave to run
    ner = pipeline("multimodal-ner", model=str(tmp_path), trust_remote_code=case.config_class.model_type == "iqcr")
    asked = [{"tokens": post["words"], "images": post["images"]} for post in posts]
    answers = ner(asked, batch_size=3, compute_scores=False)
    singly = [ner(post, compute_scores=False) for post in asked]
    spans = [[(e["entity_group"], e["start"], e["end"]) for e in answer["entities"]] for answer in answers]
    assert spans == [[(e["entity_group"], e["start"], e["end"]) for e in answer["entities"]] for answer in singly]
    assert any(spans)
    for post, answer in zip(posts, answers, strict=True):
        assert answer["text"] == " ".join(post["words"])
        assert len(answer["images"]) == len(post["images"])
        for entity in answer["entities"]:
            assert 0 <= entity["score"] <= 1
            assert answer["text"][entity["start"] : entity["end"]] == entity["word"]


@of_name(CASES)
def test_predictions_are_legal(case, make, posts):
    tiny = make(case, seed=3)
    predictions = tiny.model(**tiny.batch(posts)).predictions
    for row in predictions:
        tags = [PAPER_LABELS[tag] for tag in row[row != -100].tolist()]
        for before, tag in zip(["O", *tags], tags, strict=False):
            assert tag[:2] != "I-" or before[1:] == tag[1:], tags
