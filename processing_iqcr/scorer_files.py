"""What the scorers share: where they run, what they refuse, and checksums that tell which weights gave a score."""

import hashlib
import os
from importlib.metadata import PackageNotFoundError

import torch
from torch import nn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Narrow pictures are enlarged to what a network takes. One that would grow beyond this many pixels (a line, not a
# picture) would take gigabytes.
MAX_ENLARGED_PIXELS = 89_478_485


class UnscorableImageError(ValueError):
    """A scorer cannot take this picture, and could take another one."""


def explain_import(library: str, cure: str, error: ImportError) -> ImportError:
    """The error to raise where an optional library cannot be imported.

    Args:
        library: Its name as a module.
        cure: What to do if it is not installed.
        error: What its import raised.

    Returns:
        The cure, or what is wrong with a library that is installed.
    """
    if isinstance(error, PackageNotFoundError) or error.name == library:
        return ImportError(cure)
    return ImportError(f"{library} is installed and cannot be imported: {error}.")


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device that was asked for, or the first GPU, or the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def to_dtype(name: str) -> torch.dtype:
    """A type by its name.

    Raises:
        ValueError: If it is not one that scorers run in.
    """
    if name not in DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {name!r}.")
    return DTYPES[name]


def file_sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_sha256(module: nn.Module) -> str | None:
    """The SHA-256 over the names and values of a network's state, or ``None`` if it has none."""
    state = module.state_dict()
    if not state:
        return None
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
