"""UMT's equations against a second writing of them, its boundary branch by hand, and what must change nothing."""

import math

import pytest
import torch
from torch import nn
from torchcrf import CRF
from transformers import ResNetConfig

from mner_zoo.layers.boundary import boundary_conversion, boundary_tags
from mner_zoo.systems.umt import UMTConfig, UMTForTokenClassification
from modeling_iqcr.tagger_config import PAPER_LABELS
from tests.mner_zoo.pictured_batch import pictured_batch

# The boundary tag of each of the paper's labels, and the scores that each boundary tag gives to them.
BORDERS = [0, 1, 2, 1, 2, 1, 2, 1, 2]
CONVERSION = [
    [1, 0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0.25, 0, 0.25, 0, 0.25, 0, 0.25, 0],
    [0, 0, 0.25, 0, 0.25, 0, 0.25, 0, 0.25],
]


@pytest.fixture(scope="module")
def make_umt(tiny_backbone_configs, enliven):
    """Function that makes a tiny UMT whose weights matter, in ``eval()``."""

    def make(seed: int = 0, **fields) -> UMTForTokenClassification:
        torch.manual_seed(seed)
        text, vision = tiny_backbone_configs()
        config = UMTConfig(text_config=text, **{"vision_config": vision} | fields)
        return enliven(UMTForTokenClassification(config), seed).eval()

    return make


@pytest.fixture
def small_resnet() -> ResNetConfig:
    return ResNetConfig(embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1], layer_type="basic")


def linear(states, module):
    return states @ module.weight.T + module.bias


def bert_layer(queries, keys, layer, heads=4):
    """A post-norm layer for one post, head by head."""
    attention, width = layer.attention, queries.shape[-1] // heads
    found = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        query = linear(queries, attention.query)[:, part]
        key, value = linear(keys, attention.key)[:, part], linear(keys, attention.value)[:, part]
        found.append((query @ key.T / math.sqrt(width)).softmax(dim=-1) @ value)
    shape = queries.shape[-1:]
    norm, last = layer.attention_norm, layer.feed_forward_norm
    attended = queries + linear(torch.cat(found, dim=-1), attention.output)
    states = nn.functional.layer_norm(attended, shape, norm.weight, norm.bias)
    inner = nn.functional.gelu(linear(states, layer.feed_forward[0]))
    return nn.functional.layer_norm(states + linear(inner, layer.feed_forward[2]), shape, last.weight, last.bias)


def umt_by_hand(model, input_ids, pictures):
    """Emissions of the tags and of the borders for one post without padding: steps 1 to 11 of the equations."""
    body = model.model
    text = body.text_model(input_ids[None]).last_hidden_state[0]  # S
    branch = bert_layer(text, text, body.boundary_layer)  # A
    words = bert_layer(text, text, body.text_layer)  # N
    regions = torch.cat([body.vision_model(picture[None]).last_hidden_state[0, 1:] for picture in pictures])  # V
    image_aware = bert_layer(words, linear(regions, body.key_regions), body.image_to_words)  # C
    text_aware = bert_layer(linear(regions, body.query_regions), words, body.words_to_image)  # G
    word_aware = bert_layer(words, text_aware, body.image_words_to_words)  # D
    gate = 1 / (1 + (-linear(torch.cat([word_aware, image_aware], dim=1), body.gate)).exp())
    fused = linear(torch.cat([word_aware, gate * image_aware], dim=1), model.classifier)  # e_m
    borders = linear(branch, model.boundary_classifier)  # e_a
    return 0.5 * fused + 0.5 * borders @ torch.tensor(CONVERSION, dtype=fused.dtype), borders


@pytest.mark.parametrize("num_images", [1, 3])
def test_the_equations(make_umt, num_images):
    model = make_umt().double()
    batch = pictured_batch([num_images])
    pictures = batch["pixel_values"].double()
    expected, _ = umt_by_hand(model, batch["input_ids"][0], pictures[0])
    actual = model(batch["input_ids"], pixel_values=pictures).logits[0]
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("normalization", ["posts", "words", "sum"])
def test_the_loss_is_that_of_both_crfs(make_umt, normalization):
    model = make_umt(loss_normalization=normalization).double()
    batch = pictured_batch([2, 1])
    total = 0.0
    for post in range(2):
        length = int(batch["attention_mask"][post].sum())
        ids, count = batch["input_ids"][post, :length], int(batch["image_mask"][post].sum())
        scores = umt_by_hand(model, ids, batch["pixel_values"][post, :count].double())
        labels = batch["labels"][post, 1 : length - 1]
        borders = torch.tensor(BORDERS)[labels]
        for weight, ours, emissions, tags in zip(
            (1.0, 0.5), (model.crf, model.boundary_crf), scores, (labels, borders), strict=True
        ):
            theirs = CRF(ours.num_tags, batch_first=True).double()
            theirs.load_state_dict(ours.state_dict())
            total -= weight * theirs(emissions[None, 1 : length - 1], tags[None])
    parts = {"posts": 2, "words": int(batch["word_mask"].sum()), "sum": 1}[normalization]
    batch["pixel_values"] = batch["pixel_values"].double()
    torch.testing.assert_close(model(**batch).loss, total / parts, rtol=0, atol=1e-10)


def test_boundary_tags_and_conversion_of_the_papers_labels():
    assert boundary_tags(PAPER_LABELS).tolist() == BORDERS
    assert boundary_conversion(boundary_tags(PAPER_LABELS)).tolist() == CONVERSION


