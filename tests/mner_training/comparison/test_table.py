"""The numbers of the table: against the package's metric, counts by hand, and what must not be averaged away."""

from statistics import mean, stdev

import numpy as np
import pytest

from mner_training.comparison.breakdowns import make_breakdowns
from mner_training.comparison.counting import count_kinds, count_posts, read_posts
from mner_training.comparison.layout import lay_out
from mner_training.comparison.results import DatasetResults, Run, read_results
from mner_training.comparison.statistics import holm, scores
from mner_training.comparison.table import Place, make_table
from mner_training.metrics import NERMetric
from processing_iqcr.entities import Entity
from tests.comparison_runs import draw_tags, write_comparison

SYSTEMS = {
    "BERT": {"errors": 0.2, "text_only": True, "seeds": [2]},
    "shuffled": {"errors": 0.11, "control": "shuffled_scores"},
    "IQCR-MI": {"errors": 0.1, "published": {"posts": [77.69, 79.44, None]}},
    "UMT-MI": {"errors": 0.12, "seeds": [1, 3], "unstable": True},
    "GPT4": {"errors": 0, "not_run": "no endpoint", "published": {"posts": [64.28, 67.91, 66.05]}},
    "killed": {"errors": 0, "seeds": []},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    return read_results(write_comparison(folder, SYSTEMS, datasets=("posts", "others"), reference="IQCR-MI"))


@pytest.fixture(scope="module")
def table(results):
    return make_table(results, replicates=1000)


def row(table, system, dataset="posts", breakdown="all", group=""):
    return {it.measure: value for it, value in table.cells.items() if it[:4] == (dataset, system, breakdown, group)}


def test_counts_are_those_of_the_metric():
    generator = np.random.default_rng(0)
    for _ in range(20):
        lengths = generator.integers(1, 15, 30)
        gold, predicted = ([draw_tags(length, generator) for length in lengths] for _ in range(2))
        expected = NERMetric().compute(predictions=predicted, references=gold)
        for strict, prefix in ((False, ""), (True, "strict_")):
            counts = count_posts(read_posts(gold, strict), read_posts(predicted, strict)).sum(axis=0)
            figures = [100 * expected[f"{prefix}{name}"] for name in ("precision", "recall", "f1")]
            assert scores(counts) == pytest.approx(figures)
            assert counts[2] == expected[f"{prefix}support"]
        by_type = count_kinds(read_posts(gold), read_posts(predicted), lambda _, entity: entity.type)
        for name, figures in expected["per_type"].items():
            assert scores(by_type[name])[2] == pytest.approx(100 * figures["f1"])


def test_scores_are_means_over_the_runs_that_are_done(results, table):
    for dataset in results.datasets:
        for system, runs in dataset.runs.items():
            metrics = [NERMetric().compute(predictions=run.tags, references=dataset.gold) for run in runs]
            found = row(table, system, dataset.name)
            assert found["seeds"] == len(runs) == len(table.single_runs(dataset.name, system))
            for name in ("precision", "recall", "f1", "strict_f1"):
                values = [100 * result[name] for result in metrics]
                assert found.get(f"{name}_mean") == (pytest.approx(mean(values)) if values else None)
                assert found.get(f"{name}_sd") == (pytest.approx(stdev(values)) if len(values) > 1 else None)


def test_rows_say_what_is_missing_published_and_spent(table):
    assert row(table, "UMT-MI")["seeds_missing"] == "2"
    assert row(table, "BERT")["seeds_missing"] == "1, 3"
    assert "seeds_missing" not in row(table, "IQCR-MI")
    assert row(table, "killed") == {"seeds": 0, "seeds_missing": "1, 2, 3"}
    published = {"published_precision": 64.28, "published_recall": 67.91, "published_f1": 66.05}
    assert row(table, "GPT4") == {"seeds": 0, "not_run": "no endpoint", **published}
    assert row(table, "GPT4", "others") == {"seeds": 0, "not_run": "no endpoint"}
    spent = row(table, "UMT-MI")
    assert (spent["seconds"], spent["peak_memory_bytes"]) == (12.0, 2_000_000_003)
    assert (spent["jobs"], spent["device"]) == ("2", "CPU")
    assert "peak_gpu_memory_bytes" not in spent


def test_differences_are_those_of_the_means(table):
    names = ["BERT", "shuffled", "UMT-MI"]
    for dataset in table.datasets:
        reference, rows = row(table, "IQCR-MI", dataset), [row(table, name, dataset) for name in names]
        assert "difference" not in reference
        for found in rows:
            assert found["difference"] == pytest.approx(found["f1_mean"] - reference["f1_mean"])
            assert found["difference_low"] < found["difference"] < found["difference_high"]
            assert found["f1_low"] < found["f1_mean"] < found["f1_high"]
            # Nearly normal: the borders are 1.96 standard errors away, and the visible difference is 2.80 of them.
            # The mean of two runs that differ as much as UMT-MI's is not.
            width = found["difference_high"] - found["difference_low"]
            if found.get("f1_sd", 0) < 5:
                assert found["smallest_visible"] == pytest.approx(width / (2 * 1.96) * 2.80, rel=0.12)
            assert (found["p"] < 0.05) == (not found["difference_low"] <= 0 <= found["difference_high"])
        assert [found["p_holm"] for found in rows] == holm([found["p"] for found in rows])
    assert row(table, "BERT")["p"] == pytest.approx(2 / 1001)


def test_numbers_of_a_row_do_not_depend_on_the_other_rows(results, table):
    fewer = read_results_without(results, "BERT")
    alone = make_table(fewer, replicates=1000)
    assert row(alone, "UMT-MI") | {"p_holm": 0} == row(table, "UMT-MI") | {"p_holm": 0}
    assert make_table(results, replicates=1000).cells == table.cells
    other = row(make_table(results, replicates=1000, seed=1), "UMT-MI")
    assert other["difference_low"] != row(table, "UMT-MI")["difference_low"]


def read_results_without(results, system):
    datasets = [
        DatasetResults(
            it.name,
            it.words,
            it.gold,
            {name: runs for name, runs in it.runs.items() if name != system},
            it.training_entities,
        )
        for it in results.datasets
    ]
    systems = [it for it in results.systems if it.name != system]
    return type(results)(results.name, results.reference, results.seeds, systems, datasets)


def test_posts_are_drawn_for_both_systems_at_once(results):
    dataset = results.datasets[0]
    (run,) = dataset.runs["BERT"]
    runs = {it.name: [run] if it.name in ("BERT", "IQCR-MI") else [] for it in results.systems}
    same = DatasetResults("posts", dataset.words, dataset.gold, runs, dataset.training_entities)
    table = make_table(type(results)("c", "IQCR-MI", [2], results.systems, [same]), replicates=50)
    found = row(table, "BERT")
    assert found["f1_low"] < found["f1_high"]
    assert (found["difference_low"], found["difference_high"], found["p"], found["smallest_visible"]) == (0, 0, 1, 0)


def test_without_the_reference_there_are_no_differences(results):
    found = make_table(read_results_with_reference(results, "killed"), replicates=50)
    assert not [it for it in found.cells if it.measure.startswith(("difference", "p_holm"))]
    assert "f1_low" in row(found, "UMT-MI")


def read_results_with_reference(results, system):
    return type(results)(results.name, system, results.seeds, results.systems, results.datasets)


def test_breakdowns_divide_the_entities(table):
    whole = row(table, "")["gold"]
    for breakdown in ("type", "pictures", "quality", "relevance", "novelty"):
        groups = table.groups("posts", breakdown)
        assert len(groups) > 1
        assert sum(row(table, "", breakdown=breakdown, group=group)["gold"] for group in groups) == whole
        for group in groups:
            assert "f1_mean" in row(table, "BERT", breakdown=breakdown, group=group)
    assert table.groups("posts", "pictures") == ["0", "1", "2", "3", "4+"]
    assert table.groups("posts", "quality") == ["low", "middle", "high", "no score"]
    # From the reference: a text-only run has no pictures, and a control's are wrong on purpose.
    assert row(table, "", breakdown="quality")["source"] == "posts/system-2/seed-1"


def dataset_of(words, gold, images, training=None, control=None):
    record = {"arguments": {"control": control}}
    run = Run("posts/x/seed-1", 1, gold, images, record, "")
    return DatasetResults("posts", words, gold, {"x": [run]}, training)


def test_breakdowns_by_hand():
    words = [["New", "York", "Kim"], ["Kim"], ["Rio"], ["Rio"], ["Acme"]]
    gold = [["B-LOC", "I-LOC", "B-PER"], ["B-PER"], ["B-LOC"], ["B-LOC"], ["B-ORG"]]
    predicted = [["O", "B-LOC", "B-PER"], ["B-LOC"], ["O"], ["B-LOC"], ["B-ORG"]]
    pictures = [[0.9], [0.2, None], [], [0.1, 0.5], [0.2, 0.2, 0.2, 0.2, 0.2]]
    images = [[{"quality": score, "relevance": None} for score in scores] for scores in pictures]
    dataset = dataset_of(words, gold, images, {("New York", "LOC"), ("Kim", "PER"), ("Kim", "LOC"), ("York", "ORG")})
    entities = read_posts(gold), read_posts(predicted)
    breakdowns, missing = make_breakdowns(dataset, entities[0], [entities[1]], "x")
    made = {it.name: it for it in breakdowns}
    assert missing == {"relevance": "no run that is done has scores of relevance"}

    def counts(name):
        return {group: list(found) for group, found in count_kinds(*entities, made[name].group_of).items()}

    assert made["type"].groups == ["LOC", "ORG", "PER"]
    assert counts("type") == {"LOC": [1, 3, 3], "PER": [1, 1, 2], "ORG": [1, 1, 1]}
    assert made["pictures"].facts == {it: {"posts": n} for it, n in {"0": 1, "1": 1, "2": 2, "4+": 1}.items()}
    assert counts("pictures") == {"0": [0, 0, 1], "1": [1, 2, 2], "2": [1, 2, 2], "4+": [1, 1, 1]}
    # Means 0.9, 0.2, none, 0.3, 0.2: the thirds end at 0.2 and 0.3.
    quality = made["quality"].facts
    assert quality["low"] == {"posts": 2, "from": pytest.approx(0.2), "to": pytest.approx(0.2)}
    assert quality["middle"] == {"posts": 1, "from": 0.3, "to": 0.3}
    assert quality["high"] == {"posts": 1, "from": 0.9, "to": 0.9}
    assert quality["no score"] == {"posts": 1}
    assert counts("quality")["low"] == [1, 2, 2]
    # Seen in training: New York as LOC, Kim as either; predicted and missed: York as LOC.
    assert counts("novelty") == {"seen": [1, 2, 3], "unseen": [2, 3, 3]}


def test_what_cannot_be_measured_apart_says_so():
    dataset = dataset_of([["Kim"]], [["B-PER"]], [[]])
    gold = [{Entity(0, 1, "PER")}]
    breakdowns, missing = make_breakdowns(dataset, gold, [gold], "x")
    assert [it.name for it in breakdowns] == ["type"]
    assert list(missing) == ["pictures", "quality", "relevance", "novelty"]
    control = dataset_of([["Kim"]], [["B-PER"]], [[{"quality": 0.5, "relevance": 0.5}]], control="random_scores")
    assert "quality" in make_breakdowns(control, gold, [gold], "x")[1]


def test_groups_without_an_entity_have_no_score(results):
    words, gold = [["Kim"], ["Rio"], ["Oslo"]], [["B-PER"], ["O"], ["O"]]
    images = [[], [{"quality": 0.5, "relevance": 0.5}], [{"quality": 0.5, "relevance": 0.5}] * 2]
    runs = [
        Run(f"posts/x/seed-{seed}", seed, [["B-PER"], ["O"], [tag]], images, {}, "")
        for seed, tag in enumerate(["O", "B-LOC"])
    ]
    small = DatasetResults(
        "posts", words, gold, {it.name: runs if it.name == "BERT" else [] for it in results.systems}
    )
    table = make_table(type(results)("c", "BERT", [0, 1], results.systems, [small]), replicates=20)
    whole, nothing, mistaken = (row(table, "BERT", breakdown="pictures", group=group) for group in "012")
    assert (whole["recall_mean"], whole["f1_mean"]) == (100, 100)
    assert not [name for name in nothing if name.startswith(("recall", "f1"))]
    assert "recall_mean" not in mistaken
    assert mistaken["f1_mean"] == 0  # the second run found what is not there
    section = next(it for it in lay_out(table, "posts") if it.title == "F1 by number of pictures")
    assert section.rows == [["BERT", "100.00 ± 0.00", "", "0.00 ± 0.00"]]


def test_several_commits_or_versions_are_noted(results):
    assert row(make_table(results, replicates=5), "")["commits"] == "abc"
    run = results.datasets[0].runs["BERT"][0]
    earlier = dict(run.record)
    try:
        run.record.update(commit="def", versions={"torch": "2.16"})
        found = make_table(results, replicates=5)
    finally:
        run.record.update(earlier)
    notes = " ".join(lay_out(found, "posts")[0].notes)
    assert "made with several commits of the sources: def, abc." in notes
    assert "several versions of packages: torch 2.16 and 2.15." in notes
    assert "several" not in " ".join(lay_out(found, "others")[0].notes)


def test_nothing_found_is_0_everywhere(results):
    dataset = results.datasets[0]
    silent = [
        Run(f"posts/x/seed-{seed}", seed, [["O"] * len(words) for words in dataset.words], run.images, {}, "")
        for seed, run in enumerate(dataset.runs["IQCR-MI"][:2])
    ]
    runs = {it.name: silent if it.name == "BERT" else [] for it in results.systems}
    empty = DatasetResults("posts", dataset.words, dataset.gold, runs, dataset.training_entities)
    found = make_table(type(results)("c", "BERT", [0, 1], results.systems, [empty]), replicates=20)
    assert row(found, "BERT")["f1_mean"] == row(found, "BERT")["f1_high"] == 0
    assert found.cells[Place("posts", "BERT", "novelty", "unseen", "recall_mean")] == 0
