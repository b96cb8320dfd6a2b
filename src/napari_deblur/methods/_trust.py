"""Whether to believe a kernel that was found, told without knowing the true one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._family_search import Fit, Search
    from napari_deblur.methods._judging import Trust
    from napari_deblur.protocols import Sample

__all__ = ["alike", "trusted"]

# A kernel that spreads light over fewer pixels than this (a Gaussian of σ 0.65 px) blurs no more
# than sampling itself.
PIXELS = 5.3
# Nats by which a prediction must be better to be better at all.
CLEARLY = 5.0
# Kernels as alike as this restore nearly the same.
ALIKE = 0.97
BORDER, COLOUR = 0.02, 0.08
# What a free kernel must gain more, over what the kernel of the family gained.
PAYS = 0.02
# Of the free refinement: steps, and how far the logarithm of a pixel goes, root mean square.
FREED, LOOSE = 12, 0.5


def trusted(
    samples: Sequence[Sample],
    search: Search,
    fits: Sequence[Fit],
    second: tuple[Search, Fit],
    *,
    refine: bool,
) -> tuple[Tensor, dict[str, Any]]:
    """Judge the best of some fits: give its kernel, or none at all, and a report.

    Parameters
    ----------
    samples : that were looked at
    fits : best first
    second : another search, on other light, and its fit of the same family
    refine : bool
        Let the kernel of a plane go free if the other light agrees.

    Returns
    -------
    kernel : Tensor ([z,] y, x)
        One that changes nothing where there is nothing to deblur.
    report : dict of plain numbers and strings
        ``verdict`` is "believe", "doubtful" or "nothing to deblur", ``why`` a sentence.
    """
    import torch

    from napari_deblur import ops
    from napari_deblur.methods._judging import filtered

    best, (other, again) = fits[0], second
    kernel = best.kernel()
    nothing = ops.delta(tuple(kernel.shape))
    with torch.no_grad():
        light = search.light.predicted(kernel, search.prior)
        colour = search.light.colour(light)
        level = float(search.light.compared(search.light.level())) * search.light.nats
        without = search.of(nothing)
    refined = False
    misfit = other.of(kernel)
    if refine and kernel.ndim == 2:
        free = _freed(search, kernel)
        gained = other.of(nothing) - misfit
        if other.of(free) < misfit - max(CLEARLY, PAYS * gained):
            kernel, refined = free, True
    report: dict[str, Any] = {
        "family": best.family.name,
        "parameters": best.named(),
        "prior": str(search.prior),
        "steps": search.light.steps,
        "refined": refined,
        "deviance": _short(search.of(kernel) / search.light.nats),
        "deviance without a kernel": _short(without / search.light.nats),
        "nats better than no kernel": _short(without - search.of(kernel)),
        "nats better than even light": _short(level - search.of(kernel)),
        "profile": [[_short(v), _short(m - best.misfit)] for v, m in best.profile],
        "agreement": _short(alike(best.kernel(), again.kernel())),
        "border": _short(_rim(kernel)),
        "colour": _short(colour),
    }
    if len(fits) > 1:
        report["runner-up"] = {
            "family": fits[1].family.name,
            "parameters": fits[1].named(),
            "nats worse": _short(fits[1].misfit - best.misfit),
            "agreement": _short(alike(best.kernel(), fits[1].kernel())),
        }
    trust = _judged(samples, kernel)
    report["signs"] = dict(trust.signs)
    # Of the family's kernel: on points alone, a free one takes the empty ground for blur.
    verdict, why = _verdict(report, best, _pixels(best.kernel()), trust, filtered(samples))
    if verdict == "nothing to deblur":
        kernel = nothing
    return kernel, {"verdict": verdict, "why": why, **report}


def _judged(samples: Sequence[Sample], kernel: Tensor) -> Trust:
    from napari_deblur.methods._judging import Trust, judged
    from napari_deblur.protocols import Kernel

    if kernel.ndim == 3:
        # The limits are those of kernels that are given. Of three volumes two had their kernels
        # doubted that were found, and that restore as well as the true ones.
        return Trust("not judged", "the search has judged it")
    array = kernel.detach().cpu()
    return judged(samples, Kernel(array.numpy().copy()[None, None, None]))


def _verdict(
    report: dict[str, Any], best: Fit, pixels: float, trust: Trust, filtered: Sequence[str]
) -> tuple[str, str]:
    if report["nats better than even light"] < CLEARLY:
        return "nothing to deblur", "no structure stands out from the noise"
    if trust.verdict == "nothing to deblur":
        return trust.verdict, trust.why
    if pixels < PIXELS:
        return "nothing to deblur", "the image is as sharp as its pixels"
    reasons = []
    if report["nats better than no kernel"] < CLEARLY:
        reasons.append("it explains the image no better than no kernel does")
    if report["agreement"] < ALIKE:
        reasons.append("other light gives another kernel")
    rival = report.get("runner-up")
    if rival and rival["nats worse"] < CLEARLY and rival["agreement"] < ALIKE:
        reasons.append(
            f"the family {rival['family']} explains the image as well with another kernel"
        )
    # What the search cut off from a lens is made of it in the end: `Blind.widened`.
    if report["border"] > BORDER and best.family.name != "gibson-lanni":
        reasons.append("it reaches the border of its shape: ask for a larger one")
    values = zip(best.values, best.family.free, strict=True)
    ends = [one.name for v, one in values if v > one.high - 0.02 * (one.high - one.low)]
    if ends:
        reasons.append(f"{' and '.join(ends)} came out as the largest that was tried")
    if report["colour"] > COLOUR:
        reasons.append(
            "what it leaves unexplained is no noise of single pixels: an object out of the focus, "
            "another blur, or an image that was filtered or resampled"
        )
    if trust.verdict == "doubtful":
        reasons.append(trust.why)
    elif trust.verdict == "not judged":
        reasons += filtered
    if reasons:
        return "doubtful", "; ".join(reasons)
    return "believe", "held-out light is predicted well, and by no other kernel as well"


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def alike(one: Tensor, other: Tensor) -> float:
    """Give the normalised correlation of two kernels of one shape."""
    return float((one * other).sum() / (one.square().sum() * other.square().sum()).sqrt())


def _pixels(kernel: Tensor) -> float:
    """Give over how many pixels across a kernel spreads its light: 4πσ² for a Gaussian."""
    across = kernel.sum(dim=0) if kernel.ndim == 3 else kernel
    return float(1 / across.square().sum())


def _rim(kernel: Tensor) -> float:
    """Give the share of the light in the outermost pixels of y and x."""
    across = kernel.sum(dim=0) if kernel.ndim == 3 else kernel
    if min(across.shape) < 3:
        return 0.0
    return float(1 - across[1:-1, 1:-1].sum() / across.sum())


def _freed(search: Search, kernel: Tensor) -> Tensor:
    """Change each pixel's logarithm, smoothly, so that held-out light is predicted better."""
    import numpy as np
    import torch
    from scipy.optimize import minimize

    floor = 1e-4 * float(kernel.max())
    logs = (kernel + floor).log()

    def made(changes: Tensor) -> Tensor:
        return torch.softmax((logs + _smooth(changes)).flatten(), 0).reshape(kernel.shape)

    def both(flat: Any) -> tuple[float, Any]:
        at = torch.tensor(flat, dtype=torch.float32).reshape(kernel.shape).requires_grad_()
        loss = search.light.deviance(made(LOOSE * at), search.prior) * search.light.nats
        loss = loss + at.square().sum() / 2
        (slope,) = torch.autograd.grad(loss, at)
        return float(loss.detach()), slope.double().numpy().ravel()

    found = minimize(
        both,
        np.zeros(kernel.numel()),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": FREED, "maxfun": FREED + 4},
    )
    with torch.no_grad():
        changes = torch.tensor(found.x, dtype=torch.float32).reshape(kernel.shape)
        free = made(LOOSE * changes)
        from napari_deblur import ops

        return ops.normalised(ops.shifted(free, ops.centroid(kernel) - ops.centroid(free)))


def _smooth(changes: Tensor) -> Tensor:
    import torch
    import torch.nn.functional as nn

    line = torch.tensor([0.25, 0.5, 0.25])
    weights = (line[:, None] * line)[None, None]
    return nn.conv2d(changes[None, None], weights, padding=1)[0, 0]
