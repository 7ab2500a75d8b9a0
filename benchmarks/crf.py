"""How fast is the CRF? Loss with gradient, and decoding, beside pytorch-crf, on posts of different lengths and of one.

    python benchmarks/crf.py [--rounds 7] [--output benchmarks/results/crf.json]

A ratio is pytorch-crf's time over ours. Decoding leaves our tags in a tensor on the device, which is what a model's
output is; pytorch-crf's are lists, so ours are measured as lists too. Counted are operations that a device would be
given, views left out, and those that wait for it. With an NVIDIA GPU both are compared there too.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

import torch  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

try:
    from torchcrf import CRF
except ImportError as error:
    raise ImportError("This benchmark compares with pytorch-crf: pip install pytorch-crf.") from error

from benchmarks.measuring import (  # noqa: E402
    devices,
    in_turn,
    make_parser,
    median_ms,
    ratio,
    show_ratio,
    write_figures,
)
from modeling_iqcr.crf import LinearChainCRF  # noqa: E402

NUM_TAGS = 9
SHAPES = ((16, 48), (64, 64), (16, 128))  # posts, words
CALLS = 20
# Operations that only look at memory in another way, or ask for some.
_NO_WORK = {"view", "unsqueeze", "expand", "select", "slice", "unbind", "t", "transpose", "permute", "alias", "detach"}
_NO_WORK |= {"as_strided", "split", "_unsafe_view", "squeeze", "reshape", "new_empty", "empty", "empty_like"}
_NO_WORK |= {"new_empty_strided", "lift_fresh", "is_same_size"}


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, "crf")
    parser.add_argument("--rounds", type=int, default=7, help=f"measurements, of {CALLS} calls each (default: 7)")
    options = parser.parse_args()
    print(f"{'device':<8}{'posts x words':<16}{'lengths':<12}{'what':<16}{'ours':>9}{'theirs':>11}  times faster")
    rows = []
    for device in devices():
        for posts, words in SHAPES:
            for lengths in ("different", "one"):
                rows += compare(device, posts, words, lengths, 1 if options.tiny else options.rounds)
    write_figures(options, {"rows": rows}, "pytorch-crf")


def compare(device: str, num_posts: int, num_words: int, lengths: str, rounds: int) -> list[dict]:
    """Compare on one shape, after a check that both say the same."""
    generator = torch.Generator().manual_seed(0)
    emissions = torch.randn(num_posts, num_words, NUM_TAGS, generator=generator).to(device)
    tags = torch.randint(NUM_TAGS, (num_posts, num_words), generator=generator).to(device)
    shortest = num_words // 4 if lengths == "different" else num_words
    of_posts = torch.randint(shortest, num_words + 1, (num_posts, 1), generator=generator)
    of_posts[0] = num_words
    mask = (torch.arange(num_words) < of_posts).to(device)
    ours, theirs = LinearChainCRF(NUM_TAGS).to(device), CRF(NUM_TAGS, batch_first=True).to(device)
    theirs.load_state_dict(ours.state_dict())

    likelihoods = {
        "ours": ours.log_likelihood,
        "theirs": lambda *inputs: theirs(*inputs, reduction="none"),
    }

    def step(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        scores = emissions.clone().requires_grad_()
        loss = -likelihoods[name](scores, tags, mask).sum()
        loss.backward()
        return loss, scores.grad

    def decode_by_theirs() -> list[list[int]]:
        with torch.no_grad():
            return theirs.decode(emissions, mask)

    for mine, other in zip(step("ours"), step("theirs"), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
    assert [row[row >= 0].tolist() for row in ours.decode(emissions, mask)] == decode_by_theirs()

    tasks = {
        "loss, gradient": {name: partial(step, name) for name in likelihoods},
        "decode": {"ours": lambda: ours.decode(emissions, mask), "theirs": decode_by_theirs},
        "decode to lists": {"ours": lambda: ours.decode(emissions, mask).tolist(), "theirs": decode_by_theirs},
    }
    rows = []
    for task, runs in tasks.items():
        seconds = in_turn(runs, device, rounds, CALLS)
        found = ratio(seconds, "theirs", "ours")
        milliseconds = {name: median_ms(times) for name, times in seconds.items()}
        rows.append(
            {
                "device": device,
                "posts": num_posts,
                "words": num_words,
                "lengths": lengths,
                "task": task,
                "milliseconds": milliseconds,
                "times_faster": found,
                "operations": {name: count_operations(run) for name, run in runs.items()},
            }
        )
        print(
            f"{device:<8}{f'{num_posts} x {num_words}':<16}{lengths:<12}{task:<16}{milliseconds['ours']:>6.2f} ms"
            f"{milliseconds['theirs']:>8.2f} ms  {show_ratio(found)}",
            flush=True,
        )
    return rows


class _Counter(TorchDispatchMode):
    """Counts what is dispatched."""

    def __init__(self):
        super().__init__()
        self.operations = self.waiting = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.operations += name not in _NO_WORK
        self.waiting += name == "_local_scalar_dense"
        return func(*args, **(kwargs or {}))


def count_operations(run: Callable) -> dict[str, int]:
    """How many operations a call gives to the device, and after how many of them it waits for an answer."""
    with _Counter() as counter:
        run()
    return {"all": counter.operations, "waiting": counter.waiting}


if __name__ == "__main__":
    main()
