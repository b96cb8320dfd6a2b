"""Kernels of optical models: completed from what is known of the optics, and sampled."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from napari_deblur import optics, registry
from napari_deblur.protocols import Facts, Kernel
from napari_deblur.stack import complete_size

if TYPE_CHECKING:
    from napari_deblur.stack import Stack

__all__ = ["Psf", "advice", "check_optics", "model_of", "optics_of", "sampled", "too_far"]

Triple = tuple[int, int, int]
Size = tuple[float, float, float]
# A name, a name with parameters, a class or an object of the catalogue of PSFs.
Psf = str | tuple[str, Mapping[str, Any]] | type | Any
OPTICS = ("na", "wavelength", "n_immersion", "n_sample")
# Of oil, which models take where nothing is known.
IMMERSION = 1.515
# Light that microscopes use, in µm: what is far off was given in another unit.
WAVELENGTHS = (0.1, 20.0)
# Of a kernel's light, what may fall beside it without a word: planes of a widefield lens lose some.
MUCH = 0.25
# The same of a model that is no lens, where somebody chose the kernel's shape.
SOME = 0.01


def check_optics(facts: Facts) -> None:
    """Refuse optics that no microscope has.

    Raises
    ------
    ValueError
        When a value is out of range, or the aperture is larger than the immersion allows.
    """
    low, high = WAVELENGTHS
    if facts.wavelength is not None and not low <= facts.wavelength <= high:
        raise ValueError(
            f"wavelength is {facts.wavelength:g} µm: give it in µm, such as 0.52 for 520 nm"
        )
    for name in ("n_immersion", "n_sample"):
        value = getattr(facts, name)
        if value is not None and not 1 <= value <= 4:
            raise ValueError(f"{name} is {value:g}: a refractive index lies between 1 and 4")
    if facts.na is not None and not 0 < facts.na < (facts.n_immersion or 4):
        of = f" and n_immersion {facts.n_immersion:g}" if facts.n_immersion else ""
        raise ValueError(
            f"na is {facts.na:g}{of}: it must be above 0 and below the immersion's refractive "
            "index, since no light enters beyond that; check the objective"
        )


def optics_of(stack: Stack, c: int, given: Facts) -> Facts:
    """Give what is known of a channel's optics: given, or read from the metadata."""
    facts = Facts(origins=given.origins).completed(
        "given", **{name: getattr(given, name) for name in OPTICS}
    )
    read = stack.optics
    return facts.completed(
        "read",
        na=read.na,
        wavelength=stack.channels[c].emission,
        n_immersion=read.n_immersion,
        n_sample=read.n_sample,
    )


