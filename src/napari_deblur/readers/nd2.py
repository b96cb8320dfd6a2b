"""Nikon's nd2, by the package nd2: frames are mapped and read when they are asked for."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from napari_deblur.readers._building import Found, build_stack, chosen_axes, only, stored_in
from napari_deblur.readers._extra import needed
from napari_deblur.readers._files import file_fingerprint, first_bytes
from napari_deblur.readers._planes import Planes, check_series, decoding
from napari_deblur.readers._units import above_zero, micrometres, seconds
from napari_deblur.stack import Channel, Optics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.stack import Source, Stack

__all__ = ["Nd2"]

# The old one, before 2010, is a JPEG 2000.
MAGIC = (b"\xda\xce\xbe\n", b"\0\0\0\x0cjP  ")


@dataclass(frozen=True)
class Nd2:
    """Opens one position of a file of Nikon's NIS-Elements."""

    patterns: ClassVar[tuple[str, ...]] = ("*.nd2",)

    def accepts(self, address: str) -> bool:
        """Say whether the file begins like an nd2."""
        return first_bytes(address).startswith(MAGIC)

    def titles(self, address: str) -> tuple[str, ...]:
        """Name the positions."""
        with decoding(address), _opened(address) as file:
            return _positions(file)

    def __call__(self, source: Source) -> Stack:
        """Open a position, the first one if none is named.

        Raises
        ------
        ValueError
            When the package is missing, or the file is damaged or not whole.
        """
        only(source, series=True)
        base = _Frames(source.address, source.series or 0)
        with decoding(source.address):
            found = _found(base.file)
        axes = chosen_axes(source.axes, base.axes, base.shape)
        source = stored_in(source, "nd2", file_fingerprint(source.address))
        return build_stack(source, base, axes, found, stated=base.axes)


class _Frames(Planes):
    """Frames of one position; a frame holds all channels."""

    def __init__(self, address: str, series: int) -> None:
        self.file = _opened(address)
        weakref.finalize(self, self.file.close)
        with decoding(address):
            self.sizes = {axis.lower(): int(n) for axis, n in self.file.sizes.items()}
            dtype, acquired = self.file.dtype, _acquired(self.file)
        self.loops = [axis for axis in self.sizes if axis not in "cyxs"]
        check_series(series, self.sizes.get("p", 1), address)
        wanted = math.prod(self.sizes[axis] for axis in self.loops)
        if acquired < wanted:
            raise ValueError(
                f'"{address}" has {acquired} of {wanted} frames, as if it had been stopped: save '
                "those that are there as another file, e.g. in NIS-Elements"
            )
        sizes = {axis: n for axis, n in self.sizes.items() if axis != "p"}
        super().__init__(address, series, sizes, dtype)

    def plane(self, where: Mapping[str, int]) -> NDArray[Any]:
        index = 0
        for axis in self.loops:
            at = self._address[1] if axis == "p" else where[axis]
            index = index * self.sizes[axis] + at
        shape = [self.sizes[axis] for axis in "cyxs" if axis in self.sizes]
        frame: NDArray[Any] = self.file.read_frame(index).reshape(shape)
        return frame[where["c"]] if "c" in self.sizes else frame


def _opened(address: str) -> Any:
    nd2 = needed("nd2", address)
    with decoding(address):
        return nd2.ND2File(address)


def _acquired(file: Any) -> int:
    """Count the frames; the package gives zeros for others, and has no public list of them."""
    count = int(file.attributes.sequenceCount)
    listed = getattr(getattr(file, "_rdr", None), "_frame_offsets", None)
    return count if listed is None else min(count, len(listed))


def _positions(file: Any) -> tuple[str, ...]:
    for loop in file.experiment:
        if loop.type == "XYPosLoop":
            points = enumerate(loop.parameters.points)
            return tuple(point.name or f"position {n}" for n, point in points)
    return ("",)


def _found(file: Any) -> Found:
    described = list(getattr(file.metadata, "channels", None) or ())
    if not described:
        return Found()
    volume, microscope = described[0].volume, described[0].microscope
    x, y, z = (
        micrometres(size, "µm") if known else None
        for size, known in zip(volume.axesCalibration, volume.axesCalibrated, strict=True)
    )
    optics = Optics(
        above_zero(microscope.objectiveNumericalAperture),
        above_zero(microscope.immersionRefractiveIndex),
        None,
        above_zero(microscope.objectiveMagnification),
    )
    return Found((z, y, x), _time_step(file), tuple(map(_channel, described)), optics)


def _channel(described: Any) -> Channel:
    said, color = described.channel, described.channel.color
    waves = (micrometres(w, "nm") for w in (said.emissionLambdaNm, said.excitationLambdaNm))
    return Channel(said.name, f"#{color.r:02x}{color.g:02x}{color.b:02x}", *waves)


def _time_step(file: Any) -> float | None:
    for loop in file.experiment:
        if loop.type == "TimeLoop":
            return seconds(loop.parameters.periodMs, "ms")
        if loop.type == "NETimeLoop" and len(loop.parameters.periods) == 1:
            return seconds(loop.parameters.periods[0].periodMs, "ms")
    return None
