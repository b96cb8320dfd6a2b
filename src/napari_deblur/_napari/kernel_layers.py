"""Which layers have kernels, which place of them is looked at, and maps of kernels as layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.belonging import store_of
from napari_deblur._napari.local_kernels import Asked
from napari_deblur._napari.placing import spatial_kwargs, voxel_at
from napari_deblur._napari.reading import MOST_KERNEL, axes_of, finest, kernel_stack, offered
from napari_deblur._napari.seen import Seen
from napari_deblur._napari.showing import role
from napari_deblur._napari.window import cut_of

if TYPE_CHECKING:
    import napari.layers

    from napari_deblur._napari.showing import LayerData
    from napari_deblur.kernel_shapes import Shapes

__all__ = [
    "asked_of",
    "has_kernels",
    "image_of",
    "inside",
    "inspectable",
    "width_layers",
]

# Bars are drawn this long, as a share of the distance of two places, so that they are seen.
LONGEST, ALONE = 0.4, 0.12
THICK, DOT = 0.04, 0.14
# Bars of all planes; of more only those at the places themselves are drawn.
MOST_BARS = 50_000


def has_kernels(layer: Any) -> bool:
    """Whether a layer is known to be kernels, or an image that was restored with some."""
    if not offered(layer):
        return False
    if store_of(layer) is not None:
        return role(layer.metadata) in ("restored", "kernels")
    return "kernel_pixel_size" in layer.metadata


def inspectable(layer: Any) -> bool:
    """Whether a layer can be taken for a kernel, or knows those of a result."""
    if has_kernels(layer):
        return True
    if not offered(layer) or layer.rgb:
        return False
    return int(np.prod(finest(layer).shape, dtype=np.int64)) <= MOST_KERNEL


def image_of(viewer: Any, store: str) -> napari.layers.Image | None:
    """Give the layer that shows a result's restored image, or None."""
    for layer in viewer.layers:
        if store_of(layer) == store and offered(layer) and role(layer.metadata) == "restored":
            return layer
    return None


