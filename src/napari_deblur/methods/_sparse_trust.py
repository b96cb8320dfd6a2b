"""What speaks for and against a kernel that was found, without knowing the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_deblur.methods._sparse_grids import differences

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._splitting import Problem

__all__ = ["Signs", "agreement", "better", "doubt", "signs_of"]

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
