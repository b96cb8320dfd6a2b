"""What PSF from optics does, without a window: presets, voxel sizes in words, kernels, notes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from napari_deblur import optics
from napari_deblur._napari.reading import described_by
from napari_deblur._napari.texts import dotted
from napari_deblur.protocols import Facts

if TYPE_CHECKING:
    from napari_deblur.protocols import Kernel

__all__ = [
    "Asked", "Shown", "has_presets", "lengths_of", "made", "number_of", "optics_of",
    "plain", "preset", "sections", "size_of", "small", "widths",
]  # fmt: skip

Triple = tuple[int, int, int]
Size = tuple[float, float, float]
# Of the live picture: it is there in some hundredths of a second.
SMALL = (33, 65, 65)
# More than any kernel: a kernel of one plane is not made wider for planes that are not there.
FAR = 4095
OPTICS = ("na", "wavelength", "n_immersion", "n_sample")


@dataclass(frozen=True)
class Asked:
    """A kernel that is wanted.

    Parameters
    ----------
    name, parameters : of the PSF model
    pixel_size : (z, y, x) in µm; z is None for a kernel of one plane
    shape : (z, y, x), odd, or None for what the model takes
    image : (z, y, x), voxels of the image that it is for, or None
    """

    name: str
    parameters: Mapping[str, Any]
    pixel_size: tuple[float | None, float, float]
    shape: Triple | None = None
    image: Triple | None = None

    @property
    def flat(self) -> bool:
        """Whether it has one plane."""
        return self.pixel_size[0] is None

    @property
    def size(self) -> Size:
        """Voxel size in µm; planes of a kernel of one plane count as 1 µm."""
        z, y, x = self.pixel_size
        return z or 1.0, y, x


@dataclass(frozen=True, eq=False)
class Shown:
    """A small kernel for the picture, what is to be said, and the shape of the whole."""

    kernel: Kernel
    notes: tuple[str, ...]
    shape: Triple


def has_presets(cls: type) -> bool:
    """Whether a model stands for a lens, of which objective and fluorophore say something."""
    return "na" in {field.name for field in fields(cls)} or hasattr(cls, "from_optics")


def preset(cls: type, objective: str | None, fluorophore: str | None) -> dict[str, Any]:
    """Give the fields of a model that an objective and a fluorophore decide.

    Two photons excite a dye at other wavelengths than one, so of a model without emission nothing
    is taken from the fluorophore.
    """
    own = {field.name for field in fields(cls)}
    known: dict[str, float] = {}
    if objective is not None:
        lens = optics.objective(objective)
        known = {
            "na": lens.na,
            "n_immersion": lens.n_immersion,
            "coverslip": lens.coverslip,
            "coverslip_design": lens.coverslip,
            "working_distance": lens.working_distance,
        }
    if fluorophore is not None:
        dye = optics.fluorophore(fluorophore)
        known["wavelength"] = dye.emission
        if "wavelength" in own:
            known["excitation"] = dye.excitation
    if "na" not in own and hasattr(cls, "from_optics"):
        if not {"na", "wavelength"} <= set(known):
            return {}
        lens_of: Any = cls
        found = lens_of.from_optics(
            **{name: known[name] for name in ("na", "wavelength", "n_immersion")}
        )
        return {name: getattr(found, name) for name in own}
    return {name: float(value) for name, value in known.items() if name in own}


def optics_of(layer: Any, channel: int | None = None) -> dict[str, float]:
    """Give what is said of a layer's optics, by the names of models' fields; empty if nothing.

    Parameters
    ----------
    layer : image layer
    channel : int or None
        The one that is looked at, where the layer has several; which one of a file the layer
        shows is known by its name.
    """
    channels, found = described_by(layer)
    light = None
    if channel is not None and channel < len(channels):
        light = channels[channel].emission
    elif channel is None and len({one.emission for one in channels}) == 1:
        light = channels[0].emission
    known = {
        "na": found.na,
        "n_immersion": found.n_immersion,
        "n_sample": found.n_sample,
        "wavelength": light,
    }
    return {name: float(value) for name, value in known.items() if value is not None}


def size_of(texts: Sequence[str]) -> tuple[float | None, float, float]:
    """Read the voxel size z, y, x in µm; an empty z means a kernel of one plane.

    Raises
    ------
    ValueError
        When a text is no length.
    """
    found: list[float | None] = []
    for axis, text in zip("zyx", texts, strict=True):
        bare = dotted(text, f"the voxel size along {axis}")
        if bare in ("", "?"):
            if axis != "z":
                raise ValueError(
                    f"the voxel size along {axis} is empty: give it in µm, or choose a layer"
                )
            found.append(None)
            continue
        try:
            value = float(bare)
        except ValueError:
            raise ValueError(
                f'the voxel size along {axis} is "{bare}": give a number of µm'
            ) from None
        if not 0 < value < float("inf"):
            raise ValueError(f"the voxel size along {axis} is {value:g} µm and must be above 0")
        found.append(value)
    z, y, x = found
    assert y is not None
    assert x is not None
    return z, y, x


def lengths_of(text: str, *, flat: bool) -> Triple | None:
    """Read the kernel's voxels: "auto" is None, else z, y, x or y, x, odd numbers.

    Raises
    ------
    ValueError
        When the text says something else.
    """
    if text.strip().lower() in ("", "auto"):
        return None
    try:
        numbers = [int(part) for part in re.split(r"[,×x\s]+", text.strip())]
    except ValueError:
        numbers = []
    if len(numbers) == 2:
        numbers = [1, *numbers]
    if len(numbers) != 3 or any(n < 1 or n % 2 == 0 for n in numbers):
        raise ValueError(
            f'the kernel\'s voxels are "{text}": give odd numbers z, y, x such as 31, 65, 65, or '
            "auto"
        )
    if flat and numbers[0] != 1:
        raise ValueError(
            f"the kernel is to have {numbers[0]} planes: give their distance, the voxel size along "
            "z, too"
        )
    return numbers[0], numbers[1], numbers[2]


def number_of(text: str, what: str) -> float | None:
    """Read a number that may be left out.

    Raises
    ------
    ValueError
        When it is none.
    """
    bare = dotted(text, what)
    if not bare:
        return None
    try:
        return float(bare)
    except ValueError:
        raise ValueError(f'{what} is "{bare}": give a number, or nothing') from None


def made(asked: Asked) -> tuple[Kernel, list[str]]:
    """Make the whole kernel, and say what is to be said of it.

    Raises
    ------
    ValueError
        When no lens is like that; in words for a form.
    """
    from napari_deblur.modelled import too_far

    model, notes = _model(asked)
    image = asked.image or ((1, FAR, FAR) if asked.flat else None)
    kernel: Kernel
    if asked.shape is not None:
        kernel = model(asked.shape, asked.size)
    else:
        kernel = model("auto", asked.size, image)
        if asked.flat and kernel.shape[0] > 1:
            kernel = model((1, *kernel.shape[1:]), asked.size)
    return kernel, [*notes, *map(plain, too_far(kernel, chosen=asked.shape is not None))]


def small(asked: Asked) -> Shown:
    """Make the middle of the kernel, for a picture that follows the form.

    Raises
    ------
    ValueError
        When no lens is like that; in words for a form.
    """
    model, notes = _model(asked)
    image = asked.image or ((1, FAR, FAR) if asked.flat else None)
    z, y, x = asked.shape or model.default_shape(asked.size, image)
    z = 1 if asked.flat else z
    cut = (min(z, SMALL[0]), min(y, SMALL[1]), min(x, SMALL[2]))
    return Shown(model(cut, asked.size), tuple(notes), (z, y, x))


def sections(kernel: Kernel) -> list[tuple[str, Any, tuple[float, float]]]:
    """Cut a kernel through its middle: name, values, (height, width) of a pixel; xy first."""
    array, (dz, dy, dx) = kernel.at(), kernel.pixel_size or (1.0, 1.0, 1.0)
    z, y, x = (n // 2 for n in array.shape)
    flat = [("xy", array[z], (dy, dx))]
    if array.shape[0] == 1:
        return flat
    return [*flat, ("xz", array[:, y], (dz, dx)), ("yz", array[:, :, x], (dz, dy))]


def widths(kernel: Kernel) -> str:
    """Say how wide a kernel is at half of its peak."""
    from napari_deblur.kernel_measures import full_widths

    size = kernel.pixel_size or (1.0, 1.0, 1.0)
    parts = []
    for axis, wide, n, step in zip("zyx", full_widths(kernel), kernel.shape, size, strict=True):
        if wide is None:
            continue
        finite = wide < float("inf")
        parts.append(f"{axis} {wide:.3g}" if finite else f"{axis} above {n * step:.3g}")
    return f"FWHM {', '.join(parts)} µm"


def _model(asked: Asked) -> tuple[Any, list[str]]:
    from napari_deblur.modelled import advice, check_optics, model_of

    try:
        model = model_of((asked.name, asked.parameters), Facts())
        said = {name: asked.parameters.get(name) for name in OPTICS}
        check_optics(Facts().completed("given", **said))
    except (ValueError, OSError) as error:
        raise ValueError(plain(str(error))) from error
    return model, [plain(one) for one in advice(model, Facts(), asked.size, flat=asked.flat)]


def plain(text: str) -> str:
    """Name fields, and options of the command line, as the form does."""
    text = re.sub(r"--shape \(shape\)", "number of voxels", text)
    text = re.sub(r"--([a-z][\w-]*)(?: \(\w+\))?", r"\1", text)
    text = re.sub(r"\bn[-_](immersion|sample)\b", r"\1 n", text)
    return re.sub(r"\bna\b", "NA", text)
