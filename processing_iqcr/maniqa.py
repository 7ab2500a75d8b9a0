"""MANIQA (Eq. 3) for several pictures at once: their crops share forward passes, and equal crops run once.

The network is pyiqa's own and stays as it is; what is ours is how it is loaded and fed.
"""

import functools
import hashlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from .scorer_files import MAX_ENLARGED_PIXELS, UnscorableImageError, explain_import

# The repository that pyiqa takes its weights from.
WEIGHTS_REPOSITORY = "chaofengc/IQA-PyTorch-Weights"
CROP_SIZE = 224
# The last block of the vision transformer that MANIQA reads; those behind it change no score.
_LAST_BLOCK_READ = 9
_CURE = "Quality scoring with MANIQA needs pyiqa: pip install 'iqcr-mi[scoring]' (its licence is non-commercial)."


def weights_file_name(metric: str) -> str:
    """The name of the file with a metric's weights in pyiqa's repository.

    Args:
        metric: ``maniqa`` or one of its variants, as pyiqa calls them.

    Returns:
        The file's name.

    Raises:
        ImportError: If pyiqa is not installed.
    """
    arch, options = _architecture(metric)
    return arch.default_model_urls[options.get("train_dataset", "pipal")].rsplit("/", 1)[-1]


def load_network(metric: str, weights: str) -> nn.Module:
    """Build pyiqa's network from the one checkpoint that holds all of its weights.

    pyiqa would ask timm for pretrained weights of the vision transformer first, and unpickle the checkpoint.

    Args:
        metric: ``maniqa`` or one of its variants.
        weights: The checkpoint file.

    Returns:
        The network, in eval mode, float32, on the CPU; less what no score depends on.

    Raises:
        ImportError: If pyiqa is not installed.
        ValueError: If the file is no checkpoint of this network, or holds anything but tensors.
    """
    arch, options = _architecture(metric)
    timm = arch.timm
    arch.timm = SimpleNamespace(create_model=functools.partial(_without_download, timm.create_model))
    try:
        network = arch.MANIQA(**(options | {"pretrained": False}))
    finally:
        arch.timm = timm
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        # pyiqa saves what it has trained under "params", in parallel training with a prefix.
        state = state.get("params", state)
        network.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
    except Exception as error:  # torch raises whatever the bytes lead to
        raise ValueError(
            f"{weights!r} is no checkpoint of {metric}: {str(error)[:300]} Take the file of "
            f"{WEIGHTS_REPOSITORY!r} on the Hub."
        ) from error
    network.vit.blocks = network.vit.blocks[: _LAST_BLOCK_READ + 1]
    return network.eval()


def _without_download(create_model, name: str, pretrained: bool = True, **kwargs):
    """Call timm's `create_model` so that it never downloads."""
    return create_model(name, pretrained=False, **kwargs)


def _architecture(metric: str) -> tuple[Any, dict[str, Any]]:
    """The module of pyiqa that defines MANIQA, and the options of one of its metrics."""
    try:
        from pyiqa.archs import maniqa_arch
        from pyiqa.default_model_configs import DEFAULT_CONFIGS
    except ImportError as error:
        raise explain_import("pyiqa", _CURE, error) from error
    options = dict(DEFAULT_CONFIGS[metric]["metric_opts"])
    options.pop("type")
    return maniqa_arch, options


