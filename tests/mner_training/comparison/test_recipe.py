"""Recipes of comparisons: what is refused, and which of several values a run has."""

import json

import pytest

from mner_training.comparison.plan import merge_arguments, plan_runs
from mner_training.comparison.recipe import OF_THE_RUN, check_seeds, read_comparison, slug

SYSTEM_RECIPE = {
    "description": "A system.",
    "sources": {"ours": ["seed"]},
    "text_backbone": "hub/text",
    "text_revision": "abc",
    "vision_backbone": "hub/vision",
    "vision_revision": "def",
    "model_config": {"dropout": 0.1, "max_images": 4},
    "num_train_epochs": 20,
    "learning_rate": 2e-5,
    "seed": 1,
    "output_dir": "runs/system",
    "do_train": True,
    "search_space": {"learning_rate": {"low": 1e-5, "high": 1e-4}},
}


@pytest.fixture
def recipe(tmp_path) -> dict:
    """A comparison of two systems, one of which is another setting of the first, and a row that is not run."""
    (tmp_path / "system.json").write_text(json.dumps(SYSTEM_RECIPE))
    path = str(tmp_path / "system.json")
    return {
        "description": "Two systems.",
        "reference": "A",
        "seeds": [1, 2],
        "datasets": {"one": {"dataset": "data/one"}, "two": {"dataset": "data/two", "num_train_epochs": 9}},
        "systems": {
            "A": {"recipe": path, "published": {"one": [70.0, 72.5, 71.2]}},
            "w/o B": {"recipe": path, "set": {"model_config": {"use_quality": False}, "learning_rate": 1e-3}},
            "GPT": {"not_run": "no endpoint is configured", "published": {"two": [60, 61, 60.5]}},
        },
        "common": {"num_train_epochs": 5, "model_config": {"dropout": 0.2}},
        "expected_hours": {"on": "one card", "per_run": {"A": {"one": 1.5}}},
    }


@pytest.fixture
def write(tmp_path):
    """Function that writes a recipe and gives its path."""

    def write_recipe(content) -> str:
        path = tmp_path / "pair.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write_recipe


def plans(comparison, flags=None, backbones=None, **chosen):
    names = [system.name for system in comparison.systems]
    chosen = {"systems": names, "datasets": list(comparison.datasets), "seeds": comparison.seeds} | chosen
    return plan_runs(comparison, **chosen, flags=flags or {}, backbones=backbones or {})


