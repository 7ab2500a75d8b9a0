"""Relevance of a picture to a post's text (Eq. 4): the cosine of their CLIP embeddings, by open_clip."""

import json
import os
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers.utils import logging

from .scorer_files import (
    MAX_ENLARGED_PIXELS,
    UnscorableImageError,
    choose_device,
    explain_import,
    file_sha256,
    to_dtype,
)
from .text_normalization import normalize_word, word_kind

logger = logging.get_logger(__name__)

DEFAULT_MODEL, DEFAULT_WEIGHTS = "ViT-B-32-quickgelu", "openai"
_CURE = "Relevance scoring needs open_clip: pip install 'iqcr-mi[scoring]'."
_CONFIG_FILE = "open_clip_config.json"
_HUB_PREFIX = "hf-hub:"
# What open_clip calls the types it runs in.
_PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16"}
# The side of CLIP's pictures, or near enough to tell what is too narrow.
_USUAL_SIZE = 224
# Pictures, or texts, in one forward pass.
_BATCH_SIZE = 64


def relevance_text(words: Sequence[str]) -> str:
    """The text of a post that its pictures are compared with.

    Args:
        words: The post's words; ``@`` and a name may be one word or two, as in Twitter-2017.

    Returns:
        The words joined by spaces, HTML references decoded, without handles and URLs, which say nothing of a picture;
        the words as they are if nothing else is left.
    """
    kept = []
    after_at = False
    for word in words:
        is_handle = after_at or word_kind(word) == "mention"
        after_at = word == "@"
        if not (is_handle or after_at or word_kind(word) == "url"):
            kept.append(normalize_word(word))
    return " ".join(kept or words)


