"""Runs that were interrupted, found again. No windows here."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from napari_deblur._napari.asking import paths_after

if TYPE_CHECKING:
    from napari_deblur.stack import Stack

__all__ = ["unfinished"]

# Numbers that are tried behind a name.
MOST = 30


def unfinished(output: str | Path, stack: Stack, others: Iterable[str] = ()) -> Path | None:
    """Give the store of a run of this stack that was interrupted, the latest there is.

    Where no tile was done yet there is nothing to go on with.

    Parameters
    ----------
    output : path
        Where a run would go; the same name with numbers is looked at, too.
    stack : Stack
        Axes, shape and type must be those of the run.
    others : paths
        Other stores to be looked at, such as that of a layer.
    """
    from napari_deblur.results import open_result

    found: list[tuple[float, Path]] = []
    for path in (*map(Path, others), *islice(paths_after(output), MOST)):
        if not (path / "zarr.json").is_file():
            continue
        try:
            result = open_result(path)
            layout, source = result.plan.layout, result.plan.source
        except (ValueError, OSError, KeyError, TypeError):
            continue
        same = (layout.axes, layout.shape, layout.dtype) == (
            stack.axes, stack.shape, stack.dtype.name
        )  # fmt: skip
        there = source is not None and ("://" in source.address or Path(source.address).exists())
        if same and there and not result.complete and _is_begun(path):
            found.append(((path / "zarr.json").stat().st_mtime, path))
    return max(found)[1] if found else None


def _is_begun(path: Path) -> bool:
    from napari_deblur.ledger import entries
    from napari_deblur.results import LEDGER

    return any(entry.kind == "tile" for entry in entries(path / LEDGER))
