"""Compare systems fairly: ``python scripts/compare_systems.py recipes/compare/X.json [flags of run_mner.py]``.

Runs every system on every data set with every seed, several at a time, and makes the table of what they left. A
comparison that was stopped is started again by the same command; ``docs/comparing.md`` tells the rest.
"""

import argparse
import json
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

from mner_training.arguments import read_object  # noqa: E402
from mner_training.comparison.devices import make_slots  # noqa: E402
from mner_training.comparison.file_names import COMPARISON_FILE, TRAINING_ENTITIES_FILE  # noqa: E402
from mner_training.comparison.plan import RunPlan, plan_runs  # noqa: E402
from mner_training.comparison.recipe import Comparison, check_seeds, read_comparison  # noqa: E402
from mner_training.comparison.records import (  # noqa: E402
    describe_comparison,
    locked,
    read_earlier,
    write_training_entities,
)
from mner_training.comparison.results import read_results  # noqa: E402
from mner_training.comparison.runs import run_all, sort_out  # noqa: E402
from mner_training.comparison.table import make_table  # noqa: E402
from mner_training.comparison.table_files import write_table  # noqa: E402
from mner_training.comparison.verify import verify  # noqa: E402
from mner_training.recipes import parse_flags  # noqa: E402
from mner_training.report import write_json  # noqa: E402

STOPPED = 130  # what a shell expects of a program that Ctrl-C has ended


def main(argv: list[str] | None = None) -> int:
    """Compare what a recipe names.

    Args:
        argv: The recipe and flags; ``None`` takes those of the command line.

    Returns:
        The exit status: 0, or 1 if a run failed or a cell of the table is not what the predictions say.

    Raises:
        FileNotFoundError: If the recipe, or that of a system, is not there.
        ValueError: If recipe and flags do not fit together, or the folder holds runs with other arguments.
        BlockingIOError: If another process works on the folder.
    """
    options, flags = _parse(sys.argv[1:] if argv is None else argv)
    comparison = read_comparison(options.recipe)
    output = options.output_dir or Path("runs", "compare", comparison.name)
    if options.table_only or options.verify:
        return _look(options, comparison.name, output)
    systems = _choose("--systems", options.systems, [system.name for system in comparison.systems])
    datasets = _choose("--datasets", options.datasets, list(comparison.datasets))
    seeds = comparison.seeds if options.seeds is None else options.seeds
    check_seeds(seeds, "--seeds")
    arguments = parse_flags(["--disable_tqdm", "true", *flags], "scripts/compare_systems.py")
    backbones = read_object(options.backbones, "backbones")
    plans = plan_runs(comparison, systems, datasets, seeds, arguments, backbones)
    with nullcontext() if options.dry_run else locked(output) as lock:
        content = describe_comparison(output, comparison, systems, datasets, seeds)
        # The table has rows and seeds of earlier calls as well, whose runs must have been what they would be now.
        rows = [row["name"] for row in content["systems"]]
        sort_out(plan_runs(comparison, rows, content["datasets"], content["seeds"], arguments, backbones), output)
        done, to_do = sort_out(plans, output)
        if options.dry_run:
            _list_runs(plans, done, comparison, output)
            return 0
        slots = make_slots(options.jobs, all(plan.arguments.get("use_cpu") for plan in plans))
        write_json(output / COMPARISON_FILE, content)
        print(f"{len(plans)} runs, {len(done)} of them done, in {output}{_expect(to_do, comparison)}")
        for dataset in {plan.dataset for plan in to_do}:
            # It is made again behind the runs: the data set may have been built anew since.
            (output / dataset / TRAINING_ENTITIES_FILE).unlink(missing_ok=True)
        failed = run_all(to_do, output, slots, len(done), options.keep_models, lock)
        # Behind the runs: on Linux the memory of this process is the least that it measures of a run.
        write_training_entities(output, comparison, plans)
        _write_table(output)
    if failed:
        print(f"{len(failed)} of {len(plans)} runs failed; the same command tries them again:")
        for plan in failed:
            print(f"    {output / plan.folder}")
    return 1 if failed else 0


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own flags, and those of the runs."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog="All other flags go to every run.", allow_abbrev=False
    )
    parser.add_argument("recipe", type=Path, help="what to compare, such as recipes/compare/table2.json")
    parser.add_argument("--output_dir", type=Path, help="(default: runs/compare/NAME)")
    parser.add_argument("--systems", nargs="+", metavar="NAME", help="these alone (default: all of the recipe)")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="these alone (default: all of the recipe)")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(default: those of the recipe)")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: one on each GPU, or one on the CPU)")
    parser.add_argument(
        "--backbones",
        metavar="JSON",
        help='folders to take for backbones, such as \'{"FacebookAI/roberta-base": "DIR"}\'',
    )
    parser.add_argument(
        "--keep_models", action="store_true", help="keep weights and checkpoints of runs that are done"
    )
    parser.add_argument("--table_only", action="store_true", help="run nothing, make the table of the runs there are")
    parser.add_argument(
        "--verify", action="store_true", help="recompute every cell of the table there is, and compare"
    )
    parser.add_argument("--dry_run", action="store_true", help="list the runs, with the hours expected, and end")
    return parser.parse_known_args(argv)


