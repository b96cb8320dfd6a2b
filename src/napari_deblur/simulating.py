"""Blurred and noisy images of which the truth is known, from any sharp one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_deblur.kernels import resampled
from napari_deblur.modelled import OPTICS, Psf, advice, model_of, too_far
from napari_deblur.protocols import Facts, Kernel, KernelField
from napari_deblur.varying import Variation, varying

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Exposure", "Simulated", "simulate"]

Triple = tuple[int, int, int]
Size = tuple[float, float, float]
Border = Literal["mirror", "crop", "dark"]

MOST = 1e12  # photons; random integers end not far beyond
BRIGHT = 99.9  # percentile of the pixels that get the photons that are asked for
# How arrays are continued beyond their border, in numpy's words.
BEYOND = {"mirror": "symmetric", "dark": "constant"}


@dataclass(frozen=True)
class Exposure:
    """How a camera sees the light.

    Parameters
    ----------
    photons : float
        Expected in a pixel of the brightest 0.1 % of the blurred image, background not included;
        0 for no photon noise, and numbers in the unit of the sharp image.
    read_noise, gain, offset : float
        In counts, counts for a photon, and counts.
    background : float
        Photons in each pixel besides those of the image.
    seed : int, or several
    """

    photons: float = 1000.0
    read_noise: float = 0.0
    gain: float = 1.0
    offset: float = 0.0
    background: float = 0.0
    seed: int | tuple[int, ...] = 0

    def __post_init__(self) -> None:
        for name in ("photons", "read_noise", "gain", "background", "offset"):
            value = getattr(self, name)
            low = name != "offset" and value < 0
            if low or not math.isfinite(value) or (name == "gain" and value == 0):
                how = {"gain": "a number above 0", "offset": "a number of counts"}
                raise ValueError(
                    f"{name.replace('_', ' ')} is {value:g}: give {how.get(name, '0 or more')}"
                )
        if max(self.photons, self.background) > MOST:
            raise ValueError(f"photons are {self.photons:g}: give {MOST:g} or less")
        seeds = self.seed if isinstance(self.seed, tuple) else (self.seed,)
        if not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
            raise ValueError(f"seed is {self.seed}: give a whole number, 0 or more")


@dataclass(frozen=True, eq=False)
class Simulated:
    """An image with all that is true of it.

    Parameters
    ----------
    image, truth : arrays of the same shape, float32, in counts
        Both with background and offset: a perfect restoration of the image gives the truth.
    kernel : Kernel or KernelField
    facts : Facts
        Of the camera, of the image, and of the optics: those of the model, if it has any.
    report : mapping
        All numbers, for JSON.
    notes : tuple of str
        What is to be said of voxels that the optics want otherwise, in sentences.
    """

    image: NDArray[np.float32]
    truth: NDArray[np.float32]
    kernel: Kernel | KernelField
    facts: Facts
    report: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def typical(self) -> Kernel:
        """The kernel, or the mean of a field's."""
        return self.kernel if isinstance(self.kernel, Kernel) else self.kernel.typical()


