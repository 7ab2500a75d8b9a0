"""Does piqe, pyiqa's metric that needs no weights, see that a photograph was spoilt?

    python benchmarks/piqe_photographs.py [--output benchmarks/results/piqe_photographs.json]

The photographs lie inside the installed packages scikit-image and scikit-learn; nothing is downloaded. Each is taken
whole, at its own size and in RGB (grey ones get three equal channels), and spoilt in four ways.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

from processing_iqcr.quality_scorer import QualityScorer  # noqa: E402

BLUR_RADIUS = 2  # pixels
NOISE = 0.1  # standard deviation, of full scale
JPEG_QUALITY = 10
BRIGHTNESS = 0.2  # what is left of it
SEED = 0  # of the noise, the same for every photograph

# All photographs in these packages with both sides of 128 pixels or more, the already blurred ones too. What else lies
# there is drawn or computed (the cell is a phase map from a hologram). Both views of the motorcycle show one scene.
SKIMAGE_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
SKLEARN_PHOTOGRAPHS = ("china.jpg", "flower.jpg")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    scorer = QualityScorer("piqe", device="cpu")
    rows = score_photographs(scorer, tuple(SPOILINGS))
    table = [summarize(rows, spoiling) for spoiling in SPOILINGS]
    print(f"{len(rows)} whole photographs, no crops; quality by piqe, from 0 (worst) to 1 (best)")
    print(f"{'spoilt':>10}{'below the original':>20}{'%':>7}{'median original':>17}{'median spoilt':>15}")
    for row in table:
        print(
            f"{row['spoiling']:>10}{row['below']:>14} of {row['pairs']:>2}{100 * row['below'] / row['pairs']:>7.0f}"
            f"{row['median_original']:>17.3f}{row['median_spoilt']:>15.3f}"
        )
    if options.output:
        libraries = ("pyiqa", "torch", "numpy", "pillow", "scikit-image", "scikit-learn")
        figures = {
            "versions": {name: version(name) for name in libraries},
            "scorer": scorer.description,
            "spoilings": table,
            "photographs": rows,
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def score_photographs(
    score: Callable[[Sequence[Image.Image]], list[float]], spoilings: Sequence[str]
) -> list[dict[str, Any]]:
    """Score every photograph and its spoilt versions.

    Args:
        score: Gives one quality per picture.
        spoilings: Names in `SPOILINGS`.

    Returns:
        For each photograph its name and size in pixels, and the qualities of the original and of each version.
    """
    rows = []
    for name, photograph in open_photographs():
        versions = [photograph, *(SPOILINGS[spoiling](photograph) for spoiling in spoilings)]
        qualities = dict(zip(("original", *spoilings), score(versions), strict=True))
        rows.append({"photograph": name, "width": photograph.width, "height": photograph.height, **qualities})
    return rows


def summarize(rows: Sequence[dict[str, Any]], spoiling: str) -> dict[str, Any]:
    """In how many pairs the spoilt version is strictly below its original, and the medians of both."""
    return {
        "spoiling": spoiling,
        "below": sum(row[spoiling] < row["original"] for row in rows),
        "pairs": len(rows),
        "median_original": statistics.median(row["original"] for row in rows),
        "median_spoilt": statistics.median(row[spoiling] for row in rows),
    }


def open_photographs() -> Iterator[tuple[str, Image.Image]]:
    """Name and RGB picture of each photograph, read from the packages' own files."""
    try:
        import skimage
        import sklearn
    except ImportError as error:
        raise ImportError(
            "The photographs need scikit-image and scikit-learn: pip install scikit-image scikit-learn"
        ) from error
    folders = {
        Path(skimage.__file__).parent / "data": SKIMAGE_PHOTOGRAPHS,
        Path(sklearn.__file__).parent / "datasets" / "images": SKLEARN_PHOTOGRAPHS,
    }
    for folder, names in folders.items():
        for name in names:
            with Image.open(folder / name) as image:
                yield name, image.convert("RGB")


def blur(image: Image.Image) -> Image.Image:
    """A Gaussian blur."""
    return image.filter(ImageFilter.GaussianBlur(BLUR_RADIUS))


def add_noise(image: Image.Image) -> Image.Image:
    """Gaussian noise, independent in each pixel and channel."""
    pixels = np.asarray(image) / 255
    noisy = pixels + np.random.default_rng(SEED).normal(0, NOISE, pixels.shape)
    return Image.fromarray((255 * noisy.clip(0, 1)).round().astype(np.uint8))


def compress(image: Image.Image) -> Image.Image:
    """The picture after a strong JPEG compression."""
    file = BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return Image.open(file).convert("RGB")


def darken(image: Image.Image) -> Image.Image:
    """A dark copy."""
    return Image.fromarray((BRIGHTNESS * np.asarray(image)).round().astype(np.uint8))


SPOILINGS = {"blurred": blur, "noisy": add_noise, "jpeg": compress, "dark": darken}


if __name__ == "__main__":
    main()
