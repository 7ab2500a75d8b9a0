"""Recipes and flags: what is read, what overrides what, and what is refused."""

import json

import pytest

from mner_training.recipes import parse_arguments, read_recipe

START = ["--text_backbone", "some/encoder", "--dataset", "posts", "--use_cpu"]


@pytest.fixture
def recipe(tmp_path):
    """Function that writes a recipe with the least that a run needs, and returns its path."""

    def write(**values) -> str:
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps({"text_backbone": "some/encoder", "dataset": "posts", "use_cpu": True, **values}))
        return str(path)

    return write


def test_recipe_gives_values_and_flags_override_them(recipe):
    path = recipe(
        learning_rate=2e-4,
        num_train_epochs=8,
        seed=3,
        images_dirs=["a", "b"],
        head_learning_rate=None,
        vision_backbone="some/vit",
        do_train=True,
        bf16=False,
    )
    model, data, training, *_ = parse_arguments(
        [path, "--seed", "5", "--images_dirs", "c", "--head-learning-rate", "1e-3"]
    )
    assert (model.text_backbone, model.vision_backbone) == ("some/encoder", "some/vit")
    assert (data.dataset, data.images_dirs) == ("posts", ["c"])
    assert (training.learning_rate, training.num_train_epochs, training.seed) == (2e-4, 8, 5)
    assert training.head_learning_rate == 1e-3
    assert training.do_train is True
    assert training.bf16 is False
    _, data, training, *_ = parse_arguments([path])
    assert data.images_dirs == ["a", "b"]
    assert (training.seed, training.head_learning_rate) == (3, None)


def test_flags_alone_are_enough():
    model, data, training, *_ = parse_arguments([*START, "--do_predict"])
    assert (model.text_backbone, data.dataset, training.do_predict) == ("some/encoder", "posts", True)


def test_notes_are_for_the_reader(recipe):
    path = recipe(description="What it is.", sources={"paper": ["seed"]}, seed=1)
    assert "description" not in read_recipe(path)
    assert "sources" not in read_recipe(path)
    assert parse_arguments([path])[2].seed == 1


