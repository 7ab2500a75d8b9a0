"""Parameter groups: every trainable parameter once, at its part's rate."""

import pytest

from mner_training.optimizer import parameter_groups


def by_name(model, groups) -> dict[str, tuple[float, float]]:
    """Rate and decay of each parameter; fails if one is in two groups."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], (group["lr"], group["weight_decay"])) for group in groups for p in group["params"]]
    assert len(found) == len(dict(found))
    return dict(found)


@pytest.fixture
def model(make_model):
    return make_model(attention_prior=True)


def test_rates_and_decay_of_each_part(model):
    groups = parameter_groups(model, 1e-5, head_learning_rate=1e-3, vision_learning_rate=2e-6, weight_decay=0.01)
    found = by_name(model, groups)
    assert set(found) == {name for name, _ in model.named_parameters()}
    expected = {
        "model.text_model.embeddings.word_embeddings.weight": (1e-5, 0.01),
        "model.text_model.encoder.layer.0.attention.self.query.weight": (1e-5, 0.01),
        "model.text_model.encoder.layer.0.attention.self.query.bias": (1e-5, 0.0),
        "model.text_model.embeddings.LayerNorm.weight": (1e-5, 0.0),
        "model.image_projection.weight": (1e-3, 0.01),
        "model.image_weighting.quality_scale": (1e-3, 0.0),
        "model.image_weighting.relevance_scale": (1e-3, 0.0),
        "classifier.weight": (1e-3, 0.01),
        "classifier.bias": (1e-3, 0.0),
        "crf.transitions": (1e-3, 0.0),
        "crf.start_transitions": (1e-3, 0.0),
    }
    assert {name: found[name] for name in expected} == expected
    for name, (rate, _) in found.items():
        part = name.removeprefix("model.").split(".")[0]
        assert rate == {"text_model": 1e-5, "vision_model": 2e-6}.get(part, 1e-3), name
    assert len(groups) == len({(group["lr"], group["weight_decay"]) for group in groups})


def test_one_rate_for_all_unless_asked(model):
    found = by_name(model, parameter_groups(model, 2e-5))
    assert set(found.values()) == {(2e-5, 0.0)}
    found = by_name(model, parameter_groups(model, 2e-5, vision_learning_rate=0.0))
    assert {rate for name, (rate, _) in found.items() if "vision_model" in name} == {0.0}
    assert {rate for name, (rate, _) in found.items() if "vision_model" not in name} == {2e-5}


def test_frozen_parameters_are_absent(model):
    model.freeze_backbones(text=True, vision=True)
    found = by_name(model, parameter_groups(model, 1e-5, head_learning_rate=1e-3, weight_decay=0.01))
    assert set(found) == {
        name
        for name, _ in model.named_parameters()
        if not name.startswith(("model.text_model.", "model.vision_model."))
    }
    assert {rate for rate, _ in found.values()} == {1e-3}


def test_base_model_without_a_head(model):
    found = by_name(model.model, parameter_groups(model.model, 1e-5, head_learning_rate=1e-3))
    assert found["text_model.embeddings.word_embeddings.weight"] == (1e-5, 0.0)
    assert found["image_weighting.quality_scale"] == (1e-3, 0.0)