class CropScorer:
    """Scores of pictures from the scores of their crops.

    Args:
        network: What `load_network` gives.
        num_crops: Crops per picture; pyiqa takes 20 on a fixed grid, 4 rows of 5, which do not reach the bottom.
        device: Where it runs.
        dtype: float32 as published, or bfloat16.
        crops_per_pass: The most crops in one forward pass.
    """

    def __init__(
        self, network: nn.Module, num_crops: int, device: torch.device, dtype: torch.dtype, crops_per_pass: int
    ):
        self.network = network.to(device=device, dtype=dtype)
        # It cuts the picture into crops itself. One crop of what is a pixel larger is the upper left part of it.
        self.network.test_sample = 1
        self.num_crops = num_crops
        self.device = device
        self.dtype = dtype
        self.crops_per_pass = crops_per_pass
        self._parts: dict[str, torch.Tensor] = {}
        for name in ("fc_score", "fc_weight"):
            getattr(self.network, name).register_forward_hook(functools.partial(self._keep, name))

    def _keep(self, name: str, module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        self._parts[name] = output.float().flatten(1)  # (crops, patches)

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image]) -> list[float]:
        """Score RGB pictures of any sizes.

        Args:
            images: The pictures at their own resolution.

        Returns:
            For each its raw score, about ``[0, 1]``.

        Raises:
            UnscorableImageError: If a picture is so narrow that it cannot be enlarged to a crop.
        """
        if not images:
            return []
        numbers: dict[bytes, int] = {}
        crops: list[torch.Tensor] = []
        rows = []
        for image in images:
            row = []
            for crop in cut_crops(image, self.num_crops):
                content = hashlib.blake2b(crop.numpy().tobytes(), digest_size=16).digest()
                if content not in numbers:
                    numbers[content] = len(crops)
                    crops.append(crop.clone())  # one that is kept must not keep the others
                row.append(numbers[content])
            rows.append(row)
        sums = torch.cat(
            [self._crop_sums(crops[k : k + self.crops_per_pass]) for k in range(0, len(crops), self.crops_per_pass)]
        ).cpu()  # (crops, 2)
        # One mean over the patches of all crops, as pyiqa has it, and not a mean of the crops' means.
        weighted, weights = torch.stack([sums[row].double().sum(dim=0) for row in rows]).unbind(dim=1)
        return (weighted / (weights + 1e-8)).tolist()

    def _crop_sums(self, crops: Sequence[torch.Tensor]) -> torch.Tensor:
        """The sums over a crop's patches of weight times score, and of weight, ``(crops, 2)``."""
        # Moved as bytes where they are bytes still, a quarter of what floats would be.
        pixels = torch.stack([_to_float(crop.to(self.device)) for crop in crops]).to(self.dtype)
        # Left there by a pass that ran out of memory, they would be read as those of these crops.
        self.network.save_output.clear()
        self.network(nn.functional.pad(pixels, (0, 1, 0, 1)))
        scores, weights = self._parts["fc_score"], self._parts["fc_weight"]
        self._parts.clear()
        return torch.stack([(weights * scores).sum(dim=1), weights.sum(dim=1)], dim=1)


def cut_crops(image: Image.Image, num_crops: int) -> torch.Tensor:
    """The crops that pyiqa takes of a picture, by its own function.

    Args:
        image: An RGB picture.
        num_crops: How many.

    Returns:
        The crops, ``(num_crops, 3, 224, 224)``: uint8 as in the picture, or float32 in ``[0, 1]`` of one that had to
        be enlarged.

    Raises:
        UnscorableImageError: If the picture is so narrow that it cannot be enlarged.
    """
    try:
        from pyiqa.archs.arch_util import uniform_crop
    except ImportError as error:
        raise explain_import("pyiqa", _CURE, error) from error
    narrow, wide = sorted(image.size)
    if narrow <= CROP_SIZE and (CROP_SIZE + 1) ** 2 * wide > MAX_ENLARGED_PIXELS * narrow:
        size = f"{image.width} x {image.height} pixels"
        raise UnscorableImageError(f"MANIQA cannot score {size}: too narrow for crops of {CROP_SIZE}. Leave it out.")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    # Left as bytes if they are only cut: a large picture would take four times the memory as float.
    return uniform_crop(_to_float(pixels) if narrow <= CROP_SIZE else pixels, CROP_SIZE, num_crops)


def _to_float(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels in ``[0, 1]``, float32."""
    return pixels if pixels.is_floating_point() else pixels.float() / 255