class TestRead:
    def test_rows_and_folders(self, recipe, write):
        comparison = read_comparison(write(recipe))
        assert comparison.name == "pair"
        assert [(system.name, system.folder) for system in comparison.systems] == [
            ("A", "a"),
            ("w/o B", "w-o-b"),
            ("GPT", "gpt"),
        ]
        assert comparison.systems[0].published == {"one": [70.0, 72.5, 71.2]}
        assert comparison.systems[2].not_run == "no endpoint is configured"

    def test_figures_that_are_not_published_are_null(self, recipe, write):
        recipe["systems"]["GPT"]["published"] = {"two": [None, None, 60.5]}
        assert read_comparison(write(recipe)).systems[2].published == {"two": [None, None, 60.5]}

    def test_recipe_of_a_system_says_nothing_of_the_run(self, recipe, write):
        arguments = read_comparison(write(recipe)).systems[0].arguments
        assert not set(arguments) & {*OF_THE_RUN, "description", "sources"}
        assert arguments["learning_rate"] == 2e-5

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda r: r.update(sedes=[1]), "unknown sedes"),
            (lambda r: r.pop("datasets"), "datasets is missing"),
            (lambda r: r.update(datasets=["one"]), "`datasets` must be a JSON object"),
            (lambda r: r.update(seeds=[1, 2, 1]), "the seed 1 stands there twice"),
            (lambda r: r.update(seeds=[]), "must be a list of numbers"),
            (lambda r: r.update(seeds=["1"]), "'1' is no seed"),
            (lambda r: r.update(reference="B"), "the reference 'B' is none of its systems, A, w/o B, GPT"),
            (lambda r: r["systems"]["A"].update(recpie="x"), "system 'A': unknown recpie"),
            (lambda r: r["systems"]["A"].pop("recipe"), "system 'A': give either its `recipe`"),
            (lambda r: r["systems"]["GPT"].update(recipe="x"), "system 'GPT': give either its `recipe`"),
            (lambda r: r["systems"]["A"].update(set={"larning_rate": 1}), "'A', set: unknown larning_rate"),
            (lambda r: r["systems"]["A"].update(set={"seed": 1}), "'A', set may not set seed"),
            (lambda r: r["common"].update(output_dir="x"), "common may not set output_dir"),
            (lambda r: r["common"].update(hub_token="x"), "common may not set hub_token"),
            (lambda r: r["datasets"]["one"].update(datset="x"), "data set 'one': unknown datset"),
            (lambda r: r["datasets"].update({"Two Words": {}}), "such as 'two-words'"),
            (lambda r: r["datasets"].update({"../x": {}}), "becomes a folder"),
            (lambda r: r["systems"]["A"].update(published={"three": [1, 2, 3]}), "there is no data set 'three'"),
            (lambda r: r["systems"]["A"].update(published={"one": [0.7, 0.7, 0.7]}), "in percent, null for"),
            (lambda r: r["systems"]["A"].update(published={"one": [70]}), "in percent, null for"),
            (lambda r: r["systems"]["A"].update(published={"one": [None] * 3}), "in percent, null for"),
            (lambda r: r["systems"]["A"].update(published={"one": [70, True, 70]}), "in percent, null for"),
            (lambda r: r["systems"]["A"].update(published=[1, 2, 3]), "`published` must be a JSON object"),
            (lambda r: r["systems"]["A"].update(recipe=3), "'A': `recipe` must be a text, got 3"),
            (lambda r: r["systems"]["GPT"].update(not_run=3), "'GPT': `not_run` must be a text, got 3"),
            (lambda r: r["systems"]["GPT"].update(not_run=""), "'GPT': `not_run` must be a text, got ''"),
            (lambda r: r.update(description=["x"]), "`description` must be a text"),
            (lambda r: r["expected_hours"].update(per_run=[]), "`per_run` must be a JSON object"),
            (lambda r: r["expected_hours"].update(per_run={"A": 2}), "per_run: `A` must be a JSON object"),
            (
                lambda r: r["expected_hours"].update(per_run={"A": {"one": "1"}}),
                "A on one must take a number of hours",
            ),
            (lambda r: r["expected_hours"].update(on=3), "`on` must be a text"),
            (lambda r: r["systems"].update({"W_o B!": r["systems"]["A"]}), "'w/o B' and 'W_o B!' would both have"),
            (lambda r: r["systems"].update({"!": r["systems"]["A"]}), "needs a letter or a digit"),
            (lambda r: r["expected_hours"]["per_run"].update({"C": {"one": 1}}), "there is no 'C'"),
            (lambda r: r["expected_hours"]["per_run"]["A"].update({"three": 1}), "there is no 'three'"),
        ],
    )
    def test_mistake_is_named(self, recipe, write, change, message):
        change(recipe)
        with pytest.raises(ValueError, match=message.replace("(", r"\(")) as error:
            read_comparison(write(recipe))
        assert "pair.json" in str(error.value)

    def test_recipe_of_a_system_that_is_missing(self, recipe, write):
        recipe["systems"]["A"]["recipe"] = "recipes/zoo/none.json"
        with pytest.raises(FileNotFoundError, match=r"system 'A': there is no recipe .*/recipes/zoo/none.json"):
            read_comparison(write(recipe))

    def test_name_that_stands_twice_is_no_silent_loss(self, recipe, write):
        text = json.dumps(recipe).replace('"w/o B"', '"A"')
        with pytest.raises(ValueError, match="'A' stands in one object twice"):
            read_comparison(write(text))

    def test_no_json(self, write):
        with pytest.raises(ValueError, match="cannot be read as JSON"):
            read_comparison(write("{"))


