"""Whether to believe a kernel that somebody brings, told without knowing the true one.

Three signs. The detail of the image: a kernel that lets less through than is there is wrong. Light
held out: the kernel's own relatives, narrower and wider, and Gaussians must not predict it better.
And what it leaves of that light unexplained must be noise of single pixels. Compared is after some
more steps than the kernel takes to its own best: after few the narrow one always predicts better,
after many the wide one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_deblur.methods._detail import RISES, SHARP, detail_of
from napari_deblur.methods._prediction import Prediction

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Kernel, Sample

__all__ = ["LIMITS", "Trust", "judged", "stretched"]

Verdict = Literal["believe", "doubtful", "nothing to deblur", "not judged"]

# Light held out by this seed took no part in a search, whose seeds are 0 and 1.
SEED = 2
# Steps at most, and how many more than a kernel takes to its own best.
MOST, MORE = 40, 1.25
# What is tried beside a kernel: its own widths, times these, and Gaussians of these σ in pixels.
NARROWER, WIDER = (0.62, 0.75, 0.87), (1.15, 1.33, 1.6)
# And so much narrower, both after as many steps as suit them.
OWN = 0.75
GAUSSIANS = tuple(np.geomspace(0.5, 5, 11))
# By how much these may predict better: nats, over the root of those gained over even light. Set on
# 30 planes (`bench blind --only trust`, seed 0), that of Gaussians once more on seeds 2 and 3.
# The last one tells of too wide a kernel on photographs, which have little fine detail: with 3000
# photons it was 0.09 to 2.5 for a Gaussian 1.25 times too wide (six pictures), and below 0 for the
# true one. On the planes it was up to 0.28 for right kernels (beads in dim light).
LIMITS = {"narrower": 0.0, "wider": 0.3, "gaussian": 0.2, "own": 0.35}
# And by so many nats at least: less is no evidence.
EVIDENCE = 2.0
# Correlation of neighbours in what is left unexplained.
COLOURED = 0.06
# Nats that must be gained over even light, or there is nothing but noise.
CLEARLY = 5.0
# Pixels across of a Gaussian, of the smallest image that says anything, and of the largest kernel.
SIDE, SMALLEST, LARGEST = 41, 48, 121


@dataclass(frozen=True)
class Trust:
    """A judgement of a kernel.

    Parameters
    ----------
    verdict : "believe", "doubtful", "nothing to deblur" or "not judged"
    why : str
        What could follow "because".
    signs : {name: number}
        ``rise`` of the object's power with the frequency (see `Detail.rise`), ``widest`` blur in
        pixels that the detail allows, how much better ``narrower``, ``wider`` kernels and a
        ``gaussian`` predict, and a narrower one if both stop where they are best (``own``), and the
        ``colour`` of what is left (see `Prediction.colour`).
    """

    verdict: Verdict
    why: str
    signs: Mapping[str, float] = field(default_factory=dict)


def judged(samples: Sequence[Sample], kernel: Kernel) -> Trust:
    """Judge a kernel of a plane by what the image itself says: a second or two on one thread.

    Parameters
    ----------
    samples : of one channel
        The first one or two are looked at.
    kernel : Kernel
        Of several frames the first one's is judged. One of several planes is not judged.
    """
    import torch

    from napari_deblur import ops

    why = _unable(samples, kernel)
    if why is not None:
        return Trust("not judged", why)
    array = torch.from_numpy(kernel.at()[0].copy())
    with ops.one_thread(), torch.no_grad():
        detail = detail_of(samples[:2])
        rise, widest = (
            (-np.inf, np.inf) if detail is None else (detail.rise(array), detail.widest())
        )
        if widest < SHARP:
            return Trust(
                "nothing to deblur", "the image is as sharp as its pixels", {"widest": widest}
            )
        signs, names = _compared(samples, array)
    if not signs:
        return Trust("nothing to deblur", "there is nothing but noise")
    reasons = [
        f"{names[name]} predicts held-out light better"
        for name, limit in LIMITS.items()
        if signs[name] > limit
    ]
    if rise > RISES:
        reasons.insert(0, "the image holds finer detail than it lets through")
    if signs["colour"] > COLOURED:
        reasons.append("what it leaves unexplained has structure")
    signs = {name: float(f"{v:.4g}") for name, v in {"rise": rise, **signs}.items() if v > -np.inf}
    if reasons:
        return Trust("doubtful", "; ".join(reasons), signs)
    return Trust("believe", "no narrower or wider one predicts held-out light better", signs)


def _unable(samples: Sequence[Sample], kernel: Kernel) -> str | None:
    """Say why nothing can be said of a kernel."""
    depth, *across = kernel.shape
    if kernel.at()[tuple(n // 2 for n in kernel.shape)] == 1:
        return "it is a point, and leaves the image as it is"
    if depth > 1:
        return "only kernels of one plane can be"
    if max(across) > LARGEST:
        return f"it is wider than {LARGEST} pixels"
    if not samples or min(samples[0].tile.shape[-2:]) < SMALLEST:
        return f"the image is smaller than {SMALLEST} pixels"
    return None


def _compared(samples: Sequence[Sample], array: Tensor) -> tuple[dict[str, float], dict[str, str]]:
    """Give how much better others predict held-out light, and what they are; {} if all is noise."""
    import torch

    from napari_deblur.psfs.gaussian import Gaussian

    light = Prediction(samples[:1], 2, seed=SEED)
    light.most = MOST
    device = light.kept.device
    course = light.course(array.to(device))
    gained = float(light.compared(light.level())) * light.nats - min(course)
    if gained < CLEARLY:
        return {}, {}
    steps = min(max(round(MORE * (course.index(min(course)) + 1)), 5), MOST)
    light.steps = steps

    def clear(nats: float) -> float:
        return float((nats if nats > EVIDENCE else min(nats, 0.0)) / gained**0.5)

    def better(other: Tensor) -> float:
        misfit = float(light.deviance(other.to(device))) * light.nats
        return clear(course[steps - 1] - misfit)

    side = min(SIDE, min(light.shape) // 3 * 2 + 1)
    gaussians = {
        f"a Gaussian of σ {sigma:.2g} px": torch.from_numpy(
            Gaussian((0.0, sigma, sigma))((1, side, side), (1.0, 1.0, 1.0)).at()[0].copy()
        )
        for sigma in GAUSSIANS
        if sigma < side / 5
    }
    rivals = {
        "narrower": {f"one {f:g} times as wide": stretched(array, f) for f in NARROWER},
        "wider": {f"one {f:g} times as wide": stretched(array, f) for f in WIDER},
        "gaussian": gaussians,
    }
    signs, names = {}, {}
    for name, some in rivals.items():
        tried = {one: better(other) for one, other in some.items()}
        names[name] = max(tried, key=lambda one: tried[one])
        signs[name] = tried[names[name]]
    own = light.course(stretched(array, OWN).to(device))
    signs["own"] = clear(min(course) - min(own))
    names["own"] = f"one {OWN:g} times as wide, each after as many steps as suit it,"
    signs["colour"] = light.colour(light.predicted(array.to(device)))
    return signs, names


def stretched(kernel: Tensor, factor: float) -> Tensor:
    """Stretch a kernel (y, x) about its middle, in its shape."""
    import torch
    from scipy.ndimage import affine_transform

    from napari_deblur import ops

    middles = np.array([n // 2 for n in kernel.shape])
    made = affine_transform(kernel.numpy(), (1 / factor,) * 2, middles * (1 - 1 / factor), order=1)
    return ops.normalised(torch.from_numpy(made))
