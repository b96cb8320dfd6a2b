"""Kernels that are found, against those that are true: all parts of it, one after the other."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur import ops
from napari_deblur.bench import blind_scenes, motion, varying
from napari_deblur.bench.blind_real import measured_confocal, measured_widefield
from napari_deblur.bench.blind_trust import measured_trust
from napari_deblur.bench.finding import found_in, restored, samples_of
from napari_deblur.bench.parts import measured_parts
from napari_deblur.kernel_comparison import ncc
from napari_deblur.methods.blind_richardson_lucy import BlindRichardsonLucy
from napari_deblur.psfs.gaussian import Gaussian

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.bench.asked import Asked
    from napari_deblur.bench.blind_scenes import Scene, Volume
    from napari_deblur.bench.parts import Part

__all__ = ["PARTS", "measured"]

# Where alternating Richardson-Lucy starts: a Gaussian of a sixth of this shape, wider than all
# the true kernels.
START = (1, 25, 25)


def measured(asked: Asked) -> Generator[str, None, dict[str, Any]]:
    """Measure the parts that were asked for; yield what is being done."""
    return (yield from measured_parts("blind", PARTS, asked, ["scikit-image"]))


def measured_planes(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Find kernels of planes, our way and by turns, and restore with each."""
    for scene in blind_scenes.QUICK["planes"] if asked.quick else blind_scenes.PLANES:
        kernel, seconds = found_in(scene, asked, again=True)
        raw = scene.score(scene.counts)
        true, _ = restored(scene, scene.true)
        row: dict[str, Any] = {"case": str(scene), "peak": scene.peak, "raw": raw}
        row["true gain"] = true - raw
        ways = {
            "blind": (kernel.at()[0], seconds),
            **{f"by turns, {keep} round": _by_turns(scene, keep) for keep in ("last", "best")},
            "in focus": (scene.in_focus().numpy(), 0.0),
        }
        for name, (array, took) in ways.items():
            row[name] = _against(scene, torch.from_numpy(array.copy()), raw, true, took)
        row["report"] = _short(kernel.report)
        yield row


def measured_volumes(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Find kernels of volumes deep in a sample; beside them the one at the coverslip."""
    for volume in blind_scenes.QUICK["volumes"] if asked.quick else blind_scenes.VOLUMES:
        kernel, seconds = found_in(volume, asked, again=True)
        raw = volume.score(volume.counts)
        true, _ = restored(volume, volume.true)
        row: dict[str, Any] = {"case": str(volume), "peak": volume.peak, "raw": raw}
        row["true gain"] = true - raw
        ways = {"blind": (kernel.at(), seconds), "at the coverslip": (volume.psf(0).numpy(), 0.0)}
        for name, (array, took) in ways.items():
            row[name] = _against(volume, torch.from_numpy(array.copy()), raw, true, took)
        row["report"] = _short(kernel.report)
        yield row


def measured_varying(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Fit fields of kernels where the blur varies."""
    cases = varying.CASES
    if asked.quick:
        cases = (replace(cases[0], shape=(96, 96)),)
    for row in varying.rows(cases):
        yield {k: v for k, v in row.items() if k != "report"}


def measured_shake(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Find motion: camera shake in photographs, and a large kernel in a large image."""
    if asked.photos is None:
        yield "left out: it needs a folder of photographs, --photos FOLDER"
        return
    yield from motion.measured_motion(asked.photos, quick=asked.quick)
    if asked.quick:
        return
    try:
        from skimage.data import retina

        sharp = np.asarray(retina()).mean(axis=-1).astype(np.float32)
    except (ImportError, OSError, ValueError) as error:
        yield f"the large kernel is left out: {error}"
        return
    for seed, (name, kernel) in enumerate(motion.large_kernels(asked.photos)):
        yield {"case": f"retina, {name}", **motion.measured_large(sharp, kernel, seed=seed)}


def _against(
    scene: Scene | Volume,
    kernel: Tensor,
    raw: float,
    true: float,
    seconds: float,
) -> dict[str, float]:
    decibels, _ = restored(scene, kernel)
    return {
        "gain": decibels - raw,
        "share": (decibels - raw) / (true - raw),
        "ncc": ncc(kernel.numpy(), scene.true.numpy()),
        "seconds": seconds,
    }


def _by_turns(scene: Scene, keep: Any) -> tuple[Any, float]:
    samples = samples_of(scene)[:2]
    begun = monotonic()
    method = BlindRichardsonLucy(keep=keep).resolved(samples)
    kernel = method.estimate(samples, START, Gaussian.wide(START))
    return ops.reshaped(kernel.at(), START)[0], monotonic() - begun


def _short(report: Any) -> dict[str, Any]:
    return {k: v for k, v in report.items() if k not in ("profile", "samples")}


PARTS: dict[str, Part] = {
    "planes": measured_planes,
    "volumes": measured_volumes,
    "confocal": measured_confocal,
    "widefield": measured_widefield,
    "varying": measured_varying,
    "motion": measured_shake,
    "trust": measured_trust,
}
