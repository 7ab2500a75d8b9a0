"""What does memory go into? Tensors kept for the backward pass, and tagging ten times as many posts.

    python benchmarks/memory.py [--posts 10000] [--output benchmarks/results/memory.json]

The bytes that autograd saves in one training step of 16 posts of the shape of MNER-MI-Plus, with RoBERTa-base and
ViT-base-patch16, beside those of the same model on posts padded to four pictures and 128 sub-tokens.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

import torch  # noqa: E402

from benchmarks.measuring import make_parser, write_figures  # noqa: E402
from benchmarks.plus_shaped import (  # noqa: E402
    encode_all_slots,
    group_into_batches,
    make_batch,
    make_shapes,
    make_tagger,
    pad_batch,
)

NUM_POSTS = 16
NUM_BATCHES = 3


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, "memory")
    parser.add_argument("--tiny", action="store_true", help="two layers of width 32: tries the benchmark out")
    options = parser.parse_args()
    write_figures(options.output, {"saved_for_backward": compare_saved(options.tiny)}, "transformers")


def compare_saved(tiny: bool) -> dict:
    """Count on some batches what each form saves."""
    model = make_tagger(tiny).train()
    chosen = list(group_into_batches(make_shapes(), NUM_POSTS))[:: 10_229 // NUM_POSTS // NUM_BATCHES]
    rows = []
    for seed, shapes in enumerate(chosen[:NUM_BATCHES]):
        batch = make_batch(shapes, model.config, "cpu", seed)
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
        return tensor  # which stays alive, so that no address is given out twice

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**batch).loss
        total = sum(kept.values())
        del loss
    return total


if __name__ == "__main__":
    main()
