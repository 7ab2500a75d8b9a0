"""What of names, settings and commands may be shown to others: nothing that tells where on a machine files lie."""

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from processing_iqcr.scorers import read_spec

# Options of scorers that may be files.
_FILE_OPTIONS = ("weights", "pretrained")
# What looks like a path and tells nothing of a machine: a repository of open_clip's, a folder in a Python package.
_PREFIXES = ("hf-hub:", "package:")
# Keys of configurations under which transformers notes where a part was loaded from. Nothing reads them back.
_ORIGINS = ("_name_or_path", "name_or_path")


def base_name(path: str) -> str:
    """The last part of a path of whichever system; a name that is no path stays as it is."""
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] if path.strip("\\/") else ""


def public_scorer(kind: str, spec: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A scorer's specification that names folders and files by their last part alone.

    Where no such file lies in the working folder, `make_scorer` says so. One that does is held to the description.

    Args:
        kind: ``"quality_scorer"`` or ``"relevance_scorer"``.
        spec: Name and options, with or without a description.

    Returns:
        Name, options and description. The name of a registered scorer and that of a repository stay.
    """
    if spec is None:
        return None
    public = read_spec(kind, spec)
    if (public.get("description") or {}).get("library") != "registered":
        public["name"] = _without_folders(public["name"])
    for option in _FILE_OPTIONS:
        if isinstance(public.get(option), str):
            public[option] = base_name(public[option])
    return public


def public_config(value: Any) -> Any:
    """A configuration without the places that its parts were loaded from.

    Args:
        value: What a JSON file holds.

    Returns:
        The same without the keys that name such a place, and with the last part of every absolute path.
    """
    if isinstance(value, Mapping):
        return {key: public_config(item) for key, item in value.items() if key not in _ORIGINS}
    if isinstance(value, list):
        return [public_config(item) for item in value]
    if isinstance(value, str) and len(Path(value).parts) > 2 and Path(value).is_absolute():
        return base_name(value)
    return value


def without_token(command: Sequence[str]) -> list[str]:
    """A command without the token that was given on it."""
    kept, is_token = [], False
    for argument in command:
        flag, equals, _ = argument.partition("=")
        is_flag = not is_token and flag.replace("_", "-") == "--hub-token"
        if not (is_token or is_flag):
            kept.append(argument)
        is_token = is_flag and not equals
    return kept


def public_command(command: Sequence[str], hub_ids: Collection[str]) -> str:
    """A command as a line to be copied, in which paths have lost their folders.

    Args:
        command: A program and its arguments.
        hub_ids: What looks like a path and is a name on the Hub.

    Returns:
        The line, quoted for a shell.
    """
    program, *arguments = without_token(command)
    words = [base_name(program)]
    for argument in arguments:
        flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        words.append(flag + equals + _public_value(value, hub_ids))
    return shlex.join(["python", *words] if words[0].endswith(".py") else words)


def _public_value(value: str, hub_ids: Collection[str]) -> str:
    """A value of a command: a name, a path, or JSON with such in it."""
    try:
        content = json.loads(value) if value.lstrip().startswith("{") else None
    except json.JSONDecodeError:
        content = None
    if content is None:
        return value if value in hub_ids else _without_folders(value)
    return json.dumps(_public_content(content, hub_ids))


def _public_content(content: Any, hub_ids: Collection[str]) -> Any:
    """What JSON holds, all strings in it without their folders."""
    if isinstance(content, Mapping):
        return {name: _public_content(item, hub_ids) for name, item in content.items()}
    if isinstance(content, list):
        return [_public_content(item, hub_ids) for item in content]
    return _public_value(content, hub_ids) if isinstance(content, str) else content


def _without_folders(name: str) -> str:
    """A name that has lost the folders before it, unless they are no folders."""
    return name if name.startswith(_PREFIXES) else base_name(name)
