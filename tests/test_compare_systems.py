"""The command that compares systems, as far as it trains nothing, and the recipes of comparisons that come with it."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from mner_training.comparison.plan import RunPlan, plan_runs
from mner_training.comparison.recipe import Comparison, read_comparison
from mner_training.comparison.records import describe_comparison
from mner_training.recipes import parse_arguments
from scripts import compare_systems
from scripts.compare_systems import STOPPED, cli, main
from tests.comparison_runs import write_comparison

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes" / "compare").glob("*.json"))
# What a fair comparison holds alike, whatever the system.
PROTOCOL = (
    "optim",
    "optim_args",
    "num_train_epochs",
    "per_device_train_batch_size",
    "learning_rate",
    "head_learning_rate",
)
PROTOCOL += ("weight_decay", "max_grad_norm", "warmup_steps", "lr_scheduler_type", "lr_scheduler_kwargs")
PROTOCOL += ("max_length", "window_overlap", "bf16", "freeze_text")


def plan(comparison: Comparison) -> list[RunPlan]:
    """All runs of a comparison with its first seed."""
    names = [system.name for system in comparison.systems]
    return plan_runs(comparison, names, comparison.datasets, comparison.seeds[:1], {}, {})


def by_name(name: str) -> Comparison:
    return read_comparison(next(path for path in RECIPES if path.stem == name))


def protocol(arguments: dict, without: tuple[str, ...] = ()) -> dict:
    return {name: arguments.get(name) for name in PROTOCOL if name not in without}


class TestRecipesThatCome:
    @pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
    def test_every_run_has_arguments_that_run_mner_takes(self, path, tmp_path):
        for number, run in enumerate(plan(read_comparison(path))):
            recipe = tmp_path / f"{number}.json"
            recipe.write_text(json.dumps({**run.arguments, "output_dir": str(tmp_path / "run")}))
            # On a machine without an accelerator bf16 is refused unless the CPU is asked for.
            model, data, training, *_ = parse_arguments([str(recipe), "--use_cpu", "true"])
            assert training.do_train
            assert training.do_predict
            assert training.load_best_model_at_end
            assert len({data.train_split, data.validation_split, data.test_split}) == 3
            assert model.text_backbone or model.word_vectors

    @pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
    def test_three_seeds_and_a_description(self, path):
        comparison = read_comparison(path)
        assert len(comparison.seeds) >= 3
        assert len(comparison.description) > 40

    @pytest.mark.parametrize("name", ["table2", "table3", "same_encoder"])
    def test_hours_are_expected_of_every_run(self, name):
        comparison = by_name(name)
        assert "not measured" in comparison.expected_on
        hours = {
            (run.system, run.dataset): comparison.expected_hours[run.system][run.dataset] for run in plan(comparison)
        }
        assert all(0 < hour < 10 for hour in hours.values())

    def test_published_figures_hold_together(self):
        """F1 follows from P and R to the last digit, but for the one that the paper prints otherwise."""
        wrong = []
        for name in ("table2", "table3"):
            for system in by_name(name).systems:
                for dataset, (precision, recall, f1) in system.published.items():
                    if abs(2 * precision * recall / (precision + recall) - f1) > 0.0101:
                        wrong.append((system.name, dataset, f1))
        assert set(wrong) == {("IQCR-MI", "mner-mi-plus", 84.97)}

    def test_best_published_figures_are_where_the_paper_has_them(self):
        published = {system.name: system.published for system in by_name("table2").systems}
        assert published["IQCR-MI"]["mner-mi"] == [77.69, 79.44, 78.55]
        assert published["TPM-MI"] == {"mner-mi": [77.45, 77.19, 77.32], "mner-mi-plus": [83.66, 83.18, 83.42]}
        assert published["BERT-CRF"] == published["RoBERTa-CRF"] == {}

    def test_ablations_and_controls_change_one_thing_each(self):
        comparison = by_name("table3")
        runs = {run.system: run.arguments for run in plan(comparison) if run.dataset == "mner-mi"}
        reference = runs.pop("IQCR-MI")
        for name, arguments in runs.items():
            different = {key for key in {*reference, *arguments} if reference.get(key) != arguments.get(key)}
            scorers = {"quality_scorer", "relevance_scorer"}  # an ablation needs one the less
            assert different - scorers == ({"model_config"} if name.startswith("w/o") else {"control"}), name
        assert {runs[name]["control"] for name in runs if not name.startswith("w/o")} == {
            "shuffled_scores",
            "random_scores",
            "swapped_pictures",
            "blank_pictures",
        }

    def test_same_encoder_trains_all_alike_on_each_encoder(self):
        runs = plan(by_name("same_encoder"))
        assert len({json.dumps(protocol(run.arguments)) for run in runs}) == 1
        for encoder in ("BERT uncased", "BERT cased", "RoBERTa", "BERTweet"):
            chosen = [run.arguments for run in runs if run.system.endswith(f", {encoder}")]
            assert len({(arguments["text_backbone"], arguments.get("text_revision")) for arguments in chosen}) == 1
            types = [arguments.get("model_type", "iqcr") for arguments in chosen]
            assert sorted(set(types)) == ["bert_crf", "iqcr", "tpm_mi", "umt"]
        assert len({run.arguments["text_backbone"] for run in runs}) == 4

    def test_pictured_posts_trains_all_alike_from_the_same_parts(self):
        runs = {run.system: run.arguments for run in plan(by_name("pictured_posts"))}
        assert len({json.dumps(protocol(arguments)) for arguments in runs.values()}) == 1
        assert {arguments["dataset"] for arguments in runs.values()} == {"runs/demo/scored_posts"}
        for arguments in runs.values():
            assert arguments.get("text_backbone") in (None, "runs/demo/text_backbone")
            assert arguments.get("vision_backbone") in (None, "runs/demo/vision_backbone")
            assert not {"text_revision", "vision_revision"} & arguments.keys()
            assert arguments["vision_learning_rate"] == 1e-4
            assert arguments["freeze_vision"] is False

    def test_lstm_systems_on_the_tweets_differ_in_the_letters_alone(self):
        runs = {run.system: run.arguments for run in plan(by_name("twitter2017")) if "LSTM" in run.system}
        assert len({json.dumps(protocol(arguments)) for arguments in runs.values()}) == 1
        assert {arguments["word_vectors"] for arguments in runs.values()} == {"random"}
        assert len({json.dumps(arguments["model_config"], sort_keys=True) for arguments in runs.values()}) == 1
        encoders = [arguments["word_encoder"] for arguments in runs.values()]
        assert len({encoder["char_encoder"] for encoder in encoders}) == 3
        others = [{name: value for name, value in it.items() if not name.startswith("char_")} for it in encoders]
        assert others[0] == others[1] == others[2]


@pytest.fixture
def recipe(tmp_path) -> str:
    """A comparison of two systems, which need not exist: nothing of it is run."""
    (tmp_path / "system.json").write_text(json.dumps({"text_backbone": "hub/text", "dataset": "hub/posts"}))
    path = str(tmp_path / "system.json")
    content = {
        "description": "Two systems.",
        "reference": "A",
        "seeds": [1, 2],
        "datasets": {"posts": {}},
        "systems": {"A": {"recipe": path}, "B": {"recipe": path}, "GPT": {"not_run": "no endpoint"}},
        "expected_hours": {"on": "a guess", "per_run": {"A": {"posts": 1.5}}},
    }
    (tmp_path / "pair.json").write_text(json.dumps(content))
    return str(tmp_path / "pair.json")


class TestCommand:
    def test_dry_run_lists_runs_and_writes_nothing(self, recipe, tmp_path, capsys):
        out = tmp_path / "out"
        assert main([recipe, "--output_dir", str(out), "--dry_run", "--learning_rate", "0.5"]) == 0
        printed = capsys.readouterr().out
        for folder in ("a/seed-1", "b/seed-1", "a/seed-2", "b/seed-2"):
            assert f"to do  {out}/posts/{folder}  " in printed
        assert printed.count('"learning_rate": 0.5') == 4
        assert "not run  GPT: no endpoint" in printed
        assert "4 runs, 0 of them done. Expected: 3.0 hours one after the other, and 2 of unknown length" in printed
        assert not out.exists()

    def test_dry_run_of_a_choice(self, recipe, tmp_path, capsys):
        main(
            [
                recipe,
                "--output_dir",
                str(tmp_path),
                "--dry_run",
                "--systems",
                "B",
                "--seeds",
                "7",
                "--datasets",
                "posts",
            ]
        )
        assert re.findall(r"to do  \S+", capsys.readouterr().out) == [f"to do  {tmp_path}/posts/b/seed-7"]

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--systems", "C"], "--systems: the recipe has no 'C', only A, B, GPT"),
            (["--datasets", "post"], "--datasets: the recipe has no 'post', only posts"),
            (["--seeds", "1", "1"], "--seeds: the seed 1 stands there twice"),
            (["--learning_rat", "1"], "unrecognized arguments: --learning_rat 1"),
            (["--seed", "1"], "may not set seed"),
            (["--output_dir_", "x"], "unrecognized arguments"),
            (["--backbones", "hub/text"], "`--backbones` must be JSON"),
            (["--backbones", '{"hub/txt": "x"}'], "no run has hub/txt"),
        ],
    )
    def test_mistakes_are_named_before_anything_starts(self, recipe, tmp_path, flags, message):
        out = tmp_path / "out"
        with pytest.raises(ValueError, match=message):
            main([recipe, *flags, "--output_dir", str(out)])
        assert not out.exists()

    def test_runs_of_earlier_calls_must_have_the_same_arguments(self, recipe, tmp_path, capsys):
        """The table would have a mean over 1 and 20 epochs, or differences between them."""
        comparison, out = read_comparison(recipe), tmp_path / "out"
        (first,) = plan_runs(comparison, ["B"], ["posts"], [1], {"num_train_epochs": 1, "disable_tqdm": True}, {})
        (out / first.folder).mkdir(parents=True)
        (out / first.folder / "comparison_run.json").write_text(json.dumps({"arguments": first.arguments}))
        content = describe_comparison(out, comparison, ["B"], ["posts"], [1])
        (out / "comparison.json").write_text(json.dumps(content))
        for chosen in (["--systems", "B", "--seeds", "2"], ["--systems", "A", "--seeds", "1"]):
            command = [recipe, "--output_dir", str(out), "--dry_run", *chosen, "--num_train_epochs"]
            assert main([*command, "1"]) == 0
            with pytest.raises(ValueError, match=r"b/seed-1 holds a run .*: num_train_epochs was 1.* and is 20"):
                main([*command, "20"])

    @pytest.mark.parametrize("flag", ["--table_only", "--verify"])
    def test_table_is_of_the_whole_folder_and_of_this_comparison(self, recipe, tmp_path, flag):
        out = write_comparison(tmp_path / "out", {"A": {"errors": 0.1}}, name="another")
        with pytest.raises(ValueError, match="holds the comparison 'another', and this one is 'pair'"):
            main([recipe, "--output_dir", str(out), flag])
        with pytest.raises(ValueError, match="--systems and --seeds choose what to run, and with"):
            main([recipe, "--output_dir", str(out), flag, "--systems", "A", "--seeds", "1"])

    def test_table_alone_and_its_verification(self, recipe, tmp_path, capsys):
        out = write_comparison(tmp_path / "out", {"A": {"errors": 0.1}, "B": {"errors": 0.3}}, name="pair")
        assert main([recipe, "--output_dir", str(out), "--table_only"]) == 0
        assert f"Written: {out / 'table.md'}" in capsys.readouterr().out
        assert main([recipe, "--output_dir", str(out), "--verify"]) == 0
        text = (out / "table.csv").read_text()
        (out / "table.csv").write_text(re.sub(r"(f1,\d\d)\.\d", r"\g<1>.0", text, count=1))
        assert (out / "table.csv").read_text() != text
        assert main([recipe, "--output_dir", str(out), "--verify"]) == 1
        assert re.search(r"predictions give: 1\.$", capsys.readouterr().out)


def test_a_terminal_that_is_closed_ends_it_but_for_nohup(monkeypatch):
    def hang_up() -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.1)
        return 0

    monkeypatch.setattr(compare_systems, "main", hang_up)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, lambda *_: None)
        assert cli() == STOPPED
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert cli() == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
