"""Images as they are, onto the disk: OME-Zarr or OME-TIFF, without plan or pyramid."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from glob import escape
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_deblur
from napari_deblur import system
from napari_deblur.ngff import plain_metadata
from napari_deblur.ome_xml import described, with_objective, words_of
from napari_deblur.outputs import SOFTWARE, is_ours
from napari_deblur.results import save_field
from napari_deblur.stack import Channel, Optics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.protocols import KernelField

__all__ = ["Picture", "refuse_pictures", "write_images", "write_pictures"]

RECORD = "provenance.json"
CHUNK = 1 << 24  # voxels at most
TIFF_TYPES = {"int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64"}
LARGEST = 4_000_000_000  # bytes; beyond it a TIFF is a BigTIFF


@dataclass(frozen=True, eq=False)
class Picture:
    """An image to be written.

    Parameters
    ----------
    array : array
    axes : str
        A letter out of "tczyx" for each axis of the array, in that order.
    pixel_size : (z, y, x) in µm, or None; a single number may be None too
    time_step : float or None, in seconds
    translate : numbers
        Place of the first voxel along each of the axes, in the same units; kept in OME-Zarr.
    channels : sequence of Channel
    optics : Optics or None
    attributes : mapping
        Plain data, kept in OME-Zarr under ``napari_deblur``; of an OME-TIFF "looks".
    """

    array: NDArray[Any]
    axes: str
    pixel_size: Sequence[float | None] | None = None
    channels: Sequence[Channel] = ()
    optics: Optics | None = None
    attributes: Mapping[str, Any] | None = None
    time_step: float | None = None
    translate: Sequence[float] = ()


def refuse_pictures(output: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Raise FileExistsError or ValueError if pictures can't go to `output`.

    A folder is overwritten only if `write_pictures` made it, and a TIFF only if this package did.
    """
    if "://" in str(output):
        raise ValueError(f"output {output} is a URL: write to a folder and copy the result there")
    if output.suffix.lower() not in (".tif", ".tiff"):
        if output.suffix.lower() in (".zarr", ".png", ".jpg", ".jpeg", ".bmp", ".npy", ".npz"):
            raise ValueError(
                f'output {output} ends in "{output.suffix}": give a folder, in which the images '
                "become OME-Zarr, or a name that ends in .tif"
            )
        ours = (output / RECORD).is_file()
        empty = output.is_dir() and not any(output.iterdir())
        if output.exists() and not empty and not (overwrite and ours):
            way = ", or use --overwrite" if ours else "; only simulations are overwritten"
            raise FileExistsError(f"{output} exists: choose another output{way}")
        return
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f'there is no folder "{output.absolute().parent}": make it first')
    for target in _targets(output, names).values():
        if not target.exists():
            continue
        ours = is_ours(target)
        if not (overwrite and ours):
            way = ", or use --overwrite" if ours else "; only images of napari-deblur are replaced"
            raise FileExistsError(f"{target} exists: choose another output{way}")
    ours = is_ours(output) and overwrite
    for target in (_beside(output, "json"), *_fields(output)):
        if target.exists() and not ours:
            raise FileExistsError(f"{target} exists: choose another output, or delete it")


