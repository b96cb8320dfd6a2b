"""Markdown's tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

__all__ = ["Lines", "Result", "number", "table"]

Result = dict[str, Any]
Lines = Iterator[str]


def number(value: float | None, digits: int, without: str = "") -> str:
    """Round a number, or say that there is none."""
    return without if value is None else f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Lines:
    """Give the lines of a table, and an empty one after it."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""
