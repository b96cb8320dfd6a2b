"""Kernels from files and onto files."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import escape
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import kernel_reports
from napari_deblur.numpy_files import MOST, arrays_in, names_in
from napari_deblur.places import Place, Remote, place_of
from napari_deblur.protocols import Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_mosaic", "load_kernel", "load_mosaic", "save_kernel"]

Triple = tuple[int, int, int]
Size = tuple[float, float, float]
AXES = "tczyx"
KINDS = ("time", "channel", "space", "space", "space")


def load_kernel(
    path: str | Path | Remote, *, pixel_size: Size | None = None, several: bool = False
) -> Kernel:
    """Read a kernel of axes y,x or z,y,x from a TIFF, NPZ or NPY file or from a zarr store.

    Parameters
    ----------
    path : str or Path
        ``.tif``, ``.npy``, ``.npz`` (an array named ``kernel``, or the only one), or a zarr array
        or group; of one of our results the group ``kernels`` is meant.
    pixel_size : (z, y, x) in µm, or None
        Overrides what the file says.
    several : bool
        Read the kernels of all frames and channels; otherwise more than one is refused.

    Returns
    -------
    Kernel
        With the report that it was saved with, the file's name as ``file``, and as ``cleaned`` what
        had to be repaired.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    path = place_of(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no kernel at {path}")
    if path.suffix in (".npy", ".npz"):
        array, size, said = _from_numpy(path)
    elif path.suffix.lower() in (".tif", ".tiff"):
        array, size, said = _from_tiff(path, several=several)
    else:
        from napari_deblur.opening import open_stack

        inner = path / "kernels"
        inner = inner if inner.is_dir() else path
        stack = open_stack(inner)
        ours = _ours(inner)
        _refuse_mosaic(inner, ours, stack.shape[2:])
        frames, channels = stack.shape[:2]
        if not several:
            _refuse_several(path, frames * channels)
        _refuse_large(path, stack.shape, stack.nbytes)
        array = np.stack(
            [np.stack([stack.read(t, c) for c in range(channels)]) for t in range(frames)]
        )
        size = _whole(stack.pixel_size, planes=stack.shape[2])
        said = kernel_reports.read(json.dumps(ours.get("report")))
    if array.ndim == 5 and not several:
        _refuse_several(path, array.shape[0] * array.shape[1])
    kernel = Kernel.cleaned(array, pixel_size=pixel_size or size)
    return replace(kernel, report={**said, "file": path.name, **kernel.report})


def load_mosaic(
    path: str | Path | Remote, *, pixel_size: Size | None = None
) -> tuple[Kernel, Triple]:
    """Read kernels that lie side by side in a zarr store, one for each node of a field or tile.

    Returns
    -------
    kernels : Kernel
        Those of a channel are its frames, in the order of the nodes z, y, x.
    grid : (z, y, x), how many there are along each axis

    Raises
    ------
    ValueError
        When there is one kernel, or none.
    """
    from napari_deblur.opening import open_stack

    path = place_of(path)
    inner = path / "kernels" if (path / "kernels").is_dir() else path
    stack, ours = open_stack(inner), _ours(inner)
    one, pairs = ours.get("shape"), []
    if isinstance(one, list) and len(one) == 3 and all(isinstance(n, int) and n > 0 for n in one):
        pairs = list(zip(stack.shape[2:], one, strict=True))
    if not pairs or any(n % m for n, m in pairs) or all(n == m for n, m in pairs):
        raise ValueError(f"{path} holds no kernels side by side: give those of a field")
    _refuse_large(path, stack.shape, stack.nbytes)
    (gz, gy, gx), (z, y, x) = [n // m for n, m in pairs], [m for _, m in pairs]
    every = np.stack(
        [
            stack.read(0, c).reshape(gz, z, gy, y, gx, x).transpose(0, 2, 4, 1, 3, 5)
            for c in range(stack.shape[1])
        ]
    ).reshape(stack.shape[1], -1, z, y, x)
    kernel = Kernel.cleaned(
        every.swapaxes(0, 1), pixel_size=pixel_size or _whole(stack.pixel_size, planes=z)
    )
    said = kernel_reports.read(json.dumps(ours.get("report")))
    return replace(kernel, report={**said, "file": path.name, **kernel.report}), (gz, gy, gx)


def is_mosaic(path: str | Path | Remote) -> bool:
    """Tell whether a zarr store holds kernels side by side, one for each node or tile."""
    path = place_of(path)
    inner = path / "kernels" if (path / "kernels").is_dir() else path
    one = _ours(inner).get("shape")
    if not isinstance(one, list):
        return False
    from napari_deblur.opening import open_stack

    return tuple(one) != open_stack(inner).shape[2:]


def _refuse_several(path: Place, count: int) -> None:
    if count > 1:
        raise ValueError(
            f"{path} holds {count} kernels: give a file with one, of axes y,x or z,y,x"
        )


def _refuse_large(path: Place, shape: Sequence[int], nbytes: int) -> None:
    if nbytes > MOST:
        raise ValueError(
            f"{path} holds {nbytes / 1e9:.3g} GB of shape {tuple(shape)}, which is an image rather "
            "than a kernel: give the file of the kernel, or crop it"
        )


def _ours(path: Place) -> dict[str, Any]:
    """Give what this package wrote into a zarr group, or nothing."""
    try:
        ours = json.loads((path / "zarr.json").read_bytes())["attributes"]["napari_deblur"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return ours if isinstance(ours, dict) else {}


def _refuse_mosaic(path: Place, ours: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """Raise ValueError for the kernels of a result in which each tile found its own."""
    one = ours.get("shape")
    if isinstance(one, list) and tuple(one) != shape:
        raise ValueError(
            f"{path} holds many kernels, one for each tile or node: give the .npz of the field, or "
            "save one of them by itself"
        )


def _whole(sizes: Any, *, planes: int) -> Size | None:
    """Give a voxel size if all of it is known that matters."""
    if not sizes or not sizes[1] or not sizes[2] or not (sizes[0] or planes == 1):
        return None
    return sizes[0] or 1.0, sizes[1], sizes[2]


def _from_tiff(
    path: Place, *, several: bool = False
) -> tuple[NDArray[Any], Size | None, dict[str, Any]]:
    """Read the first image as y,x or z,y,x, or as t,c,z,y,x where there are several.

    Frames and channels are what the file calls so; an axis of any other name is one of planes.
    """
    import tifffile

    from napari_deblur.readers._tiff_facts import read_facts
    from napari_deblur.readers._tiff_files import damage_named
    from napari_deblur.readers._tiff_whole import check_pages, check_series
    from napari_deblur.readers.tiff import Tiff

    if not Tiff().accepts(str(path)):
        raise _unreadable(path)
    check_pages(str(path))
    with damage_named(str(path)), tifffile.TiffFile(_content(path)) as file:
        series = file.series[0]
        check_series(file, series, series.pages, str(path))
        _refuse_large(path, series.shape, series.nbytes)
        if file.is_ome:
            _refuse_tiles(path, file.ome_metadata, series.shape)
        if series.axes.endswith("S"):
            raise ValueError(f"{path} is a picture in colour: save one channel as a kernel")
        array, places = _in_order(series.asarray(), series.axes)
        if places[:2] != [1, 1] and not several:
            count, what = max(zip(places, ("frames", "channels"), strict=False))
            raise ValueError(
                f"{path} holds {count} {what}, for its axes are {series.axes.lower()}, and a "
                "kernel has y,x or z,y,x: save one; or, if those are planes, save it again "
                "with axes zyx"
            )
        shape = places[2:]
        while len(shape) > 3 and 1 in shape:
            shape.remove(1)
        if len(shape) not in (2, 3):
            raise ValueError(
                f"a kernel has axes y,x or z,y,x and {path} has shape {tuple(series.shape)}: "
                "save one kernel"
            )
        sizes = read_facts(file, 0, 1).pixel_size
        planes = shape[0] if len(shape) == 3 else 1
        said = kernel_reports.read((file.imagej_metadata or {}).get("Info"))
        if places[:2] != [1, 1]:
            shape = [*places[:2], planes, *shape[-2:]]
        return array.reshape(shape), _whole(sizes, planes=planes), said


def _in_order(array: NDArray[Any], axes: str) -> tuple[NDArray[Any], list[int]]:
    """Put frames and channels in front, of length 1 where there are none; give all lengths."""
    names = [*axes]
    for name in ("C", "T"):
        if name in names:
            array = np.moveaxis(array, names.index(name), 0)
            names.remove(name)
        else:
            array = array[None]
        names.insert(0, name)
    return array, [*array.shape]


def _refuse_tiles(path: Place, xml: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError for kernels that lie side by side in a TIFF of ours, one for each node."""
    from napari_deblur.readers._ome_xml import own_kernel_shape

    one = own_kernel_shape(xml)
    if one is None:
        return
    over = prod(shape) // prod(one)
    whole = (1,) * (3 - len(shape)) + shape[-3:]
    if all(n == m for n, m in zip(whole, one, strict=True)):
        return
    bare = path.name.removesuffix(path.suffix).removesuffix(".kernels")
    fields = sorted(one.name for one in path.parent.glob(f"{escape(bare)}.field_c*.npz"))
    give = (
        f"give the field, {fields[0]}, which lies beside it"
        if fields
        else "give the .npz of the field, or run again to an output that ends in .deblur.zarr"
    )
    raise ValueError(
        f"{path} holds {over} kernels side by side, one for each node of a field or tile: {give}"
    )


def _content(path: Place) -> Any:
    """Give what libraries open: kernels are small, so that an object is read as a whole."""
    return io.BytesIO(path.read_bytes()) if isinstance(path, Remote) else path


def _unreadable(path: Place) -> ValueError:
    kind = path.suffix.removeprefix(".").upper()
    return ValueError(
        f"{path} holds no kernel that can be read, for it is no {kind}, is damaged or holds no "
        "numbers: save it again as TIFF, NPZ or NPY"
    )


def _from_numpy(path: Place) -> tuple[NDArray[Any], Size | None, dict[str, Any]]:
    try:
        names = [n for n in names_in(path) if n not in ("pixel_size", "report")]
        name = "kernel" if "kernel" in names else names[0] if len(names) == 1 else None
        held = {} if name is None else arrays_in(path, {name, "pixel_size", "report"})
    except ValueError as error:
        raise _unreadable(path) from error
    if name is None:
        arrays = f"the arrays {', '.join(names)}" if names else "no array"
        raise ValueError(f'{path} holds {arrays}: name the kernel\'s array "kernel"')
    size = None
    if "pixel_size" in held:
        size = _size_of(held["pixel_size"], path)
    said = {}
    if "report" in held and held["report"].dtype.kind == "U":
        said = kernel_reports.read(str(held["report"]))
    return _of_numbers(held[name], path), size, said


def _of_numbers(array: NDArray[Any], path: Place) -> NDArray[Any]:
    if array.dtype.kind not in "buif":
        raise ValueError(f"{path} holds {array.dtype} and a kernel is of real numbers: save those")
    return array


def _size_of(value: NDArray[Any], path: Place) -> Size:
    """Give the voxel size that a file states, if it is one."""
    if value.shape != (3,) or value.dtype.kind not in "uif" or not (value > 0).all():
        raise ValueError(
            f"{path} states the voxel size {value}: write (z, y, x) in µm, each above 0"
        )
    z, y, x = (float(v) for v in value)
    return z, y, x


def save_kernel(kernel: Kernel, path: str | Path) -> None:
    """Write a kernel, with its voxel size and report, as TIFF, NPZ or OME-Zarr.

    Parameters
    ----------
    kernel : Kernel
    path : str or Path
        ``.tif`` (float32, one kernel, opens in ImageJ, where the report is the image's info),
        ``.npz`` (arrays ``kernel``, ``pixel_size`` and ``report``), or ``.zarr``: an image group of
        OME-Zarr 0.5 with axes t, c, z, y, x. A report longer than 64 kB loses its longest parts.

    Raises
    ------
    ValueError
        For another suffix, or for several kernels in a TIFF.
    FileExistsError
        When there is a folder ``.zarr`` that holds anything but a kernel written here.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".zarr":
        _save_group(kernel, path)
        return
    if suffix not in (".tif", ".tiff", ".npz"):
        raise ValueError(f'a kernel is saved as .tif, .npz or .zarr, and "{path.name}" is none')
    one = kernel.array.shape[:2] == (1, 1)
    if suffix == ".npz":
        extra = {} if kernel.pixel_size is None else {"pixel_size": np.array(kernel.pixel_size)}
        extra["report"] = np.array(kernel_reports.written(kernel.report))
        array = kernel.at() if one else kernel.array
        np.savez_compressed(path, kernel=array, **extra)  # type: ignore[arg-type]
        return
    if not one:
        raise ValueError(
            f"there are kernels for {kernel.array.shape[0]} frames and {kernel.array.shape[1]} "
            "channels: a file holds one; choose a frame and a channel first, or save as .zarr"
        )
    import tifffile

    metadata: dict[str, Any] = {"axes": "ZYX", "Info": kernel_reports.written(kernel.report)}
    resolution = None
    if kernel.pixel_size is not None:
        z, y, x = kernel.pixel_size
        metadata |= {"spacing": z, "unit": "um"}
        resolution = (1 / x, 1 / y)
    tifffile.imwrite(path, kernel.at(), imagej=True, resolution=resolution, metadata=metadata)


def _save_group(kernel: Kernel, path: Path) -> None:
    """Write the kernels of all frames and channels as an image of OME-Zarr 0.5."""
    import zarr
    from zarr.codecs import ZstdCodec

    if path.exists() and not _is_kernel_group(path):
        raise FileExistsError(
            f"{path} exists and holds more than a kernel: choose another name, or delete it"
        )
    scale = [1.0, 1.0, *(kernel.pixel_size or (1.0, 1.0, 1.0))]
    axes = [{"name": a, "type": kind} for a, kind in zip(AXES, KINDS, strict=True)]
    if kernel.pixel_size is not None:
        axes = [a | ({"unit": "micrometer"} if a["type"] == "space" else {}) for a in axes]
    transform = {"type": "scale", "scale": scale}
    image = {
        "name": path.name.removesuffix(".zarr"),
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": [transform]}],
    }
    group = zarr.create_group(path, overwrite=True, zarr_format=3)
    group.attrs.put(
        {
            "ome": {"version": "0.5", "multiscales": [image]},
            "napari_deblur": {
                "shape": list(kernel.shape),
                "report": json.loads(kernel_reports.written(kernel.report)),
            },
        }
    )
    array = group.create_array(
        "0",
        shape=kernel.array.shape,
        chunks=(1, 1, *kernel.shape),
        dtype="float32",
        dimension_names=list(AXES),
        compressors=[ZstdCodec(level=1, checksum=True)],
    )
    array[:] = kernel.array


def _is_kernel_group(path: Path) -> bool:
    """Whether a folder holds nothing but what `_save_group` writes."""
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        ours = "report" in attributes["napari_deblur"]
    except (OSError, ValueError, KeyError, TypeError):
        return path.is_dir() and not any(path.iterdir())
    return ours and {p.name for p in path.iterdir()} <= {"zarr.json", "0"}
