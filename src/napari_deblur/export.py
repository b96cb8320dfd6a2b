"""A result as OME-TIFF: the image, and its kernels beside it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from glob import escape
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_deblur
from napari_deblur import system
from napari_deblur.ome_xml import own_words, with_objective
from napari_deblur.outputs import SOFTWARE, is_ours, kernels_path
from napari_deblur.stack import AXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.ngff import Sizes
    from napari_deblur.plans import Layout, Plan
    from napari_deblur.results import Result
    from napari_deblur.stack import Optics

__all__ = ["check_size", "is_ours", "kernels_path", "sweep", "write_tiff"]

LARGEST = 4_000_000_000  # bytes; beyond it a TIFF is a BigTIFF, which many programs cannot read
PARTIAL = ".partial"
SLAB = 1 << 26  # voxels read at a time


@dataclass(frozen=True, eq=False)
class _Series:
    """An image of a TIFF, plane by plane."""

    planes: Iterator[NDArray[Any]]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    metadata: dict[str, Any]
    photometric: str = "minisblack"


def check_size(plan: Plan, more: int = 0) -> None:
    """Raise ValueError if the image, and `more` bytes beside it, are too large for a TIFF."""
    size = prod(plan.layout.shape) * _dtype(plan).itemsize + more
    if size > LARGEST:
        raise ValueError(
            f"the result has {size / 1e9:.1f} GB and a TIFF holds 4 GB: "
            "use an output that ends in .deblur.zarr"
        )


def write_tiff(
    result: Result,
    path: Path,
    *,
    together: bool = False,
    between: Callable[[int], object] = lambda planes: None,
) -> None:
    """Write the image to `path` and the kernels beside it, each as a whole or not at all.

    Counts are float32; pictures that were 8 or 16 bit stay so. Voxel sizes are in µm. Wavelengths
    and the objective are kept, and the sample's refractive index as a note of ours. Kernels that
    lie side by side, of a field or of tiles, say so.

    Parameters
    ----------
    together : bool
        Whether the kernels go into the same file, as its second image.
    between : function of a number
        Called before so many planes are written; if it raises, nothing is left of them.
    """
    optics = result.plan.layout.optics
    check_size(result.plan, result.kernels.nbytes if together else 0)
    if together:
        _write(path, _image(result), _kernels(result), optics=optics, between=between)
        return
    _write(path, _image(result), optics=optics, between=between)
    _write(kernels_path(path), _kernels(result), between=between)


def sweep(path: Path) -> None:
    """Remove what killed processes left half written of a TIFF and its kernels.

    Who calls is the only one who writes them.
    """
    for target in (path, kernels_path(path)):
        for partial in target.parent.glob(f".{escape(target.name)}.*{PARTIAL}"):
            partial.unlink(missing_ok=True)


def _image(result: Result) -> _Series:
    plan = result.plan
    layout = plan.layout
    shape = tuple(n for n, a in zip(layout.shape, AXES, strict=True) if a in layout.axes)
    metadata = _metadata(layout.pixel_size) | own_words(layout.optics)
    if layout.time_step is not None:
        metadata |= {"TimeIncrement": layout.time_step, "TimeIncrementUnit": "s"}
    if layout.rgb:
        axes = layout.axes.replace("c", "") + "c"
        shape = tuple(shape[layout.axes.index(a)] for a in axes)
        metadata["axes"] = axes.upper().replace("C", "S")
        return _Series(_pictures(result), shape, _dtype(plan), metadata, "rgb")
    channels = [channel.name or f"channel {i}" for i, channel in enumerate(layout.channels)]
    metadata |= {"axes": layout.axes.upper(), "Channel": {"Name": channels} | _waves(layout)}
    return _Series(_planes(result), shape, _dtype(plan), metadata)


def _kernels(result: Result) -> _Series:
    kernels = result.kernels
    planes = (plane for t in kernels for c in t for plane in np.asarray(c))
    own = _metadata(result.kernel_pixel_size) | {"axes": AXES.upper()}
    own |= own_words(kernel_shape=result.plan.kernel.shape)
    return _Series(planes, kernels.shape, np.dtype("float32"), own)


def _waves(layout: Layout) -> dict[str, Any]:
    """Give the wavelengths as OME-XML has them, if they are known of every channel."""
    known: dict[str, Any] = {}
    for name in ("emission", "excitation"):
        values = [getattr(channel, name) for channel in layout.channels]
        if all(value is not None for value in values):
            known[f"{name.title()}Wavelength"] = [round(1000 * v, 6) for v in values]
            known[f"{name.title()}WavelengthUnit"] = ["nm"] * len(values)
    return known


def _dtype(plan: Plan) -> np.dtype[Any]:
    stored_as_it_is = plan.scale == 1 and plan.offset == 0
    return np.dtype(plan.dtype if stored_as_it_is else "float32")


def _metadata(sizes: Sizes | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for axis, size in zip("ZYX", sizes or (None, None, None), strict=True):
        if size is not None:
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    return metadata


def _slabs(result: Result, t: int, c: int) -> Iterator[NDArray[Any]]:
    """Read one frame and channel some planes at a time, whole chunks where memory allows."""
    image = result.levels[0]
    _, _, planes, height, width = result.plan.layout.shape
    depth = result.plan.grid.core[0]
    step = min(depth, max(1, SLAB // (height * width)))
    for start in range(0, planes, step):
        where: dict[str, Any] = {"t": t, "c": c, "z": slice(start, start + step)}
        block = np.asarray(image[tuple(where.get(a, slice(None)) for a in result.axes)])
        block = block.reshape(-1, height, width)
        yield block if _dtype(result.plan) == block.dtype else result.counts(block)


def _planes(result: Result) -> Iterator[NDArray[Any]]:
    for t, c in np.ndindex(result.plan.layout.shape[:2]):
        for slab in _slabs(result, t, c):
            yield from slab


def _pictures(result: Result) -> Iterator[NDArray[Any]]:
    frames, channels = result.plan.layout.shape[:2]
    for t in range(frames):
        for slabs in zip(*(_slabs(result, t, c) for c in range(channels)), strict=True):
            yield from np.stack(slabs, axis=-1)


def _write(
    path: Path,
    *images: _Series,
    optics: Optics | None = None,
    between: Callable[[int], object],
) -> None:
    import tifffile

    def counted(planes: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        for plane in planes:
            between(1)
            yield plane

    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with tifffile.TiffWriter(partial, ome=True) as file:
            for image in images:
                file.write(
                    counted(image.planes),
                    shape=image.shape,
                    dtype=image.dtype,
                    photometric=image.photometric,
                    metadata=image.metadata,
                    software=f"{SOFTWARE} {napari_deblur.__version__}",
                )
        # tifffile has no way to say which objective was used.
        with tifffile.TiffFile(partial, mode="r+") as file:
            xml = file.ome_metadata or ""
            if (more := with_objective(xml, optics)) != xml:
                file.pages[0].tags["ImageDescription"].overwrite(more.encode())
        system.sync_file(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    system.sync_folder(path.parent)
