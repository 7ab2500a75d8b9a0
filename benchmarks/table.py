"""The table of docs/performance.md, from the figures under benchmarks/results/.

python benchmarks/table.py            # print it
python benchmarks/table.py --write    # put it in its place in docs/performance.md
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- made by benchmarks/table.py -->", "<!-- end -->"
OPEN = "open: no GPU was at hand"


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put it in its place in docs/performance.md")
    options = parser.parse_args()
    table = make_table()
    if not options.write:
        sys.stdout.write(table)
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table}{END}{rest.partition(END)[2]}", encoding="utf-8")


def make_table() -> str:
    """All rows, as Markdown."""
    crf, step = read("crf"), read("training_step")
    inference, memory, reading = read("inference"), read("memory"), read("input_pipeline")
    rows = [("what", "against", "bound", "CPU", "GPU"), ("---",) * 5]
    for task, name in (("loss, gradient", "CRF loss and gradient"), ("decode", "CRF decode")):
        bound = "2.5 times faster; GPU 8 times" if task == "loss, gradient" else "3 times faster; GPU 8 times"
        rows.append((name, "pytorch-crf", bound, of_crf(crf, task, "cpu"), of_crf(crf, task, "cuda")))
    steps = [step["steps"].get(device) for device in ("cpu", "cuda")]
    rows.append(
        ("training step", "the bare encoders", "1.08; GPU 1.15", *(of_ratio(one, "over_bare") for one in steps))
    )
    padded = [of_ratio(one, "padded_over_ours", " times faster") for one in steps]
    rows.append(("the same step", "padded to 4 pictures, 128 sub-tokens", "1.7 times faster", *padded))
    for size, bound in ((None, "1.08"), (1, "GPU 1.3")):
        name = "inference, scores given, " + ("one post" if size else "batches of 4, GPU 64")
        found = [of_inference(inference, device, size) for device in ("cpu", "cuda")]
        rows.append((name, "the bare encoders", bound, *found))
    ends = [of_end_to_end(inference["end_to_end"].get(device)) for device in ("cpu", "cuda")]
    rows.append(("inference with scoring, one post, 2 pictures", "its parts", "reported", *ends))
    saved = memory["saved_for_backward"]
    worst = f"{saved['worst_ratio']:.2f} at most, in {len(saved['batches'])} batches"
    rows.append(("bytes saved for backward, 16 posts", "the padded form", "0.60", worst, "the same on any device"))
    epoch = step["epoch"]
    rows.append(
        ("an epoch of MNER-MI-Plus's size, bf16", "one H200", "15 s", "not meant for it", of_epoch(epoch, "seconds"))
    )
    rows.append(("waiting for data in it", "", "under 5 %", "", of_epoch(epoch, "waiting_share")))
    tagging = memory["tagging"]
    posts = [f"{run['posts']:,}" for run in tagging["runs"]]
    peaks = [f"{run['peak_bytes'] / 2**20:.0f}" for run in tagging["runs"]]
    found = f"{tagging['ratio']:.3f} times ({peaks[0]} and {peaks[1]} MiB)"
    rows.append((f"memory when tagging {posts[1]} posts", f"{posts[0]} posts", "1.1 times", found, ""))
    batches = reading["batches"]
    smaller = batches["bytes"]["padded"] / batches["bytes"]["packed"]
    found = f"{batches['times_faster']['ratio']:.0f} times faster, {smaller:.1f} times smaller"
    rows.append(("making a batch of 16 rows", "padded, in float32", "reported", found, ""))
    found = f"{reading['workers_0']['times_faster']['ratio']:.0f} times faster"
    rows.append(("reading rows", "decoding the files in every epoch", "reported", found, ""))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def read(name: str) -> dict[str, Any]:
    """The figures of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def of_crf(figures: dict[str, Any], task: str, device: str) -> str:
    """The least and the most of the shapes' ratios."""
    found = [row["times_faster"]["ratio"] for row in figures["rows"] if (row["task"], row["device"]) == (task, device)]
    return f"{min(found):.1f} to {max(found):.1f} times" if found else OPEN


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


def of_end_to_end(figures: dict[str, Any] | None) -> str:
    """The seconds, and the parts' shares."""
    if not figures:
        return OPEN
    parts = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in figures["parts"].items())
    return f"{figures['seconds']:.1f} s: {parts}"


def of_epoch(figures: dict[str, Any] | None, name: str) -> str:
    """Seconds, or a share of them."""
    if not figures or figures["device"] != "cuda":
        return OPEN
    return f"{figures[name]:.1f} s" if name == "seconds" else f"{figures[name]:.1%}"


if __name__ == "__main__":
    main()
