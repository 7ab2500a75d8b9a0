"""Installed packages hidden, so that a test sees what happens without them."""

import sys
from importlib.machinery import PathFinder

import pytest


def hide_packages(patch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Make packages impossible to import, as if they were not installed.

    Args:
        patch: What undoes it.
        names: The packages.

    Returns:
        A list to which every name that is looked for in vain is added.
    """
    asked = []
    find_spec = PathFinder.find_spec

    def find(name: str, path=None, target=None):
        if name.partition(".")[0] in names:
            asked.append(name)
            return None
        return find_spec(name, path, target)

    patch.setattr(PathFinder, "find_spec", staticmethod(find))
    for module in [module for module in sys.modules if module.partition(".")[0] in names]:
        patch.delitem(sys.modules, module)
    return asked