def write_pictures(
    output: Path,
    pictures: Mapping[str, Picture],
    record: Mapping[str, Any],
    fields: Sequence[KernelField] = (),
) -> list[Path]:
    """Write pictures by name, and a record beside them.

    Parameters
    ----------
    output : Path
        A folder: each picture becomes ``NAME.ome.zarr`` in it. Or ``X.tif``: the first one goes
        there and the others to ``X.NAME.tif``.
    record : mapping
        Goes to ``provenance.json`` in the folder, or to ``X.json``.
    fields : sequence of KernelField
        Of the channels: ``field_c0.npz`` and so on in the folder, or ``X.field_c0.npz``.

    Returns
    -------
    list of Path
    """
    text = json.dumps(record, indent=2, allow_nan=False).encode()
    if output.suffix.lower() in (".tif", ".tiff"):
        targets = _targets(output, list(pictures))
        for name, picture in pictures.items():
            _write_tiff(targets[name], picture)
        for old in _fields(output):
            old.unlink()
        own = [_beside(output, f"field_c{c}.npz") for c in range(len(fields))]
        for field, path in zip(fields, own, strict=True):
            save_field(field, path)
        system.write_atomically(_beside(output, "json"), text)
        return [*targets.values(), *own, _beside(output, "json")]
    folder = output.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir()
        for name, picture in pictures.items():
            _write_zarr(partial / f"{name}.ome.zarr", name, picture)
        for c, field in enumerate(fields):
            save_field(field, partial / f"field_c{c}.npz")
        (partial / RECORD).write_bytes(text)
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    names = [*(f"{name}.ome.zarr" for name in pictures)]
    names += [*(f"field_c{c}.npz" for c in range(len(fields))), RECORD]
    return [output / name for name in names]


