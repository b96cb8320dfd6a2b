"""Layers as the files of a training: pieces of them as TIFF, and settings that say the rest.

What is written is all that ``napari-deblur train FOLDER/settings.toml FOLDER`` needs.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur._napari.teaching import Lesson
    from napari_deblur.stack import Region, Stack

__all__ = ["SETTINGS", "Begun", "begun", "folder_for", "shift_between", "written"]

HEAD = "# Written by the widget Train of napari-deblur; images lie beside.\n"
SETTINGS, IMAGES, CHECKPOINT = "settings.toml", "images", "checkpoint.safetensors"
# Pairs that lie further apart teach a shift.
APART = 1.5  # pixels


@dataclass(frozen=True)
class Begun:
    """A training that lies in a folder."""

    iterations: int
    of: int


def begun(folder: Path) -> Begun | None:
    """Look whether a training that can be gone on with lies there; reads a few bytes."""
    path = folder / CHECKPOINT
    if not (path.is_file() and (folder / SETTINGS).is_file()):
        return None
    try:
        from safetensors import safe_open

        with safe_open(path, "np") as file:
            facts = file.metadata()
        return Begun(int(facts["iteration"]), int(json.loads(facts["settings"])["iterations"]))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it can't be gone on with
        return None


def folder_for(name: str, parent: Path) -> Path:
    """Give a folder that is not there, called by a layer."""
    first = parent / _plain(name)
    folder, n = first, 1
    while folder.exists():
        n += 1
        folder = first.with_name(f"{first.name}-{n}")
    return folder


def written(lesson: Lesson, folder: Path) -> Generator[str, None, str]:
    """Write pieces and settings into a folder that is empty, or not there.

    Yields
    ------
    str
        What is being done.

    Returns
    -------
    str
        What the user should know of the layers; mostly "".

    Raises
    ------
    ValueError
        When something else lies there.
    OSError
        When nothing can be written there.
    """
    import tifffile
    import tomli_w

    from napari_deblur._napari.addressing import must_be_writable

    must_be_writable(folder.parent, 'choose another one under "save in"')
    if folder.exists() and any(folder.iterdir()) and not _ours(folder):
        raise ValueError(f'the folder "{folder.name}" holds other files: choose a new one')
    shutil.rmtree(folder / IMAGES, ignore_errors=True)
    folders = ["sharp", "blurred"] if lesson.blurred else ["sharp"]
    for name in folders:
        (folder / IMAGES / name).mkdir(parents=True)
    note = ""
    pieces = lesson.pieces()
    for i, (n, t, c, region) in enumerate(pieces):
        if i % 10 == 0:
            yield f"writing piece {i + 1} of {len(pieces)}"
        several = [lesson.sharp[n], *([lesson.blurred[n]] if lesson.blurred else [])]
        place = "-".join(
            f"{axis}{at}" for axis, at in zip("tczyx", (t, c, *_corner(region)), strict=True)
        )
        arrays = [_plane(stack, t, c, region) for stack in several]
        for name, array in zip(folders, arrays, strict=True):
            file = folder / IMAGES / name / f"{_plain(lesson.sharp[n].name)}-{place}.tif"
            tifffile.imwrite(file, array, compression="zlib")
        if i == len(pieces) // 2 and len(arrays) == 2:
            y, x = shift_between(*reversed(arrays))
            if max(abs(y), abs(x)) >= APART:
                note = (
                    f"The sharp layer lies about {y} px along y and {x} px along x beside the "
                    "blurred one: move it in place first, or the network learns to move images."
                )
    begins = {"start": lesson.teaching.configuration} if lesson.start else {}
    words: dict[str, Any] = {
        **begins,
        "training": lesson.teaching.settings(lesson.iterations, begun=bool(lesson.start)),
    }
    if lesson.optics:
        words["optics"] = lesson.optics
    if lesson.blurred:
        words["pairs"] = [{"blurred": f"{IMAGES}/blurred", "sharp": f"{IMAGES}/sharp"}]
    if all(min(stack.shape[-2:]) >= lesson.teaching.smallest for stack in lesson.sharp):
        words["images"] = [{"folder": f"{IMAGES}/sharp", "patterns": ["*.tif"]}]
    (folder / SETTINGS).write_text(HEAD + tomli_w.dumps(words), "utf-8")
    return note


def shift_between(one: NDArray[Any], other: NDArray[Any]) -> tuple[int, int]:
    """Give (y, x) in pixels by which `other` lies beside `one`, from their correlation."""
    shape = one.shape
    spectra = []
    for array in (one, other):
        flat = np.asarray(array, np.float64)
        flat = flat - flat.mean()
        window = np.outer(*(np.hanning(n) for n in shape))
        spectra.append(np.fft.rfft2(flat * window))
    found = np.fft.irfft2(spectra[0].conj() * spectra[1], s=shape)
    at = np.unravel_index(int(found.argmax()), shape)
    y, x = (int(a) - n if a > n // 2 else int(a) for a, n in zip(at, shape, strict=True))
    return y, x


def _corner(region: Region) -> tuple[int, int, int]:
    z, y, x = region
    return z[0], y[0], x[0]


def _plane(stack: Stack, t: int, c: int, region: Region) -> NDArray[Any]:
    """Read a piece (y, x); of colours their mean, and where nothing is known the darkest."""
    array: NDArray[Any]
    if stack.rgb:
        colours = [stack.read(t, k, region)[0] for k in range(min(3, stack.shape[1]))]
        array = np.asarray(np.mean(colours, axis=0), np.float32)
    else:
        array = np.asarray(stack.read(t, c, region)[0])
    if array.dtype.kind != "f":
        return array.astype(np.uint8) if array.dtype == bool else array
    known = np.isfinite(array)
    darkest = array[known].min() if known.any() else 0
    return np.asarray(np.where(known, array, darkest), np.float32)


def _plain(name: str) -> str:
    return re.sub(r"\W+", "-", name).strip("-") or "layer"


def _ours(folder: Path) -> bool:
    """Tell a folder of ours, in which nothing was learned yet, from one with other things."""
    path = folder / SETTINGS
    return path.is_file() and path.read_text("utf-8").startswith(HEAD)
