"""The tables of docs/performance.md, from the figures under benchmarks/results/.

python benchmarks/table.py            # print them
python benchmarks/table.py --write    # put them in their place in docs/performance.md
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- made by benchmarks/table.py -->", "<!-- end -->"
OPEN = "open: no GPU was at hand"


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put them in their place in docs/performance.md")
    options = parser.parse_args()
    table = make_table()
    if not options.write:
        sys.stdout.write(table)
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table}{END}{rest.partition(END)[2]}", encoding="utf-8")


def make_table() -> str:
    """The tables and what they were measured on, as Markdown."""
    crf, step = read("crf"), read("training_step")
    inference, memory, reading = read("inference"), read("memory"), read("input_pipeline")
    rows = [("what", "against", "bound", "CPU", "GPU"), ("---",) * 5]
    for task, name, bound in (
        ("loss, gradient", "CRF loss and gradient", "2.5 times faster; GPU 8"),
        ("decode", "CRF decode", "3 times faster; GPU 8"),
        ("decode to lists", "the same, ours made lists as well", "reported"),
    ):
        rows.append((name, "pytorch-crf", bound, of_crf(crf, task, "cpu"), of_crf(crf, task, "cuda")))
    steps = [step["steps"].get(device) for device in ("cpu", "cuda")]
    over_bare = [of_ratio(one, "over_bare") for one in steps]
    rows.append(("training step", "the bare encoders", "1.08; GPU 1.15", *over_bare))
    padded = [of_ratio(one, "padded_over_ours", " times faster") for one in steps]
    rows.append(("the same step", "padded to 4 pictures, 128 sub-tokens", "1.7 times faster", *padded))
    for size, bound in ((None, "1.08"), (1, "GPU 1.3")):
        name = "inference, scores given, " + ("one post" if size else "batches of 4, GPU 64")
        found = [of_inference(inference, device, size) for device in ("cpu", "cuda")]
        rows.append((name, "the bare encoders", bound, *found))
    ends = [of_end_to_end(inference, device) for device in ("cpu", "cuda")]
    rows.append(("inference with scoring, one post, 2 pictures", "its parts", "reported", *ends))
    saved = memory["saved_for_backward"]
    worst = f"{saved['worst_ratio']:.2f} at most, in {len(saved['batches'])} batches"
    rows.append(("bytes saved for backward, 16 posts", "the padded form", "0.60", worst, "as on the CPU"))
    epoch = step["epoch"]
    rows.append(("an epoch of MNER-MI-Plus's size, bf16", "one H200", "15 s", "", of_epoch(epoch, "seconds")))
    rows.append(("waiting for data in it", "", "under 5 %", "", of_epoch(epoch, "waiting_share")))
    small, large = memory["tagging"]["runs"]
    peaks = f"{small['peak_bytes'] / 2**20:.0f} and {large['peak_bytes'] / 2**20:.0f} MiB"
    found = f"{memory['tagging']['ratio']:.3f} times ({peaks})"
    rows.append((f"memory when tagging {large['posts']:,} posts", f"{small['posts']:,} posts", "1.1 times", found, ""))
    batches = reading["batches"]
    for name, form in (("a batch of 16 rows, packed", "packed"), ("the same, made float", "packed, then float")):
        smaller = batches["bytes"]["padded"] / batches["bytes"][form]
        found = f"{batches['times_faster'][form]['ratio']:.1f} times faster, {smaller:.1f} times smaller"
        rows.append((name, "padded, in float32", "reported", found, ""))
    for name, figures in reading["reading"].items():
        if name.startswith("workers_"):
            found = of_ratio(figures, "times_faster", " times faster")
            workers = name.removeprefix("workers_")
            rows.append((f"reading rows, {workers} workers", "decoding files in every epoch", "reported", found, ""))
    named = {"crf": crf, "training_step": step, "inference": inference, "input_pipeline": reading, "memory": memory}
    return f"\n{as_markdown(rows)}\n{groupings(reading)}\n{operations(crf)}\n{provenance(named)}\n"


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def groupings(reading: dict[str, Any]) -> str:
    """What each order of the posts costs."""
    rows = [("order of posts", "padding of text", "padding of slots", "pictures a batch, 5 % to 95 %", "at most")]
    rows.append(("---",) * 5)
    for row in reading["grouping"]:
        pictures = [f"{count:.0f}" for count in row.get("pictures_a_batch", ())]
        most = str(row.get("most_pictures", "64"))
        shares = [f"{row[name]:.1%}" for name in ("text_padding", "slot_padding")]
        rows.append((row["order"], *shares, " to ".join(pictures) or "64", most))
    return as_markdown(rows)


def operations(crf: dict[str, Any]) -> str:
    """What the CRF gives to a device to do."""
    rows = [
        ("CRF, posts of different lengths", "operations", "pytorch-crf's", "those of them that wait"),
        ("---",) * 4,
    ]
    for row in crf["rows"]:
        if (row["lengths"], row["device"]) == ("different", "cpu") and row["task"] != "decode to lists":
            ours, theirs = row["operations"]["ours"], row["operations"]["theirs"]
            waiting = f"{ours['waiting']}; {theirs['waiting']:,}"
            shape = f"{row['posts']} posts, {row['words']} words, {row['task']}"
            rows.append((shape, f"{ours['all']:,}", f"{theirs['all']:,}", waiting))
    return as_markdown(rows)


def provenance(named: dict[str, dict[str, Any]]) -> str:
    """Machine, versions and command of each file of figures."""
    rows = [("figures", "command", "machine and versions"), ("---",) * 3]
    for name, figures in named.items():
        machine = ", ".join(f"{key} {value}" for key, value in figures["machine"].items())
        rows.append((f"`{name}.json`", f"`{' '.join(figures['command'])}`", machine))
    return as_markdown(rows)


def read(name: str) -> dict[str, Any]:
    """The figures of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def of_crf(figures: dict[str, Any], task: str, device: str) -> str:
    """The ratios of all shapes, and the spread of the least."""
    found = [row["times_faster"] for row in figures["rows"] if (row["task"], row["device"]) == (task, device)]
    if not found:
        return OPEN
    least = min(found, key=lambda ratio: ratio["ratio"])
    low, high = least["range"]
    return f"{least['ratio']:.2f} ({low:.2f} to {high:.2f}) to {max(ratio['ratio'] for ratio in found):.2f} times"


def of_ratio(figures: dict[str, Any] | None, name: str, unit: str = "") -> str:
    """A ratio with its spread."""
    if not figures:
        return OPEN
    low, high = figures[name]["range"]
    return f"{figures[name]['ratio']:.2f}{unit} ({low:.2f} to {high:.2f})"


def of_inference(figures: dict[str, Any], device: str, size: int | None) -> str:
    """The ratio of one batch size, `None` for the larger one."""
    found = [row for row in figures["scores_given"] if row["device"] == device and (row["posts"] == 1) == (size == 1)]
    return of_ratio(found[0] if found else None, "over_bare")


def of_end_to_end(figures: dict[str, Any], device: str) -> str:
    """The seconds, and the parts' shares."""
    found = figures["end_to_end"].get(device)
    if not found:
        return OPEN if device == "cuda" else "not run"
    parts = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in found["parts"].items())
    return f"{found['seconds']:.1f} s: {parts}"


def of_epoch(figures: dict[str, Any] | None, name: str) -> str:
    """Seconds, or a share of them."""
    if not figures or figures["device"] != "cuda":
        return OPEN
    return f"{figures[name]:.1f} s" if name == "seconds" else f"{figures[name]:.1%}"


if __name__ == "__main__":
    main()