def simulate(
    truth: ArrayLike,
    psf: Kernel | KernelField | NDArray[Any] | Psf,
    *,
    pixel_size: Size | None = None,
    photons: float = 1000.0,
    read_noise: float = 0.0,
    gain: float = 1.0,
    offset: float = 0.0,
    background: float = 0.0,
    field: Variation | str | None = None,
    seed: int | tuple[int, ...] = 0,
    shape: Triple | None = None,
    border: Border = "mirror",
    optics: Facts | None = None,
) -> Simulated:
    """Blur a sharp image and let a camera see it.

    Parameters
    ----------
    truth : array of shape (y, x), (z, y, x) or (t, z, y, x)
        Finite, 0 or more.
    psf : Kernel, KernelField, array of a kernel, name of a model, (name, parameters) or model
        A kernel of another voxel size is resampled.
    pixel_size : (z, y, x) in µm, or None
        None: a model's lengths are in pixels, and its kernel has no voxel size; optics need one.
    photons, read_noise, gain, offset, background, seed
        See `Exposure`. The same seed gives the same image.
    field : Variation, its text, or None
        How a parameter of the model varies.
    shape : (z, y, x) or None
        Of the kernel; None: what the model takes for "auto".
    border : "mirror", "crop" or "dark"
        What lies beyond the border and is blurred into the image: its mirror image; its own outer
        part, which is cropped from both the image and the truth; or nothing. Nothing wraps around.
    optics : Facts or None
        For models that have parameters of these names, and for the facts of the image.

    Raises
    ------
    ValueError, TypeError, KeyError
        When something makes no sense; one sentence.
    """
    seen = Exposure(photons, read_noise, gain, offset, background, seed)
    sharp = _sharp(truth)
    frames = sharp.reshape((1,) * (4 - sharp.ndim) + sharp.shape)
    size = pixel_size or (1.0, 1.0, 1.0)
    vary = Variation.of(field) if isinstance(field, str) else field
    if border not in ("mirror", "crop", "dark"):
        raise ValueError(f'border is "{border}": take mirror, crop or dark')
    image = (frames.shape[1], frames.shape[2], frames.shape[3])
    known, sized = optics or Facts(), pixel_size is not None
    is_given = isinstance(psf, Kernel | KernelField | np.ndarray)
    model = None if is_given else _model(psf, known, sized=sized)
    kernel = (
        _given(psf, size, shape, vary, sized=sized)
        if model is None
        else _kernel(model, image, size, shape, vary, border)
    )
    if model is not None and not sized:
        kernel = replace(kernel, pixel_size=None)
    known = _optics(model, known)
    notes = [] if model is None else advice(model, known, size, flat=image[0] == 1)
    if isinstance(kernel, Kernel):
        notes += too_far(kernel, chosen=shape is not None)
    blurred, kept = _blurred(frames, kernel, border)
    made, clean, facts = _exposed(blurred, kept, seen, known)
    one: Any = {2: (0, 0), 3: (0,), 4: ()}[sharp.ndim]
    report = {
        **{f.name: getattr(seen, f.name) for f in fields(seen)},
        "border": border,
        "pixel_size": list(size) if sized else None,
        "kernel": dict(kernel.report),
    }
    return Simulated(made[one], clean[one], kernel, facts, report, tuple(notes))


def _sharp(truth: ArrayLike) -> NDArray[np.float32]:
    sharp = np.asarray(truth)
    if sharp.ndim not in (2, 3, 4) or sharp.size == 0 or sharp.dtype.kind not in "buif":
        raise ValueError(
            "a sharp image has real numbers on axes y,x or z,y,x or t,z,y,x, got "
            f"{sharp.dtype} of shape {sharp.shape}"
        )
    sharp = sharp.astype(np.float32)
    bad = int((~np.isfinite(sharp)).sum())
    if bad:
        raise ValueError(
            f"the sharp image has {bad} values that are NaN or infinite: crop them (--region), or "
            "fill them first"
        )
    if sharp.min() < 0:
        raise ValueError(
            f"the sharp image goes down to {sharp.min():.3g} and light is 0 or more: subtract the "
            "least value first"
        )
    return sharp


def _given(
    psf: Any, size: Size, shape: Triple | None, vary: Variation | None, *, sized: bool
) -> Kernel | KernelField:
    """Check a kernel, a field or an array."""
    if isinstance(psf, np.ndarray):
        psf = Kernel(psf)
    if vary is not None or shape is not None:
        raise ValueError("a kernel that is given has its shape and doesn't vary: name a model")
    if isinstance(psf, KernelField):
        return psf
    given: Kernel = psf
    if given.array.shape[:2] != (1, 1):
        raise ValueError("give one kernel: those of several frames or channels are too many")
    if given.pixel_size is None or not sized or np.allclose(given.pixel_size, size):
        return given
    return resampled(given, size)


def _model(psf: Psf, optics: Facts, *, sized: bool) -> Any:
    """Make the model; one that knows or was made of optics needs voxels of known size."""
    model = model_of(psf, optics)
    named = isinstance(psf, str | type) or (isinstance(psf, tuple) and not psf[1])
    matched = named and hasattr(model, "from_optics")
    if not sized and (matched or hasattr(model, "na") or hasattr(model, "wavelength")):
        raise ValueError(
            "the optics are in µm and the image's voxel size is not known: give --pixel-size z,y,x "
            "(pixel_size)"
        )
    return model


