"""Runs of run_mner.py in one process or in two, as `accelerate launch` starts them with a file of recipes/accelerate/.

The processes are forks of a server that has imported everything: most of a short run is importing.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from datasets import Dataset
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "recipes" / "accelerate"
# Two micro-batches a step; as many posts in each from two processes as from one.
TRAIN = ["--do_train", "--do_eval", "--do_predict", "--learning_rate", "3e-3", "--logging_steps", "1"]
TRAIN += ["--train_sampling_strategy", "sequential", "--gradient_accumulation_steps", "2", "--num_train_epochs", "4"]
ONE, TWO = ["--per_device_train_batch_size", "4"], ["--per_device_train_batch_size", "2"]
# A run that waits for another process longer than this waits for ever.
PATIENCE = 120  # seconds


class Runs:
    """Runs on the same posts.

    Args:
        server: What forks them, from `tests.killed_runs.run_server`.
        corpus: The folder of the data set.
        fresh: Flags of a new tagger, for tests to use.
    """

    def __init__(self, server: ForkServerContext, corpus: Path, fresh: list[str]):
        self.server, self.fresh = server, fresh
        self.flags = ["--dataset", str(corpus), "--use_cpu", "--disable_tqdm", "true"]

    def __call__(self, folder: Path, *flags: str, config: str | None = None) -> Path:
        """A run that must go through.

        Args:
            folder: Where it writes to.
            flags: More flags.
            config: A file of recipes/accelerate/, for two processes; ``None``: one process.

        Returns:
            `folder`.
        """
        processes = self._start([*self.flags, *flags, "--output_dir", str(folder)], folder, config)
        deadline = time.monotonic() + PATIENCE
        while any(process.exitcode is None for process in processes) and time.monotonic() < deadline:
            if any(process.exitcode for process in processes):
                break
            time.sleep(0.02)
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
            process.join()
        assert not any(code or code is None for code in codes), f"Exit codes {codes}.\n{output(folder)}"
        return folder

    def fail(self, folder: Path, *flags: str, config: str | None = None) -> str:
        """What a run prints that must fail in all its processes."""
        processes = self._start([*self.flags, *flags, "--output_dir", str(folder)], folder, config)
        for process in processes:
            process.join(PATIENCE)
        codes = [process.exitcode for process in processes]
        assert all(code for code in codes), f"Exit codes {codes}.\n{output(folder)}"
        return output(folder)

    def _start(self, argv: list[str], folder: Path, config: str | None) -> list[BaseProcess]:
        settings = [{}]
        if config is not None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = str(free.getsockname()[1])
            shared = launch_settings(config) | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            settings = [
                shared | {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank}
                for rank in "01"
            ]
        folder.parent.mkdir(parents=True, exist_ok=True)
        processes = []
        for rank, environment in enumerate(settings):
            log = folder.parent / f"{folder.name}.{rank}.txt"
            processes.append(self.server.Process(target=_run, args=(argv, log, environment)))
            processes[-1].start()
        return processes


def _run(argv: list[str], log: Path, environment: dict[str, str]) -> None:
    """Run in this process, which ends."""
    os.environ |= {"OMP_NUM_THREADS": "1"} | environment
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    import run_mner
    import tests.fsdp2_on_cpu  # noqa: F401 - for what it changes

    sys.argv = ["run_mner.py", *argv]
    run_mner.cli()


def without_dropout(backbones: tuple[Path, Path], folder: Path) -> list[str]:
    """Flags of a new tagger in which nothing is random but the start.

    Args:
        backbones: The folders of a text and a vision backbone.
        folder: For copies of them.
    """
    flags = ["--max_length", "32", "--window_overlap", "8", "--model_config", '{"dropout": 0.0}']
    for kind, source in zip(("text", "vision"), backbones, strict=True):
        copy = shutil.copytree(source, folder / f"{kind}_backbone")
        config = json.loads((copy / "config.json").read_text())
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (copy / "config.json").write_text(json.dumps(config))
        flags += [f"--{kind}_backbone", str(copy)]
    return flags


def lopsided_corpus(make_posts: Callable[..., Dataset], tiny_corpus: Path, folder: Path) -> Path:
    """A data set of which one of two processes gets all pictures, in batches of two posts in their order.

    Its posts are short and its fellow's are long, so that the numbers of labelled words differ too.

    Args:
        make_posts: The fixture.
        tiny_corpus: The fixture, whose other splits are taken over.
        folder: Where to write.
    """
    posts = [*make_posts(13, seed=1, num_words=4)][1:], [*make_posts(12, seed=2, num_words=14)]
    for post in posts[1]:
        post |= {"images": [], "quality_scores": [], "relevance_scores": []}
    pairs = [pair for first in range(0, 12, 2) for pair in (posts[0][first : first + 2], posts[1][first : first + 2])]
    posts = [post for pair in pairs for post in pair]
    folder.mkdir()
    Dataset.from_list(posts, features=make_posts(1).features).to_parquet(folder / "train.parquet")
    for name in ("validation", "test"):
        shutil.copy(tiny_corpus / f"{name}.parquet", folder)
    return folder


def small_corpus(make_posts: Callable[..., Dataset], tiny_corpus: Path, folder: Path) -> Path:
    """A data set whose validation split is one post, and its test split 13 posts in 15 rows.

    Args:
        make_posts: The fixture.
        tiny_corpus: The fixture.
        folder: Where to write.
    """
    folder.mkdir()
    make_posts(2, seed=5).select([1]).to_parquet(folder / "validation.parquet")
    shutil.copy(tiny_corpus / "test.parquet", folder)
    return folder


def launch_settings(config: str) -> dict[str, str]:
    """The environment that `accelerate launch` makes of a file of recipes/accelerate/."""
    command = ["--config_file", str(CONFIGS / config), "--num_processes", "2", "run_mner.py"]
    args = _validate_launch_command(launch_command_parser().parse_args(command))[0]
    return prepare_multi_gpu_env(args)


def launch(folder: Path, config: str, script: str, flags: list[str]) -> Path:
    """A run that is started as a user starts it, `accelerate launch` with two processes, here on the CPU."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / config)]
    command += ["--num_processes", "2", "--main_process_port", "0", str(ROOT / script), *flags]
    log = folder.parent / f"{folder.name}.0.txt"
    with open(log, "w") as file:
        process = subprocess.Popen(
            [*command, "--output_dir", str(folder)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()  # and the launcher ends what it has started
            code = process.wait(PATIENCE)
    assert code == 0, f"Exit code {code}.\n{output(folder)}"
    return folder


def output(folder: Path) -> str:
    """The end of what the last run in a folder printed."""
    return "\n".join(path.read_text()[-4000:] for path in sorted(folder.parent.glob(f"{folder.name}.?.txt")))


def results(folder: Path) -> dict[str, float]:
    """The figures of a run that depend on data and model alone."""
    figures = json.loads((folder / "all_results.json").read_text())
    return {name: value for name, value in figures.items() if not name.endswith(("time", "per_second", "flos"))}


def history(folder: Path) -> list[dict[str, float]]:
    """Loss and gradient's norm of each logged step, and its number."""
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [{name: entry[name] for name in ("loss", "grad_norm", "step")} for entry in log if "grad_norm" in entry]


def predictions(folder: Path) -> list[dict]:
    """The posts of a run's predictions."""
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict:
    """The weights of a run."""
    return load_file(folder / "model.safetensors")


def assert_same(folder: Path, expected: Path) -> None:
    """Compare losses, gradients, weights, metrics and predictions of two runs."""
    for step, expected_step in zip(history(folder), history(expected), strict=True):
        assert step == pytest.approx(expected_step, rel=1e-5)
    tensors = weights(folder)
    assert tensors.keys() == weights(expected).keys()
    for name, tensor in weights(expected).items():
        torch.testing.assert_close(tensors[name], tensor, atol=1e-5, rtol=0)
    assert results(folder) == pytest.approx(results(expected), rel=1e-5)
    assert_same_predictions(folder, expected)


def assert_same_predictions(folder: Path, expected: Path) -> None:
    """Compare the posts of two runs, their tags and the gates of their pictures."""
    for post, expected_post in zip(predictions(folder), predictions(expected), strict=True):
        assert post["id"] == expected_post["id"]
        assert post["predicted_tags"] == expected_post["predicted_tags"]
        gates = [[image["gate"] for image in each["images"]] for each in (post, expected_post)]
        assert gates[0] == pytest.approx(gates[1], abs=1e-5)
