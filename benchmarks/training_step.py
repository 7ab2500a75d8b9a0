"""What does a training step cost? Beside the two bare encoders, and beside the same model on padded posts.

    python benchmarks/training_step.py [--rounds 4] [--num_posts 4] [--output benchmarks/results/training_step.json]

Forward and backward of IQCR-MI with RoBERTa-base and ViT-base-patch16 (random weights, which change no time) on posts
of the shape of MNER-MI-Plus. The floor is the two encoders alone, on as many real sub-tokens and on the real pictures;
the padded form encodes four pictures and 128 sub-tokens for every post. A GPU computes in bfloat16, with float32
weights. With an NVIDIA GPU an epoch of MNER-MI-Plus's size is trained as well: batches of 16, AdamW, rows read by
worker processes from a file that is mapped into memory. What the Trainer does beside (schedule, logging) is left out,
and so are the first ten steps, which choose kernels and start the workers. In the steps pixels are float already.
"""

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from transformers.trainer_pt_utils import LengthGroupedSampler  # noqa: E402

from benchmarks.measuring import (  # noqa: E402
    add_model_type,
    devices,
    in_turn,
    make_parser,
    median_ms,
    ratio,
    show_ratio,
    wait_for,
    write_figures,
)
from benchmarks.plus_shaped import (  # noqa: E402
    NUM_POSTS,
    BareEncoders,
    encode_all_slots,
    make_batch,
    make_shapes,
    make_tagger,
    pad_batch,
    typical_batches,
)
from benchmarks.row_loading import MappedRows, make_processor  # noqa: E402
from mner_training.data_collator import PostCollator  # noqa: E402
from mner_training.model_types import IQCR  # noqa: E402
from mner_training.optimizer import parameter_groups  # noqa: E402

POSTS_ON_GPU = 16
POSTS_OF_EPOCH = 16  # in a batch
WARM_UP = 10


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, "training_step")
    parser.add_argument("--rounds", type=int, default=4, help="measurements, each of another batch (default: 4)")
    parser.add_argument("--num_posts", type=int, default=4, help="posts of a batch on the CPU (default: 4)")
    parser.add_argument("--workers", type=int, default=8, help="processes that read rows in the epoch (default: 8)")
    parser.add_argument("--epoch_posts", type=int, default=0, help="run the epoch on the CPU too, with so many posts")
    add_model_type(parser)
    options = parser.parse_args()
    figures = {"steps": {}, "epoch": None}
    for device in devices():
        num_posts = options.num_posts if device == "cpu" else POSTS_ON_GPU
        figures["steps"][device] = compare(device, num_posts, options.rounds, options.tiny, options.model_type)
    if options.model_type != IQCR:
        print("The epoch of MNER-MI-Plus's size is trained with IQCR-MI alone: not run.")
    elif torch.cuda.is_available():
        figures["epoch"] = run_epoch("cuda", NUM_POSTS, options.workers, options.tiny)
    elif options.epoch_posts:
        figures["epoch"] = run_epoch("cpu", options.epoch_posts, options.workers, options.tiny)
    else:
        print("The epoch of MNER-MI-Plus's size: no GPU at hand, not run.")
    write_figures(options, figures, "transformers")


def compare(device: str, num_posts: int, rounds: int, tiny: bool, model_type: str) -> dict:
    """Measure one step of each form, on a batch of its own in each round."""
    model = make_tagger(tiny, model_type).to(device).train()
    encoders = BareEncoders(model)
    chosen = typical_batches(num_posts, rounds + 1)
    batches = [make_batch(shapes, model, device, seed) for seed, shapes in enumerate(chosen)]
    turns = {"ours": iter(batches), "bare": iter(batches)}

    def step(module: nn.Module, forward) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = forward()
        loss.backward()
        module.zero_grad()

    def ours() -> None:
        batch = next(turns["ours"])
        step(model, lambda: model(**batch).loss)

    def bare() -> None:
        batch = next(turns["bare"])
        step(encoders, lambda: sum(states.sum() for states in encoders(batch)))

    forms = {"ours": ours, "bare": bare}
    if model_type == IQCR:  # the padded form is that of its way to encode pictures
        padded_model = make_tagger(tiny).to(device).train()
        padded_model.model.encode_images = encode_all_slots.__get__(padded_model.model)
        turns["padded"] = iter([pad_batch(batch) for batch in batches])

        def padded() -> None:
            batch = next(turns["padded"])
            step(padded_model, lambda: padded_model(**batch).loss)

        forms["padded"] = padded
    seconds = in_turn(forms, device, rounds)
    found = {"over_bare": ratio(seconds, "ours", "bare")}
    if "padded" in forms:
        found["padded_over_ours"] = ratio(seconds, "padded", "ours")
    print(f"Training step of {model_type} on {device}, {num_posts} posts:", end=" ")
    print(", ".join(f"{name} {median_ms(times):.0f} ms" for name, times in seconds.items()))
    for name, value in found.items():
        print(f"    {name.replace('_', ' ')}: {show_ratio(value)}", flush=True)
    return {
        "posts": num_posts,
        "pictures": [len(batch.get("pixel_values", ())) for batch in batches[1:]],
        "sub_tokens": [int(batch["attention_mask"].sum()) for batch in batches[1:]],
        "seconds": seconds,
        **found,
    }


def run_epoch(device: str, num_posts: int, workers: int, tiny: bool) -> dict:
    """Train one epoch as `run_mner.py` does, and measure how long it waits for data."""
    model = make_tagger(tiny).to(device).train()
    optimizer = torch.optim.AdamW(parameter_groups(model, 2e-5, 1e-3, weight_decay=0.01), fused=True)
    shapes = make_shapes(num_posts)
    image_size = model.config.vision_config.image_size
    collate = PostCollator(make_processor(image_size), model, with_images=True)
    with tempfile.TemporaryDirectory() as folder:
        loader = DataLoader(
            MappedRows(shapes, image_size, Path(folder, "pictures")),
            POSTS_OF_EPOCH,
            sampler=LengthGroupedSampler(POSTS_OF_EPOCH, lengths=[shape.length for shape in shapes]),
            collate_fn=collate,
            num_workers=workers,
            pin_memory=device == "cuda",
        )
        batches = iter(loader)
        # The first steps choose kernels and start the workers, once for all epochs.
        for _ in range(min(WARM_UP, len(loader) // 2)):
            train_step(model, optimizer, collate, next(batches), device)
        wait_for(device)
        waited, steps, started = 0.0, 0, time.perf_counter()
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - asked
            if batch is None:
                break
            train_step(model, optimizer, collate, batch, device)
            steps += 1
        wait_for(device)
        taken = time.perf_counter() - started
    result = {
        "device": device,
        "posts": len(shapes),
        "pictures": sum(shape.num_images for shape in shapes),
        "workers": workers,
        "steps_measured": steps,
        "seconds": taken / steps * len(loader),
        "waiting_share": waited / taken,
    }
    print(f"Epoch on {device}: {result['seconds']:.1f} s, {result['waiting_share']:.1%} of it waiting for data")
    return result


def train_step(model: nn.Module, optimizer, collate: PostCollator, batch: dict, device: str) -> None:
    """One update, in bfloat16 with float32 weights."""
    batch = collate.normalize({name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()})
    with torch.autocast(device, torch.bfloat16):
        loss = model(**batch).loss
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


if __name__ == "__main__":
    main()
