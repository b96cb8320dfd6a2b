"""A result on the disk as data of layers: the image and the kernels that lie over it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.belonging import DRAWN
from napari_deblur._napari.nodes import map_places, node_kernels
from napari_deblur._napari.placing import in_axes, kernel_kwargs, spread_of
from napari_deblur._napari.seen import Seen
from napari_deblur.stack import AXES

if TYPE_CHECKING:
    from napari_deblur.plans import Plan
    from napari_deblur.results import Result

__all__ = [
    "KERNEL_GAMMA",
    "LayerData",
    "blank",
    "brightest",
    "image_layer",
    "kernels_layer",
    "limits_of",
    "map_layers",
    "method_name",
    "restored_levels",
    "role",
    "widened",
    "without_background",
]

LayerData = tuple[Any, dict[str, Any], str]

# A plane with more pixels is shown by its pyramid from the start, a smaller one whole.
LARGE_PLANE = 2**24
# A kernel's faint skirt matters, and is not seen beside its peak otherwise.
KERNEL_GAMMA = 0.5
# Percent of a plane's pixels that are shown without clipping, where limits are chosen anew.
BRIGHT = 99.8
# Limits that clip a larger share of a plane than this are not those to see it with.
CLIPPED = 0.01


def method_name(result: Result) -> str:
    """Give the public name of the method that was asked for, or else of what restored."""
    from napari_deblur.registry import methods

    asked = (result.job or {}).get("method")
    name = asked.get("name") if isinstance(asked, Mapping) else asked
    return name if isinstance(name, str) else methods.name_of(result.plan.channels[0].method)


def blank(plan: Plan) -> dict[str, Any]:
    """Give what the metadata of each of our layers hold: where it comes from."""
    from napari_deblur.registry import methods

    return {
        "method": methods.name_of(plan.channels[0].method),
        "key": plan.key,
        "notes": list(plan.notes),
        "kernel": dict(plan.kernel.report),
    }


def _about(result: Result) -> dict[str, Any]:
    """Give the same for layers of a store, and the whole job.

    What is stored is (counts - offset) / scale.
    """
    plan = result.plan
    stored = {"scale": plan.scale, "offset": plan.offset}
    return blank(plan) | {"store": str(result.path), "job": dict(result.job or {}), **stored}


def restored_levels(result: Result, axes: str, channels: Sequence[int] | None = None) -> list[Seen]:
    """Give the restored image, full resolution first, its axes as those of a layer.

    Colours come last, as napari wants them.

    Parameters
    ----------
    result : Result
    axes : str
        Of the layer, in its order.
    channels : ints or None
        Those of the image that were restored, if some were left out.
    """
    layout = result.plan.layout
    letters = f"{axes}c" if layout.rgb else axes
    order = [result.axes.index(axis) for axis in letters]
    places = spread_of(channels, layout.shape[1]) if "c" in axes else None
    spread = (result.axes.index("c"), places) if places else None
    return [Seen(level, order, spread) for level in result.levels]


def image_layer(
    result: Result,
    spatial: Mapping[str, Any],
    *,
    name: str,
    levels: list[Seen] | None = None,
    channels: Sequence[int] | None = None,
) -> LayerData:
    """Give the restored image: all levels if a plane is large, else the finest alone.

    The coarser levels are made last, so while it runs, a large plane is seen when zoomed in.

    Parameters
    ----------
    spatial : mapping
        From `spatial_kwargs` or `own_kwargs`; napari counts axes from the last one, so their order
        is that of the image.
    levels : list or None
        What `restored_levels` gave, if it was opened already.
    channels : ints or None
        As `restored_levels` takes them.
    """
    views = levels or restored_levels(result, "".join(spatial["axis_labels"]), channels)
    rgb = result.plan.layout.rgb
    plane = math.prod(views[0].shape[-3:-1] if rgb else views[0].shape[-2:])
    multiscale = len(views) > 1 and plane > LARGE_PLANE
    kwargs: dict[str, Any] = {
        "name": name,
        "multiscale": multiscale,
        "rgb": rgb,
        "metadata": {"deblur": _about(result)},
        **spatial,
    }
    if channels is not None:
        kwargs["metadata"]["deblur"]["channels"] = list(channels)
    if not rgb:
        kwargs["contrast_limits"] = limits_of(result)
    return (views if multiscale else views[0], kwargs, "image")


def kernels_layer(
    result: Result,
    spatial: Mapping[str, Any],
    *,
    name: str,
    channels: Sequence[int] | None = None,
) -> LayerData:
    """Give the kernels, with as many axes as the image has, over their tiles or beside it."""
    plan = result.plan
    own, image = result.kernel_pixel_size, plan.layout.pixel_size
    metadata: dict[str, Any] = {"deblur": _about(result)}
    metadata["kernel_pixel_size"] = own
    looks: dict[str, Any] = {
        "name": name,
        "colormap": "inferno",
        "gamma": KERNEL_GAMMA,
        "metadata": metadata,
    }
    if plan.nodes is not None:
        drawn = node_kernels(plan, spatial, channels)
        metadata |= {"varies": True, DRAWN: drawn.array.shape}
        # They hide parts of the restored image.
        looks |= {"contrast_limits": (0.0, float(np.nanmax(drawn.array))), "visible": False}
        return (drawn.array, {**looks, **drawn.placed}, "image")
    axes = "".join(spatial["axis_labels"])
    sizes = dict(zip(AXES, plan.layout.shape, strict=True))
    places = spread_of(channels, sizes["c"]) if "c" in axes else None
    if places:
        sizes["c"] = places[-1] + 1
    own_each = places if places and result.kernels.shape[1] > 1 else None
    view = Seen(
        result.kernels,
        [AXES.index(axis) for axis in axes],
        (AXES.index("c"), own_each) if own_each else None,
    )
    cores = result.kernel_geometry["cores"] if plan.finds_kernels else None
    peak = float(plan.kernel.array.max())
    if plan.finds_kernels:
        peak = max(peak, float(np.nan_to_num(view[(0,) * (view.ndim - 2)]).max()))
    ratio = {
        axis: k / i
        for axis, k, i in zip("zyx", own or (None,) * 3, image or (None,) * 3, strict=True)
        if k and i
    }
    placed = kernel_kwargs(
        spatial,
        [sizes[axis] for axis in axes],
        view.shape,
        ratio=ratio,
        cores=cores,
        beside=not plan.finds_kernels,
    )
    kwargs = {
        **looks,
        "contrast_limits": (0.0, peak),
        # What is added to a light ground is not seen.
        "blending": "additive" if plan.finds_kernels else "translucent_no_depth",
        # Kernels of tiles lie over the whole image: it should be seen through them.
        "opacity": 0.6 if plan.finds_kernels else 1.0,
        **placed,
    }
    return (view, kwargs, "image")


def role(metadata: Mapping[str, Any]) -> str:
    """Tell what a layer of ours shows: "restored", "kernels", or one of the maps, by its name."""
    return "kernels" if "kernel_pixel_size" in metadata else metadata.get("map", "restored")


def map_layers(
    result: Result,
    spatial: Mapping[str, Any],
    *,
    name: str,
    channels: Sequence[int] | None = None,
) -> list[LayerData]:
    """Give what varies over each channel's field as an image of its own: one voxel for each node.

    Empty where no kernel varies, or only kernels that nobody named a parameter of.
    """
    plan, layers = result.plan, []
    axes = "".join(spatial["axis_labels"])
    for c, one in enumerate(plan.fields):
        for parameter, values in one.maps.items() if one is not None else ():
            assert one is not None
            number = c if channels is None else channels[c]
            place = c if channels is None else number - channels[0]
            placed = map_places(plan, one.nodes, axes, spatial, place)
            drawn = in_axes(values[None, None], axes)
            low, high = float(values.min()), float(values.max())
            of = f", channel {number}" if len(plan.fields) > 1 else ""
            kwargs = {
                **placed,
                "name": f"{name} {parameter}{of}",
                "contrast_limits": (low, high if high > low else low + 1),
                "colormap": "viridis",
                "interpolation2d": "linear",
                "blending": "additive",
                "opacity": 0.5,
                "visible": False,
                "metadata": {
                    "deblur": _about(result),
                    "map": f"{parameter} {c}",
                    DRAWN: drawn.shape,
                },
            }
            layers.append((drawn, kwargs, "image"))
    return layers


def limits_of(result: Result, source: tuple[float, float] | None = None) -> tuple[float, float]:
    """Give the contrast: that of the source, so that both can be compared by eye.

    Where the background was taken away it is taken from the limits, too.
    Restored light is brighter than what was seen: what is complete says how bright, and if more
    than a few pixels would be clipped, the upper limit is raised.

    Parameters
    ----------
    result : Result
    source : (low, high) or None
        Limits of the image, in its counts. None: from the darkest background to the brightest
        white of all channels.
    """
    if source is None:
        windows = [channel["window"] for channel in result.ome["omero"]["channels"]]
        low = min(float(window["start"]) for window in windows)
        high = max(float(window["end"]) for window in windows)
    else:
        low, high = ((v - result.plan.offset) / result.plan.scale for v in source)
    low, high = without_background((low, high), result.plan, result.plan.scale)
    if not (np.isfinite(high - low) and high > low):
        low, high = 0.0, 1.0
    if not result.complete:
        return low, high
    level = result.levels[-1]
    sizes = zip(result.axes, level.shape, strict=True)
    plane = np.asarray(level[tuple(slice(None) if a in "cyx" else n // 2 for a, n in sizes)])
    channels = plane.reshape(-1, *plane.shape[-2:])
    return widened((low, high), channels, 0.0 if source is None else CLIPPED)


def without_background(
    limits: tuple[float, float], plan: Plan, unit: float = 1.0, channel: int | None = None
) -> tuple[float, float]:
    """Give limits less the background, in a `unit` of counts, where the result has none.

    That of a channel, or the lowest of all.
    """
    if plan.keep_background:
        return limits
    used = plan.channels if channel is None else plan.channels[channel : channel + 1]
    dark = min(one.facts.background or 0.0 for one in used) / unit
    return limits[0] - dark, limits[1] - dark


def widened(
    limits: tuple[float, float], channels: Any, clipped: float = CLIPPED
) -> tuple[float, float]:
    """Give limits with the upper one raised if they clip too large a share of any channel."""
    low, high = limits
    for one in channels:
        known = one[np.isfinite(one)]
        if known.size and np.mean(known > limits[1]) > clipped:
            high = max(high, brightest(known))
    return low, high


def brightest(image: Any) -> float:
    """Give the counts that few pixels exceed."""
    known = np.asarray(image, np.float32)
    known = known[np.isfinite(known)]
    return float(np.percentile(known, BRIGHT)) if known.size else 0.0