class TestPlan:
    def test_nearest_value_counts(self, recipe, write):
        comparison = read_comparison(write(recipe))
        found = {(plan.system, plan.dataset): plan.arguments for plan in plans(comparison, seeds=[1])}
        assert found["A", "one"]["num_train_epochs"] == 5  # common before the system's recipe
        assert found["A", "two"]["num_train_epochs"] == 9  # the data set before common
        assert found["A", "one"]["learning_rate"] == 2e-5
        assert found["w/o B", "one"]["learning_rate"] == 1e-3
        flagged = plans(comparison, {"num_train_epochs": 1, "learning_rate": 0.5})
        assert {plan.arguments["num_train_epochs"] for plan in flagged} == {1}
        assert {plan.arguments["learning_rate"] for plan in flagged} == {0.5}

    def test_model_config_is_merged_field_by_field(self, recipe, write):
        comparison = read_comparison(write(recipe))
        flags = {"model_config": '{"max_images": 2}'}
        found = {plan.system: plan.arguments["model_config"] for plan in plans(comparison, flags)}
        assert found["A"] == {"dropout": 0.2, "max_images": 2}
        assert found["w/o B"] == {"dropout": 0.2, "max_images": 2, "use_quality": False}

    def test_every_run_once_and_seed_by_seed(self, recipe, write):
        found = plans(read_comparison(write(recipe)))
        assert [plan.folder for plan in found] == [
            f"{dataset}/{system}/seed-{seed}"
            for seed in (1, 2)
            for dataset in ("one", "two")
            for system in ("a", "w-o-b")
        ]
        assert all(plan.arguments["seed"] == plan.seed for plan in found)
        assert all(plan.arguments["do_train"] and plan.arguments["do_predict"] for plan in found)

    def test_chosen_runs_alone(self, recipe, write):
        found = plans(read_comparison(write(recipe)), systems=["w/o B", "GPT"], datasets=["two"], seeds=[7])
        assert [plan.folder for plan in found] == ["two/w-o-b/seed-7"]

    def test_backbones_become_folders_without_a_revision(self, recipe, write):
        found = plans(read_comparison(write(recipe)), backbones={"hub/text": "/local/text"})
        for plan in found:
            assert plan.arguments["text_backbone"] == "/local/text"
            assert "text_revision" not in plan.arguments
            assert plan.arguments["vision_revision"] == "def"

    def test_backbone_that_no_run_has(self, recipe, write):
        with pytest.raises(ValueError, match=r"no run has hub/txt. There are: hub/text, hub/vision"):
            plans(read_comparison(write(recipe)), backbones={"hub/txt": "/local"})

    def test_flags_of_the_run_are_refused(self, recipe, write):
        with pytest.raises(ValueError, match=r"flags after the recipe may not set seed.*--seeds"):
            plans(read_comparison(write(recipe)), {"seed": 1})


def test_other_backbone_drops_the_revision_of_the_first():
    first = {"text_backbone": "a", "text_revision": "of a"}
    assert merge_arguments(first, {"text_backbone": "b"}) == {"text_backbone": "b"}
    assert merge_arguments(first, {"text_backbone": "a"}) == first
    other = {"text_backbone": "b", "text_revision": "of b"}
    assert merge_arguments(first, other) == other
    assert merge_arguments(first, {"text_revision": "later"})["text_revision"] == "later"


@pytest.mark.parametrize(
    ("name", "folder"),
    [("IQCR-MI", "iqcr-mi"), ("w/o IQW + CMW", "w-o-iqw-cmw"), ("BERT (cased)", "bert-cased"), ("../..", "")],
)
def test_slug(name, folder):
    assert slug(name) == folder


def test_seeds_may_be_zero():
    check_seeds([0, 4294967295], "here")
    with pytest.raises(ValueError, match="here: -1 is no seed"):
        check_seeds([-1], "here")
