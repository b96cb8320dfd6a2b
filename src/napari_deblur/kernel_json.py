"""Kernels and fields as plain data, for JSON: numbers as base64 of little-endian float32."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.protocols import Kernel, KernelField

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["field_of", "kernel_of", "plain"]


def plain(kernel: Kernel | KernelField) -> dict[str, Any]:
    """Give a kernel or a field as plain data; a field has ``nodes``."""
    own = {"pixel_size": kernel.pixel_size, "report": dict(kernel.report)}
    if isinstance(kernel, Kernel):
        return {"shape": list(kernel.array.shape), **own, "float32": _words(kernel.array)}
    return {
        "shape": list(kernel.basis.shape),
        "nodes": [list(line) for line in kernel.nodes],
        "basis": _words(kernel.basis),
        "weights": _words(kernel.weights),
        "maps": {name: _words(values) for name, values in kernel.maps.items()},
        **own,
    }


def kernel_of(data: Mapping[str, Any]) -> Kernel:
    """Make the kernel that `plain` described, to the last bit."""
    array = _numbers(data["float32"], data["shape"])
    kernel = Kernel(array, _size(data), data["report"])
    # Dividing by the sum again would move the last bit.
    array.flags.writeable = False
    object.__setattr__(kernel, "array", array)
    return kernel


def field_of(data: Mapping[str, Any]) -> KernelField:
    """Make the field that `plain` described."""
    z, y, x = (tuple(line) for line in data["nodes"])
    grid = (len(z), len(y), len(x))
    return KernelField(
        _numbers(data["basis"], data["shape"]),
        (z, y, x),
        _numbers(data["weights"], (data["shape"][0], *grid)),
        {name: _numbers(words, grid) for name, words in data["maps"].items()},
        _size(data),
        data["report"],
    )


def _size(data: Mapping[str, Any]) -> tuple[float, float, float] | None:
    return tuple(data["pixel_size"]) if data["pixel_size"] else None


def _words(array: NDArray[Any]) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _numbers(words: str, shape: Sequence[int]) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(words), "<f4").reshape(shape).astype(np.float32)
