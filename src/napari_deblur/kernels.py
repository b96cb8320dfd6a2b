"""Kernels from files and onto files; centred, resampled to another voxel size."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.protocols import Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["centred", "load_kernel", "padded", "resampled", "save_kernel"]

Size = tuple[float, float, float]


def load_kernel(path: str | Path, *, pixel_size: Size | None = None) -> Kernel:
    """Read a kernel of axes y,x or z,y,x from a TIFF, NPZ or NPY file or from a zarr store.

    Parameters
    ----------
    path : str or Path
        ``.tif``, ``.npy``, ``.npz`` (an array named ``kernel``, or the only one), or a zarr array
        or group; of one of our results the group ``kernels`` is meant.
    pixel_size : (z, y, x) in µm, or None
        Overrides what the file says.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no kernel at {path}")
    report: dict[str, Any] = {"file": path.name}
    if path.suffix in (".npy", ".npz"):
        array, size = _from_numpy(path)
    elif path.suffix.lower() in (".tif", ".tiff"):
        array, size = _from_tiff(path)
    else:
        from napari_deblur.opening import open_stack

        inner = path / "kernels"
        stack = open_stack(inner if inner.is_dir() else path)
        if stack.shape[0] > 1 or stack.shape[1] > 1:
            raise ValueError(
                f"{path} holds {stack.shape[0] * stack.shape[1]} kernels: "
                "give a file with one, of axes y,x or z,y,x"
            )
        array = stack.read(0, 0)
        size = _whole(stack.pixel_size, planes=stack.shape[2])
    kernel = Kernel.cleaned(array, pixel_size=pixel_size or size)
    return replace(kernel, report={**report, **kernel.report})


def _whole(sizes: Any, *, planes: int) -> Size | None:
    """Give a voxel size if all of it is known that matters."""
    if not sizes or not sizes[1] or not sizes[2] or not (sizes[0] or planes == 1):
        return None
    return sizes[0] or 1.0, sizes[1], sizes[2]


def _from_tiff(path: Path) -> tuple[NDArray[Any], Size | None]:
    """Read the first image as y,x or z,y,x, whatever the file calls its axes."""
    import tifffile

    from napari_deblur.readers._tiff_facts import read_facts

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            shape = list(series.shape)
            while len(shape) > 3 and 1 in shape:
                shape.remove(1)
            if len(shape) not in (2, 3):
                raise ValueError(
                    f"a kernel has axes y,x or z,y,x and {path} has shape {tuple(series.shape)}: "
                    "save one kernel"
                )
            if series.axes.endswith("S"):
                raise ValueError(f"{path} is a picture in colour: save one channel as a kernel")
            sizes = read_facts(file, 0, 1).pixel_size
            planes = shape[0] if len(shape) == 3 else 1
            return series.asarray().reshape(shape), _whole(sizes, planes=planes)
    except (tifffile.TiffFileError, LookupError, TypeError, struct.error) as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> ValueError:
    kind = path.suffix.removeprefix(".").upper()
    return ValueError(
        f"{path} holds no kernel that can be read, for it is no {kind} or a damaged one: "
        "save it again as TIFF, NPZ or NPY"
    )


def _from_numpy(path: Path) -> tuple[NDArray[Any], Size | None]:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path) from error
    if isinstance(loaded, np.ndarray):
        return loaded, None
    names = [n for n in loaded.files if n != "pixel_size"]
    name = "kernel" if "kernel" in names else names[0] if len(names) == 1 else None
    if name is None:
        raise ValueError(
            f'{path} holds the arrays {", ".join(names)}: name the kernel\'s array "kernel"'
        )
    size = None
    if "pixel_size" in loaded.files:
        z, y, x = (float(v) for v in loaded["pixel_size"])
        size = (z, y, x)
    return loaded[name], size


