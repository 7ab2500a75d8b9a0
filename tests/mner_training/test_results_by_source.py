"""Results of a corpus of several sources: each against seqeval on its posts alone, up to the table."""

import json
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from datasets import Image, List
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from dataset_scripts.features import TAG_NAMES
from mner_training.arguments import MNERTrainingArguments
from mner_training.data import encode_split
from mner_training.data_collator import PostCollator
from mner_training.metrics import NERMetric, flatten_scores, headline, score_sources
from mner_training.trainer import MNERTrainer
from processing_iqcr.entities import tags_to_entities

ROOT = Path(__file__).parents[2]
LABELS = list(TAG_NAMES)
FIGURES = ["precision", "recall", "f1", "strict_f1", "support", "posts"]


def random_tags(seed: int, posts: int = 40) -> tuple[list[list[str]], list[list[str]]]:
    """Predicted and gold tags; among both are an I- without its B-, so that the strict figures differ."""
    generator = random.Random(seed)
    gold = [[generator.choice(LABELS) for _ in range(generator.randint(1, 12))] for _ in range(posts)]
    predicted = [[generator.choice([tag, tag, generator.choice(LABELS)]) for tag in tags] for tags in gold]
    return predicted, gold


def flatten(predicted, gold, sources) -> dict[str, float]:
    result = NERMetric().compute(predictions=predicted, references=gold)
    return flatten_scores(result | {"per_source": score_sources(predicted, gold, sources)})


def of_sources(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if "source_" in name}


def test_each_source_is_scored_as_if_it_were_alone():
    predicted, gold = random_tags(1)
    sources = [("mner-mi", "twitter2017", "b c")[number % 7 % 3] for number in range(40)]
    scores = score_sources(predicted, gold, sources)
    assert scores.keys() == set(sources)
    for source, figures in scores.items():
        chosen = [number for number in range(40) if sources[number] == source]
        some_gold, some_predicted = [gold[number] for number in chosen], [predicted[number] for number in chosen]
        assert list(figures) == FIGURES
        assert figures["f1"] == pytest.approx(f1_score(some_gold, some_predicted))
        assert figures["precision"] == pytest.approx(precision_score(some_gold, some_predicted))
        assert figures["recall"] == pytest.approx(recall_score(some_gold, some_predicted))
        assert figures["strict_f1"] == pytest.approx(f1_score(some_gold, some_predicted, mode="strict", scheme=IOB2))
        assert figures["strict_f1"] != pytest.approx(figures["f1"])
        assert figures["support"] == sum(len(tags_to_entities(tags)) for tags in some_gold)
        assert figures["posts"] == len(chosen)


def test_figures_by_hand():
    # a: 2 gold, 1 predicted, 1 right. b: 1 gold, 2 predicted, 1 right.
    gold = [["B-PER", "O"], ["B-LOC", "O"], ["O", "B-PER"]]
    predicted = [["B-PER", "O"], ["B-LOC", "B-LOC"], ["O", "O"]]
    scores = score_sources(predicted, gold, ["a", "b", "a"])
    a = {"precision": 1.0, "recall": 1 / 2, "f1": 2 / 3, "strict_f1": 2 / 3, "support": 2, "posts": 2}
    b = {"precision": 1 / 2, "recall": 1.0, "f1": 2 / 3, "strict_f1": 2 / 3, "support": 1, "posts": 1}
    assert scores == {"a": pytest.approx(a), "b": pytest.approx(b)}


def test_counts_of_the_sources_add_up_to_the_whole():
    predicted, gold = random_tags(2)
    scores = score_sources(predicted, gold, ["abc"[number % 3] for number in range(40)])
    whole = NERMetric().compute(predictions=predicted, references=gold)

    def counts(figures):  # right, predicted and gold entities
        right = figures["recall"] * figures["support"]
        return right, right / figures["precision"], figures["support"]

    summed = [sum(column) for column in zip(*map(counts, scores.values()), strict=True)]
    assert summed == pytest.approx(counts(whole))
    assert summed[1] == pytest.approx(sum(len(tags_to_entities(tags)) for tags in predicted))
    assert sum(figures["posts"] for figures in scores.values()) == 40


@pytest.mark.parametrize("sources", [["a"] * 3, [None] * 3, [None, "", "unknown"]])
def test_one_source_adds_nothing(sources):
    tags = [["B-PER"], ["O"], ["B-LOC"]]
    result = NERMetric().compute(predictions=tags, references=tags)
    assert flatten(tags, tags, sources) == flatten_scores(result)


def test_posts_without_a_source_are_of_an_unknown_one():
    gold, predicted = [["B-PER"], ["B-PER"], ["O"]], [["B-PER"], ["O"], ["O"]]
    scores = score_sources(predicted, gold, [None, "", "a"])
    assert scores.keys() == {"unknown", "a"}
    assert (scores["unknown"]["posts"], scores["unknown"]["recall"]) == (2, 1 / 2)


