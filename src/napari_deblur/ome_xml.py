"""What an OME-TIFF says of its image: axes, voxels, channels and the optics."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_deblur.readers._ome_xml import OWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.stack import Channel, Optics

__all__ = ["described", "own_words", "with_objective", "words_of"]

# Of the identifiers, which are made of the content: the same image is the same file.
IDENTIFIERS = uuid.uuid5(uuid.NAMESPACE_URL, "napari-deblur/ome-xml")


def described(
    array: NDArray[Any],
    axes: str,
    pixel_size: Sequence[float | None] | None = None,
    channels: Sequence[Channel] = (),
    optics: Optics | None = None,
    kernel_shape: Sequence[int] | None = None,
    time_step: float | None = None,
) -> bytes:
    """Give the OME-XML of an image.

    Parameters
    ----------
    array : array
    axes : str
        A letter out of "tczyx" for each axis of the array.
    pixel_size : (z, y, x) in µm, or None; a single number may be None too
    channels : sequence of Channel
        Wavelengths are kept if they are known of every channel.
    optics : Optics or None
    kernel_shape : (z, y, x) or None
        Of one of the kernels that lie side by side in the image.
    time_step : float or None, in seconds
    """
    import tifffile

    metadata = words_of(pixel_size, channels, optics, kernel_shape, time_step)
    planes = array.size // (array.shape[-2] * array.shape[-1])
    stored = (planes, 1, 1, array.shape[-2], array.shape[-1], 1)

    def xml(identifier: str) -> str:
        made = tifffile.OmeXml(UUID=identifier)
        made.addimage(array.dtype, array.shape, stored, axes=axes.upper(), **metadata)
        return with_objective(made.tostring(declaration=True), optics)

    content = hashlib.sha256(xml("").encode())
    content.update(array.tobytes())
    return xml(str(uuid.uuid5(IDENTIFIERS, content.hexdigest()))).encode()


def words_of(
    pixel_size: Sequence[float | None] | None = None,
    channels: Sequence[Channel] = (),
    optics: Optics | None = None,
    kernel_shape: Sequence[int] | None = None,
    time_step: float | None = None,
    looks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give as tifffile takes it what is said of an image; parameters as in `described`.

    `looks` is plain data on the layer that was saved.
    """
    metadata: dict[str, Any] = {}
    for axis, size in zip("ZYX", pixel_size or (None,) * 3, strict=True):
        if size is not None:
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    if described_channels := _channels(channels):
        metadata["Channel"] = described_channels
    if time_step is not None:
        metadata |= {"TimeIncrement": time_step, "TimeIncrementUnit": "s"}
    return metadata | own_words(optics, kernel_shape, looks)


def own_words(
    optics: Optics | None = None,
    kernel_shape: Sequence[int] | None = None,
    looks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give as tifffile takes it what OME has no word for."""
    own = {}
    if optics is not None and optics.n_sample is not None:
        own["n_sample"] = f"{optics.n_sample:.12g}"
    if kernel_shape is not None:
        own["kernel_shape"] = " ".join(map(str, kernel_shape))
    if looks is not None:
        own["looks"] = json.dumps(looks)
    return {"MapAnnotation": {"Namespace": OWN, "Value": own}} if own else {}


def _channels(channels: Sequence[Channel]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if any(channel.name for channel in channels):
        known["Name"] = [channel.name for channel in channels]
    for name in ("emission", "excitation"):
        waves = [getattr(channel, name) for channel in channels]
        if waves and all(wave is not None for wave in waves):
            known[f"{name.title()}Wavelength"] = [round(1000 * wave, 6) for wave in waves]
            known[f"{name.title()}WavelengthUnit"] = ["nm"] * len(waves)
    return known


def with_objective(xml: str, optics: Optics | None) -> str:
    """Add the objective, for which tifffile has no way."""
    if optics is None:
        return xml
    said = {"LensNA": optics.na, "NominalMagnification": optics.magnification}
    objective = "".join(f' {k}="{v:.12g}"' for k, v in said.items() if v is not None)
    index = optics.n_immersion
    if not objective and index is None:
        return xml
    settings = "" if index is None else f' RefractiveIndex="{index:.12g}"'
    instrument = (
        f'<Instrument ID="Instrument:0"><Objective ID="Objective:0"{objective}/></Instrument>'
    )
    used = (
        f'<InstrumentRef ID="Instrument:0"/><ObjectiveSettings ID="Objective:0"{settings}/><Pixels '
    )
    return xml.replace("<Image ", f"{instrument}<Image ", 1).replace("<Pixels ", used, 1)