def test_conversion_of_another_set_of_labels():
    labels = ["B-LOC", "O", "I-PER", "B-PER", "B-CREATIVE-WORK"]
    third = pytest.approx(1 / 3)
    assert boundary_conversion(boundary_tags(labels)).tolist() == [
        [0, 1, 0, 0, 0],
        [third, 0, 0, third, third],
        [0, 0, 1, 0, 0],
    ]
    assert boundary_conversion(boundary_tags(["O", "B-PER"])).tolist() == [[1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize("label", ["S-PER", "LABEL_0", "BPER", ""])
def test_labels_without_borders_are_refused(make_umt, label):
    with pytest.raises(ValueError, match="need labels in BIO form"):
        make_umt(id2label={0: "O", 1: label})


@pytest.mark.parametrize(("share", "weight"), [(0.0, 0.0), (1.0, 2.0)])
def test_share_and_weight_of_the_boundary_branch(make_umt, share, weight):
    batch = pictured_batch([1, 1])
    halves, mixed = make_umt(), make_umt(boundary_share=share, boundary_loss_weight=weight)
    seen = []
    halves.classifier.register_forward_hook(lambda _, __, output: seen.append(output))
    halves.boundary_classifier.register_forward_hook(lambda _, __, output: seen.append(output))
    halves(**batch)
    borders, fused = seen
    expected = borders @ torch.tensor(CONVERSION) if share else fused
    output = mixed(**batch)
    torch.testing.assert_close(output.logits, expected, rtol=0, atol=1e-6)
    unweighted = make_umt(boundary_share=share, boundary_loss_weight=0)(**batch).loss
    weighted = make_umt(boundary_share=share, boundary_loss_weight=1)(**batch).loss
    torch.testing.assert_close(output.loss, unweighted + weight * (weighted - unweighted), rtol=0, atol=1e-4)
    assert weighted > unweighted + 0.1


def test_pictures_matter_but_not_their_order(make_umt):
    batch = pictured_batch([3, 2])
    model = make_umt()
    before = model(**batch).logits
    real = batch["attention_mask"].bool()
    batch["pixel_values"][0] = batch["pixel_values"][0, [2, 0, 1]]
    torch.testing.assert_close(model(**batch).logits[real], before[real], rtol=0, atol=1e-5)
    batch["pixel_values"][0, 1] += 1
    assert (model(**batch).logits - before)[0].abs().max() > 0.01


def test_slot_embedding_gives_images_an_order(make_umt):
    batch = pictured_batch([3, 2])
    model = make_umt(slot_embedding=True)
    before = model(**batch).logits
    batch["pixel_values"][0] = batch["pixel_values"][0, [2, 0, 1]]
    assert (model(**batch).logits - before)[0].abs().max() > 0.01
    with pytest.raises(ValueError, match="has more images than the model's `max_images`, 2"):
        make_umt(slot_embedding=True, max_images=2)(**batch)


@pytest.mark.parametrize("backbone", ["vit", "resnet"])
def test_other_posts_empty_slots_and_padding_change_nothing(make_umt, small_resnet, backbone):
    model = make_umt(**({"vision_config": small_resnet} if backbone == "resnet" else {}))
    size = 16 if backbone == "vit" else 48
    batch = pictured_batch([1, 3, 0], size=size)
    before = model(**batch)
    pixels = batch["pixel_values"].clone()
    pixels[~batch["image_mask"]] = 7
    torch.testing.assert_close(model(**batch | {"pixel_values": pixels}).logits, before.logits)
    packed = batch | {"pixel_values": batch["pixel_values"][batch["image_mask"]]}
    torch.testing.assert_close(model(**packed).logits, before.logits)
    for post in range(3):
        length, count = int(batch["attention_mask"][post].sum()), int(batch["image_mask"][post].sum())
        alone = {
            "input_ids": batch["input_ids"][post : post + 1, :length],
            "pixel_values": batch["pixel_values"][post : post + 1, :count] if count else None,
        }
        logits = model(**alone).logits[0]
        torch.testing.assert_close(before.logits[post, :length], logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_images", [[2, 1], [0, 0]])
def test_gradient_reaches_every_parameter(make_umt, small_resnet, num_images):
    model = make_umt(slot_embedding=True, vision_config=small_resnet).train()
    batch = pictured_batch(num_images, size=48)
    if not sum(num_images):
        del batch["pixel_values"], batch["image_mask"]
    model(**batch).loss.backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    if sum(num_images):  # a key's bias adds the same to all logits of a softmax
        still = [name for name, parameter in model.named_parameters() if not parameter.grad.any()]
        assert all(name.endswith("key.bias") for name in still)


def test_a_frozen_resnet_moves_in_no_buffer(make_umt, small_resnet):
    model = make_umt(vision_config=small_resnet)
    model.freeze_backbones(vision=True)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.model.vision_model.state_dict().items()}
    model(**pictured_batch([2, 1], size=48)).loss.backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    after = model.model.vision_model.state_dict()
    assert any("running_mean" in name for name in after)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boundary_share": 1.5}, "`boundary_share` must be a finite number from 0 to 1, got 1.5"),
        ({"boundary_loss_weight": -1}, "`boundary_loss_weight` must be a finite number from 0"),
        ({"slot_embedding": 1}, "`slot_embedding` must be true or false, got 1"),
        ({"text_config": {"model_type": "distilbert"}}, "type 'distilbert' has no `intermediate_size`"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        UMTConfig(**fields)