@pytest.mark.parametrize("tag", ["O", "B-PER"], ids=["none predicted", "one predicted"])
def test_source_without_gold_entities_has_zeros_and_no_warning(tag):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score_sources([["B-PER"], [tag]], [["B-PER"], ["O"]], ["a", "b"])
    assert scores["b"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "strict_f1": 0.0, "support": 0, "posts": 1}
    assert scores["a"]["f1"] == 1.0


def test_sources_that_are_not_one_per_post_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        score_sources([["O"], ["O"]], [["O"], ["O"]], ["a"])


@pytest.mark.parametrize(
    ("tag", "sources", "key"),
    [("B-source_mner-mi", ["mner-mi", "b"], "source_mner-mi_precision"), ("B-PER", ["a", "a_strict"], "strict_f1")],
    ids=["type", "source"],
)
def test_names_that_share_a_key_are_refused(tag, sources, key):
    with pytest.raises(ValueError, match=f"Source '.*' makes '.*{key}' ambiguous: rename the source"):
        flatten([[tag], ["O"]], [[tag], ["O"]], sources)


@pytest.mark.parametrize("source", ["mner-mi", "twitter_2017", "macro", "a strict b", "x_weighted_y", "ü\n", "_"])
def test_log_shows_precision_recall_and_f1_of_a_source(source):
    predicted, gold = random_tags(3)
    flat = flatten(predicted, gold, [source, "other"] * 20)
    metrics = {f"test_{name}": value for name, value in flat.items()} | {"test_posts": 40, "train_mem_gpu": 5}
    shown = {f"test_source_{name}_{figure}" for name in (source, "other") for figure in ("precision", "recall", "f1")}
    kept = headline(metrics)
    assert of_sources(kept).keys() == shown
    types = {f"test_{name}_f1" for name in ("PER", "LOC", "ORG", "MISC")}
    whole = {f"test_{name}" for name in ("accuracy", "precision", "recall", "f1", "support", "posts")}
    assert kept.keys() - shown == types | whole | {"train_mem_gpu"}
    assert len(of_sources(metrics)) == 12


@pytest.fixture
def make_evaluation(make_model, make_posts, tiny_processor, tmp_path):
    """Function that makes a trainer and a split of 12 posts of the given sources, of which the third is long."""

    def make(sources: list[str | None] | None):
        posts = make_posts(12, seed=5)
        rows = posts.to_list()
        for row, other in zip(rows, sources or [], strict=False):
            row["source"] = other
        rows[2] |= {"tokens": ["paris", "in"] * 30, "ner_tags": [LABELS.index("B-LOC"), 0] * 30}
        posts = posts.from_list(rows, features=posts.features).cast_column("images", List(Image(decode=False)))
        if sources is None:
            posts = posts.remove_columns("source")
        split = encode_split("test", posts, tiny_processor, LABELS)
        assert len(split.rows) > len(posts)
        model = make_model(seed=3)
        for parameter in (model.classifier.weight, *model.crf.parameters()):  # an untrained head of many tags
            parameter.data.normal_(generator=torch.Generator().manual_seed(1))
        trainer = MNERTrainer(
            model=model,
            args=MNERTrainingArguments(
                output_dir=str(tmp_path / "run"),
                use_cpu=True,
                disable_tqdm=True,
                eval_strategy="no",
                save_strategy="no",
                load_best_model_at_end=False,
                per_device_eval_batch_size=5,
            ),
            data_collator=PostCollator(tiny_processor, model, with_images=True),
            processing_class=tiny_processor,
            splits=[split],
        )
        return trainer, split

    return make


SOURCES = ["a_mem_b", "Twitter 2017 | ünï", None, "a_mem_b"] * 3


def test_trainer_scores_each_source_by_its_own_posts(make_evaluation):
    trainer, split = make_evaluation(SOURCES)
    # Gold tags that an untrained model hits: its own, of which some posts have lost a few.
    tags = [answer.prediction.tags for answer in trainer.predict(split.rows).predictions]
    split.tags = [post_tags if number % 4 else ["O", *post_tags[1:]] for number, post_tags in enumerate(tags)]
    output = trainer.predict(split.rows, metric_key_prefix="test")
    for source in ("a_mem_b", "Twitter 2017 | ünï", None):
        chosen = [number for number in range(12) if SOURCES[number] == source]
        gold = [split.tags[number] for number in chosen]
        predicted = [output.predictions[number].prediction.tags for number in chosen]
        figures = [output.metrics[f"test_source_{source or 'unknown'}_{figure}"] for figure in FIGURES]
        assert figures == pytest.approx(
            [
                precision_score(gold, predicted, zero_division=0),
                recall_score(gold, predicted, zero_division=0),
                f1_score(gold, predicted, zero_division=0),
                f1_score(gold, predicted, mode="strict", scheme=IOB2, zero_division=0),
                sum(len(tags_to_entities(tags)) for tags in gold),
                len(chosen),
            ]
        )
    assert len(of_sources(output.metrics)) == 3 * len(FIGURES)
    supports = [value for name, value in of_sources(output.metrics).items() if name.endswith("_support")]
    assert sum(supports) == output.metrics["test_support"]
    assert 0 < output.metrics["test_source_a_mem_b_f1"] < output.metrics["test_source_unknown_f1"] == 1
    assert max(supports) < output.metrics["test_support"]


