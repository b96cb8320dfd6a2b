"""Numerics in torch: tensors in, tensors out; no files, no dask, no windows."""

from napari_deblur.ops.blocks import blocks
from napari_deblur.ops.cancelling import cancellable, checkpoint
from napari_deblur.ops.fourier import (
    blur,
    blur_adjoint,
    crop,
    good_length,
    kernel_adjoint,
    length_cost,
    object_shape,
    tile_view,
    transfer_function,
    transform_shape,
    workspace,
)
from napari_deblur.ops.kernels import (
    centroid,
    delta,
    normalised,
    reshaped,
    shifted,
    stretched,
)
from napari_deblur.ops.masks import filled, mean_square, split
from napari_deblur.ops.projectors import wiener_butterworth
from napari_deblur.ops.threads import at_most, one_thread
from napari_deblur.ops.transforms import backward, forward
from napari_deblur.ops.variation import curvature, curvatures

__all__ = [
    "at_most",
    "backward",
    "blocks",
    "blur",
    "blur_adjoint",
    "cancellable",
    "centroid",
    "checkpoint",
    "crop",
    "curvature",
    "curvatures",
    "delta",
    "filled",
    "forward",
    "good_length",
    "kernel_adjoint",
    "length_cost",
    "mean_square",
    "normalised",
    "object_shape",
    "one_thread",
    "reshaped",
    "shifted",
    "split",
    "stretched",
    "tile_view",
    "transfer_function",
    "transform_shape",
    "wiener_butterworth",
    "workspace",
]
