"""The Trainer's evaluation against posts tagged one by one, and its update against one large batch."""

import copy

import pytest
import torch
from datasets import Dataset, Image, List
from seqeval.metrics import f1_score

from dataset_scripts.features import TAG_NAMES
from mner_training.arguments import MNERTrainingArguments
from mner_training.data import encode_split
from mner_training.data_collator import PostCollator
from mner_training.trainer import MNERTrainer
from modeling_iqcr import IQCRConfig, IQCRForTokenClassification
from processing_iqcr.entities import tags_to_entities

LABELS = list(TAG_NAMES)


@pytest.fixture(scope="module")
def posts(make_posts) -> Dataset:
    """Posts of very different lengths, two of them of several windows, with 0 to 3 pictures."""
    lengths = [1, 60, 4, 2, 33, 7, 3, 1, 12, 5, 9]
    rows = [make_posts(2, seed=seed, num_words=length).to_list()[1] for seed, length in enumerate(lengths)]
    assert {len(row["images"]) for row in rows} >= {0, 1, 2}
    assert any(row["images"] and length > 30 for row, length in zip(rows, lengths, strict=True))
    features = make_posts(1).features
    return Dataset.from_list(rows, features=features).cast_column("images", List(Image(decode=False)))


@pytest.fixture
def opinionated(make_model):
    """A tagger whose untrained head already gives many different tags."""
    model = make_model(seed=3)
    generator = torch.Generator().manual_seed(1)
    gate = model.model.image_weighting.gate
    for parameter in (model.classifier.weight, *model.crf.parameters(), *gate.parameters()):
        parameter.data.normal_(generator=generator)
    return model


@pytest.fixture
def make_trainer(tiny_processor, tmp_path):
    """Function that makes a trainer on the CPU, quiet, for the given splits."""

    def make(model, splits, train=None, **arguments) -> MNERTrainer:
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "use_cpu": True,
            "disable_tqdm": True,
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
        }
        return MNERTrainer(
            model=model,
            args=MNERTrainingArguments(**(defaults | arguments)),
            data_collator=PostCollator(tiny_processor, model, with_images=model.config.use_images),
            train_dataset=None if train is None else train.rows,
            processing_class=tiny_processor,
            splits=splits,
        )

    return make


def tag_one_by_one(model, processor, posts, with_images=True) -> list:
    """Each post on its own, through the processor alone."""
    predictions = []
    for post in posts:
        columns = ("images", "quality_scores", "relevance_scores") if with_images else ()
        inputs = processor(words=post["tokens"], **{name: post[name] for name in columns})
        with torch.no_grad():
            outputs = model(**inputs)
        (prediction,) = processor.post_process_entities(model, outputs, inputs)
        predictions.append((prediction, outputs))
    return predictions


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("sampling", ["group_by_length", "random"])
def test_evaluation_equals_posts_tagged_one_by_one(
    posts, opinionated, tiny_processor, make_trainer, batch_size, sampling
):
    split = encode_split("test", posts, tiny_processor, LABELS)
    trainer = make_trainer(
        opinionated, [split], per_device_eval_batch_size=batch_size, train_sampling_strategy=sampling
    )
    output = trainer.predict(split.rows, metric_key_prefix="test")
    alone = tag_one_by_one(opinionated, tiny_processor, posts)
    gold = [[LABELS[tag] for tag in tags] for tags in posts["ner_tags"]]
    tags = [prediction.tags for prediction, _ in alone]
    assert [answer.prediction.tags for answer in output.predictions] == tags
    assert len({tag for post_tags in tags for tag in post_tags}) > 4
    for answer, (prediction, outputs), post in zip(output.predictions, alone, posts, strict=True):
        assert answer.prediction.entities == prediction.entities
        assert answer.prediction.probabilities == pytest.approx(prediction.probabilities, abs=1e-4)
        number = len(post["images"])
        assert answer.image_weights == pytest.approx(outputs.image_weights[0, :number].tolist(), abs=1e-5)
        assert answer.image_gates == pytest.approx(outputs.image_gates[0, :number].tolist(), abs=1e-5)
    assert output.metrics["test_f1"] == pytest.approx(f1_score(gold, tags))
    assert 0 < output.metrics["test_f1"] < 1
    assert output.metrics["test_support"] == sum(len(tags_to_entities(post_tags)) for post_tags in gold)
    collator, loss, num_words = trainer.data_collator, 0.0, 0
    for row in split.rows:  # a word in two windows counts twice, as in training
        inputs = collator.normalize(collator([row]))
        count = int((inputs["labels"] != -100).sum())
        loss, num_words = loss + count * opinionated(**inputs).loss.item(), num_words + count
    assert output.metrics["test_loss"] == pytest.approx(loss / num_words, rel=1e-5)


def test_batch_in_which_no_post_has_a_picture(make_posts, opinionated, tiny_processor, make_trainer):
    rows = make_posts(20, seed=8).to_list()
    rows.sort(key=lambda row: len(row["images"]))
    assert not any(row["images"] for row in rows[:3])
    posts = Dataset.from_list(rows, features=make_posts(1).features).cast_column("images", List(Image(decode=False)))
    split = encode_split("test", posts, tiny_processor, LABELS)
    output = make_trainer(opinionated, [split], per_device_eval_batch_size=3).predict(split.rows)
    alone = tag_one_by_one(opinionated, tiny_processor, posts)
    assert [answer.prediction.tags for answer in output.predictions] == [prediction.tags for prediction, _ in alone]
    assert [len(answer.image_weights) for answer in output.predictions] == [len(row["images"]) for row in rows]


