"""What does scoring cost? MANIQA beside pyiqa picture by picture, repeated pictures, and a run that finds everything.

    python benchmarks/scoring.py [--num_pictures 4] [--num_crops 20] [--output benchmarks/results/scoring.json]

The network has random weights in pyiqa's own shapes, which changes no time. Pictures are the photographs of
scikit-image and scikit-learn of at least 400 x 600 pixels. Each comparison runs side by side, in turn, and reports
ratios. With an NVIDIA GPU float32 and bfloat16 are compared there too, the latter's ranks with those of float32.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

import torch  # noqa: E402
from datasets import Dataset, Features, Image, List, Value  # noqa: E402
from PIL import Image as PILImage  # noqa: E402
from PIL import ImageFilter  # noqa: E402

try:
    import pyiqa.archs.maniqa_arch as maniqa_arch
    import skimage.data
    import sklearn.datasets
    import timm
    from scipy.stats import spearmanr
    from torchvision.transforms.functional import to_tensor
except ImportError as error:
    raise ImportError(f"This benchmark needs what the tests need: pip install -e '.[dev]' ({error}).") from error

from mner_training.score_cache import ScoreCache  # noqa: E402
from mner_training.scoring import score_posts  # noqa: E402
from processing_iqcr.quality_scorer import QualityScorer  # noqa: E402

MIN_SIZE = (400, 600)
# Of the pictures of a data set this share are repeats of others.
REPEATED = 0.3
KONIQ_SCALE = 0.8  # what sets the shape of "maniqa" apart from pyiqa's default


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_pictures", type=int, default=4, help="photographs compared with pyiqa (default: 4)")
    parser.add_argument("--num_crops", type=int, default=20, help="crops of each, 20 as published")
    parser.add_argument("--dataset_pictures", type=int, default=10, help="pictures of the data sets (default: 10)")
    parser.add_argument("--dataset_crops", type=int, default=4, help="crops of each of these (default: 4)")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    pictures = photographs()[: options.num_pictures]
    result = {"machine": describe_machine(), "command": sys.argv[1:]}
    with tempfile.TemporaryDirectory() as folder:
        weights = save_random_weights(Path(folder, "maniqa.pt"))
        result["cpu"] = compare_with_pyiqa(pictures, weights, options.num_crops, "cpu", "float32")
        counts = (options.dataset_pictures, options.dataset_crops)
        result["data_sets"] = compare_data_sets(Path(folder), weights, *counts)
        if torch.cuda.is_available():
            many = spoilt_versions(photographs())
            result["gpu"] = {
                dtype: compare_with_pyiqa(many, weights, options.num_crops, "cuda", dtype)
                for dtype in ("float32", "bfloat16")
            }
            scores = [result["gpu"][dtype].pop("scores") for dtype in ("float32", "bfloat16")]
            result["gpu"]["spearman"] = float(spearmanr(*scores).statistic)
        else:
            result["gpu"] = None
    result["cpu"].pop("scores")
    show(result)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def compare_with_pyiqa(
    pictures: Sequence[PILImage.Image], weights: Path, num_crops: int, device: str, dtype: str
) -> dict:
    """Score pictures by us and by pyiqa's network in float32, one by one, in turn: a picture each, on a GPU all."""
    ours = QualityScorer(weights=weights, num_crops=num_crops, device=device, dtype=dtype)
    theirs = build_pyiqa_network(weights, num_crops).to(device)

    def score_by_pyiqa(group: Sequence[PILImage.Image]) -> list[float]:
        with torch.inference_mode():
            return [float(theirs(to_tensor(picture)[None].to(device))) for picture in group]

    on_gpu = device == "cuda"
    groups = [list(pictures)] * 3 if on_gpu else [[picture] for picture in pictures]
    small = [PILImage.new("RGB", (32, 32))]
    for warm_up in (ours, score_by_pyiqa):  # loads the network, and on a GPU the kernels of these shapes
        warm_up(groups[0] if on_gpu else small)
    times, our_scores, their_scores = [], [], []
    for group in groups:
        by_us, our_scores_of_group = timed(lambda group=group: ours(group))
        by_pyiqa, their_scores_of_group = timed(lambda group=group: score_by_pyiqa(group))
        times.append((by_us / len(group), by_pyiqa / len(group)))
        our_scores += our_scores_of_group
        their_scores += their_scores_of_group
    ratios = [by_pyiqa / by_us for by_us, by_pyiqa in times]
    return {
        "pictures": len(pictures),
        "num_crops": num_crops,
        "dtype": dtype,
        "seconds_a_picture": statistics.median(by_us for by_us, _ in times),
        "pyiqa_seconds_a_picture": statistics.median(by_pyiqa for _, by_pyiqa in times),
        "times_faster": statistics.median(ratios),
        "times_faster_range": [min(ratios), max(ratios)],
        "largest_difference": max(abs(a - b) for a, b in zip(our_scores, their_scores, strict=True)),
        "scores": our_scores[-len(pictures) :],
    }


