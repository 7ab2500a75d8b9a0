"""Markdown out of text that may hold anything: what people called their files, tags and data sets."""

import re
from collections.abc import Iterable, Sequence


def table(header: Iterable[str], rows: Iterable[Sequence[str]], align: str = "---") -> str:
    """A table of cells that are Markdown already.

    Args:
        header: The heads of the columns.
        rows: The cells, as many in each row.
        align: How all columns but the first are aligned, as Markdown writes it.
    """
    header = list(header)
    lines = [header, ["---", *[align] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def link(address: str) -> str:
    """An address as a link if it is plainly one, else as text."""
    return f"<{address}>" if re.fullmatch(r"https?://[\w./~%#?=&-]+", address) else escape_markdown(address)


def escape_markdown(text: str) -> str:
    """Text that Markdown and HTML take for nothing else: no markup, no cell, no line of its own, no link."""
    return re.sub(r"[\\`*_\[\]<>|~&$#@]|:(?=//)|(?<=www)\.", r"\\\g<0>", " ".join(text.split()))
