"""Reading a result back: image levels, kernels, residuals and how they came to be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import places
from napari_deblur.ngff import Sizes, kernel_pixel_size
from napari_deblur.numpy_files import arrays_in
from napari_deblur.places import Place, Remote, place_of
from napari_deblur.plans import Plan
from napari_deblur.protocols import KernelField

if TYPE_CHECKING:
    import zarr

    from napari_deblur.tiles import Index

__all__ = [
    "FAILED_COUNT",
    "IMAGE",
    "KERNELS",
    "LAYER",
    "LEDGER",
    "MASK",
    "OURS",
    "RESIDUALS",
    "SCHEMA",
    "WINDOWS",
    "Result",
    "is_field",
    "load_field",
    "mask_of",
    "open_result",
    "save_field",
]

OURS = "napari_deblur"  # the name of our attributes
SCHEMA = 1
# Which voxels a tile reads, beside its plan: raised when that changes. Results without it have 1.
WINDOWS = 2

# Paths in the store. The ledger is an empty array with files beside its zarr.json: zarr looks for
# groups and arrays in groups only, so it does not stumble over them.
IMAGE = "0"
KERNELS = "kernels/0"
RESIDUALS = "residuals/values"
LAYER = "layer.json"  # how the image lay and looked in napari
MASK = "mask"
LEDGER = "ledger"
FAILED_COUNT = "failed_count"  # tiles, where not all are listed


def mask_of(level: int) -> str:
    """Give the path of the array that says where a level of integers has no data."""
    return f"{MASK}_{level}" if level else MASK


@dataclass(frozen=True, eq=False)
class Result:
    """A result on the disk, finished or not; arrays are lazy.

    Parameters
    ----------
    path : Path or Remote
    attributes : mapping
        All that is under ``napari_deblur``: plan, job, versions, device, hashes, ….
    ome : mapping
        The OME-Zarr metadata of the image.
    """

    path: Place
    attributes: Mapping[str, Any]
    ome: Mapping[str, Any]

    @cached_property
    def plan(self) -> Plan:
        """The plan that made it, kernels to the last bit."""
        return Plan.from_dict(self.attributes["plan"])

    @property
    def key(self) -> str:
        """The key of the plan."""
        return str(self.attributes["key"])

    @property
    def job(self) -> Mapping[str, Any] | None:
        """What was asked for, if the run came from a job."""
        job: Mapping[str, Any] | None = self.attributes["job"]
        return job

    @property
    def complete(self) -> bool:
        """Whether everything is done; nothing else says so."""
        return self.attributes["complete"] is True

    @property
    def failed(self) -> tuple[Index, ...]:
        """Tiles that could not be restored: NaN there, or 0 in integers; the first 1000."""
        picked = (tuple(f["index"]) for f in self.attributes["failed"] if f["level"] == 0)
        return tuple((t, c, z, y, x) for t, c, z, y, x in picked)

    @property
    def failed_count(self) -> int:
        """How many tiles could not be restored."""
        return int(self.attributes.get(FAILED_COUNT, len(self.failed)))

    @property
    def axes(self) -> str:
        """Axes of the image, out of "tczyx"."""
        return "".join(axis["name"] for axis in self.ome["multiscales"][0]["axes"])

    @property
    def pixel_size(self) -> Sizes | None:
        """Voxel size (z, y, x) of the image in µm; None where unknown."""
        return self.plan.layout.pixel_size

    @property
    def kernel_pixel_size(self) -> Sizes | None:
        """Voxel size (z, y, x) of the kernels in µm; None where unknown."""
        return kernel_pixel_size(self.plan)

    @property
    def kernel_geometry(self) -> Mapping[str, Any]:
        """Where the kernels belong: shape of one, bounds of cores and nodes for each axis."""
        text = (self.path / "kernels" / "zarr.json").read_bytes()
        geometry: Mapping[str, Any] = json.loads(text)["attributes"][OURS]
        return geometry

    @cached_property
    def levels(self) -> tuple[zarr.Array, ...]:
        """The image, full resolution first, in stored values with the axes `axes`."""
        datasets = self.ome["multiscales"][0]["datasets"]
        return tuple(self._array(dataset["path"]) for dataset in datasets)

    @cached_property
    def kernels(self) -> zarr.Array:
        """The kernels, axes t, c, z, y, x; for scope ``tile`` a mosaic of one for each tile."""
        return self._array(KERNELS)

    @cached_property
    def residuals(self) -> zarr.Array | None:
        """Residuals (t, c, nz, ny, nx, iteration) of each tile, NaN-padded; None without any."""
        there = (self.path / RESIDUALS / "zarr.json").is_file()
        return self._array(RESIDUALS) if there else None

    @cached_property
    def mask(self) -> zarr.Array | None:
        """Where an image of integers has no data (True), axes `axes`; None for floats: NaN."""
        return self._array(MASK) if (self.path / MASK / "zarr.json").is_file() else None

    def counts(self, stored: Any) -> Any:
        """Turn stored values into counts of the input, float32."""
        scale, offset = self.attributes["scale"], self.attributes["offset"]
        return (np.asarray(stored, np.float64) * scale + offset).astype(np.float32)

    def _array(self, name: str) -> zarr.Array:
        import zarr

        return zarr.open_array(places.storage(self.path / name), mode="r")


def open_result(path: str | Path | Remote) -> Result:
    """Open a result of this package, finished or not, without reading pixels.

    Raises
    ------
    FileNotFoundError
        When nothing is there.
    ValueError
        When it is something else, or damaged.
    """
    path = place_of(path)
    try:
        root = json.loads((path / "zarr.json").read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"no result at {path}: there is no zarr.json in it") from None
    except (ValueError, NotADirectoryError) as error:
        raise ValueError(f"{path} is not a readable result: zarr.json says {error}") from error
    attributes = root.get("attributes", {}) if isinstance(root, dict) else {}
    ours = attributes.get(OURS) if isinstance(attributes, dict) else None
    if not isinstance(ours, dict) or "schema" not in ours:
        raise ValueError(f"{path} was not written by napari-deblur: open it as an image instead")
    if ours["schema"] != SCHEMA:
        raise ValueError(
            f"{path} has schema {ours['schema']} and this version reads schema {SCHEMA}: "
            "use the version of napari-deblur that wrote it"
        )
    wanted = {"complete", "failed", "key", "plan", "job", "scale", "offset"}
    if not wanted <= set(ours) or "multiscales" not in attributes.get("ome", {}):
        missing = ", ".join(sorted(wanted - set(ours))) or "ome"
        raise ValueError(
            f"{path} is damaged: its zarr.json lacks {missing}; run again to a new place"
        )
    return Result(path, ours, attributes["ome"])


def save_field(field: KernelField, path: str | Path) -> None:
    """Write a field as NPZ: ``basis``, ``weights``, nodes, maps, voxel size and report."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f'a field is saved as .npz, and "{path.name}" is none')
    arrays: dict[str, Any] = {"basis": field.basis, "weights": field.weights}
    for axis, line in zip("zyx", field.nodes, strict=True):
        arrays[f"nodes_{axis}"] = np.array(line)
    arrays |= {f"map_{name}": values for name, values in field.maps.items()}
    arrays["report"] = np.array(json.dumps(dict(field.report)))
    if field.pixel_size is not None:
        arrays["pixel_size"] = np.array(field.pixel_size)
    np.savez_compressed(path, **arrays)


