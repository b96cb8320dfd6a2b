"""Rays through immersion, coverslip and sample: their ways, and what of them passes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["CUSP", "Nodes", "Values", "nodes_of", "vector_field", "wavefront"]

Values = dict[str, "Tensor"]

# Share of n_sample from which on the aperture is so large that light goes along the coverslip.
CUSP = 0.9


@dataclass(frozen=True)
class Nodes:
    """Angles in the immersion, with the weights of their integral.

    `s` is the sine and `c` the cosine of the angle, times n_immersion.
    """

    weight: Tensor
    s: Tensor
    c: Tensor


def nodes_of(n: int, values: Values) -> Nodes:
    """Give n nodes; twice as many where light goes along the coverslip.

    There the path has a vertical slope. Both panels end there, and their nodes crowd towards it
    with the square: what is a root of the angle is straight.
    """
    import torch

    index = values["n_immersion"]
    at, weight = (torch.from_numpy(a).to(index.device) for a in _legendre(n))
    at, weight = (at + 1) / 2, weight / 2  # of 0 to 1
    last = torch.asin(values["na"] / index)
    na, n_sample = float(values["na"].detach()), float(values["n_sample"].detach())
    if na < CUSP * n_sample:
        angle, weight = last * at, last * weight
    else:
        along = torch.asin(values["n_sample"] / index) if na > n_sample else last
        angle, weights = along * (1 - at**2), 2 * along * at * weight
        if na > n_sample:
            beyond = last - along
            angle = torch.cat([angle, along + beyond * at**2])
            weights = torch.cat([weights, 2 * beyond * at * weight])
        weight = weights
    return Nodes(weight, index * torch.sin(angle), index * torch.cos(angle))


@lru_cache(maxsize=64)
def _legendre(n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.polynomial.legendre.leggauss(n)


def _along(index: Tensor, s: Tensor) -> Tensor:
    """Give index times cosine in a layer; imaginary where no light propagates."""
    import torch

    return torch.sqrt(torch.complex(index**2 - s**2, torch.zeros_like(s)))


def wavefront(nodes: Nodes, values: Values) -> tuple[Tensor, Tensor]:
    """Give the optical path at the paraxial focus, and what a height of 1 µm adds to it.

    The stage is where a point at `depth` is sharp for rays near the axis, whatever the layers.
    """
    v = values
    sample = _along(v["n_sample"], nodes.s)
    glass, glass_design = (
        _along(v[n], nodes.s).real for n in ("n_coverslip", "n_coverslip_design")
    )
    oil_design = _along(v["n_immersion_design"], nodes.s).real
    immersion = v["n_immersion"] * (
        v["working_distance"] / v["n_immersion_design"]
        + v["coverslip_design"] / v["n_coverslip_design"]
        - v["coverslip"] / v["n_coverslip"]
        - v["depth"] / v["n_sample"]
    )
    path = (
        v["depth"] * sample
        + immersion * nodes.c
        + v["coverslip"] * glass
        - v["coverslip_design"] * glass_design
        - v["working_distance"] * oil_design
    )
    return path, -nodes.c


def vector_field(nodes: Nodes, values: Values) -> list[tuple[int, float, Tensor]]:
    """Give the integrals of the field of a dipole that turns freely.

    What is seen of a dipole is, by reciprocity, the field there of light that comes the other
    way, from the lens. It passes from the immersion through the coverslip into the sample by
    Fresnel's coefficients, for light polarised across (s) and along (p) the plane of incidence.
    Also the focus of an excitation that is polarised circularly.
    """
    sample = _along(values["n_sample"], nodes.s)
    glass = _along(values["n_coverslip"], nodes.s).real
    n_sample, n_glass, n_oil = (values[n] for n in ("n_sample", "n_coverslip", "n_immersion"))
    across = 2 * nodes.c / (nodes.c + glass) * 2 * glass / (glass + sample)
    into_glass = 2 * n_oil * n_glass * nodes.c / (n_glass**2 * nodes.c + n_oil**2 * glass)
    into_sample = 2 * n_glass * n_sample * glass / (n_sample**2 * glass + n_glass**2 * sample)
    along = into_glass * into_sample
    # A plane wave becomes a sphere in the lens and keeps its energy: the root of the cosine.
    lens = nodes.s * (nodes.c / n_oil) ** 0.5
    cosine, sine = sample / n_sample, nodes.s / n_sample
    return [
        (0, 1.0, lens * (across + along * cosine)),
        (1, 2.0, lens * along * sine),
        (2, 1.0, lens * (across - along * cosine)),
    ]
