"""Layers onto the disk: a result whole, or images and kernels into one file, with voxel sizes."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.belonging import is_resized, named_store, store_in

if TYPE_CHECKING:
    from napari_deblur._napari.aside import Work
    from napari_deblur._napari.showing import LayerData
    from napari_deblur.results import Result
    from napari_deblur.writing import Picture

__all__ = ["NotSaved", "write_tiff", "write_zarr"]

COLOURS = ("red", "green", "blue", "alpha")


class NotSaved(RuntimeError):
    """Why nothing was saved, in a sentence that napari shows; a ValueError it would hide."""


def write_zarr(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write layers as one OME-Zarr.

    The layers of a result become a copy of its store, with all that is known of it, which opens
    again as the same layers; other layers beside them are left out, and the user is told. Where no
    layer is of a result, the first image is that of the store and the rest, kernels last, are
    groups in it. So are what was made of a result: a projection, a crop, a channel.

    Parameters
    ----------
    path : str
        Nothing may be there.
    layers : sequence of (data, attributes, type)

    Raises
    ------
    FileExistsError, NotSaved
        When something is there, the layers don't fit into one store, or the user cancels.
    """
    target, result = Path(path).absolute(), _result_of(layers)
    if result is None:
        _patiently(target, partial(_write_images, target, _created(layers)))
    else:
        _refuse_copy(result, target)
        _patiently(target, partial(_copy, result, target))
        _keep_looks(target, layers)
        _tell_what_is_missing(layers)
    return [str(target)]


