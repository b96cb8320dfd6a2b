"""Leica's lif, by the package liffile: planes are read when they are asked for."""

from __future__ import annotations

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
    from xml.etree.ElementTree import Element

    from numpy.typing import NDArray

    from napari_deblur.stack import Source, Stack

__all__ = ["Lif"]

# Of Leica's lookup tables, those that are colours.
COLORS = {
    "red": "#ff0000",
    "green": "#00ff00",
    "blue": "#0000ff",
    "cyan": "#00ffff",
    "magenta": "#ff00ff",
    "yellow": "#ffff00",
}


@dataclass(frozen=True)
class Lif:
    """Opens one image of a file of Leica's LAS."""

    patterns: ClassVar[tuple[str, ...]] = ("*.lif",)

    def accepts(self, address: str) -> bool:
        """Say whether the file begins like a lif: a block of XML in 16-bit letters."""
        head = first_bytes(address)
        return head[:4] == b"\x70\0\0\0" and head[8:9] == b"\x2a" and head[13:15] == b"<\0"

    def titles(self, address: str) -> tuple[str, ...]:
        """Name the images."""
        liffile = needed("liffile", address)
        with decoding(address), liffile.LifFile(address) as file:
            return tuple(image.path for image in file.images)

    def __call__(self, source: Source) -> Stack:
        """Open an image, the first one if none is named.

        Raises
        ------
        ValueError
            When the package is missing, or the file is damaged.
        """
        only(source, series=True)
        base = _Image(source.address, source.series or 0)
        with decoding(source.address):
            found = _found(base.image)
        axes = chosen_axes(source.axes, base.axes, base.shape)
        source = stored_in(source, "lif", file_fingerprint(source.address))
        return build_stack(source, base, axes, found, stated=base.axes)


class _Image(Planes):
    def __init__(self, address: str, series: int) -> None:
        liffile = needed("liffile", address)
        with decoding(address):
            file = liffile.LifFile(address)
            weakref.finalize(self, file.close)
            count = len(file.images)
        check_series(series, count, address)
        with decoding(address):
            self.image = file.images[series]
            sizes = {axis.lower(): int(n) for axis, n in self.image.sizes.items()}
        if "m" in sizes:
            raise ValueError(
                f'image {series} of "{address}" is a mosaic of {sizes["m"]} tiles: merge it in '
                "LAS X first"
            )
        with decoding(address):  # scans in xz hold a plane (z, x) for each y
            within = "".join(self.image.frames.frame_sizes).lower()
        inner = {axis: sizes.pop(axis) for axis in within}
        super().__init__(address, series, {**sizes, **inner}, self.image.dtype, within)

    def plane(self, where: Mapping[str, int]) -> NDArray[Any]:
        chosen = {axis.upper(): at for axis, at in where.items()}
        frame: NDArray[Any] = self.image.frames(**chosen).asarray()
        pairs = zip(self.axes, self.shape, strict=True)
        return frame.reshape([n for axis, n in pairs if axis in self.within])


def _found(image: Any) -> Found:
    steps = {
        axis.lower(): abs(float(line[-1] - line[0])) / (len(line) - 1)
        for axis, line in image.coords.items()
        if axis in "TZYX" and len(line) > 1
    }
    z, y, x = (micrometres(steps.get(axis), "m") for axis in "zyx")
    element = image.xml_element
    return Found((z, y, x), seconds(steps.get("t"), "s"), _channels(element), _optics(element))


def _channels(element: Element) -> tuple[Channel, ...]:
    described = element.findall(".//ImageDescription/Channels/ChannelDescription")
    # A camera says what was in front of it, in the order of the channels.
    filters = element.findall(".//WideFieldChannelInfo")
    paired = filters if len(filters) == len(described) else [None] * len(described)
    found = []
    for channel, seen in zip(described, paired, strict=True):
        table = channel.get("LUTName", "")
        said = {} if seen is None else seen.attrib
        waves = (micrometres(said.get(f"{w}Wavelength"), "nm") for w in ("Emission", "Excitation"))
        name = said.get("UserDefName") or said.get("FluoCubeName") or table
        found.append(Channel(name, COLORS.get(table.lower()), *waves))
    return tuple(found)


def _optics(element: Element) -> Optics:
    """Read the objective: settings of confocals and cameras name it alike."""
    for said in element.iter():
        na = above_zero(said.get("NumericalAperture"))
        if na is not None:
            index = above_zero(said.get("RefractionIndex"))
            return Optics(na, index, None, above_zero(said.get("Magnification")))
    return Optics()
