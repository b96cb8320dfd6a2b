"""Stacks, simulated channel by channel, and what is written of them."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_deblur
from napari_deblur.kernels import padded
from napari_deblur.modelled import OPTICS, Psf, check_optics, optics_of
from napari_deblur.protocols import Facts, Kernel, KernelField
from napari_deblur.restoring import linear_light
from napari_deblur.simulating import Simulated, simulate
from napari_deblur.stack import Channel, Optics, complete_size
from napari_deblur.writing import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.job import Job
    from napari_deblur.stack import Stack

__all__ = ["PICTURES", "notes_of", "pictures_of", "record_of", "simulate_job", "simulate_stack"]

Triple = tuple[int, int, int]

PICTURES = ("image", "truth", "kernels")
CAMERA = ("gain", "offset", "read_noise", "background", "white")

LUMA = (0.2126, 0.7152, 0.0722)


def simulate_stack(
    stack: Stack,
    psf: Psf,
    *,
    given: Facts | None = None,
    seed: int = 0,
    **asked: Any,
) -> list[Simulated]:
    """Simulate each channel of a stack, with the optics that its metadata say.

    A photograph in colour becomes one channel first: its brightness (ITU-R BT.709), in linear
    light if it has 8 or 16 bit.

    Parameters
    ----------
    psf : name, (name, parameters) or model
    given : Facts or None
        What the user said of the optics.
    seed : int
        Channels have noise of their own.
    **asked
        The rest of `simulate`.

    Returns
    -------
    list of Simulated
        Of shape (t, z, y, x), one for each channel.
    """
    given = given or Facts()
    check_optics(given)
    size, flat = stack.pixel_size or (None, None, None), stack.shape[2] == 1
    full = complete_size(size)
    if full is not None and not flat and size[0] is None:
        raise ValueError(
            "the distance of the planes is not known: give --pixel-size z,y,x (pixel_size)"
        )
    done = []
    for c in range(1 if stack.rgb else stack.shape[1]):
        frames = np.stack([_light(stack, t, c) for t in range(stack.shape[0])])
        known = optics_of(stack, c, given)
        done.append(simulate(frames, psf, pixel_size=full, optics=known, seed=(seed, c), **asked))
    return done


def simulate_job(job: Job, stack: Stack, **asked: Any) -> list[Simulated]:
    """Simulate what a job opens, with its psf, shape and optics."""
    given = {n: getattr(job, n) for n in ("na", "wavelength", "n_immersion", "n_sample")}
    shape: Any = job.shape and (1,) * (3 - len(job.shape)) + tuple(job.shape)
    psf = (job.psf, dict(job.psf_parameters))
    known = Facts().completed("given", **given)
    return simulate_stack(stack, psf, given=known, shape=shape, **asked)


def notes_of(stack: Stack, done: Sequence[Simulated]) -> list[str]:
    """Say in sentences what somebody may not expect."""
    notes = []
    if complete_size(stack.pixel_size) is None:
        notes.append("the image has no pixel size, so the psf's lengths are in pixels")
    if stack.rgb:
        notes.append("of the colours the brightness is taken: one channel")
    for c, one in enumerate(done):
        of = f"channel {c}: " if len(done) > 1 else ""
        notes += [of + note for note in one.notes if of + note not in notes]
    if any(one.kernel.shape == (1, 1, 1) for one in done):
        notes.append("the kernel has one voxel and blurs nothing: is the psf that small?")
    return notes


def pictures_of(stack: Stack, done: Sequence[Simulated]) -> dict[str, Picture]:
    """Give what `simulate_stack` made of a stack as pictures: image, truth, kernels.

    The kernels of a field are a mosaic: one for each node, in the order of the nodes. Channels with
    the same kernel share it.
    """
    axes = stack.axes.replace("c", "") if stack.rgb else stack.axes
    where: Any = tuple(slice(None) if a in axes else 0 for a in "tczyx")
    waves = [one.facts.wavelength for one in done]
    was = [Channel()] if stack.rgb else stack.channels
    channels = [replace(one, emission=wave) for one, wave in zip(was, waves, strict=True)]
    size, optics = stack.pixel_size, _optics_of(stack, done)
    made = {
        what: Picture(
            np.stack([getattr(one, what) for one in done], axis=1)[where],
            axes,
            size,
            channels,
            optics,
            time_step=stack.time_step,
        )
        for what in PICTURES[:2]
    }
    z, y, x = (max(ns) for ns in zip(*(one.kernel.shape for one in done), strict=True))
    mosaics = np.stack([_mosaic(one.kernel, (z, y, x)) for one in done])
    first = done[0].kernel
    said: dict[str, Any] = {"shape": [z, y, x], "report": dict(first.report)}
    if isinstance(first, KernelField):
        said["nodes"] = {a: list(line) for a, line in zip("zyx", first.nodes, strict=True)}
        said["maps"] = {name: values.tolist() for name, values in first.maps.items()}
    several = any((one != mosaics[0]).any() for one in mosaics)
    own = first.pixel_size or complete_size(size)
    made["kernels"] = (
        Picture(mosaics, "czyx", own, channels, attributes=said)
        if several
        else Picture(mosaics[0], "zyx", own, attributes=said)
    )
    return made


def _optics_of(stack: Stack, done: Sequence[Simulated]) -> Optics:
    """Give the optics that all channels were simulated with; of each number that they share."""
    shared = {}
    for name in ("na", "n_immersion", "n_sample"):
        values = {getattr(one.facts, name) for one in done}
        shared[name] = values.pop() if len(values) == 1 else None
    return replace(stack.optics, **shared)


def record_of(stack: Stack, done: Sequence[Simulated]) -> dict[str, Any]:
    """Say where a simulation comes from: the input, all numbers and versions."""
    source = stack.source
    return {
        "made_by": "napari-deblur simulate",
        "input": source.to_dict() if source else None,
        "channels": [
            {
                **one.report,
                "facts": {
                    name: value
                    for name in (*OPTICS, *CAMERA)
                    if (value := getattr(one.facts, name)) is not None
                },
            }
            for one in done
        ],
        "versions": {
            "napari-deblur": napari_deblur.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch")},
        },
    }


def _light(stack: Stack, t: int, c: int) -> NDArray[np.float32]:
    """Read one frame and channel (z, y, x); of a colour photograph its brightness."""
    if not stack.rgb:
        return np.asarray(stack.read(t, c), np.float32)
    gamma = "srgb" if stack.dtype.kind == "u" else "linear"
    total = np.zeros(stack.shape[2:], np.float32)
    for colour, weight in enumerate(LUMA):
        counts = np.asarray(stack.read(t, colour), np.float32)
        total += np.float32(weight) * linear_light(counts, gamma, str(stack.dtype))
    return total


def _mosaic(kernel: Kernel | KernelField, shape: Triple) -> NDArray[np.float32]:
    """Lay the kernels of a field side by side, (nz · z, ny · y, nx · x)."""
    if isinstance(kernel, Kernel):
        return padded(kernel.at(), shape)
    every = kernel.kernels()
    grid = every.shape[:3]
    large = np.stack([padded(one, shape) for one in every.reshape(-1, *every.shape[3:])])
    blocks = large.reshape(*grid, *shape).transpose(0, 3, 1, 4, 2, 5)
    mosaic: NDArray[np.float32] = blocks.reshape([n * m for n, m in zip(grid, shape, strict=True)])
    return mosaic
