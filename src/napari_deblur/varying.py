"""Blur that varies by a rule: a parameter of a model that changes across, outwards or with depth.

Which field it is, is known exactly, so what is simulated with it can be judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from napari_deblur import registry
from napari_deblur.protocols import KernelField

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Variation", "varying"]

Triple = tuple[int, int, int]
Size = tuple[float, float, float]
Lines = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]

NODES = 9
# Parameters that vary where a model does not say which of its own are continuous.
USUAL = ("radius", "sigma", "fwhm", "length", "defocus", "depth")


@dataclass(frozen=True)
class Variation:
    """How a parameter of a model varies over the image.

    Parameters
    ----------
    kind : "tilt", "radial" or "depth"
        Linear across the image along `axis`; linear with the distance from its middle; linear with
        z.
    amount : float
        Tilt: half the difference between both borders; radial: that of a corner from the middle;
        depth: that of the last plane from the first. As a share of the parameter, or in its own
        unit where that is 0. A parameter named ``depth`` grows by `amount` µm for each µm of z.
    axis : "x" or "y"
        Of a tilt.
    parameter : str or None
        None: the first one of the model that is continuous; for ``depth`` that of this name.
    nodes : int
        Kernels that are computed; between them weights are linear.
    """

    kind: Literal["tilt", "radial", "depth"]
    amount: float
    axis: Literal["x", "y"] = "x"
    parameter: str | None = None
    nodes: int = NODES

    def __post_init__(self) -> None:
        if self.kind not in ("tilt", "radial", "depth") or self.axis not in ("x", "y"):
            raise ValueError(
                f'a blur varies as "{self.kind}" along "{self.axis}": write tilt, radial or depth, '
                "and axis=x or axis=y"
            )
        if not math.isfinite(self.amount) or self.nodes < 2:
            raise ValueError(
                f"{self.kind}={self.amount:g} with {self.nodes} nodes: give a finite number, and "
                "2 nodes or more"
            )

    @classmethod
    def of(cls, text: str) -> Self:
        """Read ``tilt=0.5,axis=y``, ``radial=0.8`` or ``depth=1.0,parameter=depth``.

        Raises
        ------
        ValueError
        """
        said = dict(part.strip().partition("=")[::2] for part in text.split(","))
        kinds: list[Any] = [kind for kind in ("tilt", "radial", "depth") if kind in said]
        rest = said.keys() - set(kinds) - {"axis", "parameter", "nodes"}
        try:
            if len(kinds) != 1 or rest:
                raise ValueError
            axis: Any = said.get("axis", "x")
            amount, nodes = float(said[kinds[0]]), int(said.get("nodes", NODES))
        except ValueError:
            raise ValueError(
                f'field "{text}" is none: write tilt=0.5,axis=x or radial=0.8 or depth=1.0, and '
                "parameter=NAME for another parameter than the first"
            ) from None
        return cls(kinds[0], amount, axis, said.get("parameter"), nodes)


def varying(
    model: Any,
    vary: Variation,
    image: Triple,
    size: Size,
    shape: Triple | None = None,
    *,
    crop: bool = False,
) -> KernelField:
    """Make the field of a model of which one parameter varies over an image.

    Parameters
    ----------
    model : object of ``nd.psfs``
    vary : Variation
    image : (z, y, x)
    size : (z, y, x) in µm
        Of a voxel.
    shape : (z, y, x) or None
        Of the kernels; None: the largest that the model takes for "auto".
    crop : bool
        Whether the image loses as much at its border as a kernel reaches.

    Returns
    -------
    KernelField
        The basis are kernels for some values of the parameter; weights between them are linear.

    Raises
    ------
    ValueError
        When nothing can vary so.
    """
    name = _parameter(model, vary)
    if vary.kind == "depth" and image[0] == 1:
        raise ValueError("the image has one plane, so nothing varies with depth: give a stack")
    low, high = (-1.0, 1.0) if vary.kind == "tilt" else (0.0, 1.0)
    levels = np.linspace(low, high, vary.nodes)
    values = [_value(model, name, vary, level, (image[0] - 1) * size[0]) for level in levels]
    models = [_changed(model, name, value, vary) for value in values]
    if shape is None:
        shapes = [one.default_shape(size, image) for one in models]
        z, y, x = (max(ns) for ns in zip(*shapes, strict=True))
        shape = (z, y, x)
    basis = np.stack([one(shape, size).at() for one in models])
    if crop:
        z, y, x = (max(n - m + 1, 1) for n, m in zip(image, shape, strict=True))
        image = (z, y, x)
    nodes, place = _nodes(image, size, vary)
    hats = [np.interp(place, levels, unit) for unit in np.eye(len(levels))]
    first = [float(np.ravel(value)[-1]) for value in values]
    return KernelField(
        basis,
        nodes,
        np.stack(hats),
        {name: np.interp(place, levels, first)},
        size,
        {
            "psf": registry.psfs.name_of(model),
            **{f.name: _plain(getattr(model, f.name)) for f in fields(model)},
            "field": {**{f.name: getattr(vary, f.name) for f in fields(vary)}, "parameter": name},
            "values": [_plain(value) for value in values],
        },
    )


def _nodes(image: Triple, size: Size, vary: Variation) -> tuple[Lines, NDArray[np.float64]]:
    """Give the nodes in voxels, and for each where it lies between the least level and the most."""
    middles: list[tuple[float, ...]] = [((n - 1) / 2,) for n in image]
    across = [tuple(np.linspace(0, n - 1, vary.nodes)) for n in image]
    axis = {"depth": 0, "tilt": 2 if vary.axis == "x" else 1}.get(vary.kind)
    if axis is not None:
        if image[axis] == 1:
            raise ValueError(f"the image has one pixel along {'zyx'[axis]}: nothing varies there")
        z, y, x = (across[a] if a == axis else middles[a] for a in range(3))
        low = -1.0 if vary.kind == "tilt" else 0.0
        shape = [vary.nodes if a == axis else 1 for a in range(3)]
        return (z, y, x), np.linspace(low, 1.0, vary.nodes).reshape(shape)
    # More nodes than levels: distances aren't linear between them.
    down, along = (tuple(np.linspace(0, n - 1, min(n, 2 * vary.nodes - 1))) for n in image[1:])
    far = np.hypot(
        (np.array(down)[:, None] - middles[1][0]) * size[1],
        (np.array(along)[None] - middles[2][0]) * size[2],
    )
    return (middles[0], down, along), (far / max(far.max(), 1e-12))[None]


def _parameter(model: Any, vary: Variation) -> str:
    """Find the parameter that varies."""
    known = [
        f.name
        for f in fields(model)
        if isinstance(value := getattr(model, f.name), int | float | tuple)
        and not isinstance(value, bool)
        and f.name != "seed"
    ]
    first = ["depth"] if vary.kind == "depth" else []
    usual = [*first, *getattr(model, "continuous", ()), *USUAL]
    name = vary.parameter or next((name for name in usual if name in known), None)
    if name not in known:
        which = f'has no number "{name}"' if name else "has several parameters"
        raise ValueError(
            f"{registry.psfs.name_of(model)} {which}: say which one varies, parameter=NAME, out of "
            f"{', '.join(known) or 'none'}"
        )
    return name


def _value(model: Any, name: str, vary: Variation, level: float, deep: float) -> Any:
    """Give the parameter at a level; `deep` is the depth of the image in µm."""
    base, change = getattr(model, name), vary.amount * float(level)
    if vary.kind == "depth" and name == "depth":
        return base + change * deep
    if isinstance(base, tuple):
        return tuple(v * (1 + change) for v in base)
    return base * (1 + change) if base else change


def _changed(model: Any, name: str, value: Any, vary: Variation) -> Any:
    """Give the model with another value, which may be one that it refuses."""
    try:
        return replace(model, **{name: value})
    except ValueError as error:
        raise ValueError(f"the field {vary.kind}={vary.amount:g} goes too far: {error}") from error


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
