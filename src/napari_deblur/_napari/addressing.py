"""Pixels of a layer, found where a process of its own can read them.

In this order: the zarr array that the layer shows, the file that it came from if it still holds
the same pixels, a copy in the scratch folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from napari_deblur.ngff import channels_metadata, plain_metadata
from napari_deblur.opening import open_stack
from napari_deblur.stack import AXES, Channel, Optics, Region, Stack

__all__ = ["COPY", "addressed", "is_kept", "keep", "must_be_writable"]

COPY = ".input.zarr"
# In a copy that somebody's script or job file names: it is not cleared away.
KEPT = "kept"
HEX = 12  # digits of a copy's name
OURS = re.compile(rf".+-[0-9a-f]{{8,{HEX}}}(\.part)?{re.escape(COPY)}")
WEEK = 7 * 24 * 3600  # seconds
# Layers of a graph of dask that change no pixel.
READING = {"from-zarr", "original-from-zarr", "array", "original-array", "getitem", "transpose",
           "rechunk-merge"}  # fmt: skip
SOME = 9  # frames that are compared of what is only read
# Voxels that are compared or copied at a time.
BLOCK = 2**22


def addressed(
    stack: Stack, path: str | None, folder: Path, copied: tuple[Stack, Path | None] | None = None
) -> Generator[str, None, tuple[Stack, Path | None]]:
    """Give the same stack with an address, and the copy if one had to be made.

    Parameters
    ----------
    stack : Stack
        Of a layer.
    path : str or None
        The file that the layer came from.
    folder : Path
        Where a copy would go.
    copied : Stack and Path, or None
        What an earlier call gave: taken again if the pixels are still the same.

    Yields
    ------
    str
        What is being done.
    """
    if stack.source is not None:
        return stack, None
    if copied is not None and copied[1] is not None and copied[1].exists():
        yield "comparing the layer with its copy"
        same = _said(copied[0]) == _said(stack)
        if same and (yield from _compared(stack, copied[0])):
            return copied
    if path is not None:
        yield f"comparing the layer with {Path(path).name}"
        for found in _in_file(stack, path):
            if (yield from _compared(stack, found)):
                return found, None
    must_be_writable(folder, "choose another scratch folder under Preferences ▸ napari-deblur")
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    total = stack.nbytes
    size = f"{total / 1e6:.3g} MB"
    yield f'copying "{stack.name}" ({size}) to {folder}: the pixels are in memory only'
    copy = yield from _copied(stack, folder)
    axes = stack.axes.replace("c", "s") if stack.rgb else stack.axes
    opened = open_stack(copy / _bare(stack.name), axes, stack.pixel_size)
    return replace(opened, name=stack.name, channels=stack.channels, optics=stack.optics,
                   time_step=stack.time_step), copy  # fmt: skip


def keep(copy: Path) -> None:
    """Say that a copy is named in a script or a job file, and stays."""
    (copy / KEPT).touch()


def is_kept(copy: Path) -> bool:
    """Whether a copy stays."""
    return (copy / KEPT).exists()


def must_be_writable(folder: Path, way_out: str) -> None:
    """Raise OSError, with the way out, if `folder` is not there and cannot be made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OSError(f'nothing can be written to the folder "{folder}": {way_out}')


def _sweep(folder: Path) -> None:
    """Remove what sessions that were killed left here more than a week ago."""
    old = time.time() - WEEK
    left = [p for p in folder.iterdir() if OURS.fullmatch(p.name)]
    left += Path(tempfile.gettempdir()).glob("napari-deblur-*.json")
    left += Path(tempfile.gettempdir()).glob("napari-deblur-*.log")
    for path in left:
        with contextlib.suppress(OSError):
            if path.stat().st_mtime > old or is_kept(path):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _in_file(stack: Stack, path: str) -> Iterator[Stack]:
    """Give what the file holds, if it fits the layer; of several channels each that may be it."""
    size = stack.pixel_size
    try:
        found = open_stack(path, pixel_size=size)
    except (ValueError, OSError, TypeError):
        return
    if found.shape != stack.shape or found.axes != stack.axes:
        # The user may know the axes better than the file does.
        with contextlib.suppress(ValueError, OSError, TypeError):
            found = open_stack(path, stack.axes, size)
    if found.dtype != stack.dtype or found.rgb != stack.rgb:
        return
    found = replace(found, name=stack.name)
    if found.shape == stack.shape and found.axes == stack.axes:
        yield found
    elif found.shape[1] > 1 == stack.shape[1] and not found.rgb:
        for c in range(found.shape[1]):
            one = found.selected(channels=[c])
            if one.shape == stack.shape:
                yield replace(one, name=stack.name)


