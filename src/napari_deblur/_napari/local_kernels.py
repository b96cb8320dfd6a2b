"""The kernel of a place: of a result's field, of a tile, of a frame and channel, or of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.kernel_verdicts import verdict_of
from napari_deblur.protocols import Facts, Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.results import Result
    from napari_deblur.stack import Stack

__all__ = [
    "Asked",
    "Local",
    "Place",
    "every_kernel",
    "local_kernel",
    "verdict_sentence",
    "voxel_size",
]

Place = tuple[int, int, int, int, int]  # t, c, z, y, x in voxels of the image
Size = tuple[float, float, float]
BELIEVED = {"believe": "Believe it", "doubtful": "Doubtful", "not judged": "Not judged"}


@dataclass(frozen=True, eq=False)
class Asked:
    """Which kernel to read; plain data that a thread can have.

    Parameters
    ----------
    store : path of a result, or None
    stack : of a layer that is a kernel itself, or None
    name : of the layer
    place : t, c, z, y, x in voxels of the image
    report : what the layer itself says of its kernel
    """

    store: str | None
    stack: Stack | None
    name: str
    place: Place
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Local:
    """One kernel, where it belongs, and what is known about it.

    Parameters
    ----------
    kernel : Kernel
        One frame, one channel, with its own report.
    facts : Facts
        Of the channel's optics, as far as the result says.
    where : a sentence
    key : tells kernels apart
    residuals : array (n,) or None
        Of the tile around the place, one for each iteration.
    everywhere : bool
        Whether one kernel holds for the whole channel.
    """

    kernel: Kernel
    facts: Facts
    where: str
    key: tuple[Any, ...]
    residuals: NDArray[np.float32] | None = None
    everywhere: bool = True


def verdict_sentence(report: Mapping[str, Any]) -> str:
    """Say in a sentence whether a kernel is to be believed, and why."""
    verdict, why = verdict_of(report)
    said = BELIEVED.get(verdict, verdict[:1].upper() + verdict[1:])
    return f"{said}: {why}." if why else f"{said}."


def local_kernel(asked: Asked) -> Local:
    """Read the kernel that was asked for.

    Raises
    ------
    ValueError, FileNotFoundError
        When the result is gone, or its kernel wasn't found yet.
    """
    if asked.store is None:
        return _of_stack(asked)
    result = _opened(asked.store)
    plan = result.plan
    t, c, *point = asked.place
    c = 0 if plan.layout.rgb else c
    facts = plan.channels[min(c, len(plan.channels) - 1)].facts
    tile = _tile_of(result, point)
    residuals = _residuals(result, t, c, tile)
    several = _of(plan.layout.shape[0], t, plan.layout.shape[1] if not plan.layout.rgb else 1, c)
    one = plan.field(c)
    if one is not None:
        where = "kernel at " + _at(point, plan.layout.shape[2:]) + several
        size = one.pixel_size or _full(result.kernel_pixel_size)
        kernel = Kernel(one.kernel_at(point), size, one.report)
        return Local(kernel, facts, where, (asked.store, c, *point), residuals, everywhere=False)
    size = _full(result.kernel_pixel_size)
    report = _report_at(plan.kernel.report, t, c)
    if plan.finds_kernels:
        array = _block(result, t, c, tile)
        cores = [result.kernel_geometry["cores"][a][i] for a, i in zip("zyx", tile, strict=True)]
        box = ", ".join(f"{a} {p}–{q - 1}" for a, (p, q) in zip("zyx", cores, strict=True))
        where, key = f"kernel of the tile {box}{several}", (asked.store, t, c, *tile)
        return Local(Kernel(array, size, report), facts, where, key, residuals, everywhere=False)
    frames, channels = plan.kernel.array.shape[:2]
    key = (asked.store, min(t, frames - 1), min(c, channels - 1), *tile)
    where = f"the kernel of all places{several}"
    return Local(Kernel(plan.kernel.at(t, c), size, report), facts, where, key, residuals)


def every_kernel(store: str, t: int, c: int) -> tuple[list[Kernel], NDArray[np.float64]]:
    """Give the kernels at all nodes of a result's field, or of its tiles, and their places.

    Tiles that weren't restored yet are left out.

    Returns
    -------
    kernels : list of Kernel
    places : array (n, 3), z, y, x in voxels of the image

    Raises
    ------
    ValueError
        When one kernel holds for the whole channel.
    """
    from napari_deblur.kernel_shapes import places_of

    result = _opened(store)
    plan = result.plan
    c = 0 if plan.layout.rgb else c
    size, one = _full(result.kernel_pixel_size), plan.field(c)
    if one is not None:
        size = one.pixel_size or size
        every = one.kernels().reshape(-1, *one.shape)
        return [Kernel(array, size, one.report) for array in every], places_of(one.nodes)
    if not plan.finds_kernels:
        raise ValueError("one kernel holds for the whole channel: there is nothing to map")
    nodes = [result.kernel_geometry["nodes"][a] for a in "zyx"]
    blocks = [_block(result, t, c, tile, must=False) for tile in np.ndindex(*map(len, nodes))]
    done = [n for n, block in enumerate(blocks) if np.isfinite(block).all() and block.any()]
    if not done:
        raise ValueError("no tile of this channel has a kernel yet: wait for the run")
    report = _report_at(plan.kernel.report, t, c)
    return [Kernel(blocks[n], size, report) for n in done], places_of(nodes)[done]


def voxel_size(store: str) -> Size | None:
    """Give the voxel size (z, y, x) of a result's image in µm; None where it isn't known."""
    return _full(_opened(store).pixel_size)


def _of_stack(asked: Asked) -> Local:
    from napari_deblur._napari.reading import kernel_read

    assert asked.stack is not None
    kernel = kernel_read(asked.stack)
    t, c = (min(i, n - 1) for i, n in zip(asked.place[:2], kernel.array.shape[:2], strict=True))
    report = {**kernel.report, **_report_at(asked.report, t, c)}
    several = _of(*(v for n, i in zip(kernel.array.shape[:2], (t, c), strict=True) for v in (n, i)))
    where = f'the layer "{asked.name}"{several}'
    one = Kernel(kernel.at(t, c), kernel.pixel_size, report)
    # Layers can be painted on, so their name is no key: what they hold is.
    return Local(one, Facts(), where, (asked.name, t, c, one.array.tobytes(), one.pixel_size))


def _opened(store: str) -> Result:
    path = Path(store) / "zarr.json"
    try:
        return _read(store, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"the result {store} is gone: open it again from where it is now"
        ) from None


@lru_cache(maxsize=4)
def _read(store: str, _: int) -> Result:
    from napari_deblur.results import open_result

    return open_result(store)


def _tile_of(result: Result, point: list[int]) -> tuple[int, int, int]:
    grid = result.plan.grid
    z, y, x = (
        min(p // core, n - 1) for p, core, n in zip(point, grid.core, grid.counts[2:], strict=True)
    )
    return z, y, x


def _block(
    result: Result, t: int, c: int, tile: tuple[int, ...], *, must: bool = True
) -> NDArray[np.float32]:
    """Give the kernel of a tile from the mosaic; of one that isn't done it is NaN or 0."""
    place = tuple(
        slice(i * n, (i + 1) * n) for i, n in zip(tile, result.plan.kernel.shape, strict=True)
    )
    block = np.asarray(result.kernels[(t, c, *place)], np.float32)
    if must and not (np.isfinite(block).all() and block.any()):
        raise ValueError("the tile at this place has no kernel yet: wait for the run")
    return block


