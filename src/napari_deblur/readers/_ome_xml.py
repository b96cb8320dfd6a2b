"""What OME-XML says of one image: voxels, time, channels and the objective."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from napari_deblur.readers._building import Found
from napari_deblur.readers._units import above_zero, micrometres, seconds
from napari_deblur.stack import Channel, Optics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

__all__ = ["OWN", "own_kernel_shape", "read_ome_xml"]

# Namespace of what `napari-deblur simulate` writes beyond OME's own words.
OWN = "napari-deblur"
# Refractive indices at the yellow-green of the sodium line, near 23 °C.
IMMERSIONS = {
    "air": 1.0,
    "water": 1.333,
    "waterdipping": 1.333,
    "oil": 1.515,
    "glycerin": 1.47,
    "glycerol": 1.47,
}


def read_ome_xml(text: str, series: int = 0, names: Sequence[str] = ()) -> Found:
    """Read the description of one image; what is missing or senseless stays unknown.

    Parameters
    ----------
    text : str
    series : int
    names : sequence of str
        Of the images that were found, if some of those described may be missing.

    Raises
    ------
    ValueError
        When the text is no XML.
    """
    try:
        root = ElementTree.fromstring(text.encode())
    except ElementTree.ParseError as error:
        raise ValueError(
            f"the OME-XML metadata are damaged ({error}): export the file again"
        ) from error
    images = root.findall("{*}Image")
    if not names or len(names) == len(images):
        return _described(root, images[series]) if series < len(images) else Found()
    # Those without planes are left out: which one it is only its name tells.
    meant = [image for image in images if image.get("Name", "") == names[series]] or images
    said = {_described(root, image) for image in meant}
    return said.pop() if len(said) == 1 else Found()


def _described(root: Element, image: Element) -> Found:
    pixels = image.find("{*}Pixels")
    if pixels is None:
        return Found()
    z, y, x = (
        micrometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "ZYX"
    )
    return Found(
        (z, y, x),
        seconds(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s")),
        tuple(_channel(channel) for channel in pixels.findall("{*}Channel")),
        _optics(root, image),
    )


def _channel(channel: Element) -> Channel:
    emission, excitation = (
        micrometres(channel.get(f"{which}Wavelength"), channel.get(f"{which}WavelengthUnit", "nm"))
        for which in ("Emission", "Excitation")
    )
    return Channel(channel.get("Name", ""), _color(channel.get("Color")), emission, excitation)


def _color(value: str | None) -> str | None:
    """Give "#rrggbb" of OME's signed 32-bit RGBA; -1, white, is what OME assumes."""
    try:
        rgba = int(value or "-1") & 0xFFFFFFFF
    except ValueError:
        return None
    return None if rgba == 0xFFFFFFFF else f"#{rgba >> 8:06x}"


def _optics(root: Element, image: Element) -> Optics:
    settings = image.find("{*}ObjectiveSettings")
    objectives = root.findall("{*}Instrument/{*}Objective")
    if settings is not None:
        objectives = [o for o in objectives if o.get("ID") == settings.get("ID")] or objectives
    # Several objectives without a word on which one was used say nothing.
    objective = objectives[0] if len(objectives) == 1 else None
    medium = settings.get("Medium") if settings is not None else None
    index = above_zero(settings.get("RefractiveIndex")) if settings is not None else None
    na = magnification = None
    if objective is not None:
        medium = medium or objective.get("Immersion")
        na = above_zero(objective.get("LensNA"))
        magnification = above_zero(objective.get("NominalMagnification"))
    if index is None or not 1 <= index < 2.5:
        index = IMMERSIONS.get((medium or "").lower())
    na = na if na is None or na < 2 else None
    return Optics(na, index, _sample_index(root, image), magnification)


def _sample_index(root: Element, image: Element) -> float | None:
    """Give the sample's refractive index, which OME has no word for: from a note of ours."""
    value = above_zero(_own(root, image, "n_sample"))
    return value if value is not None and 1 <= value < 4 else None


def own_kernel_shape(text: str) -> tuple[int, int, int] | None:
    """Give the shape (z, y, x) of one of several kernels in an image of ours, if it says so."""
    try:
        root = ElementTree.fromstring(text.encode())
    except ElementTree.ParseError:
        return None
    images = root.findall("{*}Image")
    said = (_own(root, images[0], "kernel_shape") or "").split() if images else []
    if len(said) != 3 or not all(n.isascii() and n.isdecimal() and int(n) for n in said):
        return None
    z, y, x = map(int, said)
    return z, y, x


def _own(root: Element, image: Element, word: str) -> str | None:
    """Give what a note of ours says of an image."""
    refs = {ref.get("ID") for ref in image.findall("{*}AnnotationRef")}
    for note in root.findall("{*}StructuredAnnotations/{*}MapAnnotation"):
        if note.get("Namespace") == OWN and note.get("ID") in refs:
            for entry in note.findall("{*}Value/{*}M"):
                if entry.get("K") == word:
                    return entry.text
    return None
