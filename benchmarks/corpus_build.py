"""Does the memory of a build grow with the corpus? Builds releases like MNER-MI's, each in a process of its own.

    python benchmarks/corpus_build.py [--posts 1000 10000] [--output benchmarks/results/corpus_build.json]

Texts are generated, 2.5 pictures a post on average; the pictures, JPEGs of 1200 x 800 pixels, lie in one zip. They are
a hundred noisy ones with another comment in each copy, so that every file has a content of its own.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

from dataset_scripts.corpus_build import build_corpus  # noqa: E402
from dataset_scripts.mner_mi import MNERMI  # noqa: E402

SIZE = (1200, 800)
NUM_PICTURES = 100
COUNTS = (1, 2, 3, 4)  # pictures of a post, in turn


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, nargs="+", default=[1000, 10000], help="posts of the training split")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--build", nargs=2, metavar=("RELEASE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        print(json.dumps(measure(*options.build)))
        return
    rows = []
    for num_posts in options.posts:
        with tempfile.TemporaryDirectory() as folder:
            release = write_release(Path(folder, "release"), num_posts)
            command = [sys.executable, __file__, "--build", str(release), str(Path(folder, "built"))]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append({"posts": num_posts, **json.loads(done.stdout.splitlines()[-1])})
    print(f"{'posts':>8}{'pictures':>10}{'GB':>7}{'seconds':>9}{'pictures/s':>12}{'peak MB':>9}{'of the first':>14}")
    for row in rows:
        ratio = row["peak_mb"] / rows[0]["peak_mb"]
        print(
            f"{row['posts']:>8,}{row['pictures']:>10,}{row['gigabytes']:>7.2f}{row['seconds']:>9.1f}"
            f"{row['pictures'] / row['seconds']:>12.0f}{row['peak_mb']:>9.0f}{ratio:>14.3f}"
        )
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"rows": rows}, indent=2) + "\n", encoding="utf-8")


def measure(release: str, folder: str) -> dict[str, float]:
    """Build one corpus in this process, and say what it took."""
    started = time.perf_counter()
    report = build_corpus(MNERMI(data_dir=release), folder, verify=False)
    seconds = time.perf_counter() - started
    return {
        "pictures": report["splits"]["train"]["images"],
        "gigabytes": sum(file.stat().st_size for file in Path(folder).glob("*.parquet")) / 1e9,
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def write_release(folder: Path, num_posts: int) -> Path:
    """A release in MNER-MI's layout with one large split."""
    generator = random.Random(0)
    pictures = [draw_picture(seed) for seed in range(NUM_PICTURES)]
    (folder / "text").mkdir(parents=True)
    number = 0
    with zipfile.ZipFile(folder / "images.zip", "w") as archive, open(folder / "text/MNER-MI_train.txt", "w") as text:
        for post in range(num_posts):
            names = [f"{post}_{k}.jpg" for k in range(COUNTS[post % len(COUNTS)])]
            for name in names:
                archive.writestr(f"images/{name}", with_comment(pictures[number % NUM_PICTURES], name))
                number += 1
            words = [f"word{generator.randrange(20000)}" for _ in range(20)]
            tags = ["B-PER", "I-PER"] + ["O"] * 18
            text.write(json.dumps({"id": post, "text": words, "images": names, "label": tags}) + "\n")
    for split in ("val", "test"):
        record = {"id": split, "text": ["x"], "images": ["0_0.jpg"], "label": ["O"]}
        (folder / f"text/MNER-MI_{split}.txt").write_text(json.dumps(record) + "\n")
    return folder


def draw_picture(seed: int) -> bytes:
    """A JPEG as large as a photograph of a tweet, some 100 kB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2)).save(file, "JPEG", quality=85)
    return file.getvalue()


def with_comment(jpeg: bytes, comment: str) -> bytes:
    """The same picture in a file of another content."""
    data = comment.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(data) + 2).to_bytes(2) + data + jpeg[2:]


if __name__ == "__main__":
    main()