def _residuals(result: Result, t: int, c: int, tile: tuple[int, ...]) -> NDArray[np.float32] | None:
    stored = result.residuals
    if stored is None:
        return None
    index = tuple(min(i, n - 1) for i, n in zip((t, c, *tile), stored.shape, strict=False))
    line = np.asarray(stored[index], np.float32).ravel()
    known: NDArray[np.float32] = line[np.isfinite(line)]
    return known if known.size else None


def _report_at(report: Mapping[str, Any], t: int, c: int) -> Mapping[str, Any]:
    """Give what a report for all channels and frames says of one of them."""
    channels = report.get("channels")
    if isinstance(channels, list) and c < len(channels):
        report = channels[c]
    frames = report.get("frames")
    if not isinstance(frames, list) or t >= len(frames):
        return report
    every = ("frames", "verdict", "why", "doubt", "judged", "family", "parameters")
    return {name: v for name, v in report.items() if name not in every} | dict(frames[t])


def _full(size: Any) -> Size | None:
    """Give a voxel size of three numbers; planes of unknown distance are 1 µm apart."""
    if not size or not size[1] or not size[2]:
        return None
    return float(size[0] or 1.0), float(size[1]), float(size[2])


def _of(frames: int, t: int, channels: int, c: int) -> str:
    said = [f"frame {t}"] if frames > 1 else []
    said += [f"channel {c}"] if channels > 1 else []
    return f", {', '.join(said)}" if said else ""


def _at(point: list[int], shape: tuple[int, ...]) -> str:
    return ", ".join(
        f"{a} {p}" for a, p, n in zip("zyx", point, shape, strict=True) if n > 1 or a != "z"
    )