class RelevanceScorer:
    """Cosine between the CLIP embeddings of a text and of a picture, without a temperature.

    The network is loaded with the first picture.

    Args:
        model: An architecture of open_clip by name, a folder that open_clip saved (``open_clip_config.json`` and one
            file of weights), or ``hf-hub:USER/NAME``.
        pretrained: For an architecture by name, which weights: a tag of open_clip, or a file. ``None`` takes
            ``openai`` for the default architecture.
        dtype: ``float32`` or ``bfloat16``.
        device: Where to run; ``None`` takes the first GPU, or the CPU.

    Raises:
        ValueError: If there is no such model or weights, or the architecture's activation is not that of the weights:
            open_clip only warns of it, and the scores would be wrong.
        ImportError: If open_clip is not installed.

    Source:
        IQCR-MI, Section 3.4, Eq. 4. CLIP: Radford et al., ICML 2021, https://arxiv.org/abs/2103.00020.
    """

    def __init__(
        self,
        model: str | os.PathLike = DEFAULT_MODEL,
        pretrained: str | None = None,
        dtype: str = "float32",
        device: str | torch.device | None = None,
    ):
        open_clip = _import_open_clip()
        self.model = os.fspath(model)
        self.device = choose_device(device)
        self.dtype = to_dtype(dtype)
        self.is_folder = os.path.isdir(self.model)
        if pretrained is None and self.model == DEFAULT_MODEL:
            pretrained = DEFAULT_WEIGHTS
        self.pretrained = pretrained
        if self.is_folder or self.model.startswith(_HUB_PREFIX):
            if pretrained is not None:
                raise ValueError(f"{self.model!r} has its own weights: leave `pretrained` out, got {pretrained!r}.")
        elif self.model not in open_clip.list_models():
            raise ValueError(
                f"open_clip has no architecture {self.model!r}, and there is no such folder. "
                f"`open_clip.list_models()` lists them; for a repository of the Hub write {_HUB_PREFIX}USER/NAME."
            )
        else:
            self._check_weights(open_clip)

    def _check_weights(self, open_clip) -> None:
        """Refuse weights that are not there, and an activation that is not theirs."""
        tags = open_clip.list_pretrained_tags_by_model(self.model)
        if self.pretrained is None or not (self.pretrained in tags or os.path.isfile(self.pretrained)):
            raise ValueError(
                f"`pretrained` must be a file or, for {self.model!r}, one of {', '.join(tags)}; got "
                f"{self.pretrained!r}."
            )
        if self.pretrained not in tags:
            return  # A file does not tell which activation it was trained with.
        theirs = bool(open_clip.get_pretrained_cfg(self.model, self.pretrained).get("quick_gelu", False))
        if theirs == bool(open_clip.get_model_config(self.model).get("quick_gelu", False)):
            return
        other = f"{self.model}-quickgelu" if theirs else self.model.removesuffix("-quickgelu")
        activation = "QuickGELU" if theirs else "GELU"
        if other == self.model or other not in open_clip.list_models():
            # Of these models open_clip has but one form, so its table of weights is as likely to be wrong.
            logger.warning_once(f"open_clip says that {self.pretrained!r} of {self.model!r} asks for {activation}.")
            return
        raise ValueError(
            f"The weights {self.pretrained!r} were trained with {activation}, and the architecture {self.model!r} has "
            f"the other activation: every score would be wrong. Take {other!r}."
        )

    @cached_property
    def weights(self) -> str:
        """The file with the weights, downloaded if need be."""
        open_clip = _import_open_clip()
        if self.is_folder:
            return _only_weights_file(Path(self.model))
        if self.model.startswith(_HUB_PREFIX):
            return open_clip.pretrained.download_pretrained_from_hf(self.model.removeprefix(_HUB_PREFIX))
        if os.path.isfile(self.pretrained):
            return self.pretrained
        return open_clip.download_pretrained(open_clip.get_pretrained_cfg(self.model, self.pretrained))

    @cached_property
    def description(self) -> dict[str, Any]:
        """All that decides a score: library, version, model, checksum of the weights and options.

        No network is loaded for it.
        """
        weights_sha256 = file_sha256(self.weights)  # which sees to it that the folder is whole
        return {
            "library": "open_clip",
            "library_version": version("open_clip_torch"),
            "model": os.path.basename(os.path.abspath(self.model)) if self.is_folder else self.model,
            **self._config(),
            "weights_sha256": weights_sha256,
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    def _config(self) -> dict[str, Any]:
        """Architecture and picture preparation, as open_clip will take them."""
        open_clip = _import_open_clip()
        if self.is_folder or self.model.startswith(_HUB_PREFIX):
            file = Path(self.model, _CONFIG_FILE)
            if not self.is_folder:
                repository = self.model.removeprefix(_HUB_PREFIX)
                file = open_clip.pretrained.download_pretrained_from_hf(repository, filename=_CONFIG_FILE)
            config = json.loads(Path(file).read_text(encoding="utf-8"))
            return {name: config.get(name, {}) for name in ("model_cfg", "preprocess_cfg")}
        # A tag brings the preparation that its weights were trained with, a file has open_clip's usual one.
        tag = open_clip.get_pretrained_cfg(self.model, self.pretrained) or {}
        preparation = {name: tag[name] for name in ("mean", "std", "interpolation", "resize_mode") if name in tag}
        config = {"model_cfg": open_clip.get_model_config(self.model), "preprocess_cfg": preparation}
        return json.loads(json.dumps(config))  # as a checkpoint gives it back, in which a tuple is a list

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], images: Sequence[Image.Image]) -> list[float]:
        """Score pairs of a text and a picture.

        Args:
            texts: One text per picture, cut where it is longer than the model's context.
            images: RGB pictures of any sizes. A text or a picture object that occurs several times is embedded once.

        Returns:
            The cosine of each pair, in ``[-1, 1]``; NaN where the network gives NaN.

        Raises:
            ValueError: If there are more texts than pictures or fewer.
            UnscorableImageError: If a picture is so narrow that it cannot be enlarged.
        """
        if len(texts) != len(images):
            raise ValueError(f"{len(texts)} texts for {len(images)} pictures. Pass one text per picture.")
        if not texts:
            return []
        model, preprocess, tokenizer = self._network
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        text_states = self._embed(model.encode_text, list(numbers), lambda part: tokenizer(part))
        pictures = {id(image): image for image in images}
        rows = {key: number for number, key in enumerate(pictures)}
        image_states = self._embed(
            model.encode_image,
            list(pictures.values()),
            lambda part: torch.stack([preprocess(_not_too_narrow(image)) for image in part]).to(self.dtype),
        )
        pairs = [(numbers[text], rows[id(image)]) for text, image in zip(texts, images, strict=True)]
        of_text, of_image = torch.tensor(pairs).unbind(dim=1)
        # A cosine of two equal directions may come out a rounding error above 1.
        return (text_states[of_text] * image_states[of_image]).sum(dim=-1).clamp(-1, 1).tolist()

    def _embed(self, encode, items: Sequence, prepare) -> torch.Tensor:
        """Embeddings of length 1 on the CPU, ``(items, D)``, float32."""
        parts = [prepare(items[start : start + _BATCH_SIZE]) for start in range(0, len(items), _BATCH_SIZE)]
        states = torch.cat([encode(part.to(self.device)).float() for part in parts])
        return torch.nn.functional.normalize(states, dim=-1).cpu()

    @cached_property
    def _network(self):
        """Model, picture preparation and tokenizer."""
        open_clip = _import_open_clip()
        name = f"local-dir:{self.model}" if self.is_folder else self.model
        if self.is_folder:
            _only_weights_file(Path(self.model))
        model, _, preprocess = open_clip.create_model_and_transforms(
            name,
            pretrained=self.pretrained,
            precision=_PRECISIONS[self.dtype],
            device=self.device,
            require_pretrained=True,
        )
        return model.eval(), preprocess, open_clip.get_tokenizer(name)


def _not_too_narrow(image: Image.Image) -> Image.Image:
    """The picture, unless it is a line: enlarged until its short side fits the network it would take gigabytes."""
    narrow, wide = sorted(image.size)
    if _USUAL_SIZE**2 * wide > MAX_ENLARGED_PIXELS * narrow:
        raise UnscorableImageError(
            f"CLIP cannot score {image.width} x {image.height} pixels: too narrow. Leave it out."
        )
    return image


def _only_weights_file(folder: Path) -> str:
    """The one file of weights in a folder; with several nobody knows which of them gave a score."""
    if not (folder / _CONFIG_FILE).is_file():
        raise ValueError(f"{str(folder)!r} holds no {_CONFIG_FILE}, so it is no model that open_clip saved.")
    files = [file for pattern in ("*.safetensors", "*.bin", "*.pth") for file in sorted(folder.glob(pattern))]
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise ValueError(f"{str(folder)!r} must hold one file of weights (safetensors, bin or pth), found: {found}.")
    return str(files[0])


def _import_open_clip():
    """open_clip, or what to do without it."""
    try:
        import open_clip

        version("open_clip_torch")
    except (ImportError, PackageNotFoundError) as error:
        raise explain_import("open_clip", _CURE, error) from error
    return open_clip
