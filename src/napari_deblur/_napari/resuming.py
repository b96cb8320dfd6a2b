"""Runs that were interrupted, found again. No windows here."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur._napari.asking import paths_after

if TYPE_CHECKING:
    from napari_deblur.results import Result
    from napari_deblur.stack import Region, Source, Stack

__all__ = ["Unfinished", "unfinished"]

# Numbers that are tried behind a name.
MOST = 30
# Pixels along y and x of what is compared of a plane, in its middle.
SIDE = 1024
STAMP = "%Y%m%dT%H%M%S"  # how the names of a ledger's files begin, in UTC


@dataclass(frozen=True)
class Unfinished:
    """A run that was interrupted.

    Parameters
    ----------
    path : Path
        Of its store.
    name : str
        Of its image.
    channels : ints or None
        Those of the image that it deblurs, where some were left out.
    begun : datetime or None
        When, in local time.
    """

    path: Path
    name: str = ""
    channels: tuple[int, ...] | None = None
    begun: datetime | None = None

    def said(self) -> str:
        """Say what it is of, since when, and where."""
        of = f" of “{self.name}”" if self.name else ""
        if self.channels is not None:
            several = "s" if len(self.channels) > 1 else ""
            of += f", channel{several} {', '.join(map(str, self.channels))},"
        since = "" if self.begun is None else f", begun on {self.begun:%Y-%m-%d at %H:%M},"
        return f"An unfinished run{of}{since} lies in {self.path}.".replace(",,", ",")


def unfinished(output: str | Path, whole: Stack, others: Iterable[str] = ()) -> Unfinished | None:
    """Give the run of this image that was interrupted, the latest there is.

    Where no tile was done yet there is nothing to go on with. That it is the same image is seen
    by samples of its pixels: another one may have its name, its shape and its place.

    Parameters
    ----------
    output : path
        Where a run would go; the same name with numbers is looked at, too.
    whole : Stack
        All channels of the image.
    others : paths
        Other stores to be looked at, such as that of a layer.
    """
    from napari_deblur.results import open_result

    found: list[tuple[float, Unfinished]] = []
    for path in (*map(Path, others), *islice(paths_after(output), MOST)):
        if not (path / "zarr.json").is_file():
            continue
        try:
            result = open_result(path)
            if not result.complete and _is_begun(path) and (one := _of(whole, result)):
                found.append(((path / "zarr.json").stat().st_mtime, one))
        except (ValueError, OSError, KeyError, TypeError):
            continue
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _of(whole: Stack, result: Result) -> Unfinished | None:
    """Give a run if it is of this image, or of some of its channels."""
    layout, source = result.plan.layout, result.plan.source
    if source is None or not ("://" in source.address or Path(source.address).exists()):
        return None
    count, picked = whole.shape[1], None
    if layout.shape[1] != count and not whole.rgb:
        picked = source.channels
        if picked is None or len(picked) >= count or max(picked) >= count:
            return None
    part = whole if picked is None else whole.selected(channels=picked)
    same = (layout.shape, layout.dtype, layout.rgb) == (part.shape, part.dtype.name, part.rgb)
    if not same or not _same_pixels(part, source):
        return None
    path = Path(str(result.path))
    return Unfinished(path, layout.name, picked, _begun(path))


def _same_pixels(stack: Stack, source: Source) -> bool:
    """Compare a plane of the first, the middle and the last frame and channel."""
    from napari_deblur.opening import reopen

    if stack.source is not None and stack.source.address == source.address:
        return True
    other = reopen(source)  # it must not have changed
    frames, channels, depth, *sides = stack.shape
    z = depth // 2
    y, x = ((max(0, (n - SIDE) // 2), min(n, (n + SIDE) // 2)) for n in sides)
    box: Region = ((z, z + 1), y, x)
    for t, c in {(0, 0), (frames // 2, channels // 2), (frames - 1, channels - 1)}:
        one, two = stack.read(t, c, box), other.read(t, c, box)
        if not np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
            return False
    return True


def _is_begun(path: Path) -> bool:
    from napari_deblur.ledger import entries
    from napari_deblur.results import LEDGER

    return any(entry.kind == "tile" for entry in entries(path / LEDGER))


def _begun(path: Path) -> datetime | None:
    """Give when the first file of the ledger was begun."""
    from napari_deblur.results import LEDGER

    for name in sorted(file.name for file in (path / LEDGER).glob("*.jsonl")):
        with suppress(ValueError):
            moment = datetime.strptime(name.partition("-")[0], STAMP)
            return moment.replace(tzinfo=UTC).astimezone()
    return None
