"""Who may import whom, read from the source: what the two tables do not name is forbidden."""

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_imports

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("modeling_iqcr", "processing_iqcr", "mner_zoo", "dataset_scripts", "mner_training")
MAY_IMPORT = {
    "modeling_iqcr": (),
    "processing_iqcr": (),
    "mner_zoo": ("modeling_iqcr", "processing_iqcr"),
    "dataset_scripts": (
        "processing_iqcr.image_loading",
        "processing_iqcr.text_normalization",
        "processing_iqcr.word_splitting",
    ),
    "mner_training": ("modeling_iqcr", "processing_iqcr", "mner_zoo", "dataset_scripts"),
    "run_mner": PACKAGES,
    "scripts": (*PACKAGES, "run_mner"),
    "benchmarks": (*PACKAGES, "run_mner"),
}
# The one exception: this file never travels to the Hub, and importing it must make the model known to Auto classes.
REGISTERS_THE_MODEL = "processing_iqcr/__init__.py"

# A room without a line here may use every library that setup.cfg requires.
LIBRARIES = {
    "modeling_iqcr": {"torch", "transformers"},
    # huggingface_hub is a requirement of transformers, so whoever loads a checkpoint has it.
    "processing_iqcr": {"torch", "transformers", "huggingface_hub", "PIL", "numpy"},
    "mner_zoo": {"torch", "transformers"},
    "dataset_scripts": {"datasets", "PIL", "numpy", "huggingface_hub"},
}
# Optional packages: only inside `try`. A room without a line here may guard any package.
GUARDED_LIBRARIES = {"modeling_iqcr": set(), "processing_iqcr": {"pyiqa", "open_clip"}}
# Saved beside each other in one flat folder by `save_pretrained`, which sets rules of its own for them.
HUB_ROOMS = ("modeling_iqcr", "processing_iqcr")


class Import(NamedTuple):
    target: str  # absolute and dotted, with the imported name: "processing_iqcr.image_loading.load_image"
    line: int
    is_relative: bool
    is_guarded: bool  # inside `try`, which is what transformers' own scan of requirements leaves out

    @property
    def top(self) -> str:
        return self.target.split(".")[0]


def read_imports(file: Path, root: Path) -> Iterator[Import]:
    folder = file.relative_to(root).parent.parts

    def visit(node: ast.AST, is_guarded: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, False, is_guarded)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(f"{module}.{alias.name}".lstrip("."), node.lineno, node.level > 0, is_guarded)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, is_guarded or isinstance(node, ast.Try))

    yield from visit(parse(file), False)


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def source_files(root: Path, room: str) -> list[Path]:
    return [root / f"{room}.py"] if (root / f"{room}.py").exists() else sorted((root / room).rglob("*.py"))


def required_libraries() -> set[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].split("\n")
    required = {re.split(r"[^\w.-]", line.strip())[0].lower().replace("_", "-") for line in lines if line.strip()}
    return {
        name
        for name, distributions in packages_distributions().items()
        if required & {distribution.lower().replace("_", "-") for distribution in distributions}
    }


REQUIRED_LIBRARIES = required_libraries()


def violations(root: Path) -> list[str]:
    """What breaks a rule under `root`, as "file:line: what"."""
    found = []
    for room in MAY_IMPORT:
        for file in source_files(root, room):
            found += room_violations(file, room, root)
            if room in HUB_ROOMS:
                found += hub_violations(file, room, root)
    names = [{file.name for file in source_files(root, room)} - {"__init__.py"} for room in HUB_ROOMS]
    return found + [f"{name}: in both Hub folders, one would overwrite the other" for name in set.intersection(*names)]


def room_violations(file: Path, room: str, root: Path) -> list[str]:
    where = file.relative_to(root).as_posix()
    rooms = (room, *MAY_IMPORT[room], *(["modeling_iqcr"] if where == REGISTERS_THE_MODEL else []))
    libraries = LIBRARIES.get(room, REQUIRED_LIBRARIES)
    found = []
    for item in read_imports(file, root):
        if item.top in MAY_IMPORT:
            allowed = any(f"{item.target}.".startswith(f"{name}.") for name in rooms)
        elif item.top in sys.stdlib_module_names or item.top in libraries:
            allowed = True
        else:
            allowed = item.is_guarded and item.top in GUARDED_LIBRARIES.get(room, {item.top})
        if not allowed:
            found.append(f"{where}:{item.line}: {room} may not import {item.target}")
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found.append(f"{where}:{node.lineno}: an import by string, which no scan sees")
    return found


def hub_violations(file: Path, room: str, root: Path) -> list[str]:
    """The rules for files that `save_pretrained` copies flat, finding them by a regular expression over the text."""
    where = file.relative_to(root).as_posix()
    found = []
    if file.parent != root / room:
        found.append(f"{where}:1: Hub folders have no sub-folders")
    if file.name == "__init__.py":
        defined = [node for node in parse(file).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        return found + [f"{where}:{node.lineno}: {node.name} is lost, __init__.py never travels" for node in defined]
    copied = set()
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.ImportFrom) and node.level:
            module = node.module or ""
            copied.add("." * (node.level - 1) + module)
            if node.level > 1 or not (root / room / f"{module}.py").exists() or not module:
                found.append(f"{where}:{node.lineno}: only `from .name import x`, with a file name.py beside this one")
    found += [
        f"{where}:{item.line}: {item.target} by an absolute import, which is not copied"
        for item in read_imports(file, root)
        if item.top == room and not item.is_relative
    ]
    differing = sorted(copied ^ set(get_relative_imports(file)))
    return found + [
        f"{where}:1: save_pretrained's scan and Python disagree on the import of {name!r}" for name in differing
    ]