def compare_data_sets(folder: Path, weights: Path, num_pictures: int, num_crops: int) -> dict:
    """Score a data set of different pictures, one of which a share is repeated, and the first one again."""
    num_repeated = round(REPEATED * num_pictures)
    different = [to_jpeg(picture) for picture in crops_of(photographs(), num_pictures)]
    repeated = different[: num_pictures - num_repeated] + different[:num_repeated]
    scorer = QualityScorer(weights=weights, num_crops=num_crops, device="cpu")
    scorer([PILImage.new("RGB", (32, 32))])  # the network is loaded

    def score(contents: list[bytes], name: str, scorer) -> dict[str, int]:
        cache = ScoreCache(folder / f"{name}.sqlite")
        posts = {"train": make_posts(contents)}
        counts = score_posts(posts, {"quality_scorer": scorer}, cache, yes=True)[1]["quality_scorer"]
        cache.close()
        return counts

    first, counts = timed(lambda: score(different, "different", scorer))
    with_repeats, repeat_counts = timed(lambda: score(repeated, "repeated", scorer))
    # A scorer of its own, whose network would have to be loaded: the time is that of a new run, imports aside.
    again, again_counts = timed(
        lambda: score(different, "different", QualityScorer(weights=weights, num_crops=num_crops, device="cpu"))
    )
    assert (counts["computed"], again_counts["computed"]) == (num_pictures, 0)
    return {
        "pictures": num_pictures,
        "num_crops": num_crops,
        "repeated_share": num_repeated / num_pictures,
        "computed": [counts["computed"], repeat_counts["computed"], again_counts["computed"]],
        "seconds": [first, with_repeats, again],
        "saved_by_repeats": 1 - with_repeats / first,
        "found_again_share": again / first,
    }


def show(result: dict) -> None:
    """Print the figures as tables."""
    print(f"{'MANIQA':<22}{'s a picture':>12}{'pyiqa':>9}{'times faster':>14}{'difference':>12}")
    rows = [("CPU, float32", result["cpu"])]
    rows += [(f"GPU, {dtype}", result["gpu"][dtype]) for dtype in ("float32", "bfloat16") if result["gpu"]]
    for name, row in rows:
        print(
            f"{name:<22}{row['seconds_a_picture']:>12.3f}{row['pyiqa_seconds_a_picture']:>9.3f}"
            f"{row['times_faster']:>14.2f}{row['largest_difference']:>12.1e}"
        )
    if result["gpu"]:
        print(f"Spearman's rho of bfloat16 and float32 on the GPU: {result['gpu']['spearman']:.5f}")
    else:
        print("GPU: none at hand, not run.")
    sets = result["data_sets"]
    print(f"\n{sets['pictures']} pictures: {sets['seconds'][0]:.1f} s")
    saved = f"{sets['seconds'][1]:.1f} s, {sets['saved_by_repeats']:.1%} less"
    print(f"{sets['repeated_share']:.0%} of them repeated: {saved}")
    print(f"again, all found: {sets['seconds'][2]:.2f} s, {sets['found_again_share']:.2%} of the first run")


def photographs() -> list[PILImage.Image]:
    """The photographs that come with scikit-image and scikit-learn and are large enough."""
    arrays = [
        *sklearn.datasets.load_sample_images().images,
        skimage.data.coffee(),
        *skimage.data.stereo_motorcycle()[:2],
    ]
    arrays += [skimage.data.rocket(), skimage.data.retina(), skimage.data.immunohistochemistry()]
    images = [PILImage.fromarray(array) for array in arrays]
    return [image for image in images if image.height >= MIN_SIZE[0] and image.width >= MIN_SIZE[1]]


def crops_of(pictures: Sequence[PILImage.Image], number: int) -> list[PILImage.Image]:
    """Different pictures of 400 x 600 pixels, cut from photographs or mirrored."""
    height, width = MIN_SIZE
    cut = [picture.crop((0, 0, width, height)) for picture in pictures]
    cut += [picture.transpose(PILImage.Transpose.FLIP_LEFT_RIGHT) for picture in cut]
    return cut[:number]


def spoilt_versions(pictures: Sequence[PILImage.Image]) -> list[PILImage.Image]:
    """Photographs, and each blurred twice and darkened: qualities that differ."""
    blurred = [picture.filter(ImageFilter.GaussianBlur(radius)) for radius in (1, 3) for picture in pictures]
    return [*pictures, *blurred, *(picture.point(lambda value: value * 0.3) for picture in pictures)]


def make_posts(contents: Sequence[bytes]) -> Dataset:
    """One post a picture."""
    rows = [
        {"id": str(number), "tokens": ["a", "post"], "images": [{"bytes": content, "path": f"{number}.jpg"}]}
        for number, content in enumerate(contents)
    ]
    features = {"id": Value("string"), "tokens": List(Value("string")), "images": List(Image(decode=False))}
    return Dataset.from_list(rows, features=Features(features))


def to_jpeg(picture: PILImage.Image) -> bytes:
    """A picture as a file."""
    file = BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def timed(run: Callable) -> tuple[float, object]:
    """Seconds that a call takes, and what it gives."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    result = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def build_pyiqa_network(weights: Path | None, num_crops: int) -> torch.nn.Module:
    """The network as pyiqa itself runs it, without its downloads."""
    original = maniqa_arch.timm
    create = timm.create_model
    maniqa_arch.timm = SimpleNamespace(create_model=lambda name, pretrained: create(name, pretrained=False))
    try:
        network = maniqa_arch.MANIQA(pretrained=False, scale=KONIQ_SCALE, test_sample=num_crops).eval()
    finally:
        maniqa_arch.timm = original
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    return network


def save_random_weights(path: Path) -> Path:
    """Save random weights whose scores differ: with a bias of 0 the last ReLU could make all of them 0."""
    torch.manual_seed(0)
    network = build_pyiqa_network(None, num_crops=1)
    with torch.no_grad():
        network.fc_score[3].bias.fill_(0.5)
    torch.save(network.state_dict(), path)
    return path


def describe_machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    packages = ("torch", "pyiqa", "timm", "numpy", "pillow")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        **{package: version(package) for package in packages},
    }


if __name__ == "__main__":
    main()
