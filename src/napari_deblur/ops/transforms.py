"""Real Fourier transforms, in place: they use up no more memory than the array itself.

On a CPU through the library that torch itself brings (Intel's MKL, function family ``Dfti``), with
plans that are kept: torch's own calls make a plan and fresh pages for the result each time, which
costs two to three times as much. `torch.fft` does it on GPUs, where torch has no such library
(ARM, macOS), where gradients are wanted, and with ``NAPARI_DEBLUR_FFT=torch``.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["backward", "engine", "forward", "real_view"]

# Names and numbers of the DFTI interface, https://www.intel.com/content/www/us/en/docs/onemkl
_COMPLEX, _REAL, _SCALE_BACK, _MANY, _STORAGE, _PLACEMENT = 32, 33, 5, 7, 10, 11
_STRIDES_IN, _STRIDES_OUT, _DISTANCE_IN, _DISTANCE_OUT, _THREADS = 12, 13, 14, 15, 27
_COMPLEX_COMPLEX, _IN_PLACE = 39, 43
# A run transforms tiles of one shape, a plan a few more; each plan is some kilobytes.
KEPT = 32
# Below so many frequencies one thread does it: on a busy machine, where threads wait for each
# other, tests with samples of 96² took up to fifty times as long with two.
SMALL = 2**17


def forward(thing: Tensor, lengths: tuple[int, ...], *, out: Tensor | None = None) -> Tensor:
    """Transform the last axes of `thing`, padded with zeros to `lengths`.

    Parameters
    ----------
    thing : Tensor, shape (..., [z,] y, x), float32
    lengths : ([z,] y, x)
        Each at least as long as the axis.
    out : Tensor, shape (..., [z,] y, x // 2 + 1), complex64, contiguous, or None
        Where the result goes. `thing` may be the first voxels of its `real_view`: then nothing is
        copied.

    Returns
    -------
    Tensor, shape (..., [z,] y, x // 2 + 1), complex64
        It may be changed.
    """
    ndim = len(lengths)
    if not _planned(thing):
        plain: Tensor = torch.fft.rfftn(thing, s=lengths, dim=tuple(range(-ndim, 0)))
        return plain
    half = (*thing.shape[:-ndim], *lengths[:-1], lengths[-1] // 2 + 1)
    spectrum = torch.empty(half, dtype=torch.complex64) if out is None else out
    grid = real_view(spectrum, lengths)
    size = tuple(thing.shape[-ndim:])
    first: tuple[Any, ...] = (..., *(slice(n) for n in size))
    own = grid[first]
    if own.data_ptr() != thing.data_ptr() or own.stride() != thing.stride():
        own.copy_(thing)
    for axis, (n, length) in enumerate(zip(size, lengths, strict=True)):
        # The planes beyond, then of the other planes the rows beyond, and so on.
        if n < length:
            before = tuple(slice(m) for m in size[:axis])
            rest = (slice(None),) * (ndim - axis - 1)
            # Whole planes of a volume aren't transformed by rows: their last columns count too.
            beyond = spectrum if axis == 0 and ndim == 3 else grid
            cut: tuple[Any, ...] = (..., *before, slice(n, None), *rest)
            beyond[cut] = 0
    _transformed(spectrum, lengths, size[0], back=False)
    return spectrum


def backward(spectrum: Tensor, lengths: tuple[int, ...], *, planes: int | None = None) -> Tensor:
    """Transform back what `forward` made, divided by the number of voxels; uses `spectrum` up.

    Parameters
    ----------
    spectrum : Tensor, shape (..., [z,] y, x // 2 + 1), complex64
    lengths : ([z,] y, x)
    planes : int or None
        How many are wanted along the first of the `lengths`; others may hold anything.

    Returns
    -------
    Tensor, shape (..., *lengths), float32
        It may lie in the memory of `spectrum`, with gaps between its rows.
    """
    if not _planned(spectrum) or not spectrum.is_contiguous():
        plain: Tensor = torch.fft.irfftn(spectrum, s=lengths, dim=tuple(range(-len(lengths), 0)))
        return plain
    _transformed(spectrum, lengths, planes or lengths[0], back=True)
    return real_view(spectrum, lengths)


def real_view(spectrum: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Give the grid of real numbers, shape (..., *lengths), in the memory of a spectrum."""
    rows: Tensor = torch.view_as_real(spectrum).flatten(-2)
    return rows[..., : lengths[-1]]


def engine(device: str = "cpu") -> str:
    """Name what transforms on a device: "mkl" (planned, in place) or "torch" (out of place)."""
    return "mkl" if device == "cpu" and _library() is not None else "torch"


def _planned(thing: Tensor) -> bool:
    """Tell whether a tensor may go through the library."""
    return (
        thing.device.type == "cpu"
        and thing.dtype in (torch.float32, torch.complex64)
        and thing.numel() > 0
        and not (thing.requires_grad and torch.is_grad_enabled())
        and _library() is not None
    )


def _transformed(spectrum: Tensor, lengths: tuple[int, ...], planes: int, *, back: bool) -> None:
    """Transform in place; of volumes only the first `planes` hold, or are asked for, real data.

    A volume is done plane by plane and then along z, which takes as long as in one go, less the
    planes that are left out.
    """
    library = _library()
    threads = 1 if spectrum.numel() < SMALL else torch.get_num_threads()
    items = spectrum.numel() // prod(spectrum.shape[-len(lengths) :])
    if len(lengths) < 3:
        _run(library, ("rows", lengths, items, threads), spectrum.data_ptr(), back=back)
        return
    nz, ny, nx = lengths
    size = spectrum.element_size() * nz * ny * (nx // 2 + 1)
    for item in range(items):
        start = spectrum.data_ptr() + item * size
        steps = (("rows", (ny, nx), planes, threads), ("along", lengths, 1, threads))
        for step in reversed(steps) if back else steps:
            _run(library, step, start, back=back)


def _run(
    library: Any, step: tuple[str, tuple[int, ...], int, int], start: int, *, back: bool
) -> None:
    plan = _plan(library, step, back)
    compute = library.DftiComputeBackward if back else library.DftiComputeForward
    _checked(library, compute(plan.handle, ctypes.c_void_p(start)))


class _Plan:
    """A committed descriptor, freed with the object; any number of threads may compute with it."""

    def __init__(self, library: Any, handle: ctypes.c_void_p) -> None:
        self.library, self.handle = library, handle

    def __del__(self) -> None:
        self.library.DftiFreeDescriptor(ctypes.byref(self.handle))


@lru_cache(maxsize=KEPT)
def _plan(
    library: Any,
    step: tuple[str, tuple[int, ...], int, int],
    back: bool,  # noqa: FBT001
) -> _Plan:
    """Plan so many real transforms of rows or planes, or complex ones along the first axis.

    The library settles the number of threads with the plan, so that it is part of the key.
    """
    kind, lengths, many, threads = step
    long = ctypes.c_long
    handle = ctypes.c_void_p()
    real: tuple[int, ...]
    complexes: tuple[int, ...]
    half = lengths[-1] // 2 + 1
    if kind == "along":
        domain, sizes, many = _COMPLEX, lengths[:1], prod(lengths[1:-1]) * half
        real = complexes = (0, many)
        distances = (1, 1)
    else:
        domain, sizes = _REAL, lengths
        real = (0, 1) if len(lengths) == 1 else (0, 2 * half, 1)
        complexes = (0, 1) if len(lengths) == 1 else (0, half, 1)
        rows = prod(lengths[:-1])
        distances = (rows * 2 * half, rows * half)
    if len(sizes) == 1:
        made = library.DftiCreateDescriptor_s_1d(
            ctypes.byref(handle), ctypes.c_int(domain), long(sizes[0])
        )
    else:
        made = library.DftiCreateDescriptor_s_md(
            ctypes.byref(handle), ctypes.c_int(domain), long(len(sizes)),
            (long * len(sizes))(*sizes),
        )  # fmt: skip
    _checked(library, made)
    plan = _Plan(library, handle)
    array = long * (len(sizes) + 1)
    first, second = (array(*strides) for strides in (real, complexes))
    one, two = (long(d) for d in distances)
    if back:
        first, second, one, two = second, first, two, one
    values: list[tuple[int, Any]] = [
        (_PLACEMENT, ctypes.c_int(_IN_PLACE)),
        (_MANY, long(many)),
        (_THREADS, long(threads)),
        (_STRIDES_IN, first),
        (_STRIDES_OUT, second),
        (_DISTANCE_IN, one),
        (_DISTANCE_OUT, two),
        (_SCALE_BACK, ctypes.c_double(1 / prod(sizes))),
    ]
    if domain == _REAL:
        values.insert(0, (_STORAGE, ctypes.c_int(_COMPLEX_COMPLEX)))
    for name, value in values:
        _checked(library, library.DftiSetValue(handle, ctypes.c_int(name), value))
    _checked(library, library.DftiCommitDescriptor(handle))
    return plan


def _checked(library: Any, status: int) -> None:
    if status:
        library.DftiErrorMessage.restype = ctypes.c_char_p
        text = library.DftiErrorMessage(ctypes.c_long(status)).decode()
        # Its word for memory is one that a tile is split for.
        raise MemoryError(text) if "memory" in text.lower() else RuntimeError(f"DFTI: {text}")


@lru_cache(maxsize=1)
def _library() -> Any:
    """Load torch's own library if it has these functions and they compute what torch computes."""
    asked = os.environ.get("NAPARI_DEBLUR_FFT", "")
    if asked not in ("", "mkl", "torch"):
        raise ValueError(f'NAPARI_DEBLUR_FFT is "{asked}": set it to mkl or torch, or not at all')
    if asked == "torch" or not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return None
    for path in sorted((Path(torch.__file__).parent / "lib").glob("*torch_cpu.*")):
        try:
            library = ctypes.CDLL(str(path))
            for name in ("DftiCreateDescriptor_s_md", "DftiCreateDescriptor_s_1d", "DftiSetValue"):
                getattr(library, name)
        except (OSError, AttributeError):
            continue
        if _works(library):
            return library
    return None


def _works(library: Any) -> bool:
    """Try a small volume: another build may count in other integers."""
    lengths = (3, 4, 6)
    spectrum = torch.zeros(3, 4, 4, dtype=torch.complex64)
    grid = real_view(spectrum, lengths)
    thing = torch.arange(72.0).reshape(lengths).cos_()
    grid.copy_(thing)
    try:
        for step in (("rows", (4, 6), 3, 1), ("along", lengths, 1, 1)):
            _run(library, step, spectrum.data_ptr(), back=False)
    except (RuntimeError, MemoryError):
        return False
    return bool(torch.allclose(spectrum, torch.fft.rfftn(thing), atol=1e-4))
