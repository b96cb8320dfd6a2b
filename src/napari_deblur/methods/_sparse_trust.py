"""What speaks for and against a kernel that was found, without knowing the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_deblur.methods._sparse_grids import differences

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._splitting import Problem
    from napari_deblur.protocols import Sample

__all__ = ["REFUTED", "Signs", "agreement", "better", "doubt", "refuted", "signs_of"]

# The other of two kernels is taken where its image is sparser by so much and it explains the data
# nearly as well: the first has then collapsed to a point.
SPARSER, AS_WELL = 1.25, 1.3
# Each sign over its limit is a reason for doubt. Set on Levin's photographs and on Set12 with 1 %
# of noise, of which few failed: not a calibration. On DUBLID's, 5 of 7 successes were doubted.
LIMITS = {"residual": 1.3, "colour": 0.5, "border": 0.05, "disagreement": 0.3}
# Two kernels that were refined should be nearly the same.
REFINED = 0.15
# With less noise than this share of the white, what the restoration smooths away shows as well.
CLEAN = 2.5e-3
REASONS = {
    "residual": "it leaves more than the noise unexplained",
    "colour": "what it leaves unexplained has structure",
    "border": "it reaches the border of its shape: ask for a larger one",
    "disagreement": "two ways to search found different kernels",
}
# Of the restoration that is judged: the weight of its gradients, and the iterations.
SMOOTH, ITERATIONS = 0.35, 60
# Pixels at the rim that count as border.
RIM = 2
# A kernel has collapsed where a Gaussian so many times as wide predicts held-out light better, by
# so much. On cells and four planes of filaments and actin, where all kernels that were found were
# too narrow, it did by 0.10 to 0.74. On eight shaken photographs of 100 to 3000 photons it did by
# 0.03 at most, and there the kernel was too narrow too; on the others by less than 0.
WIDER, LIMIT = 1.25, 0.06
# Of a kernel that is nearly a point, so many pixels are taken as its width.
LEAST = 0.4
# The number of doubt, at least, of a kernel that held-out light speaks against.
REFUTED = 2.0


@dataclass(frozen=True)
class Signs:
    """Of one kernel on some tiles.

    Parameters
    ----------
    residual : float
        Mean squared, over the noise's.
    colour : float
        Sum of the residual's correlations with its near neighbours.
    sparsity : float
        Mean over root mean square of the restored gradients' lengths: small where sharp.
    border : float
        Share of the kernel's mass at its rim.
    """

    residual: float
    colour: float
    sparsity: float
    border: float


def signs_of(
    tiles: Sequence[tuple[Tensor, Tensor | None]],
    kernel: Tensor,
    problem: Problem,
) -> Signs:
    """Restore tiles (items, [z,] y, x) with a kernel and look at what is left, inside them."""
    from napari_deblur import ops
    from napari_deblur.protocols import Blur

    problem = replace(problem, weight=SMOOTH)
    blur, ndim = Blur(kernel[None]), kernel.ndim
    squares, count, first, second = 0.0, 0.0, 0.0, 0.0
    near = 0.0
    for values, mask in tiles:
        if any(t <= n for t, n in zip(values.shape[-ndim:], kernel.shape, strict=True)):
            continue
        tile = values if mask is None else values.masked_fill(mask == 0, float("nan"))
        sharp = problem.restored(tile, blur, ITERATIONS).image.nan_to_num_(nan=0.0)
        inner: Any = (
            ...,
            *(
                slice((n - 1) // 2, t - n // 2)
                for t, n in zip(values.shape[-ndim:], kernel.shape, strict=True)
            ),
        )
        rest = (ops.blur(sharp, blur) - values[inner]) / problem.unit
        if mask is not None:
            rest = rest * mask[inner]
        known = float(rest.numel() if mask is None else mask[inner].sum())
        rest = rest - rest.sum() / max(known, 1.0)
        squares, count = squares + float(rest.square().sum()), count + known
        near += sum(abs(float((rest * shifted).sum())) for shifted in _neighbours(rest, ndim))
        lengths = sum(d.square() for d in differences(sharp, ndim))
        assert not isinstance(lengths, int)
        first += float(lengths.sqrt()[inner].sum())
        second += float(lengths[inner].sum())
    rim = kernel.clone()
    rim[tuple(slice(RIM, -RIM) if n > 2 * RIM + 1 else slice(None) for n in kernel.shape)] = 0
    return Signs(
        squares / max(count, 1.0),
        near / squares if squares else 0.0,
        first / (second * count) ** 0.5 if second * count > 0 else 1.0,
        float(rim.sum()),
    )


def _neighbours(values: Tensor, ndim: int) -> list[Tensor]:
    """Give copies moved by one and two pixels along each axis, and by one along both last."""
    moved = [values.roll(by, axis) for axis in range(-ndim, 0) for by in (1, 2)]
    return [*moved, values.roll((1, 1), (-2, -1))] if ndim > 1 else moved


def better(one: Signs, other: Signs) -> bool:
    """Tell whether the other kernel is to be taken."""
    as_well = other.residual <= AS_WELL * one.residual
    return as_well and one.sparsity > SPARSER * other.sparsity


def agreement(one: Tensor, other: Tensor) -> float:
    """Give the normalised correlation of two kernels at the shift where it is largest."""
    from napari_deblur import ops

    lengths = tuple(ops.good_length(2 * n, even=True) for n in one.shape)
    product = ops.forward(one, lengths) * ops.forward(other, lengths).conj()
    power = one.square().sum() * other.square().sum()
    return float(ops.backward(product, lengths).max() / power.sqrt())


def doubt(
    signs: Signs, agreed: float | None, noise: float, *, refined: bool
) -> tuple[float, str | None]:
    """Give a number, above 1 where there is doubt, and a sentence or None.

    Parameters
    ----------
    signs : Signs
    agreed : float or None
        Of two searches, from `agreement`.
    noise : float
        In units of the white.
    refined : bool
        Whether both kernels were.
    """
    values = {name: getattr(signs, name) for name in ("residual", "colour", "border")}
    values["colour"] *= min(1.0, noise / CLEAN)
    if agreed is not None:
        values["disagreement"] = (1 - agreed) * (LIMITS["disagreement"] / REFINED if refined else 1)
    shares = {name: value / LIMITS[name] for name, value in values.items()}
    reasons = [REASONS[name] for name, share in shares.items() if share > 1]
    sentence = ", and ".join(reasons) or None
    return max(shares.values()), sentence


def refuted(samples: Sequence[Sample], kernel: Tensor) -> tuple[float | None, str | None]:
    """Say why the image speaks against a kernel (y, x) as too narrow: a sentence or None.

    Light held out must not be predicted better by a Gaussian that is wider, each after as many
    steps as suit it. Narrower ones, and the kernel's own widths, have no say: on photographs they
    predicted better than the true path of a camera. Where it isn't known how much noise photons
    make, nothing is compared: there the true paths were predicted no better than others.

    Returns
    -------
    sign : float or None
        By how much a wider Gaussian predicts better (in units of `_judging.LIMITS`); None if none
        was tried.
    why : str or None
    """
    import torch

    from napari_deblur import ops
    from napari_deblur.methods._judging import LARGEST, SMALLEST, Duels
    from napari_deblur.psfs.gaussian import Gaussian

    if min(min(sample.tile.shape[-2:]) for sample in samples) < SMALLEST:
        return None, f"the image is smaller than {SMALLEST} pixels"
    if samples[0].facts.gain is None or kernel.ndim != 2 or max(kernel.shape) > LARGEST:
        return None, None
    with ops.one_thread(), torch.no_grad():
        array = kernel.detach().cpu()
        duels = Duels(samples, array)
        if duels.blind:
            return None, "no structure stands out from the noise"
        sigma = WIDER * max(_spread(array), LEAST)
        side = min(2 * round(4 * sigma) + 1, min(duels.light.shape))
        wider = Gaussian((0.0, sigma, sigma))((1, side, side), (1.0, 1.0, 1.0)).at()[0]
        sign = float(f"{duels.better_at_best(torch.from_numpy(wider.copy())):.4g}")
    if sign <= LIMIT:
        return sign, None
    return sign, f"a Gaussian of σ {sigma:.2g} px, which is wider, predicts held-out light better"


def _spread(kernel: Tensor) -> float:
    """Give the standard deviation of a kernel (y, x) in pixels, the mean of both axes."""
    variance = 0.0
    for axis, n in enumerate(kernel.shape):
        line = kernel.sum(dim=1 - axis).double()
        at = line.new_tensor(range(n))
        mean = (line * at).sum() / line.sum()
        variance += float((line * (at - mean).square()).sum() / line.sum())
    return float((variance / 2) ** 0.5)