@pytest.mark.parametrize("sources", [None, ["a"] * 12], ids=["no column", "one source"])
def test_trainer_adds_nothing_without_several_sources(make_evaluation, sources):
    trainer, split = make_evaluation(sources)
    metrics = trainer.evaluate(split.rows)
    assert "eval_f1" in metrics
    assert of_sources(metrics) == {}


def test_every_name_of_a_source_can_be_logged_saved_and_put_on_the_model_card(make_evaluation, capsys):
    trainer, split = make_evaluation(SOURCES)
    metrics = trainer.evaluate(split.rows)
    trainer.log_metrics("eval", headline(metrics))  # alone, `a_mem_b` would be taken for bytes
    trainer.save_metrics("eval", metrics)
    trainer.create_model_card()
    folder = Path(trainer.args.output_dir)
    assert json.loads((folder / "all_results.json").read_text(encoding="utf-8")) == metrics
    assert (folder / "README.md").is_file()
    printed = capsys.readouterr().out
    assert "eval_source_Twitter 2017 | ünï_f1" in printed
    assert "eval_source_unknown_recall" in printed
    assert "eval_source_unknown_support" not in printed
    assert "eval_source_unknown_f1" in trainer.state.log_history[-1]


def average_runs(*arguments: str) -> list[list[str]]:
    """The cells of the table's rows, without its two lines of heading."""
    command = [sys.executable, "-X", "utf8", str(ROOT / "scripts" / "average_runs.py"), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in run.stdout.splitlines()[2:]]


def write_run(folder: Path, f1: float, sources: dict[str, float]) -> str:
    """The results of a run of which the F1s are given; its other figures follow from these."""
    results = {}
    for start, value in {"test": f1, **{f"test_source_{name}": value for name, value in sources.items()}}.items():
        results |= {f"{start}_precision": value + 0.1, f"{start}_recall": value - 0.1}
        results |= {f"{start}_f1": value, f"{start}_strict_f1": value / 2, f"{start}_posts": 3, f"{start}_support": 3}
    results |= {"test_macro_f1": 0.25, "test_source_type_f1": 0.9}  # the latter of a type `source_type`
    folder.mkdir()
    (folder / "all_results.json").write_text(json.dumps(results))
    return str(folder)


def test_table_has_a_row_for_each_source(tmp_path):
    first = write_run(tmp_path / "1", 0.5, {"mner-mi": 0.4, "twitter 2017_x": 0.6})
    second = write_run(tmp_path / "2", 0.6, {"mner-mi": 0.6, "twitter 2017_x": 0.6})
    plain = write_run(tmp_path / "3", 0.5, {})
    # The deviation of 40 and 60 is sqrt((10² + 10²) / 1) = 14.14, that of 50 and 60 is 7.07.
    assert average_runs(f"Both={first},{second}", f"One={plain}") == [
        ["Both", "2", "65.00 ± 7.07", "45.00 ± 7.07", "55.00 ± 7.07", "27.50 ± 3.54", "25.00 ± 0.00"],
        ["Both, mner-mi", "2", "60.00 ± 14.14", "40.00 ± 14.14", "50.00 ± 14.14", "25.00 ± 7.07", ""],
        ["Both, twitter 2017_x", "2", "70.00 ± 0.00", "50.00 ± 0.00", "60.00 ± 0.00", "30.00 ± 0.00", ""],
        ["One", "1", "60.00 ± 0.00", "40.00 ± 0.00", "50.00 ± 0.00", "25.00 ± 0.00", "25.00 ± 0.00"],
    ]


def test_row_of_a_source_counts_the_runs_that_have_it(tmp_path):
    folders = [write_run(tmp_path / "1", 0.5, {}), write_run(tmp_path / "2", 0.5, {"a": 0.4, "b": 0.6})]
    rows = average_runs(f"Both={','.join(folders)}")
    assert [row[:2] for row in rows] == [["Both", "2"], ["Both, a", "1"], ["Both, b", "1"]]
    assert rows[1][4] == "40.00 ± 0.00"
