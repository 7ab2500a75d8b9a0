"""What do batches cost before the model sees them? Reading, decoding, padding, moving; and how to group posts.

    python benchmarks/input_pipeline.py [--rounds 3] [--output benchmarks/results/input_pipeline.json]

Posts of the shape of MNER-MI-Plus in batches of 16. Rows as a run stores them (8-bit pictures at model size, mapped
from disk by `datasets`) beside the files that most programs decode and resize in every epoch; batches with the real
pictures alone in 8 bits beside the padded ones in float32; and what grouping by length, and by pictures too, saves.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageFilter  # noqa: E402
from torch.utils.data import DataLoader, RandomSampler  # noqa: E402
from transformers import BatchFeature  # noqa: E402
from transformers.trainer_pt_utils import LengthGroupedSampler  # noqa: E402

from benchmarks.measuring import in_turn, make_parser, median_ms, ratio, show_ratio, write_figures  # noqa: E402
from benchmarks.plus_shaped import PADDED_IMAGES, PADDED_LENGTH, Shape, make_shapes  # noqa: E402
from benchmarks.row_loading import make_processor, make_row  # noqa: E402
from processing_iqcr import IQCRProcessor  # noqa: E402

try:
    from datasets import Dataset
except ImportError as error:
    raise ImportError("This benchmark reads rows as a run does: pip install datasets.") from error

BATCH_SIZE = 16
IMAGE_SIZE = 224
FILE_SIZE = (680, 510)  # of a picture as it was posted
NUM_FILES = 24  # different ones, used in turn


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, "input_pipeline")
    parser.add_argument("--rounds", type=int, default=3, help="measurements (default: 3)")
    parser.add_argument("--num_posts", type=int, default=320, help="posts that are stored and read (default: 320)")
    options = parser.parse_args()
    if options.tiny:
        options.num_posts = 32
    figures = {"grouping": compare_groupings(make_shapes())}
    processor = make_processor(IMAGE_SIZE)
    shapes = make_shapes(options.num_posts)
    with tempfile.TemporaryDirectory() as folder:
        files = [make_file(seed) for seed in range(NUM_FILES)]
        pixels = [processor.image_to_bytes(Image.open(BytesIO(file))) for file in files]
        rows = store_rows(shapes, pixels, folder)
        figures["batches"] = compare_batches(processor, rows, options.rounds)
        figures["reading"] = compare_reading(processor, shapes, files, rows, options.rounds)
    write_figures(options, figures, "transformers", "datasets", "pillow")


def make_file(seed: int) -> bytes:
    """A JPEG of a picture that is smooth, as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 256, (FILE_SIZE[1] // 8, FILE_SIZE[0] // 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize(FILE_SIZE, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
    file = BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def store_rows(shapes: Sequence[Shape], pixels: Sequence[bytes], folder: str) -> Dataset:
    """The rows of posts in an Arrow file, as `datasets.map` writes them."""

    def generate():
        images = 0
        for number, shape in enumerate(shapes):
            of_post = [pixels[(images + image) % len(pixels)] for image in range(shape.num_images)]
            images += shape.num_images
            yield make_row(shape, of_post, number)

    return Dataset.from_generator(generate, cache_dir=folder, writer_batch_size=64)


def compare_groupings(shapes: Sequence[Shape]) -> list[dict]:
    """An epoch's batches in different orders: sub-tokens that are padding, and how even the batches are."""
    torch.manual_seed(0)
    lengths = [shape.length for shape in shapes]
    # one key for both: first the number of pictures, then the length
    both = [shape.num_images * 1000 + shape.length for shape in shapes]
    orders = {
        "random": list(RandomSampler(shapes)),
        "by length": list(LengthGroupedSampler(BATCH_SIZE, lengths=lengths)),
        "by pictures, then length": list(LengthGroupedSampler(BATCH_SIZE, lengths=both)),
    }
    rows = []
    print(
        f"{'order of posts':<26}{'padding of text':>16}{'padding of slots':>18}{'pictures a batch (5 % to 95 %)':>33}"
    )
    for name, order in orders.items():
        batches = [[shapes[index] for index in order[at : at + BATCH_SIZE]] for at in range(0, len(order), BATCH_SIZE)]
        real = sum(lengths)
        padded = sum(len(batch) * max(shape.length for shape in batch) for batch in batches)
        pictures = [sum(shape.num_images for shape in batch) for batch in batches if len(batch) == BATCH_SIZE]
        slots = sum(len(batch) * max(shape.num_images for shape in batch) for batch in batches)
        low, high = np.percentile(pictures, [5, 95])
        rows.append(
            {
                "order": name,
                "text_padding": 1 - real / padded,
                "slot_padding": 1 - sum(shape.num_images for shape in shapes) / slots,
                "pictures_a_batch": [float(low), float(high)],
                "most_pictures": max(pictures),
            }
        )
        spread = f"{low:.0f} to {high:.0f}, at most {max(pictures)}"
        print(f"{name:<26}{rows[-1]['text_padding']:>15.1%}{rows[-1]['slot_padding']:>17.1%}{spread:>35}", flush=True)
    fixed = 1 - sum(lengths) / (len(lengths) * PADDED_LENGTH)
    slots = 1 - sum(shape.num_images for shape in shapes) / (len(shapes) * PADDED_IMAGES)
    print(f"{'padded to 128 and 4':<26}{fixed:>15.1%}{slots:>17.1%}")
    return [*rows, {"order": "padded to 128 and 4", "text_padding": fixed, "slot_padding": slots}]


def compare_batches(processor: IQCRProcessor, rows: Dataset, rounds: int) -> dict:
    """Make a batch packed, packed and float as the model takes it in the end, and padded in float32."""
    batch = [rows[index] for index in range(BATCH_SIZE)]
    forms = {
        "packed": lambda: processor.pad(batch, packed=True),
        "packed, then float": lambda: make_float(processor.pad(batch, packed=True)),
        "padded": lambda: processor.pad(batch),
    }

    def make_float(made: BatchFeature) -> BatchFeature:
        made["pixel_values"] = processor.normalize_pixels(made["pixel_values"])
        return made

    seconds = in_turn(forms, "cpu", rounds, calls=5)
    found = {name: ratio(seconds, "padded", name) for name in ("packed", "packed, then float")}
    sizes = {name: sum(tensor.nbytes for tensor in make().values()) for name, make in forms.items()}
    for name, times in seconds.items():
        faster = f", {show_ratio(found[name])} times faster than padded" if name in found else ""
        print(
            f"A batch of {BATCH_SIZE}, {name}: {median_ms(times):.1f} ms, {sizes[name] / 2**20:.1f} MiB{faster}",
            flush=True,
        )
    return {"seconds": seconds, "bytes": sizes, "times_faster": found}


def compare_reading(
    processor: IQCRProcessor, shapes: Sequence[Shape], files: Sequence[bytes], rows: Dataset, rounds: int
) -> dict:
    """Read all posts once, from stored rows and from files, in this process and in workers beside it."""
    posts = []
    for number, shape in enumerate(shapes):
        posts.append((number, shape, [files[(number + image) % len(files)] for image in range(shape.num_images)]))

    def read_file(post) -> dict:
        number, shape, of_post = post
        return make_row(shape, [processor.image_to_bytes(Image.open(BytesIO(file))) for file in of_post], number)

    def run(source, prepare: Callable | None, workers: int) -> Callable:
        def collate(batch):
            return dict(processor.pad([prepare(post) for post in batch] if prepare else batch, packed=True))

        loader = DataLoader(source, BATCH_SIZE, collate_fn=collate, num_workers=workers)
        return lambda: sum(1 for _ in loader)

    pictures = sum(shape.num_images for shape in shapes)
    figures = {"pictures": pictures}
    for workers in (0, min(2, os.cpu_count() or 1)):
        runs = {"rows": run(rows, None, workers), "files": run(posts, read_file, workers)}
        seconds = in_turn(runs, "cpu", rounds)
        found = ratio(seconds, "files", "rows")
        figures[f"workers_{workers}"] = {"seconds": seconds, "times_faster": found}
        speed = {name: 1000 * pictures / median_ms(times) for name, times in seconds.items()}
        print(
            f"Reading with {workers} workers: {speed['rows']:.0f} pictures a second from stored rows, "
            f"{speed['files']:.0f} from files, times faster {show_ratio(found)}",
            flush=True,
        )
    return figures


if __name__ == "__main__":
    main()
