"""A built wheel, installed into a clean environment from which the source tree cannot be reached."""

import configparser
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# Found on the disk, not in setup.cfg: a package that setup.cfg forgets must be missed here.
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))

IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
names = ["run_mner"]
for package in sys.argv[1:]:
    path = importlib.import_module(package).__path__
    names += [package, *(module.name for module in pkgutil.walk_packages(path, package + "."))]
print(json.dumps({name: importlib.import_module(name).__file__ for name in names}))
"""


def run(command: list[str | Path], folder: Path) -> str:
    """The command's output, run where neither the folder nor the environment leads to the source tree."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    settings["HF_HOME"] = str(folder / "hf_home")
    result = subprocess.run(
        list(map(str, command)), cwd=folder, env=settings, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, since building writes into the tree."""
    folder = tmp_path_factory.mktemp("build")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "run_mner.py"):
        shutil.copy(ROOT / name, folder)
    for name in (*PACKAGES, "tests", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist"], folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of a new environment: the wheel, and the heavy requirements of this one, not downloaded again."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel], folder)
    # Only after the installation, or pip would take an editable install of this package for the one to replace. In a
    # path that comes from a .pth file further .pth files are ignored, so that editable install stays out of reach.
    (site_packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    ours = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site_packages / "requirements.pth").write_text("\n".join(ours) + "\n", encoding="utf-8")
    return folder


def test_wheel_holds_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert names == expected | {"run_mner.py"}


def test_wheel_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
        licence = archive.read(name.replace("METADATA", "licenses/LICENSE"))
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert (metadata["Name"], metadata["Version"]) == ("iqcr-mi", config["metadata"]["version"])
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("Apache-2.0", ">=3.11")
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert set(metadata.get_all("Provides-Extra")) == {
        *("scoring", "plots", "app", "onnx", "lake", "search", "llm", "dev", "all")
    }


def test_every_module_imports_from_the_environment(installed):
    files = json.loads(
        run([installed / "env/bin/python", "-c", IMPORT_EVERYTHING, *PACKAGES], installed).splitlines()[-1]
    )
    assert set(PACKAGES) < set(files)
    assert len(files) > 2 * len(PACKAGES)
    assert [file for file in files.values() if not Path(file).is_relative_to(installed / "env")] == []


@pytest.mark.parametrize(
    "command", [["run-mner"], ["python", "-m", "run_mner"]], ids=["run-mner", "python -m run_mner"]
)
def test_command_answers_help(installed, command):
    program, *arguments = command
    text = run([installed / "env/bin" / program, *arguments, "--help"], installed)
    assert "usage:" in text
    assert "--output_dir" in text