def _compared(stack: Stack, found: Stack) -> Generator[str, None, bool]:
    """Compare all voxels; of what is read from the disk without being changed, some planes."""
    frames, channels, depth = stack.shape[:3]
    if _is_only_read(stack.pixels.base):
        times = {round(t) for t in np.linspace(0, frames - 1, SOME)}
        places = {(t, c) for t in times for c in range(channels)}
        whole = ((0, stack.shape[3]), (0, stack.shape[4]))
        boxes = [((z, z + 1), *whole) for z in sorted({0, depth // 2, depth - 1})]
    else:
        places = set(np.ndindex(frames, channels))
        boxes = list(_boxes(stack))
    for t, c in sorted(places):
        for z_span, y_span, x_span in boxes:
            box: Region = (z_span, y_span, x_span)
            ours, theirs = stack.read(t, c, box), found.read(t, c, box)
            if not np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):
                return False
            yield ""
    return True


def _is_only_read(base: Any) -> bool:
    """Tell whether an array gives what lies on the disk; of dask's, by the names of its layers.

    Any other layer may be a correction of a single frame, which few planes would not show.
    """
    if isinstance(base, np.ndarray):
        return False
    if not hasattr(base, "__dask_graph__"):
        return True
    layers = getattr(base.__dask_graph__(), "layers", None)
    if not layers:
        return False
    kinds = {str(name).rpartition("-")[0] for name in layers}
    # An array in memory has no layer with the original of it.
    return any(kind.startswith("original-") for kind in kinds) and kinds <= READING


def _boxes(stack: Stack) -> Iterator[Region]:
    depth, height, width = stack.shape[2:]
    rows = max(1, min(height, BLOCK // width))
    planes = max(1, BLOCK // (rows * width)) if rows == height else 1
    for z in range(0, depth, planes):
        for y in range(0, height, rows):
            yield ((z, min(z + planes, depth)), (y, min(y + rows, height)), (0, width))


def _copied(stack: Stack, folder: Path) -> Generator[str, None, Path]:
    """Write a copy that is called by a hash of all in it; nothing is left if that is stopped.

    The same image has the same address in every session, so a run of it goes on.
    """
    bare = _bare(stack.name)
    partial = folder / f"{bare}-{uuid4().hex[:HEX]}.part{COPY}"
    try:
        name = yield from _written(stack, partial)
        copy = folder / f"{bare}-{name[:HEX]}{COPY}"
        if copy.exists():
            os.utime(copy)  # in use: not stale
        else:
            partial.rename(copy)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return copy


def _bare(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name) or "layer"


def _said(stack: Stack) -> tuple[Any, ...]:
    """Give what is known of an image besides its pixels."""
    return (
        stack.shape,
        stack.axes,
        stack.name,
        stack.pixel_size,
        stack.time_step,
        stack.channels,
        stack.optics,
    )


def _attributes(stack: Stack) -> dict[str, Any]:
    """Describe an image so that whoever opens the copy knows as much of it as we do."""
    ome = plain_metadata(stack.name, stack.axes, stack.pixel_size, stack.time_step)
    if not stack.rgb and any(channel != Channel() for channel in stack.channels):
        ome["omero"] = {"channels": channels_metadata(stack.channels)}
    own: dict[str, Any] = {"layer": stack.name}
    if stack.optics != Optics():
        own["optics"] = {k: v for k, v in asdict(stack.optics).items() if v is not None}
    return {"ome": ome, "napari_deblur": own}


def _written(stack: Stack, copy: Path) -> Generator[str, None, str]:
    """Write OME-Zarr chunk by chunk; give the hash."""
    import zarr

    letters = stack.axes
    sizes = dict(zip(AXES, stack.shape, strict=True))
    planes = max(1, min(sizes["z"], BLOCK // (min(512, sizes["y"]) * min(512, sizes["x"]))))
    chunk = {"t": 1, "c": 1, "z": planes, "y": 512, "x": 512}
    attributes = _attributes(stack)
    group = zarr.create_group(copy / _bare(stack.name), zarr_format=3, attributes=attributes)
    array = group.create_array(
        "0",
        shape=tuple(sizes[a] for a in letters),
        chunks=tuple(min(sizes[a], chunk[a]) for a in letters),
        dtype=stack.dtype,
        dimension_names=list(letters),
        config={"write_empty_chunks": True},  # what is not there is taken for lost
    )
    known = json.dumps(attributes, sort_keys=True)
    digest = hashlib.sha256(f"{letters} {array.shape} {stack.dtype} {known}".encode())
    kept = [a for a in "zyx" if a in letters]
    for t, c in np.ndindex(stack.shape[:2]):
        for box in _boxes(stack):
            block = stack.read(t, c, box)
            digest.update(np.ascontiguousarray(block).tobytes())
            where: dict[str, Any] = {"t": t, "c": c}
            where |= {a: slice(*span) for a, span in zip("zyx", box, strict=True)}
            shape = [block.shape["zyx".index(a)] for a in kept]
            array[tuple(where[a] for a in letters)] = block.reshape(shape)
            yield ""
    return digest.hexdigest()