def write_tiff(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write layers as one OME-TIFF: images first, then kernels, each an image of the file.

    Layers beside those of a result are left out, and the user is told.

    Parameters
    ----------
    path : str
        A file that is there is replaced: the dialog asks.
    layers : sequence of (data, attributes, type)

    Raises
    ------
    NotSaved
        When the layers don't fit into one file, or the user cancels.
    """
    target, result = Path(path).absolute(), _result_of(layers)
    try:
        if result is None:
            _patiently(target, partial(_write_images, target, _created(layers)))
        else:
            _patiently(target, partial(_export, result, target))
    except ValueError as error:  # too large, or numbers that no TIFF has
        raise NotSaved(str(error)) from error
    if result is not None:
        _tell_what_is_missing(layers)
    return [str(target)]


def _patiently(target: Path, do: Callable[[Work], None]) -> None:
    """Save in a thread, while the window shows how far it is."""
    from napari_deblur._napari.aside import aside
    from napari_deblur.protocols import Cancelled

    try:
        aside(f"Saving {target.name}", do)
    except Cancelled:
        raise NotSaved(f"cancelled: {target.name} was not saved") from None


def _tell_what_is_missing(layers: Sequence[LayerData]) -> None:
    """Tell which layers beside those of a result were not saved with it."""
    from napari.utils.notifications import show_info

    others = [f"“{one[1]['name']}”" for one in layers if not store_in(*one)]
    if others:
        show_info(
            f"The restored image and its kernels are saved, without {', '.join(others)}: save "
            "other layers by themselves."
        )


def _result_of(layers: Sequence[LayerData]) -> Result | None:
    """Give the result that layers are of, if they are of one and show it as it is."""
    from napari_deblur.results import open_result

    named = sorted({store for one in layers if (store := store_in(*one)) is not None})
    if not named or _shows_another(layers):
        return None
    if len(named) > 1:
        raise NotSaved(
            f"these layers are of {len(named)} results: select those of one, then File ▸ Save "
            "Selected Layers"
        )
    try:
        result = open_result(named[0])
    except FileNotFoundError:
        raise NotSaved(
            f"the result of these layers is no longer at {named[0]}: open it from where it is now"
        ) from None
    except (ValueError, KeyError, OSError) as error:
        raise NotSaved(f"the result of these layers can't be read: {error}") from error
    if not result.complete:
        raise NotSaved(
            f"the result in {named[0]} is not finished: let the run end, or go on with it, then "
            "save"
        )
    whole = [one[1] for one in layers if _is_restored(one) and store_in(*one) is not None]
    resized = [attributes["name"] for attributes in whole if is_resized(result, attributes)]
    if resized:
        _tell_of_size(resized[0])
        return None
    return result


def _is_restored(one: LayerData) -> bool:
    """Whether a layer is the restored image of a result, or something made of it."""
    from napari_deblur._napari.showing import role

    metadata = one[1].get("metadata", {})
    named = named_store(metadata) is not None
    return one[2] == "image" and named and role(metadata) == "restored"


def _shows_another(layers: Sequence[LayerData]) -> bool:
    """Whether of a restored image only what was made of it is there: that is to be saved."""
    of_results = [one for one in layers if _is_restored(one)]
    return bool(of_results) and not any(store_in(*one) for one in of_results)


def _tell_of_size(name: str) -> None:
    """Tell why an image is saved and not its result."""
    from napari.utils.notifications import show_info

    show_info(
        f"“{name}” has another voxel size than its result: what is seen is saved, "
        "without the result's plan and job."
    )


def _refuse_copy(result: Result, target: Path) -> None:
    """Raise where no copy of a store can go."""
    from napari_deblur.places import Remote

    source = result.path.resolve()
    if isinstance(source, Remote):
        raise NotSaved(
            f"{source} lies in object storage, from which no copy is made here: copy it with your "
            "tool for S3, such as aws s3 sync"
        )
    if target.exists():
        raise FileExistsError(f"{target} exists: choose another name")
    if source in target.resolve().parents:
        raise NotSaved(f"{target} lies inside of the result itself: choose another folder")


def _copy(result: Result, target: Path, work: Work) -> None:
    """Copy a store, as a whole or not at all."""
    source = Path(str(result.path)).resolve()
    half = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    work.total = sum(1 for file in source.rglob("*") if file.is_file())

    def copied(one: str, other: str) -> str:
        work()
        return str(shutil.copy2(one, other))

    try:
        shutil.copytree(source, half, copy_function=copied)
        half.replace(target)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise


def _export(result: Result, target: Path, work: Work) -> None:
    """Write a result as one TIFF."""
    from napari_deblur import export

    layout = result.plan.layout
    frames, channels, planes = layout.shape[:3]
    work.total = frames * planes * (1 if layout.rgb else channels)
    work.total += prod(result.kernels.shape[:-2])
    export.write_tiff(result, target, together=True, between=work)


def _write_images(target: Path, made: Sequence[Any], work: Work) -> None:
    """Write layers that no run made."""
    from napari_deblur.writing import write_images

    pictures = _pictures(made)
    work.total = sum(prod(one.array.shape[:-2]) for one in pictures.values())
    write_images(target, pictures, work)


def _keep_looks(store: Path, layers: Sequence[LayerData]) -> None:
    """Note how the restored layer lies and looks now."""
    from types import SimpleNamespace

    from napari_deblur._napari.looks import looks_of, remember
    from napari_deblur.results import open_result

    for one in layers:
        attributes = one[1]
        shown = _is_restored(one) and store_in(*one) is not None
        if shown and {"translate", "affine"} <= set(attributes):
            remember(open_result(store), looks_of(SimpleNamespace(**attributes)))


def _created(layers: Sequence[LayerData]) -> list[Any]:
    from napari.layers import Layer

    return [Layer.create(*one) for one in layers]


def _pictures(made: Sequence[Any]) -> dict[str, Picture]:
    """Give images by name, kernels last."""
    pictures: dict[str, Picture] = {}
    for layer in sorted(made, key=_is_kernel):
        name = base = _plain(layer.name)
        while name in pictures:
            name = f"{base} {len(pictures) + 1}"
        pictures[name] = _picture(layer)
    return pictures


def _is_kernel(layer: Any) -> bool:
    return "kernel_pixel_size" in layer.metadata


def _picture(layer: Any) -> Picture:
    from napari_deblur._napari.placing import spatial_kwargs
    from napari_deblur._napari.reading import axes_of, finest, pixel_size_of
    from napari_deblur.stack import Channel
    from napari_deblur.writing import Picture

    axes, array = axes_of(layer), np.asarray(finest(layer))
    if not axes:
        raise NotSaved(
            f'"{layer.name}" has {layer.ndim} axes and nothing says which: name them t, c, z, y '
            "and x under Layers ▸ Metadata"
        )
    size: Any = pixel_size_of(layer, axes)
    place = spatial_kwargs(layer, axes, "".join(sorted(axes, key="tczyx".index)))
    steps, shifts = (_in_units(place, name) for name in ("scale", "translate"))
    timed = "t" in axes and str(layer.units[axes.index("t")]) != "pixel"
    time_step = steps["t"] if timed else None
    channels: tuple[Channel, ...] = ()
    if layer.rgb:
        at = axes.index("y")
        axes, array = axes[:at] + "c" + axes[at:], np.moveaxis(array, -1, at)
        channels = tuple(Channel(name=name) for name in COLOURS[: array.shape[at]])
    own: dict[str, Any] = {"layer": layer.name, "looks": _looks(layer, place)}
    if _is_kernel(layer):
        size = layer.metadata["kernel_pixel_size"] or size
        sizes = dict(zip(axes, array.shape, strict=True))
        own["shape"] = [sizes.get(a, 1) for a in "zyx"]  # by this it is known for a kernel again
        own |= _data({"kernel": layer.metadata.get("deblur", {}).get("kernel")})
    order = sorted(range(len(axes)), key=lambda n: "tczyx".index(axes[n]))
    kept = "".join(axes[n] for n in order)
    # Files have bytes in one order, and no longer numbers than these.
    kind = np.dtype("f8") if array.dtype.kind == "f" and array.itemsize > 8 else array.dtype
    array = np.ascontiguousarray(array.transpose(order), kind.newbyteorder("="))
    return Picture(
        array,
        kept,
        size if size is not None and any(v is not None for v in size) else None,
        channels,
        attributes=own,
        time_step=time_step,
        translate=[shifts.get(axis, 0.0) for axis in kept],
    )


def _in_units(place: dict[str, Any], name: str) -> dict[str, float]:
    """Give numbers of a place by their axes, in µm and s; those of other units as they are."""
    from napari_deblur._napari.reading import size_in

    rows = zip(place["axis_labels"], place["units"], place[name], strict=True)
    found = {}
    for axis, unit, value in rows:
        known = size_in(unit, value, "s" if axis == "t" else "um")
        found[axis] = value if known is None else known
    return found


def _looks(layer: Any, place: dict[str, Any]) -> dict[str, Any]:
    """Give how a layer looks and lies, its axes in the order of the file."""
    from types import SimpleNamespace

    from napari_deblur._napari.looks import looks_of

    names = ["rgb", "blending"]
    names += [] if layer.rgb else ["colormap", "gamma", "contrast_limits"]
    return looks_of(SimpleNamespace(**place, **{name: getattr(layer, name) for name in names}))


def _data(metadata: dict[str, Any]) -> dict[str, Any]:
    """Keep what JSON can say."""
    try:
        kept: dict[str, Any] = json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError):
        return {}
    return {name: value for name, value in kept.items() if value is not None}


def _plain(name: str) -> str:
    """Make a name that every disk takes."""
    return re.sub(r'[\\/:*?"<>|.]+', "-", name).strip(" -") or "image"
