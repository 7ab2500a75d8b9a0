"""Image quality (Eq. 3) by a no-reference metric of pyiqa, MANIQA by default, as a number in [0, 1].

pyiqa is under a non-commercial licence. It is imported when a picture is scored, and by nothing else.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from PIL import Image
from transformers.utils import logging

from .maniqa import WEIGHTS_REPOSITORY, CropScorer, load_network, weights_file_name
from .scorer_files import UnscorableImageError, choose_device, explain_import, file_sha256, state_sha256, to_dtype

logger = logging.get_logger(__name__)

_CURE = "Quality scoring needs pyiqa: pip install 'iqcr-mi[scoring]' (its licence is non-commercial)."
_NUMBER = r"~?(-?\d+(?:\.\d+)?)"
# Crops in one forward pass: on a CPU few, so that they stay in its caches.
_CROPS_PER_PASS = {"cpu": 4, "cuda": 80}


class QualityScorer:
    """A no-reference quality metric of pyiqa; higher is better, whatever the metric's own direction.

    The network is loaded with the first picture. Scores are taken from the pixels as they are: MANIQA depends on the
    resolution, so never score a resized copy.

    Args:
        metric: A metric of pyiqa by name: ``maniqa`` (KonIQ weights, the paper's), ``musiq``, ``piqe`` (which needs no
            weights), ...
        weights: A local checkpoint, for MANIQA and its variants; without it the Hub's is used, downloaded once.
        num_crops: Crops of 224 x 224 pixels that MANIQA looks at in each picture. Cost and noise go with it.
        dtype: ``float32`` as published, or ``bfloat16``, for MANIQA.
        device: Where to run; ``None`` takes the first GPU, or the CPU.

    Raises:
        ValueError: If pyiqa has no such metric, it needs a reference picture or has no two bounds, or an option is
            not one of the metric's.
        ImportError: If pyiqa is not installed.

    Source:
        IQCR-MI, Section 3.4, Eq. 3. MANIQA: Yang et al., CVPRW 2022, https://arxiv.org/abs/2204.08958.
    """

    def __init__(
        self,
        metric: str = "maniqa",
        weights: str | os.PathLike | None = None,
        num_crops: int | None = None,
        dtype: str = "float32",
        device: str | torch.device | None = None,
    ):
        self.metric = metric
        self.device = choose_device(device)
        self.dtype = to_dtype(dtype)
        low, high, self.lower_better = _properties(metric)
        self.low, self.high = low, high
        self.is_maniqa = metric.partition("-")[0] == "maniqa"
        if not self.is_maniqa and (weights is not None or num_crops is not None or dtype != "float32"):
            raise ValueError(f"`weights`, `num_crops` and `dtype` are options of MANIQA, and not of {metric!r}.")
        num_crops = 20 if num_crops is None else num_crops
        if isinstance(num_crops, bool) or not isinstance(num_crops, int) or num_crops < 1:
            raise ValueError(f"`num_crops` must be a whole number, at least 1, got {num_crops!r}.")
        self.num_crops = num_crops
        if weights is not None and not os.path.isfile(weights):
            raise ValueError(f"`weights`: there is no file {os.fspath(weights)!r}.")
        self._weights = None if weights is None else os.fspath(weights)

    @cached_property
    def weights(self) -> str | None:
        """The file with MANIQA's weights, downloaded if need be; ``None`` for other metrics, which pyiqa loads."""
        if not self.is_maniqa:
            return None
        return self._weights or hf_hub_download(WEIGHTS_REPOSITORY, weights_file_name(self.metric))

    @cached_property
    def description(self) -> dict[str, Any]:
        """All that decides a score: library, version, metric, checksum of the weights and options.

        For MANIQA no network is loaded for it; for a metric whose weights pyiqa keeps to itself, the network is.
        """
        description = {"library": "pyiqa", "library_version": version("pyiqa"), "metric": self.metric}
        if self.is_maniqa:
            return description | {
                "weights_sha256": file_sha256(self.weights),
                "num_crops": self.num_crops,
                "dtype": str(self.dtype).removeprefix("torch."),
            }
        return description | {"weights_sha256": state_sha256(self._network.net)}

    def __call__(self, images: Sequence[Image.Image]) -> list[float]:
        """Score pictures.

        Args:
            images: RGB pictures of any sizes, at their own resolution.

        Returns:
            One quality in ``[0, 1]`` per picture; NaN where the metric gives NaN. Some of pyiqa's ranges are rough:
            what lies beyond a bound is set to the bound, and a warning says so.

        Raises:
            UnscorableImageError: If the metric cannot take a picture, mostly for its size.
        """
        raw = self._network(images) if self.is_maniqa else [self._score(image) for image in images]
        qualities = [(score - self.low) / (self.high - self.low) for score in raw]
        if any(not 0 <= quality <= 1 for quality in qualities if quality == quality):
            logger.warning_once(
                f"{self.metric} gave scores beyond its bounds {self.low:g} and {self.high:g}; they are set to these."
            )
        if self.lower_better:
            qualities = [1 - quality for quality in qualities]
        return [quality if quality != quality else min(max(quality, 0.0), 1.0) for quality in qualities]

    @cached_property
    def _network(self):
        """MANIQA over crops, or pyiqa's own metric."""
        if self.is_maniqa:
            crops_per_pass = _CROPS_PER_PASS.get(self.device.type, 20)
            network = load_network(self.metric, self.weights)
            return CropScorer(network, self.num_crops, self.device, self.dtype, crops_per_pass)
        try:
            import pyiqa
        except ImportError as error:
            raise explain_import("pyiqa", _CURE, error) from error
        with _tensors_only():
            return pyiqa.create_metric(self.metric, device=self.device)

    def _score(self, image: Image.Image) -> float:
        """The raw score of one picture by pyiqa's own metric: not all of them take several at once."""
        network = self._network  # outside of `try`: one that cannot be loaded is no fault of the picture
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        try:
            return float(network(pixels.to(self.device)))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # each metric fails in its own way on a picture too small for it
            size = f"{image.width} x {image.height} pixels"
            raise UnscorableImageError(f"{self.metric} cannot score {size} ({error}). Leave it out.") from error


def _properties(metric: str) -> tuple[float, float, bool]:
    """The bounds of a metric and whether lower is better, as pyiqa has them."""
    try:
        from pyiqa.default_model_configs import DEFAULT_CONFIGS

        version("pyiqa")
    except (ImportError, PackageNotFoundError) as error:
        raise explain_import("pyiqa", _CURE, error) from error
    config = DEFAULT_CONFIGS.get(metric)
    if config is None or config.get("metric_mode") != "NR":
        known = ", ".join(name for name, values in DEFAULT_CONFIGS.items() if values.get("metric_mode") == "NR")
        wrong = "pyiqa has no metric" if config is None else "A picture of a post has no reference, which is needed by"
        raise ValueError(f"{wrong} {metric!r}. Without a reference score: {known}.")
    bounds = re.fullmatch(f"{_NUMBER}, {_NUMBER}", config.get("score_range") or "")
    if bounds is None:
        raise ValueError(
            f"{metric!r} cannot be brought to [0, 1]: pyiqa gives its range as {config.get('score_range')!r}. Take "
            "another metric, or register a scorer of your own that scales it."
        )
    return float(bounds[1]), float(bounds[2]), bool(config.get("lower_better", False))


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Make every `torch.load` inside refuse anything but tensors; pyiqa asks to unpickle its downloads."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
