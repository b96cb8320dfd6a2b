"""A lazy stack: pixels wherever they lie, with axes, voxel size, channels and optics."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np

from napari_deblur.fingerprints import agree
from napari_deblur.pixels import Indexed, Pixels, Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    from numpy.typing import NDArray

__all__ = ["Channel", "Optics", "Pixels", "Reader", "Region", "Source", "Stack", "complete_size"]

AXES = "tczyx"


@dataclass(frozen=True)
class Channel:
    """Name, colour and wavelengths (µm) of one channel."""

    name: str = ""
    color: str | None = None  # "#rrggbb"
    emission: float | None = None
    excitation: float | None = None


@dataclass(frozen=True)
class Optics:
    """What the metadata say of the microscope."""

    na: float | None = None
    n_immersion: float | None = None
    n_sample: float | None = None
    magnification: float | None = None


@dataclass(frozen=True)
class Source:
    """An address that a stack can be opened from again, in any process.

    `address` is a path or URL; `axes` and `pixel_size` are what the user gave, not what was read.
    `times` and `channels` are indices into the file, `region` is (start, stop) for z, y, x.
    `sparse` says that chunks which are not stored are empty on purpose.
    `fingerprint` is what tells changed content: the size of a file and a hash of some of its bytes,
    or hashes of metadata and of a few chunks.
    """

    address: str
    reader: str
    axes: str | None = None
    pixel_size: tuple[float | None, float | None, float | None] | None = None
    series: int | None = None
    level: int = 0
    field: str | None = None
    times: tuple[int, ...] | None = None
    channels: tuple[int, ...] | None = None
    region: Region | None = None
    fingerprint: str = ""
    sparse: bool = False

    def is_same(self, other: Source) -> bool:
        """Whether both mean the same part of the same image, with the same content."""
        unmarked = replace(other, fingerprint=self.fingerprint)
        return unmarked == self and agree(self.fingerprint, other.fingerprint)

    def to_dict(self) -> dict[str, Any]:
        """Give plain data for JSON and TOML."""
        data = asdict(self)
        if not self.sparse:
            del data["sparse"]  # so plans made before there was such a word keep their keys
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make a source of what `to_dict` gave, lists in place of tuples or not."""

        def frozen(value: Any) -> Any:
            return tuple(frozen(v) for v in value) if isinstance(value, list | tuple) else value

        return cls(**{name: frozen(value) for name, value in data.items()})