def write_images(
    output: Path,
    pictures: Mapping[str, Picture],
    between: Callable[[int], object] = lambda planes: None,
) -> None:
    """Write pictures into one OME-TIFF or one OME-Zarr, as a whole or not at all.

    Parameters
    ----------
    output : Path
        ``X.tif``: each picture is an image of the file, in their order; a file that is there is
        replaced. ``X.zarr``: the first is the image of the store, the others groups in it, by
        their names; nothing may be there.
    between : function of a number
        Called before so many planes are written; if it raises, nothing is left of them.

    Raises
    ------
    FileExistsError
    ValueError
        When there are no pictures, or another kind of output.
    """
    import tifffile

    if not pictures:
        raise ValueError("there is no image to write")
    partial = output.with_name(f".{output.name}.{uuid.uuid4().hex}.partial")
    if output.suffix.lower() in (".tif", ".tiff"):
        size = sum(picture.array.nbytes for picture in pictures.values())
        optics = next(iter(pictures.values())).optics
        try:
            with tifffile.TiffWriter(partial, ome=True, bigtiff=size > LARGEST) as file:
                for name, one in pictures.items():
                    own = one.attributes or {}
                    ours = (own.get("shape"), one.time_step, own.get("looks"))
                    words = words_of(one.pixel_size, one.channels, one.optics, *ours)
                    array = _as_tiff(name, one.array)
                    file.write(
                        _planes(array, between),
                        shape=array.shape,
                        dtype=array.dtype,
                        photometric="minisblack",
                        metadata=words | {"axes": one.axes.upper(), "Name": name},
                        software=f"{SOFTWARE} {napari_deblur.__version__}",
                    )
            with tifffile.TiffFile(partial, mode="r+") as file:
                xml = file.ome_metadata or ""
                if (more := with_objective(xml, optics)) != xml:
                    file.pages[0].tags["ImageDescription"].overwrite(more.encode())
            system.sync_file(partial)
            partial.replace(output)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return
    if output.suffix.lower() != ".zarr":
        raise ValueError(f"{output} ends neither in .zarr nor in .tif: give it such a name")
    if output.exists():
        raise FileExistsError(f"{output} exists: choose another name")
    try:
        (first, image), *others = pictures.items()
        _write_zarr(partial, first, image, between)
        for name, picture in others:
            _write_zarr(partial / name, name, picture, between)
        partial.replace(output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _planes(array: NDArray[Any], between: Callable[[int], object]) -> Iterator[NDArray[Any]]:
    for plane in array.reshape(-1, *array.shape[-2:]):
        between(1)
        yield plane


def _as_tiff(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Give the same numbers in a type that OME-TIFF has; ValueError where it has none."""
    if array.dtype.name in TIFF_TYPES:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "f":
        return np.ascontiguousarray(array, np.float32 if array.itemsize < 4 else np.float64)
    low, high = int(array.min()), int(array.max())
    for kind in ("uint8", "uint32", "int32"):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.ascontiguousarray(array, kind)
    raise ValueError(
        f'"{name}" has numbers up to {high}, for which OME-TIFF has no type: save it as OME-Zarr'
    )


def _beside(output: Path, ending: str) -> Path:
    return output.with_name(f"{_bare(output)}.{ending}")


def _fields(output: Path) -> list[Path]:
    return sorted(output.absolute().parent.glob(f"{escape(_bare(output))}.field_c*.npz"))


def _bare(output: Path) -> str:
    return output.name.removesuffix(output.suffix).removesuffix(".ome")


def _targets(output: Path, names: Sequence[str]) -> dict[str, Path]:
    rest = {name: output.with_name(f"{_bare(output)}.{name}{output.suffix}") for name in names[1:]}
    return {names[0]: output, **rest}


def _write_tiff(path: Path, picture: Picture) -> None:
    import tifffile

    array = np.ascontiguousarray(picture.array)
    said = picture.pixel_size, picture.channels, picture.optics
    one = (picture.attributes or {}).get("shape")
    xml = described(array, picture.axes, *said, kernel_shape=one, time_step=picture.time_step)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        tifffile.imwrite(
            partial,
            array,
            ome=False,
            photometric="minisblack",
            description=xml,
            metadata=None,
            software=f"{SOFTWARE} {napari_deblur.__version__}",
        )
        system.sync_file(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _write_zarr(
    path: Path,
    name: str,
    picture: Picture,
    between: Callable[[int], object] = lambda planes: None,
) -> None:
    import zarr
    from zarr.codecs import ZstdCodec

    ome = plain_metadata(
        name, picture.axes, picture.pixel_size, picture.time_step, picture.translate
    )
    # A few planes tell what is dark and what is bright.
    known = picture.array.reshape(-1, *picture.array.shape[-2:])
    known = known[:: max(1, known.size // CHUNK)]
    known = known[np.isfinite(known)].astype("f8")
    low, high = (float(known.min()), float(np.percentile(known, 99.9))) if known.size else (0, 1)
    window = {"min": low, "start": low, "end": max(high, low + 1e-9), "max": max(high, low + 1e-9)}
    count = picture.array.shape[picture.axes.index("c")] if "c" in picture.axes else 1
    shown = []
    for c, channel in enumerate(picture.channels or [Channel()] * count):
        waves = {"emissionWave": channel.emission, "excitationWave": channel.excitation}
        nm = {name: round(1000 * wave, 6) for name, wave in waves.items() if wave is not None}
        label = channel.name or f"channel {c}"
        shown.append({"label": label, "color": "FFFFFF", "active": True, "window": window} | nm)
    group = zarr.create_group(path, zarr_format=3)
    attributes: dict[str, Any] = {"ome": ome | {"omero": {"channels": shown}}}
    own = dict(picture.attributes or {})
    if picture.optics is not None:
        said = asdict(picture.optics)
        own["optics"] = {name: value for name, value in said.items() if value is not None}
    if own:
        attributes["napari_deblur"] = own
    group.attrs.put(attributes)
    y, x = picture.array.shape[-2:]
    deep = {"t": 1, "c": 1, "z": max(1, CHUNK // (y * x))}
    sizes = zip(picture.axes[:-2], picture.array.shape[:-2], strict=True)
    array = group.create_array(
        "0",
        shape=picture.array.shape,
        chunks=(*(min(deep[a], n) for a, n in sizes), y, x),
        dtype=picture.array.dtype,
        dimension_names=list(picture.axes),
        compressors=[ZstdCodec(level=1, checksum=True)],
        config={"write_empty_chunks": True},  # what is not there is taken for lost
    )
    lengths = array.chunks[:-2]
    steps = zip(array.shape[:-2], lengths, strict=True)
    for corner in product(*(range(0, n, length) for n, length in steps)):
        part: Any = (*(slice(a, a + n) for a, n in zip(corner, lengths, strict=True)), ...)
        block = picture.array[part]
        between(prod(block.shape[:-2]))
        array[part] = block