def model_of(psf: Psf, optics: Facts) -> Any:
    """Make the model of a name, a name with parameters, or a class; an object is one already.

    Parameters of the optics that are not given are taken from `optics`. A model that knows no
    optics but can be matched to them (``from_optics``) is, when no parameter at all is given.

    Raises
    ------
    ValueError
        When something is missing; the text says what to give.
    """
    if not isinstance(psf, str | tuple | type):
        if not callable(psf):
            raise TypeError(
                f"{type(psf).__name__} is no psf: pass a name or an object of nd.psfs, "
                f"which has {', '.join(registry.psfs)}"
            )
        return psf
    name, values = psf if isinstance(psf, tuple) else (psf, {})
    cls: Any = registry.psfs[name] if isinstance(name, str) else name
    known = {n: v for n in OPTICS if (v := getattr(optics, n)) is not None}
    own = {f.name: f for f in fields(cls)}
    if not values and hasattr(cls, "from_optics") and not own.keys() & set(OPTICS):
        wanted = inspect.signature(cls.from_optics).parameters
        missing = [n for n, p in wanted.items() if p.default is p.empty and n not in known]
        if missing:
            raise ValueError(
                f"the psf {_called(cls)} needs {' and '.join(missing)}, or its own parameters "
                f"({', '.join(own)}): give --{' and --'.join(missing)}, or --psf-set"
            )
        return cls.from_optics(**{n: v for n, v in known.items() if n in wanted})
    values = {n: v for n, v in known.items() if n in own} | dict(values)
    missing = [
        n
        for n, f in own.items()
        if n not in values and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ValueError(
            f"the psf {_called(cls)} needs {' and '.join(missing)}: give "
            + " and ".join(f"--{n}" if n in OPTICS else f"--psf-set {n}=…" for n in missing)
        )
    return cls(**values)


def sampled(
    stack: Stack,
    c: int,
    psf: Psf,
    given: Facts,
    shape: Triple | None,
    other: Triple,
    notes: list[str],
) -> Kernel:
    """Sample the model of a channel at the stack's voxel size.

    Parameters
    ----------
    given : Facts
        What the user said of the optics; the rest is read from the stack's metadata.
    shape : (z, y, x) or None
        None: "auto" for a model that takes it, which says in the report what it leaves out; else
        `other`. One plane for an image of one plane.
    notes : list of str
        What is to be said of the voxels, if the optics want others, is added.
    """
    known = optics_of(stack, c, given)
    model = model_of(psf, known)
    flat, size = stack.shape[2] == 1, stack.pixel_size or (None, None, None)
    unknown = [a for a, s in zip("zyx", size, strict=True) if s is None and (a != "z" or not flat)]
    full = complete_size(size)
    if unknown or full is None:
        raise ValueError(
            f"the psf {_called(type(model))} is in µm and the image's voxel size along "
            f"{', '.join(unknown)} is not known: give --pixel-size z,y,x (pixel_size)"
        )
    kernel = _made(model, shape, full, stack.shape[2:], other)
    if not np.isfinite(kernel.array).all():
        raise ValueError(f"the psf {_called(type(model))} made no finite kernel: change it")
    of = f"channel {c}: " if stack.shape[1] > 1 and not stack.rgb else ""
    said = [*advice(model, known, full, flat=flat), *too_far(kernel, chosen=shape is not None)]
    notes += [of + one for one in said if of + one not in notes]
    made: Kernel = kernel
    return made


def advice(model: Any, known: Facts, size: Size, *, flat: bool) -> list[str]:
    """Say whether voxels are too coarse for the optics, or far finer than they need."""
    name = _called(type(model))
    kind: Any = name if name in get_args(optics.Kind) else "widefield"

    def value(of: str) -> Any:
        return getattr(model, of, getattr(known, of, None))

    na, excitation = value("na"), value("excitation")
    wavelength = value("wavelength") or excitation
    index = value("n_immersion") or IMMERSION
    if na is None or wavelength is None or not 0 < na < index:
        return []
    depth = None if flat else size[0]
    said = optics.sampling_advice(na, wavelength, index, (depth, *size[1:]), kind, excitation)
    # Of other models nobody knows what microscope they stand for: what is too coarse for a
    # widefield one is for all, but what is finer than it needs may be right.
    return [one for one in said if hasattr(model, "na") or "finer" not in one]


def too_far(kernel: Kernel, *, chosen: bool = False) -> list[str]:
    """Say so if much of a kernel's light falls beside it.

    If its shape was `chosen`, and light doesn't spread from plane to plane, more than 1 % is much.
    """
    share = float(kernel.report.get("left_out", 0.0))
    if share <= (SOME if chosen and "na" not in kernel.report else MUCH):
        return []
    larger = "a larger --shape (shape), or none, holds" if chosen else "a larger image holds"
    return [
        f"{share:.0%} of the light of the {kernel.report.get('psf', 'kernel')} falls farther than "
        f"its kernel reaches, and that is left out: {larger} more of it"
    ]


def _made(model: Any, shape: Triple | None, size: Size, image: Triple, other: Triple) -> Any:
    """Sample a model; models of other packages may know neither "auto" nor the image."""
    if shape is not None:
        return model(shape, size)
    wanted = other
    if hasattr(model, "default_shape"):
        if "image" in inspect.signature(model.__call__).parameters:
            kernel = model("auto", size, image)
            if image[0] > 1 or kernel.shape[0] == 1:
                return kernel
        wanted = model.default_shape(size)
    # No pixel sees what is farther from it than the image reaches, twice over.
    z, y, x = (min(n, 2 * there - 1) for n, there in zip(wanted, image, strict=True))
    return model((z, y, x), size)


def _called(cls: type) -> str:
    try:
        return registry.psfs.name_of(cls)
    except KeyError:
        return cls.__name__