def asked_of(viewer: Any, layer: Any, world: Sequence[float] | None = None) -> Asked:
    """Say which kernel of a layer is looked at: by the sliders, and by a place in the window.

    Parameters
    ----------
    viewer : napari viewer
    layer : a layer that is `inspectable`
    world : the place in the coordinates of the window, or None for the image's middle

    Raises
    ------
    ValueError
        When the layer can't be a kernel.
    """
    store = store_of(layer)
    known = layer.metadata.get("deblur")
    report = dict(known.get("kernel") or {}) if isinstance(known, dict) else {}
    if store is None:
        stack = kernel_stack(layer)
        cut = cut_of(viewer, layer, axes_of(layer))
        return Asked(None, stack, layer.name, (cut.get("t", 0), cut.get("c", 0), 0, 0, 0), report)
    image = image_of(viewer, store)
    shown = layer if image is None else image
    axes = "".join(shown.axis_labels)
    shape = finest(shown).shape
    at = {a: n // 2 for a, n in zip(axes, shape, strict=False)}
    cut = cut_of(viewer, shown, axes)
    if image is None:  # the kernels' sliders are the image's; their planes are not
        cut = {a: i for a, i in cut.items() if a in "tc"}
        at = {a: i for a, i in at.items() if a in "tc"}
    at |= cut
    if world is not None and image is not None:
        place = voxel_at(viewer, image, world)
        inside = zip(axes, place, shape, strict=False)
        at |= {a: int(np.clip(round(p), 0, n - 1)) for a, p, n in inside if a not in cut}
    seen = finest(shown)
    if "c" in at and isinstance(seen, Seen):  # between channels may lie others, left out
        at["c"] = seen.stored(axes.index("c"), at["c"])
    t, c, z, y, x = (at.get(a, 0) for a in "tczyx")
    return Asked(store, None, layer.name, (t, c, z, y, x), report)


def inside(viewer: Any, image: napari.layers.Image, world: Sequence[float]) -> bool:
    """Whether a place of the window lies on an image."""
    n = image.ndim
    pairs = list(zip(voxel_at(viewer, image, world), finest(image).shape[:n], strict=True))
    return all(-0.5 <= p < size - 0.5 for p, size in pairs[-2:])


def width_layers(
    shapes: Shapes, image: napari.layers.Image, name: str, pixel: Sequence[float], c: int
) -> list[LayerData]:
    """Give the widths of kernels over the image: two bars at each place, and a dot between them.

    The bars are the longer and the shorter axis of the ellipse at half the peak, all of them
    longer by the same factor, which is noted in the metadata. Colours are widths. Each plane
    shows the places next to it along z.

    Parameters
    ----------
    shapes : Shapes
    image : the layer to lie over
    name : beginning of the layers' names
    pixel : (z, y, x), size of the image's voxels in the unit of the shapes
    c : channel
    """
    known = [n for n, one in enumerate(shapes.ellipses) if np.isfinite(one.major)]
    if not known:
        raise ValueError("no kernel falls to half of its peak: there is no width to draw")
    places, ellipses = shapes.places[known], [shapes.ellipses[n] for n in known]
    # Axes in voxels (n, long or short, y or x).
    axes = np.array([one.axes() for one in ellipses]) / np.asarray(pixel[1:])
    letters = "".join(image.axis_labels)
    shape = dict(zip(letters, finest(image).shape, strict=False))
    apart = _apart(places, (shape["y"], shape["x"]))
    times = apart / float(np.hypot(*axes[:, 0].T).max())
    solid = "z" in letters and letters.endswith("zyx") and len(set(places[:, 0])) > 1
    who, planes = _planes(places, shape["z"] if solid else 1)
    spots = places[who][:, 1:]
    starts = spots[:, None] - axes[who] * times / 2
    bars = np.stack([starts, axes[who] * times], axis=2).reshape(-1, 2, 2)
    widths = np.array([(one.major, one.minor) for one in ellipses])[who].ravel()
    if solid:
        bars = np.pad(bars, ((0, 0), (0, 0), (1, 0)))
        bars[:, 0, 0] = np.repeat(planes, 2)
        spots = np.column_stack([planes, spots])
    placed = _last(image, letters, 3 if solid else 2)
    low, high = float(widths.min()), float(widths.max())
    limits = (low, high if high > low else low + 1e-6)
    store = store_of(image)
    metadata = {"deblur": {"store": store}, "times": times, "unit": shapes.unit}
    means = np.array([one.mean for one in ellipses])[who]
    about = {
        "width": means,
        "major": np.array([one.major for one in ellipses])[who],
        "minor": np.array([one.minor for one in ellipses])[who],
        "angle": np.array([one.angle for one in ellipses])[who],
    }
    of = f", channel {c}" if shape.get("c", 1) > 1 else ""
    lines = {
        "name": f"{name} widths{of}",
        "features": {"width": widths},
        "edge_color": "width",
        "edge_colormap": "viridis",
        "edge_contrast_limits": limits,
        "edge_width": THICK * apart,
        "vector_style": "line",
        "metadata": {**metadata, "map": f"widths {c}"},
        **placed,
    }
    dots = {
        "name": f"{name} places{of}",
        "features": about,
        "face_color": "width",
        "face_colormap": "viridis",
        "face_contrast_limits": limits,
        "border_width": 0,
        "size": DOT * apart,
        "metadata": {**metadata, "map": f"places {c}"},
        **placed,
    }
    return [(bars, lines, "vectors"), (spots, dots, "points")]


def _apart(places: Any, shape: tuple[int, int]) -> float:
    """Give the length of the longest bar in voxels."""
    gaps = [np.diff(np.unique(places[:, axis])) for axis in (1, 2)]
    near = [float(gap.min()) for gap in gaps if gap.size]
    return LONGEST * min(near) if near else ALONE * min(shape)


def _planes(places: Any, count: int) -> tuple[Any, Any]:
    """Give, for all planes, which places lie nearest along z: their numbers, and the planes."""
    lines = np.unique(places[:, 0])
    every = np.arange(count)
    if count * len(places) / len(lines) > MOST_BARS:
        every = np.unique(np.rint(lines).astype(int))
    nearest = lines[np.abs(every[:, None] - lines).argmin(axis=1)]
    pairs = [(n, z) for z, line in zip(every, nearest, strict=True)
             for n in np.flatnonzero(places[:, 0] == line)]  # fmt: skip
    who, planes = np.array(pairs).T
    return who, planes


def _last(image: napari.layers.Image, letters: str, count: int) -> dict[str, Any]:
    """Place a layer as the last axes of an image: it is then shown at every frame and channel."""
    whole = spatial_kwargs(image)
    n = image.ndim
    shear = np.eye(n)
    given = np.asarray(whole["shear"], float)
    shear[np.triu_indices(n, 1)] = given if given.ndim == 1 else given[np.triu_indices(n, 1)]
    affine = np.asarray(whole["affine"], float)
    keep = [*range(n - count, n), n]
    return {
        "scale": whole["scale"][-count:],
        "translate": whole["translate"][-count:],
        "units": whole["units"][-count:],
        "axis_labels": tuple(letters[-count:]),
        "rotate": np.asarray(whole["rotate"])[-count:, -count:],
        "shear": shear[-count:, -count:],
        "affine": affine[np.ix_(keep, keep)],
    }
