"""From the form to what it asks for: the last mistakes are told, the kernel is read."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_deblur._napari.asking import Ask, saved_kernel
from napari_deblur._napari.reading import kernel_read, kernel_stack
from napari_deblur._napari.settings import preferences

if TYPE_CHECKING:
    from napari_deblur.per_channel import Given
    from napari_deblur.stack import Stack

__all__ = ["Asking", "wished"]

Asking = Generator[str, None, Ask]
Load = Callable[[], tuple[Path, "Given"]]


def wished(form: Any, stack: Stack, layer: Any, name: str) -> Asking:
    """Check the form, and give the steps that lead to an `Ask`.

    Parameters
    ----------
    form : Choices
        Its parts `known`, `channels` and `advanced` give the fields of a job.
    stack : Stack
        What is deblurred.
    layer : Image layer or None
        The one that holds the kernel.
    name : str
        Of the image.

    Raises
    ------
    ValueError, FileNotFoundError
        When something is wrong or missing.
    """
    way = str(form.known.way.currentData())
    wishes = preferences()
    fields = form.known.fields() | form.advanced.fields(way, stack) | form.channels.fields(way)
    if way == "psf":
        _check_optics(form, stack, fields)
    flat = name if "z" not in stack.axes else ""
    shape = fields["shape"]
    _must_be_flat(shape[0] if shape else 1, flat)
    load: Load | None = None
    if layer is not None:
        load = _from_layer(layer, flat, wishes.folder)
    elif form.kernel_way() == "file":
        if not form.kernel_file.text():
            raise ValueError("Choose the file that holds the kernel")
        path = Path(form.kernel_file.text()).expanduser().absolute()
        if not path.exists():
            raise FileNotFoundError(f"there is no kernel at {path}")
        load = partial(_loaded, path)
    return _asking({**fields, "device": wishes.device}, load, flat, wishes.memory_fraction)


def _from_layer(layer: Any, flat: str, folder: Path) -> Load:
    if layer.metadata.get("varies"):  # drawn for the eye
        return partial(_field_of, layer.name, layer.metadata["deblur"]["store"], folder)
    stack = kernel_stack(layer)
    _must_be_flat(stack.shape[2], flat)
    return partial(_saved, stack, folder)


def _asking(fields: dict[str, Any], load: Load | None, flat: str, share: float) -> Asking:
    from napari_deblur._napari.preview import load_torch
    from napari_deblur.job import ChannelTable, Job

    if "torch" not in sys.modules:  # a job checks its numbers, for which it is loaded
        yield "loading the engine"
        load_torch()
    tables = tuple(ChannelTable(**one) for one in fields.pop("tables"))
    job, stamp = Job("", channel=tables, **fields), ""
    if share != 0.5:  # the planner's own share
        job = replace(job, memory=_memory(job.device, share))
    if load is not None:
        yield "reading the kernel"
        path, kernel = load()
        _must_be_flat(kernel.shape[0], flat)
        about = path.stat()
        stamp = f"{about.st_size} {about.st_mtime_ns}"
        job = replace(job, kernel=str(path))
    return Ask(job, stamp=stamp)


def _memory(device: str, share: float) -> int:
    """Give a share of the free memory, as a power of two: else each job would be another one."""
    from napari_deblur.gridding import allowed_memory, chosen_device

    allowed = max(2**20, int(allowed_memory(None, chosen_device(device)) * 2 * share))
    return 1 << int(math.log2(allowed))


def _check_optics(form: Any, stack: Stack, fields: dict[str, Any]) -> None:
    """Say what a model lacks in the words of the form."""
    needs = form.known.needs()
    if "na" in needs and "na" not in fields:
        raise ValueError("NA is empty: give the numerical aperture, or choose the objective")
    lights = form.channels.wavelengths() or [None]
    if "wavelength" in needs and "wavelength" not in fields and None in lights:
        raise ValueError("λ is empty: give the emitted wavelength in µm, or choose the dye")
    sizes = (stack.pixel_size or (None, None, None))[0 if "z" in stack.axes else 1 :]
    if None in sizes:
        raise ValueError(
            "a kernel is computed in µm: fill in the voxel's size, or take another way"
        )


def _must_be_flat(planes: int, flat: str) -> None:
    """Refuse a solid kernel for the image called `flat`; an empty name is a solid image."""
    if flat and planes > 1:
        raise ValueError(
            f'the kernel has {planes} planes but "{flat}" has no z: give a kernel of one plane, '
            'or name the z of the image under "axes"'
        )


def _saved(stack: Stack, folder: Path) -> tuple[Path, Given]:
    """Save the kernel of a layer, so that every process reads the same."""
    from napari_deblur._napari.addressing import must_be_writable

    must_be_writable(folder, "choose another scratch folder under Preferences ▸ napari-deblur")
    return _loaded(saved_kernel(kernel_read(stack), folder, stack.name))


def _loaded(path: Path) -> tuple[Path, Given]:
    """Read what a file holds: a kernel, one for each frame and channel, or a field."""
    from napari_deblur.per_channel import given_in

    try:
        return path, given_in(str(path))
    except ValueError as error:
        if "allow_pickle" not in str(error):  # numpy's own words
            raise
        raise ValueError(
            f"{path.name} holds Python objects, not an array of numbers: save the kernel with "
            "numpy.save as float32"
        ) from error


def _field_of(name: str, store: str, folder: Path) -> tuple[Path, Given]:
    """Read the field whose kernels a layer shows."""
    from napari_deblur.results import open_result

    fields = open_result(store).plan.fields
    if len(fields) != 1 or fields[0] is None:
        raise ValueError(f'"{name}" has a field for each channel: give one of their files')
    return _loaded(saved_kernel(fields[0], folder, name))
