"""What does memory go into? Tensors kept for the backward pass, and tagging ten times as many posts.

    python benchmarks/memory.py [--posts 10000] [--output benchmarks/results/memory.json]

The bytes that autograd saves in one training step of 16 posts of the shape of MNER-MI-Plus, with RoBERTa-base and
ViT-base-patch16, beside those of the same model on posts padded to four pictures and 128 sub-tokens. And the most
memory that `scripts/tag_posts.py` ever has, in a process of its own, with generated posts and ten times as many.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

import torch  # noqa: E402
from PIL import Image  # noqa: E402

from benchmarks.measuring import make_parser, write_figures  # noqa: E402
from benchmarks.plus_shaped import (  # noqa: E402
    encode_all_slots,
    make_batch,
    make_tagger,
    pad_batch,
    typical_batches,
)
from benchmarks.row_loading import make_processor  # noqa: E402

NUM_POSTS = 16
NUM_BATCHES = 2
PICTURES = 50  # files that the generated posts share
PICTURE_SIZE = 64
# Runs a script, then says its peak. What the kernel tells the parent of a child would be at least the parent's own.
_SAY_PEAK = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    with open("/proc/self/status") as status:
        print("\\n" + next(line for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, "memory")
    parser.add_argument("--posts", type=int, default=10_000, help="posts that are tagged, then ten times as many")
    options = parser.parse_args()
    figures = {"saved_for_backward": compare_saved(options.tiny), "tagging": None}
    try:
        figures["tagging"] = compare_tagging(options.posts // 100 if options.tiny else options.posts)
    except ImportError as error:
        print(f"Tagging: not run, {error}")
    write_figures(options, figures, "transformers", "pyarrow")


def compare_saved(tiny: bool) -> dict:
    """Count on some batches what each form saves."""
    model = make_tagger(tiny).train()
    rows = []
    for seed, shapes in enumerate(typical_batches(NUM_POSTS, NUM_BATCHES)):
        batch = make_batch(shapes, model, "cpu", seed)
        ours = saved_bytes(model, batch)
        encode_images = model.model.encode_images
        model.model.encode_images = encode_all_slots.__get__(model.model)
        padded = saved_bytes(model, pad_batch(batch))
        model.model.encode_images = encode_images
        rows.append({"pictures": len(batch["pixel_values"]), "ours": ours, "padded": padded, "ratio": ours / padded})
        print(
            f"Saved for backward, {NUM_POSTS} posts with {rows[-1]['pictures']} pictures: {ours / 2**20:.0f} MiB, "
            f"padded {padded / 2**20:.0f} MiB, ratio {ours / padded:.2f}",
            flush=True,
        )
    return {"posts": NUM_POSTS, "batches": rows, "worst_ratio": max(row["ratio"] for row in rows)}


def saved_bytes(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> int:
    """Bytes of all storages that a forward pass keeps for its backward pass, weights left out, each counted once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        # Stays alive, so that no address is given out twice; without its graph, which would keep itself alive.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**batch).loss
        total = sum(kept.values())
        del loss
    return total


def compare_tagging(num_posts: int) -> dict:
    """Tag posts with a tiny model, and ten times as many, each in a process of its own."""
    import mner_training.lake_job  # noqa: F401 - so that what tagging needs is missed here

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tagger(tiny=True).save_pretrained(folder / "model")
        make_processor(32).save_pretrained(folder / "model")
        draw = random.Random(0)
        for number in range(PICTURES):
            pixels = draw.randbytes(3 * PICTURE_SIZE**2)
            Image.frombytes("RGB", (PICTURE_SIZE, PICTURE_SIZE), pixels).save(folder / f"{number}.jpg")
        for number in (num_posts, 10 * num_posts):
            posts = folder / f"posts_{number}.jsonl"
            write_posts(posts, number)
            started = time.perf_counter()
            places = [
                "--model",
                folder / "model",
                "--images_dirs",
                folder,
                "--output_dir",
                folder / f"tagged_{number}",
            ]
            peak = peak_memory([ROOT / "scripts" / "tag_posts.py", posts, *places])
            speed = number / (time.perf_counter() - started)
            rows.append({"posts": number, "peak_bytes": peak, "posts_a_second": speed})
            print(f"Tagging {number:,} posts: at most {peak / 2**20:.0f} MiB, {speed:.0f} posts a second", flush=True)
    found = rows[1]["peak_bytes"] / rows[0]["peak_bytes"]
    print(f"    ten times as many posts, {found:.3f} times the memory")
    return {"runs": rows, "ratio": found}


def write_posts(path: Path, number: int) -> None:
    """Generated posts of 4 to 12 words, a fifth of them with a picture."""
    draw = random.Random(1)
    words = [f"word{index}" for index in range(500)]
    with open(path, "w", encoding="utf-8") as file:
        for index in range(number):
            pictures = [f"{draw.randrange(PICTURES)}.jpg"] if draw.random() < 1 / 5 else []
            post = {"id": str(index), "text": " ".join(draw.choices(words, k=draw.randint(4, 12))), "images": pictures}
            file.write(json.dumps(post) + "\n")


def peak_memory(command: list[str | Path]) -> int:
    """Run a Python script to its end, and give the most memory that it had, in bytes; on Linux."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        # one thread: so small a model only loses by more
        settings = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", _SAY_PEAK, *map(str, command)]
        status = subprocess.run(command, stdout=said, stderr=said, env=settings, check=False).returncode
        said.seek(0)
        words = said.read()
    if status:
        raise RuntimeError(f"{' '.join(command[3:])} ended with {status}: {words[-2000:]}")
    return next(int(line.split()[1]) for line in words.splitlines() if line.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    main()
