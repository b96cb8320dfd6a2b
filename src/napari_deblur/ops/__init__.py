"""Numerics in torch: tensors in, tensors out; no files, no dask, no windows."""

from napari_deblur.ops.cancelling import cancellable, checkpoint
from napari_deblur.ops.fourier import (
    blur,
    blur_adjoint,
    crop,
    good_length,
    kernel_adjoint,
    object_shape,
    transfer_function,
    transform_shape,
)
from napari_deblur.ops.kernels import centroid, delta, normalised, shifted
from napari_deblur.ops.masks import filled, mean_square, split

__all__ = [
    "blur",
    "blur_adjoint",
    "cancellable",
    "centroid",
    "checkpoint",
    "crop",
    "delta",
    "filled",
    "good_length",
    "kernel_adjoint",
    "mean_square",
    "normalised",
    "object_shape",
    "shifted",
    "split",
    "transfer_function",
    "transform_shape",
]