def test_text_only_model(posts, make_model, tiny_processor, make_trainer):
    model = make_model(seed=3, use_images=False)
    split = encode_split("test", posts, tiny_processor, LABELS, with_images=False)
    output = make_trainer(model, [split], per_device_eval_batch_size=4).predict(split.rows)
    alone = tag_one_by_one(model, tiny_processor, posts, with_images=False)
    assert [answer.prediction.tags for answer in output.predictions] == [prediction.tags for prediction, _ in alone]
    assert {(answer.image_weights, answer.image_gates) for answer in output.predictions} == {(None, None)}


def test_data_without_tags_is_predicted_without_metrics(posts, opinionated, tiny_processor, make_trainer):
    tagged = encode_split("test", posts, tiny_processor, LABELS)
    split = encode_split("test", posts.remove_columns("ner_tags"), tiny_processor, LABELS)
    trainer = make_trainer(opinionated, [split, tagged])
    output = trainer.predict(split.rows)
    assert not any(name.endswith(("f1", "loss", "accuracy", "support")) for name in output.metrics)
    expected = trainer.predict(tagged.rows)
    assert [a.prediction.tags for a in output.predictions] == [a.prediction.tags for a in expected.predictions]


def test_evaluation_after_training_mode_leaves_the_model_ready(posts, opinionated, tiny_processor, make_trainer):
    split = encode_split("test", posts, tiny_processor, LABELS)
    opinionated.train()
    trainer = make_trainer(opinionated, [split])
    tags = [answer.prediction.tags for answer in trainer.predict(split.rows).predictions]
    opinionated.eval()
    assert tags == [prediction.tags for prediction, _ in tag_one_by_one(opinionated, tiny_processor, posts)]


def test_rows_of_an_unknown_split_are_refused(posts, opinionated, tiny_processor, make_trainer):
    split = encode_split("test", posts, tiny_processor, LABELS)
    with pytest.raises(ValueError, match=r"given to the trainer in `splits`"):
        make_trainer(opinionated, []).predict(split.rows)


@pytest.fixture
def without_dropout(tiny_backbone_configs):
    torch.manual_seed(0)
    text, vision = tiny_backbone_configs()
    for config in (text, vision):
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    return IQCRForTokenClassification(IQCRConfig(text_config=text, vision_config=vision, dropout=0.0))


@pytest.mark.parametrize("use_crf", [True, False], ids=["crf", "softmax"])
def test_accumulated_batches_give_the_update_of_a_large_one(
    make_posts, without_dropout, tiny_processor, make_trainer, use_crf
):
    posts = make_posts(16, seed=6).cast_column("images", List(Image(decode=False)))
    split = encode_split("train", posts, tiny_processor, LABELS)
    without_dropout.config.use_crf = use_crf
    model = IQCRForTokenClassification(without_dropout.config)
    updated = []
    for batch_size, accumulation in ((16, 1), (4, 4), (2, 8)):
        copied = copy.deepcopy(model)
        trainer = make_trainer(
            copied,
            [split],
            train=split,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            train_sampling_strategy="sequential",
            optim="sgd",
            learning_rate=0.5,
            head_learning_rate=1.0,
            lr_scheduler_type="constant",
            max_steps=1,
        )
        trainer.train()
        updated.append(dict(copied.named_parameters()))
    start, (whole, *parts) = dict(model.named_parameters()), updated
    moved = {name for name in start if (whole[name] - start[name]).abs().max() > 1e-4}
    parts_moved = {name.removeprefix("model.").split(".")[0] for name in moved}
    assert {"text_model", "vision_model", "image_projection", "cross_layers", "classifier"} <= parts_moved
    for part in parts:
        for name, parameter in part.items():
            torch.testing.assert_close(parameter, whole[name], atol=1e-5, rtol=0)


def test_optimizer_has_the_rates_of_the_parts(posts, opinionated, tiny_processor, make_trainer):
    split = encode_split("train", posts, tiny_processor, LABELS)
    trainer = make_trainer(
        opinionated,
        [split],
        train=split,
        learning_rate=1e-5,
        head_learning_rate=1e-3,
        vision_learning_rate=1e-6,
        weight_decay=0.1,
    )
    optimizer = trainer.create_optimizer()
    assert isinstance(optimizer, torch.optim.AdamW)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(opinionated.classifier.weight)] == (1e-3, 0.1)
    assert rates[id(opinionated.crf.transitions)] == (1e-3, 0.0)
    assert rates[id(opinionated.model.text_model.embeddings.word_embeddings.weight)] == (1e-5, 0.1)
    assert rates[id(opinionated.model.vision_model.embeddings.cls_token)] == (1e-6, 0.1)
    assert len(rates) == len(list(opinionated.parameters()))
    assert trainer.create_optimizer() is optimizer