def test_source_keeps_to_the_tables():
    assert violations(ROOT) == []


def test_tables_know_every_room():
    folders = {path.name for path in ROOT.iterdir() if not path.name.startswith(".") and any(path.glob("*.py"))}
    scripts = {path.stem for path in ROOT.glob("*.py")}
    assert (folders | scripts) - {"tests"} <= set(MAY_IMPORT)
    assert {"modeling_iqcr", "processing_iqcr", "dataset_scripts", "mner_training", "run_mner"} <= folders | scripts


def test_scan_agrees_with_transformers_on_hub_requirements():
    files = [file for room in HUB_ROOMS for file in source_files(ROOT, room) if file.name != "__init__.py"]
    assert files
    for file in files:
        ours = {item.top for item in read_imports(file, ROOT) if not item.is_guarded and not item.is_relative}
        assert ours == set(get_imports(file)), file


def plant(root: Path, where: str, text: str) -> None:
    """A small tree that keeps every rule, with `text` as the one file `where`."""
    tree = {
        "modeling_iqcr/__init__.py": '"""Model."""\n',
        "modeling_iqcr/crf.py": "import torch\nfrom torch import nn\n",
        "processing_iqcr/__init__.py": "import modeling_iqcr\nfrom .image_loading import load\n",
        "processing_iqcr/image_loading.py": "import io\nfrom PIL import Image\n",
        "dataset_scripts/twitter2017.py": "import datasets\nfrom processing_iqcr.image_loading import load\n",
        "mner_training/data.py": "import evaluate\nfrom dataset_scripts import twitter2017\n",
        "run_mner.py": "from mner_training.data import load\n",
    }
    for name, content in (tree | {where: text}).items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("modeling_iqcr/modeling_iqcr.py", "from .crf import (\n    LinearChainCRF,\n)\n"),
        (
            "processing_iqcr/quality_scorer.py",
            "def load():\n    try:\n        import pyiqa\n    except ImportError:\n        raise\n",
        ),
        ("dataset_scripts/readers.py", "from processing_iqcr import word_splitting\n"),
        ("mner_training/report.py", "from . import data\nimport mner_training.data\n"),
        ("scripts/demo.py", "import run_mner\n"),
        ("scripts/demo_app.py", "try:\n    import gradio\nexcept ImportError:\n    gradio = None\n"),
    ],
)
def test_allowed_import_passes(tmp_path, where, text):
    plant(tmp_path, where, text)
    assert violations(tmp_path) == []


@pytest.mark.parametrize(
    ("where", "text", "complaint"),
    [
        ("modeling_iqcr/words.py", "import numpy\n", ":1: modeling_iqcr may not import numpy"),
        ("modeling_iqcr/words.py", "from mner_training import data\n", "may not import mner_training.data"),
        (
            "modeling_iqcr/words.py",
            "try:\n    import pyiqa\nexcept ImportError:\n    pass\n",
            ":2: modeling_iqcr may not",
        ),
        ("modeling_iqcr/words.py", "def f():\n    import scipy\n", ":2: modeling_iqcr may not import scipy"),
        ("modeling_iqcr/words.py", "import importlib\nimportlib.import_module('a')\n", ":2: an import by string"),
        ("modeling_iqcr/words.py", "from modeling_iqcr.crf import CRF\n", "by an absolute import"),
        ("modeling_iqcr/words.py", "from . import crf\n", "only `from .name import x`"),
        ("modeling_iqcr/words.py", "from .missing import x\n", "only `from .name import x`"),
        (
            "modeling_iqcr/words.py",
            "from ..processing_iqcr.image_loading import x\n",
            "may not import processing_iqcr.image",
        ),
        ("modeling_iqcr/words.py", "import torch; from .crf import CRF\n", "disagree on the import of 'crf'"),
        ("modeling_iqcr/words.py", '"""Words.\n\nfrom .crf import CRF\n"""\n', "disagree on the import of 'crf'"),
        ("modeling_iqcr/layers/words.py", "import torch\n", "no sub-folders"),
        ("modeling_iqcr/image_loading.py", "import torch\n", "image_loading.py: in both Hub folders"),
        ("modeling_iqcr/__init__.py", "def build():\n    return 1\n", ":1: build is lost"),
        ("processing_iqcr/__init__.py", "import mner_training\n", "may not import mner_training"),
        ("processing_iqcr/image_loading.py", "import modeling_iqcr\n", "may not import modeling_iqcr"),
        ("processing_iqcr/quality_scorer.py", "import pyiqa\n", "may not import pyiqa"),
        (
            "dataset_scripts/readers.py",
            "from processing_iqcr import IQCRProcessor\n",
            "may not import processing_iqcr.IQCRP",
        ),
        ("dataset_scripts/readers.py", "import processing_iqcr\n", "may not import processing_iqcr"),
        ("dataset_scripts/readers.py", "import torch\n", "may not import torch"),
        ("mner_training/data.py", "from run_mner import main\n", "may not import run_mner.main"),
        ("mner_training/data.py", "from tests.conftest import posts\n", "may not import tests.conftest.posts"),
        ("mner_training/data.py", "import sklearn\n", "may not import sklearn"),
        ("mner_zoo/systems/umt.py", "from dataset_scripts import twitter2017\n", "may not import dataset_scripts"),
        ("run_mner.py", "from scripts.demo import main\n", "may not import scripts.demo.main"),
    ],
)
def test_forbidden_import_is_named(tmp_path, where, text, complaint):
    plant(tmp_path, where, text)
    found = violations(tmp_path)
    assert any(complaint in line for line in found), found
    assert all(line.startswith((where, Path(where).name)) for line in found)
