"""What the writer saved of layers that no run made, and OME-TIFF of results, as layers again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from napari_deblur.places import place_of
from napari_deblur.readers._ome_xml import OWN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_deblur._napari.showing import LayerData
    from napari_deblur.places import Place
    from napari_deblur.stack import Stack

    Beside = tuple[Stack, dict[str, Any]]  # an image, and how its layer lies
    # Name, pixels, whether a kernel, its report, how it lay and looked.
    Found = tuple[str, Stack, bool, dict[str, Any], Any]

__all__ = ["marked", "read_tiff", "read_zarr"]

OURS = "napari_deblur"
PLACE = ("scale", "translate", "units", "axis_labels", "rotate", "shear", "affine")


def marked(path: Place) -> dict[str, Any]:
    """Give what this package says in a zarr group of its own; empty for those of others."""
    try:
        said = json.loads((path / "zarr.json").read_bytes())["attributes"][OURS]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return said if isinstance(said, dict) else {}


def read_zarr(path: str) -> list[LayerData]:
    """Read an image and the groups in it; those that are kernels lie beside it."""
    from napari_deblur.opening import open_stack

    root = place_of(path)
    within: Iterable[Place] = root.iterdir()
    inner = sorted((one for one in within if one.is_dir() and "layer" in marked(one)), key=str)
    found: list[Found] = []
    for group in (root, *inner):
        said = marked(group)
        report, looks = said.get("kernel") or {}, said.get("looks")
        found.append((str(said["layer"]), open_stack(group), "shape" in said, report, looks))
    return _layers(found)


def read_tiff(path: str) -> list[LayerData]:
    """Read all images of a file; those that are kernels lie beside the first one."""
    import tifffile

    from napari_deblur.opening import open_stack

    with tifffile.TiffFile(path) as file:
        names = [series.name for series in file.series]
        notes = _notes_in(file.ome_metadata or "")
    bare = Path(path).name.partition(".")[0]
    found: list[Found] = []
    for n, name in enumerate(names):
        said = notes[n] if n < len(notes) else {}
        is_kernel = "kernel_shape" in said
        if name.removeprefix("Image") in ("", str(n)):  # nobody named it: a result
            name = f"{bare} kernels" if is_kernel else bare
        looks = _plain(said.get("looks"))
        found.append((name, open_stack(path, series=n), is_kernel, {}, looks))
    return _layers(found)


def _notes_in(xml: str) -> list[dict[str, str]]:
    """Give for each image of an OME-XML what this package noted of it."""
    if not xml:
        return []
    root = ElementTree.fromstring(xml)
    notes = {
        note.get("ID"): {word.get("K", ""): word.text or "" for word in note.iterfind(".//{*}M")}
        for note in root.iterfind(".//{*}MapAnnotation")
        if note.get("Namespace") == OWN
    }
    found = []
    for image in root.iterfind("{*}Image"):
        refs = [notes.get(link.get("ID"), {}) for link in image.iterfind(".//{*}AnnotationRef")]
        found.append({key: text for one in refs for key, text in one.items()})
    return found


def _plain(text: str | None) -> Any:
    try:
        return json.loads(text or "null")
    except ValueError:
        return None


def _layers(found: list[Found]) -> list[LayerData]:
    made: list[LayerData] = []
    beside: Beside | None = None
    for name, stack, is_kernel, report, looks in found:  # kernels come last
        if is_kernel:
            made.append(_kernel(name, stack, report, beside))
            continue
        made.append(_image(name, stack, looks))
        beside = beside or (stack, made[-1][1])
    return made


def _image(name: str, stack: Stack, looks: Any) -> LayerData:
    from napari_deblur._napari.looks import applied
    from napari_deblur._napari.showing import brightest

    # Not read here: it may be large, and the window waits.
    array = stack.data
    spatial, seen = applied(looks, _placed(stack), rgb=stack.rgb)
    kwargs = {"name": name, "rgb": stack.rgb, **spatial, **seen}
    if stack.rgb:
        array = np.moveaxis(array, stack.axes.index("c"), -1)
    elif "contrast_limits" not in seen:
        plane = np.asarray(array[tuple(n // 2 for n in array.shape[:-2])])
        low, high = float(np.nan_to_num(plane).min()), brightest(plane)
        kwargs["contrast_limits"] = (low, high) if high > low else (low, low + 1)
    return array, kwargs, "image"


def _kernel(name: str, stack: Stack, report: dict[str, Any], beside: Beside | None) -> LayerData:
    """Give kernels with the axes of their image, to its right; or alone, with their own."""
    from napari_deblur._napari.placing import kernel_kwargs
    from napari_deblur._napari.showing import KERNEL_GAMMA
    from napari_deblur.stack import AXES

    sizes = dict(zip(AXES, stack.shape, strict=True))
    axes = "".join(a for a in stack.axes if a in "yx" or sizes[a] > 1)
    array = _array(stack, axes)
    placed = _placed(stack, axes)
    image, lies = beside if beside is not None else (None, {})
    if image is not None and set(axes) <= set(own := image.axes.replace("c" * image.rgb, "")):
        array = array.reshape([sizes[a] if a in axes else 1 for a in own])
        pairs = zip("zyx", stack.pixel_size or (), image.pixel_size or (), strict=False)
        whole = dict(zip(AXES, image.shape, strict=True))
        placed = kernel_kwargs(
            {name: lies[name] for name in PLACE if name in lies},
            [whole[a] for a in own],
            array.shape,
            ratio={a: k / i for a, k, i in pairs if k and i},
            beside=True,
        )
    _, y, x = stack.pixel_size or (None, None, None)
    size = ((stack.pixel_size or (None,))[0] or 1.0, y, x) if y and x else None
    kwargs = {
        "name": name,
        "colormap": "inferno",
        "gamma": KERNEL_GAMMA,
        "contrast_limits": (0.0, float(array.max()) or 1.0),
        "blending": "translucent_no_depth",
        "metadata": {"kernel_pixel_size": size, "deblur": {"kernel": report}},
        **placed,
    }
    return array, kwargs, "image"


def _array(stack: Stack, axes: str) -> NDArray[Any]:
    """Read all pixels of a small stack, for the axes that are named."""
    picked = tuple(slice(None) if axis in axes else 0 for axis in stack.axes)
    return np.asarray(stack.data[picked])


def _placed(stack: Stack, axes: str | None = None) -> dict[str, Any]:
    kept = (stack.axes if axes is None else axes).replace("c" * stack.rgb, "")
    known = dict(zip("zyx", stack.pixel_size or (None,) * 3, strict=True)) | {"t": stack.time_step}
    units = dict.fromkeys("zyx", "um") | {"t": "s"}
    return {
        "scale": tuple(float(known.get(a) or 1.0) for a in kept),
        "translate": (0.0,) * len(kept),
        "units": tuple(units[a] if known.get(a) else "pixel" for a in kept),
        "axis_labels": tuple(kept),
    }
