"""Kernels found in a scene as a plan finds them, and what restoring with a kernel is worth."""

from __future__ import annotations

import json
import re
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.methods.accelerated_richardson_lucy import AcceleratedRichardsonLucy
from napari_deblur.methods.blind import Blind
from napari_deblur.protocols import Blur, Kernel, Sample

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.bench.asked import Asked
    from napari_deblur.bench.blind_scenes import Scene, Volume

__all__ = ["found_in", "restored", "samples_of"]

# A plan reads so many planes, or volumes, for a search.
PLANES, VOLUMES = 4, 2


def samples_of(scene: Scene | Volume) -> list[Sample]:
    """Choose the samples that a plan chooses."""
    from napari_deblur.opening import open_stack
    from napari_deblur.views import views_of

    counts = scene.counts.numpy()
    solid = counts.ndim == 3
    stack = open_stack(counts, "zyx"[-counts.ndim :], pixel_size=scene.size)
    views = views_of(stack, solid=solid, given={0: scene.facts}, gamma="linear")[0]
    return views.samples(solid=solid, blurs=None, most=VOLUMES if solid else PLANES)


def found_in(scene: Scene | Volume, asked: Asked, *, again: bool = False) -> tuple[Kernel, float]:
    """Find the kernel blind, or take what was found before unless `again`; and the seconds."""
    name = re.sub(r"\W+", "-", f"{scene} {scene.background:g} {scene.shape}").strip("-")
    file = asked.out / "blind" / "kernels" / f"{name}.npz"
    if file.is_file() and not again:
        with np.load(file) as kept:
            report = json.loads(str(kept["report"]))
            return Kernel(kept["kernel"], scene.size, report), float(kept["seconds"])
    begun = monotonic()
    samples, solid = samples_of(scene), scene.counts.ndim == 3
    shape = (*(1,) * (3 - scene.counts.ndim), *scene.counts.shape)
    method = Blind()
    image = (shape[0], shape[1], shape[2])
    kernel = method.estimate(samples, method.widest(image), None)
    if solid:
        kernel = method.widened(kernel, image, samples[0].facts)
    seconds = monotonic() - begun
    file.parent.mkdir(parents=True, exist_ok=True)
    said = json.dumps(dict(kernel.report), default=float)
    np.savez(file, kernel=kernel.array, report=said, seconds=seconds)
    return kernel, seconds


def restored(scene: Scene | Volume, kernel: Tensor) -> tuple[float, Any]:
    """Restore a scene, stopped automatically; give dB and the method."""
    tile = scene.counts
    blur = Blur(kernel[None])
    y, x = tile.shape[-2:]
    z = tile.shape[0] if tile.ndim == 3 else 1
    sample = Sample(tile, ((0, z), (0, y), (0, x)), 0, 0, blur, scene.facts, scene.size)
    method = AcceleratedRichardsonLucy().resolved([sample])
    return scene.score(method(tile, blur).image), method