def _choose(flag: str, chosen: list[str] | None, names: list[str]) -> list[str]:
    """What a flag has chosen of the recipe; all of it without the flag."""
    unknown = [name for name in chosen or () if name not in names]
    if unknown:
        raise ValueError(f"{flag}: the recipe has no {', '.join(map(repr, unknown))}, only {', '.join(names)}.")
    return [name for name in names if chosen is None or name in chosen]


def _look(options: argparse.Namespace, name: str, output: Path) -> int:
    """Make or recompute the table of the runs there are, which is of all of them."""
    ignored = [f"--{flag}" for flag in ("systems", "datasets", "seeds") if getattr(options, flag) is not None]
    if ignored:
        raise ValueError(
            f"{' and '.join(ignored)} choose what to run, and with --table_only or --verify nothing runs: the table "
            "has a row for all that was ever asked for. Leave them out."
        )
    read_earlier(output, name)
    if not options.verify:
        with locked(output):
            _write_table(output)
        return 0
    differences = verify(output)
    for difference in differences:
        print(difference)
    print(f"{output}: differences from what the stored predictions give: {len(differences)}.")
    return 1 if differences else 0


def _write_table(output: Path) -> None:
    """Make the table, and say where it is."""
    for path in write_table(make_table(read_results(output)), output):
        print(f"Written: {path}")


def _expect(plans: list[RunPlan], comparison: Comparison) -> str:
    """The hours that runs will take together, where the recipe knows them."""
    hours = [comparison.expected_hours.get(plan.system, {}).get(plan.dataset) for plan in plans]
    known = [hour for hour in hours if hour is not None]
    if not known:
        return "."
    unknown = f", and {len(hours) - len(known)} of unknown length" if len(known) < len(hours) else ""
    return f". Expected: {sum(known):.1f} hours one after the other{unknown} ({comparison.expected_on})."


def _list_runs(plans: list[RunPlan], done: list[RunPlan], comparison: Comparison, output: Path) -> None:
    """Print each run with what is known of it."""
    for plan in plans:
        print(f"{'done ' if plan in done else 'to do'}  {output / plan.folder}  {json.dumps(plan.arguments)}")
    for system in comparison.systems:
        if system.not_run is not None:
            print(f"not run  {system.name}: {system.not_run}")
    to_do = [plan for plan in plans if plan not in done]
    print(f"{len(plans)} runs, {len(done)} of them done{_expect(to_do, comparison)}")


def _interrupt(*_) -> None:
    """Take a request to end as Ctrl-C: the runs must not outlive this process."""
    raise KeyboardInterrupt


def cli() -> int:
    """Run `main` as a command."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has asked to go on without a terminal
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        return main()
    except KeyboardInterrupt:
        print("Stopped, with all runs. The same command goes on.", file=sys.stderr)
        return STOPPED


if __name__ == "__main__":
    sys.exit(cli())