def _optics(model: Any, known: Facts) -> Facts:
    """Give the optics that the image was seen with: the model's own before those around it."""
    own = {n: v for n in OPTICS if isinstance(v := getattr(model, n, None), int | float)}
    said = {name: getattr(known, name) for name in OPTICS}
    return Facts().completed("given", **own).completed("given", **said)


def _kernel(
    model: Any, image: Triple, size: Size, shape: Triple | None, vary: Variation | None, border: str
) -> Kernel | KernelField:
    """Sample the model."""
    if vary is not None:
        return varying(model, vary, image, size, shape, crop=border == "crop")
    kernel: Kernel = model(shape, size) if shape else model("auto", size, image)
    return kernel


def _blurred(
    frames: NDArray[np.float32], kernel: Kernel | KernelField, border: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Blur frames (t, z, y, x); give them and the part of the frames that they show."""
    import torch

    from napari_deblur import ops
    from napari_deblur.protocols import Blur

    before = [(n - 1) // 2 for n in kernel.shape]
    behind = [n // 2 for n in kernel.shape]
    if border == "crop":
        if any(m < n for n, m in zip(kernel.shape, frames.shape[1:], strict=True)):
            raise ValueError(
                f"the kernel has {_times(kernel.shape)} voxels and the image "
                f"{_times(frames.shape[1:])}, so cropping leaves nothing: take a smaller --shape, "
                "or --border mirror"
            )
        spans = zip(before, behind, frames.shape[1:], strict=True)
        kept = frames[(slice(None), *(slice(a, n - b) for a, b, n in spans))]
    else:
        kept = frames
    solid = kernel.shape[0] > 1
    if isinstance(kernel, KernelField):
        blur = kernel.at([(0, n) for n in kept.shape[1:]])
    else:
        array = torch.from_numpy(kernel.at().copy())
        blur = Blur(array[None] if solid else array)
    blurred = np.empty(kept.shape, np.float32)
    with torch.no_grad():
        for frame, out in zip(frames, blurred, strict=True):
            thing = frame
            if border != "crop":
                around = list(zip(before, behind, strict=True))
                mode: Any = BEYOND[border]
                thing = np.pad(frame, around, mode=mode)
            out[:] = ops.blur(torch.from_numpy(np.ascontiguousarray(thing)), blur).numpy()
    return np.maximum(blurred, 0), kept


def _exposed(
    blurred: NDArray[np.float32], sharp: NDArray[np.float32], seen: Exposure, optics: Facts
) -> tuple[NDArray[np.float32], NDArray[np.float32], Facts]:
    """Give what the camera counts, the truth in the same counts, and the facts."""
    white = float(np.percentile(blurred, BRIGHT))
    if seen.photons and white <= 0:
        raise ValueError(
            "the sharp image is dark everywhere, so no photons can be counted: take another one, "
            "or photons 0"
        )
    scale = seen.photons / white if seen.photons else 1.0
    random = np.random.default_rng(seen.seed)
    image = np.empty(blurred.shape, np.float32)
    for light, out in zip(blurred, image, strict=True):
        expected = light.astype(np.float64) * scale + seen.background
        photons = random.poisson(expected) if seen.photons else expected
        counts = seen.offset + seen.gain * photons
        if seen.read_noise:
            counts = counts + seen.read_noise * random.standard_normal(counts.shape)
        out[:] = counts
    truth = seen.offset + seen.gain * (sharp.astype(np.float64) * scale + seen.background)
    noisy = seen.photons > 0
    facts = optics.completed(
        "given",
        gain=seen.gain if noisy else None,
        offset=seen.offset if noisy else None,
        read_noise=seen.read_noise if noisy else None,
        background=seen.offset + seen.gain * seen.background,
        white=seen.offset + seen.gain * (scale * white + seen.background),
    )
    return image, truth.astype(np.float32), facts


def _times(lengths: Sequence[int]) -> str:
    return " × ".join(map(str, lengths))