def test_model_config_as_object_and_as_text(recipe):
    fields = {"use_gate": False, "dropout": 0.2, "initial_quality_scale": 5}
    path = recipe(model_config=fields)
    assert parse_arguments([path])[0].model_config == fields
    assert parse_arguments([*START, "--model_config", json.dumps(fields)])[0].model_config == fields
    # a flag changes the fields that it names and leaves the recipe's others
    changes = '{"use_crf": false, "dropout": 0.5}'
    for flag in (["--model_config", changes], [f"--model_config={changes}"]):
        merged = parse_arguments([path, *flag])[0].model_config
        assert merged == {**fields, "use_crf": False, "dropout": 0.5}
    assert parse_arguments(START)[0].model_config == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{use_gate: false}", "`--model_config` must be JSON"),
        ("[1]", "`model_config` must be a JSON object"),
        ('{"use_gatee": false}', "`model_config`: unknown use_gatee"),
        ('{"id2label": {"0": "O"}}', "`model_config`: unknown id2label"),
    ],
)
def test_wrong_model_config(text, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments([*START, "--model_config", text])


def test_switches_that_are_on_go_off_by_flag_and_by_recipe(recipe):
    train = [*START, "--do_train"]
    assert parse_arguments(train)[2].load_best_model_at_end is True
    assert parse_arguments([*train, "--no_load_best_model_at_end"])[2].load_best_model_at_end is False
    assert parse_arguments([*train, "--load_best_model_at_end", "false"])[2].load_best_model_at_end is False
    path = recipe(do_train=True, load_best_model_at_end=False)
    assert parse_arguments([path])[2].load_best_model_at_end is False
    assert parse_arguments([path, "--load_best_model_at_end"])[2].load_best_model_at_end is True


def test_defaults_of_this_task():
    model, data, training, *_ = parse_arguments([*START, "--do_train"])
    assert (model.max_length, model.window_overlap) == (128, 32)
    assert (data.illegal_tags, data.broken_images) == ("keep", "error")
    assert (training.eval_strategy, training.save_strategy) == ("epoch", "epoch")
    assert (training.metric_for_best_model, training.greater_is_better) == ("f1", True)
    assert training.load_best_model_at_end
    assert training.do_eval
    assert training.report_to == []
    assert (training.push_to_hub, training.hub_strategy) == (False, "end")


@pytest.mark.parametrize("strategy", ["every_save", "checkpoint", "all_checkpoints", "soon"])
def test_a_push_before_the_end_is_refused(strategy):
    with pytest.raises(ValueError, match=r"`hub_strategy` must be 'end', got .* upload the whole output folder"):
        parse_arguments([*START, "--do_train", "--push_to_hub", "--hub_strategy", strategy])


def test_lengths_of_a_checkpoint_are_its_own_unless_asked():
    checkpoint = ["--model_name_or_path", "some/tagger", "--dataset", "posts", "--use_cpu", "--do_eval"]
    assert parse_arguments(checkpoint)[0].max_length is None
    assert parse_arguments([*checkpoint, "--max_length", "64"])[0].max_length == 64


def test_without_training_there_is_nothing_to_select():
    _, _, training, *_ = parse_arguments([*START, "--do_predict"])
    assert (training.eval_strategy, training.save_strategy) == ("no", "no")
    assert not training.load_best_model_at_end
    assert not training.do_eval


def test_report_to_several_from_a_recipe(recipe):
    assert parse_arguments([recipe(report_to=["tensorboard", "wandb"])])[2].report_to == ["tensorboard", "wandb"]


def test_unknown_key_of_a_recipe_is_named(recipe):
    with pytest.raises(ValueError, match=r"recipe\.json: unknown learning_rat, no_seed\."):
        parse_arguments([recipe(learning_rat=1e-5, no_seed=True)])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 1.5}, "--seed: invalid int value: '1.5'"),
        ({"learning_rate": "fast"}, "--learning_rate.*: invalid float value: 'fast'"),
        ({"do_train": "perhaps"}, "--do_train.*perhaps"),
        ({"illegal_tags": "ignore"}, "--illegal_tags.*invalid choice: 'ignore'"),
        ({"broken_images": "placeholder"}, "--broken_images.*invalid choice: 'placeholder'"),
        ({"model_config": [1]}, "`model_config` must be a JSON object"),
    ],
)
def test_wrong_value_in_a_recipe(recipe, values, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments([recipe(**values)])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed", "x"], "--seed: invalid int value: 'x'"),
        (["--learning_rat", "1e-5"], "--learning_rat"),
        (["--head_learning", "1e-5"], "--head_learning"),  # no abbreviations
        (["--broken_images", "skip"], "invalid choice: 'skip'"),
    ],
)
def test_wrong_flag(flags, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments([*START, *flags])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "posts"], "Say what to start from"),
        (["--dataset", "posts", "--vision_backbone", "some/vit"], "Say what to start from"),
        (["--text_backbone", "a"], "Say which posts to use"),
        (
            ["--dataset", "posts", "--model_name_or_path", "a", "--text_backbone", "b"],
            "Give either `model_name_or_path`",
        ),
    ],
)
def test_arguments_that_do_not_fit_together(flags, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments(["--use_cpu", *flags])


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "must be a JSON object, got list"), ("", "is not JSON")]
)
def test_file_that_is_no_recipe(tmp_path, text, message):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        parse_arguments([str(tmp_path / "recipe.json")])


def test_missing_recipe(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        parse_arguments([str(tmp_path / "none.json")])


def test_no_hidden_file_of_arguments(tmp_path, monkeypatch):
    (tmp_path / "run_mner.args").write_text("--seed 99")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "run_mner.py")])
    assert parse_arguments(START)[2].seed == 42
