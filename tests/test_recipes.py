"""Every recipe can be run as it stands, and says of each value where it comes from."""

import json
from pathlib import Path

import pytest

from mner_training.building import find_config_class
from mner_training.recipes import RECIPE_NOTES, parse_arguments, read_recipe
from mner_training.search import prepare_search
from mner_training.search_space import check_model_values

FOLDER = Path(__file__).resolve().parents[1] / "recipes"
RECIPES = sorted([*FOLDER.glob("*.json"), *FOLDER.glob("zoo/*.json")])
SOURCES = {"paper", "other source", "ours"}


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_parses_to_what_it_says(path):
    # On a machine without an accelerator bf16 is refused unless the CPU is asked for.
    parts = parse_arguments([str(path), "--use_cpu", "true"])
    training = parts[2]
    for name, value in read_recipe(path).items():
        holder = next(part for part in parts if hasattr(part, name))
        if name not in ("use_cpu", "report_to"):
            assert getattr(holder, name) == value, name
    assert training.do_train or training.do_eval or training.do_predict


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_value_has_one_source(path):
    recipe = json.loads(path.read_text(encoding="utf-8"))
    assert set(RECIPE_NOTES) <= set(recipe)
    assert recipe["description"].strip()
    assert set(recipe["sources"]) <= SOURCES
    named = [name for names in recipe["sources"].values() for name in names]
    assert sorted(named) == sorted(set(recipe) - set(RECIPE_NOTES))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_selection_never_looks_at_the_test_split(path):
    _, data, training, *_ = parse_arguments([str(path), "--use_cpu", "true"])
    if training.do_train:
        assert len({data.train_split, data.validation_split, data.test_split}) == 3
        assert training.load_best_model_at_end


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_search_space_can_be_searched(path):
    model, data, training, _, search = parse_arguments([str(path), "--use_cpu", "true"])
    assert not search.search
    if search.search_space:
        prepare_search(search, model, data, training)
        check_model_values(search.search_space, find_config_class(model)())


def test_some_recipes_have_a_search_space():
    assert any("search_space" in read_recipe(path) for path in RECIPES)


def test_recipes_write_to_folders_of_their_own():
    folders = [read_recipe(path).get("output_dir") for path in RECIPES]
    assert None not in folders
    assert len(set(folders)) == len(folders)
