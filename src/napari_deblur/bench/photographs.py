"""Photographs with a known blur: 8 bits, borders unknown, little noise."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur import ops
from napari_deblur.bench.entrants import entrant, restoring
from napari_deblur.bench.kernels import disc, gaussian, motion, turbulence
from napari_deblur.bench.scenes import Scene, psnr
from napari_deblur.bench.stopping import best_wiener
from napari_deblur.bench.tracing import restored
from napari_deblur.protocols import Blur, Facts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.bench.asked import Asked

__all__ = ["measured_methods", "measured_wiener", "photographs"]

SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
SIGMAS, NOISES = (1.0, 1.5, 2.0), (0.0, 0.5, 1.0)
KERNELS: dict[str, Callable[[], NDArray[np.float32]]] = {
    "motion": lambda: motion(15.0, 30.0),
    "defocus": lambda: disc(4.0),
    "gaussian": lambda: _round(1.6),
    "turbulence": lambda: turbulence(31, 4.0),
}
# A method's row needs no more: the same few photographs for all.
MOST = 6


def photographs(folder: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Read the photographs of a folder in grey, 0 to 255, in the order of their names.

    Raises
    ------
    FileNotFoundError
        When there are none.
    """
    from PIL import Image

    files = sorted(f for f in folder.glob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no photographs ({', '.join(SUFFIXES)}) in {folder.name}")
    for file in files:
        with Image.open(file) as picture:
            yield file.stem, np.asarray(picture.convert("L"), np.float32)


def blurred(sharp: NDArray[np.float32], kernel: NDArray[np.float32], noise: float) -> Scene:
    """Blur a photograph, add noise and round to 8 bits; the border that would wrap is left out."""
    light, blur = torch.from_numpy(sharp), Blur(torch.from_numpy(kernel.copy())[None])
    random = np.random.default_rng(7)
    seen = ops.blur(light, blur).numpy()
    seen = seen + noise * random.standard_normal(seen.shape)
    tile = torch.from_numpy(seen.round().clip(0, 255).astype(np.float32))
    # What every photograph says of itself; its noise is to be found.
    facts = Facts(background=0.0, white=255.0)
    return Scene(ops.crop(light, blur), tile, blur, facts, 255.0, (0.0, 255.0))


def measured_wiener(asked: Asked) -> Generator[str, None, list[dict[str, Any]]]:
    """Restore all photographs from Gaussian blurs with the Wiener filter."""
    rows = []
    pictures = list(photographs(_folder(asked)))[: 2 if asked.quick else None]
    for sigma in SIGMAS[: 1 if asked.quick else None]:
        for noise in NOISES:
            yield f"photographs: wiener, σ {sigma:g}, noise {noise:g}"
            gains, bests, inner, pairs = [], [], [], []
            for name, sharp in pictures:
                scene = blurred(sharp, _round(sigma), noise)
                done = restored(entrant("wiener"), scene)
                before = scene.psnr(scene.tile)
                after = done.decibels
                gains.append(after - before)
                inner.append(_inside(scene, done.image) - _inside(scene, scene.tile))
                bests.append(best_wiener(done.method, scene) - before)
                pairs.append((name, before, after))
            top = int(np.argmax(gains))
            rows.append(
                {
                    "sigma": sigma,
                    "noise": noise,
                    "photographs": len(gains),
                    "mean gain": float(np.mean(gains)),
                    "mean gain inside": float(np.mean(inner)),
                    "largest gain inside": max(inner),
                    "mean gain of the best constant": float(np.mean(bests)),
                    "largest gain": gains[top],
                    "largest": pairs[top],
                    "gains": dict(zip((p[0] for p in pairs), gains, strict=True)),
                }
            )
    return rows


def measured_methods(asked: Asked) -> Generator[str, None, list[dict[str, Any]]]:
    """Restore a few photographs from several blurs with every method of the catalogue."""
    pictures = list(photographs(_folder(asked)))
    pictures = pictures[:: max(1, len(pictures) // MOST)][: 1 if asked.quick else MOST]
    rows = []
    for kind, make in KERNELS.items():
        for name in restoring():
            yield f"photographs: {name}, {kind}"
            gains, seconds, missing = [], [], ""
            for _, sharp in pictures:
                if asked.quick:
                    sharp = sharp[:96, :96]
                scene = blurred(sharp, make(), 1.0)
                try:
                    done = restored(entrant(name), scene)
                except (NotImplementedError, ValueError) as error:
                    missing = str(error) or "not in the catalogue"
                    break
                gains.append(done.decibels - scene.psnr(scene.tile))
                seconds.append(done.choosing + done.running)
            row: dict[str, Any] = {"case": kind, "method": name}
            if missing:
                rows.append({**row, "missing": missing})
                continue
            row |= {"gain": float(np.mean(gains)), "worst": min(gains)}
            rows.append({**row, "seconds": float(np.median(seconds))})
    return rows


def _inside(scene: Scene, image: Tensor) -> float:
    """Give the PSNR without a border of one kernel, which depends on what nobody has seen."""
    where = tuple(slice(n, -n) for n in scene.blur.shape)
    return psnr(image.clamp(min=0, max=255)[where], scene.truth[where], scene.peak)


def _folder(asked: Asked) -> Path:
    assert asked.photos is not None
    return asked.photos


def _round(sigma: float) -> NDArray[np.float32]:
    size = 2 * int(np.ceil(4 * sigma)) + 1
    return gaussian((size, size), sigma)