def save_kernel(kernel: Kernel, path: str | Path) -> None:
    """Write the first kernel as a TIFF (float32, voxel size inside) or NPZ.

    Raises
    ------
    ValueError
        For another suffix, or for several kernels in a TIFF.
    """
    path = Path(path)
    if kernel.array.shape[:2] != (1, 1):
        raise ValueError(
            f"there are kernels for {kernel.array.shape[0]} frames and {kernel.array.shape[1]} "
            "channels: a file holds one; choose a frame and a channel first"
        )
    array = kernel.at()
    if path.suffix == ".npz":
        extra = {} if kernel.pixel_size is None else {"pixel_size": np.array(kernel.pixel_size)}
        np.savez_compressed(path, kernel=array, **extra)  # type: ignore[arg-type]
        return
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f'a kernel is saved as .tif or .npz, and "{path.name}" is neither')
    import tifffile

    metadata: dict[str, Any] = {"axes": "ZYX"}
    resolution = None
    if kernel.pixel_size is not None:
        z, y, x = kernel.pixel_size
        metadata |= {"spacing": z, "unit": "um"}
        resolution = (1 / x, 1 / y)
    tifffile.imwrite(path, array, imagej=True, resolution=resolution, metadata=metadata)


def centred(kernel: Kernel) -> Kernel:
    """Shift each kernel so that its centre of mass lies at ``n // 2``.

    The shift is linear between pixels, which widens the kernel by a fraction of one.
    """
    import torch

    from napari_deblur import ops

    array = kernel.array.copy()
    for place in np.ndindex(*array.shape[:2]):
        one = torch.from_numpy(array[place])
        array[place] = ops.shifted(one, -ops.centroid(one)).numpy()
    return Kernel(array, kernel.pixel_size, {**kernel.report, "centred": True})


def padded(kernel: NDArray[np.float32], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Pad one kernel (z, y, x) with zeros to a larger shape, its centre staying at ``n // 2``."""
    result = np.zeros(shape, np.float32)
    where = tuple(
        slice(want // 2 - have // 2, want // 2 - have // 2 + have)
        for have, want in zip(kernel.shape, shape, strict=True)
    )
    result[where] = kernel
    return result


def resampled(kernel: Kernel, pixel_size: Size) -> Kernel:
    """Sample a kernel at another voxel size: linear between its samples, summed over each voxel.

    Raises
    ------
    ValueError
        When the kernel's own voxel size is not known.
    """
    if kernel.pixel_size is None:
        raise ValueError("the kernel has no voxel size to resample from: give its pixel_size")
    from scipy.ndimage import affine_transform

    ratios = [new / old for new, old in zip(pixel_size, kernel.pixel_size, strict=True)]
    shape = kernel.shape
    # Odd, so that the centre stays a voxel; planes of a flat kernel stay one.
    target = [
        1 if n == 1 else max(1, round(n / r) // 2 * 2 + 1)
        for n, r in zip(shape, ratios, strict=True)
    ]
    # Voxels are averaged over fine parts of them, each no wider than an old voxel.
    parts = [1 if n == 1 else int(np.ceil(r)) for n, r in zip(shape, ratios, strict=True)]
    fine = [n * p for n, p in zip(target, parts, strict=True)]
    steps = [r / p for r, p in zip(ratios, parts, strict=True)]
    offsets = [
        o // 2 - (n // 2 * p + (p - 1) / 2) * s if o > 1 else 0.0
        for o, n, p, s in zip(shape, target, parts, steps, strict=True)
    ]
    array = np.stack(
        [
            affine_transform(
                kernel.array[place].astype(np.float64), steps, offsets, tuple(fine), order=1
            )
            .reshape(target[0], parts[0], target[1], parts[1], target[2], parts[2])
            .sum(axis=(1, 3, 5))
            for place in np.ndindex(*kernel.array.shape[:2])
        ]
    ).reshape(*kernel.array.shape[:2], *target)
    said = {"resampled_from": list(kernel.pixel_size)}
    return Kernel(np.maximum(array, 0), pixel_size, {**kernel.report, **said})