@dataclass(frozen=True, eq=False)
class Stack:
    """A stack that is opened but not read.

    Parameters
    ----------
    pixels : Pixels
    axes : str
        Those out of "tczyx" that the stack has, in that order.
    pixel_size : (z, y, x) in µm, or None; a single number may be None too
    channels : one `Channel` for each channel
    optics : Optics
    time_step : float or None, in seconds
    rgb : bool
        True when the channels are red, green, blue (and alpha).
    source : Source or None
        Where it can be opened from again; None for one that lives in memory.
    name : str
    levels : int
        Number of resolutions in which the source holds the image.
    """

    pixels: Pixels
    axes: str
    pixel_size: tuple[float | None, float | None, float | None] | None = None
    channels: tuple[Channel, ...] = ()
    optics: Optics = field(default_factory=Optics)
    time_step: float | None = None
    rgb: bool = False
    source: Source | None = None
    name: str = "stack"
    levels: int = 1

    def __post_init__(self) -> None:
        if list(self.axes) != [a for a in AXES if a in self.axes] or not {"y", "x"} <= set(
            self.axes
        ):
            raise ValueError(
                f'axes "{self.axes}": a stack has y and x and any of t, c, z, in the order tczyx'
            )
        for axis, size in zip(AXES, self.shape, strict=True):
            if size < 1:
                raise ValueError(f"the stack has no pixels: axis {axis} has length {size}")
            if axis not in self.axes and size != 1:
                raise ValueError(f'axis {axis} has length {size} but is not among "{self.axes}"')
        if self.dtype.kind not in "buif":
            raise ValueError(
                f"pixels are of type {self.dtype}: deblurring needs real numbers; "
                "take the magnitude or the real part of complex data first"
            )
        if self.pixel_size is not None and not all(
            v is None or (np.isfinite(v) and v > 0) for v in self.pixel_size
        ):
            raise ValueError(
                f"pixel_size is (z, y, x) in µm, each > 0 or unknown, got {self.pixel_size}"
            )
        if not self.channels:
            blank = tuple(Channel() for _ in range(self.shape[1]))
            object.__setattr__(self, "channels", blank)
        if len(self.channels) != self.shape[1]:
            raise ValueError(
                f"{len(self.channels)} channels are described but the stack has {self.shape[1]}"
            )

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape in t, c, z, y, x."""
        return self.pixels.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the pixels."""
        return self.pixels.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels, unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def data(self) -> da.Array:
        """The pixels as a lazy dask array with the stack's axes."""
        import dask.array as da

        keep = tuple(0 if axis not in self.axes else slice(None) for axis in AXES)
        chunks = (1, 1, *self.pixels.chunks)
        whole = da.from_array(Indexed(self.pixels), chunks, name=False, fancy=False)
        return whole[keep]

    def read(self, t: int, c: int, region: Region | None = None) -> NDArray[Any]:
        """Read the voxels of one frame and channel; (z, y, x), in the type of the source."""
        return self.pixels.read(t, c, region)

    def selected(
        self,
        *,
        times: Sequence[int] | None = None,
        channels: Sequence[int] | None = None,
        region: Region | None = None,
    ) -> Stack:
        """Give the same stack with only some frames and channels and a region of (z, y, x).

        Raises
        ------
        ValueError
            When an index or the region lies outside the stack.
        """
        frames, count, *sizes = self.shape
        for what, picked, size in (("time", times, frames), ("channel", channels, count)):
            for index in picked if picked is not None else ():
                if not 0 <= index < size:
                    raise ValueError(f"{what} {index} is outside the stack, which has {size}")
            if picked is not None and not len(picked):
                raise ValueError(f"no {what} is left: choose at least one of {size}")
        if self.rgb and channels is not None:
            raise ValueError("red, green and blue belong together: do not select channels of them")
        for axis, span, size in zip("zyx", region or (), sizes, strict=False):
            if not 0 <= span[0] < span[1] <= size:
                raise ValueError(
                    f"region {span[0]}:{span[1]} along {axis} does not lie inside 0:{size}"
                )
        old = self.pixels
        if times is not None:
            times = tuple(old.times[t] if old.times is not None else t for t in times)
        if channels is not None:
            described = tuple(self.channels[c] for c in channels)
            channels = tuple(old.channels[c] if old.channels is not None else c for c in channels)
        else:
            described = self.channels
        if region is not None and old.region is not None:
            z, y, x = ((a + o, b + o) for (a, b), (o, _) in zip(region, old.region, strict=True))
            region = (z, y, x)
        times = times if times is not None else old.times
        channels = channels if channels is not None else old.channels
        region = region if region is not None else old.region
        source = self.source and replace(
            self.source,
            times=times if times is None else tuple(times),
            channels=channels if channels is None else tuple(channels),
            region=region,
        )
        pixels = replace(old, times=times, channels=channels, region=region)
        return replace(self, pixels=pixels, channels=described, source=source)

    def summary(self) -> str:
        """Say in one line how the data are read."""
        frames, count, z, y, x = self.shape
        parts = []
        if "t" in self.axes:
            parts.append(f"{frames} time point{'s' if frames > 1 else ''}")
        if self.rgb:
            parts.append("colour")
        elif "c" in self.axes:
            parts.append(f"{count} channel{'s' if count > 1 else ''}")
        solid = "z" in self.axes
        sizes = " × ".join(map(str, (z, y, x) if solid else (y, x)))
        parts.append(f"{sizes} {'voxels' if solid else 'pixels'}")
        known = self.pixel_size[0 if solid else 1 :] if self.pixel_size else (None,)
        size = (
            "of " + " × ".join("?" if v is None else f"{v:.4g}" for v in known) + " µm"
            if any(v is not None for v in known)
            else "of unknown size"
        )
        return f"{' × '.join(parts)} {size}, {self.dtype}"


@runtime_checkable
class Reader(Protocol):
    """A frozen dataclass that opens one format; `patterns` are names such as "*.tif"."""

    patterns: ClassVar[tuple[str, ...]]

    def accepts(self, address: str) -> bool:
        """Say, by a look at its first bytes or its metadata, whether this reader can open it."""
        ...

    def __call__(self, source: Source) -> Stack:
        """Open it without reading pixels.

        `axes`, `pixel_size`, `series`, `level` and `field` of the source are applied; `times`,
        `channels` and `region` are not. The stack's source has the fingerprint.
        """
        ...


def complete_size(size: tuple[float | None, ...] | None) -> tuple[float, float, float] | None:
    """Give a voxel size whose y and x are known, z being 1 µm if it is not; else None."""
    if size is None or size[1] is None or size[2] is None:
        return None
    return size[0] or 1.0, size[1], size[2]
