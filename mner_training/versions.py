"""Which software a result was made with."""

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "iqcr-mi",
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "evaluate",
    "seqeval",
    "tokenizers",
    "numpy",
    "pillow",
)


def package_versions() -> dict[str, str]:
    """Python and the packages that decide a result."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def source_digest() -> str:
    """A checksum of the sources and versions that turn posts into rows, for the key under which rows are stored.

    datasets knows a function of another module by its name alone: mended code would find the rows of the old one.
    """
    digest = hashlib.sha256(repr(sorted(package_versions().items())).encode())
    root = Path(__file__).resolve().parent.parent
    folders = ("processing_iqcr", "mner_training", "mner_zoo")
    for path in sorted(path for folder in folders for path in root.glob(f"{folder}/*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def source_commit() -> str | None:
    """The commit of the source tree that this file lies in, with ``+`` if files differ; ``None`` outside of one."""
    folder = Path(__file__).resolve().parent.parent
    try:
        if Path(_git(folder, "rev-parse", "--show-toplevel")) != folder:  # installed inside of another project
            return None
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *command: str) -> str:
    result = subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True, text=True)
    return result.stdout.strip()