def load_field(path: str | Path | Remote, channel: int = 0) -> KernelField:
    """Read a field from an NPZ file, or the one that a result was restored with.

    Raises
    ------
    FileNotFoundError, ValueError
        When nothing is there, or no field.
    """
    path = place_of(path)
    if path.is_dir():
        found = open_result(path).plan.field(channel)
        if found is None:
            raise ValueError(f"{path} was restored with one kernel for all of channel {channel}")
        return found
    if not path.exists():
        raise FileNotFoundError(f"there is no field at {path}")
    none = ValueError(f"{path} holds no field: save one with save_field")
    try:
        held = arrays_in(path)
    except ValueError as error:
        raise none from error
    if not {"basis", "weights", "nodes_z", "nodes_y", "nodes_x"} <= set(held):
        raise none
    numbers = {name: array for name, array in held.items() if name != "report"}
    if not all(array.dtype.kind in "buif" for array in numbers.values()):
        raise none
    z, y, x = (tuple(float(v) for v in held[f"nodes_{axis}"].ravel()) for axis in "zyx")
    maps = {name.removeprefix("map_"): v for name, v in held.items() if name.startswith("map_")}
    size: Any = held["pixel_size"].ravel().tolist() if "pixel_size" in held else None
    try:
        report = json.loads(str(held.get("report", "{}")))
    except (ValueError, RecursionError):
        report = None
    return KernelField(
        held["basis"],
        (z, y, x),
        held["weights"],
        maps,
        size,
        report if isinstance(report, dict) else {},
    )


def is_field(path: str | Path | Remote) -> bool:
    """Tell whether a file or a result holds a field."""
    try:
        load_field(path)
    except (FileNotFoundError, ValueError):
        return False
    return True
