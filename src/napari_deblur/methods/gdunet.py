"""GDUNet: blind deconvolution unfolded into a network that was trained on microscopy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from napari_deblur.methods._learned_weights import (
    FromWeights,
    arrays_of,
    largest_of,
    multiple_of,
    shapes_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from napari_deblur.gdunet.applying import Scale
    from napari_deblur.gdunet.network import Network
    from napari_deblur.protocols import Blur, Estimate, Facts, Kernel, KernelField, Sample

__all__ = ["GDUNet"]

# Pixels, with margins, that go through the network at a time: planes need nothing of each other.
AT_ONCE = 2**20
# Pixels around one, all of which are the same where nothing was seen. No halo is shorter.
FLAT, ALIKE = 8, 1e-5
# Pixels along each axis of the smallest kernel that is looked for.
SMALLEST = 5
FILTERED = (
    "neighbouring pixels share their noise, as in an image that was filtered or resampled, and "
    "gdunet knows the noise of single pixels only"
)
SOLID = (
    "gdunet restores plane by plane, and the kernel has several planes: give one plane of it, or "
    "take a method for volumes, such as richardson-lucy"
)


@dataclass(frozen=True)
class GDUNet:
    """Find the kernel and restore, with a network that was trained on images of known blur.

    The network unfolds blind deconvolution: a few stages, each a gradient step on the image, a
    learned correction of the image, a gradient step on the kernel, and a learned correction of the
    kernel that attends to how blurred the image still is. What it knows of images comes from its
    training: look at kernel and image before you believe them.

    Kernels lie within planes. A volume is restored plane by plane.

    Parameters
    ----------
    weights : str
        "light" or "tiny", which come with the program, or the path of a file that a training
        wrote. "tiny" takes half the time, and its images are less good. On a cluster the workers
        must be able to read the path.
    digest : str
        SHA-256 of that file, hexadecimal. Filled in when a plan is made; a run refuses another
        file.
    kernel : "found" or "given"
        "found": the kernel is looked for, from the one that is given, from the optics, or from a
        Gaussian. "given": the one that is given is right, and only the image is restored.
    background, white : float or "auto"
        Counts of nothing and of the brightest: the network works between the two. "auto": as
        measured, or the darkest there is, and the brightest 0.1 % left out; at least 6 times the
        noise apart.
    gain : float or "auto"
        Counts per photon; 0 where it isn't known.
    noise : float or "auto"
        Standard deviation of a dim pixel, in counts. More makes the image smoother.

    References
    ----------
    Guo et al., Neural Netw. 190, 107683 (2025), doi:10.1016/j.neunet.2025.107683.
    Departs from it as `napari_deblur.gdunet.network` says; trained anew, with known kernels.
    """

    weights: str = "light"
    digest: Annotated[str, {"visible": False}] = ""
    kernel: Literal["found", "given"] = "found"
    background: float | Literal["auto"] = "auto"
    white: float | Literal["auto"] = "auto"
    gain: float | Literal["auto"] = "auto"
    noise: float | Literal["auto"] = "auto"

    multiple_of: ClassVar[FromWeights[int]] = FromWeights(multiple_of, 8)
    arrays: ClassVar[FromWeights[float]] = FromWeights(arrays_of, 168.0)
    estimate_shapes: ClassVar[FromWeights[tuple[tuple[int, ...], ...]]] = FromWeights(
        shapes_of, ((256, 256),)
    )
    largest_kernel: ClassVar[FromWeights[int]] = FromWeights(largest_of, 31)
    knows_optics: ClassVar[bool] = True
    learned: ClassVar[bool] = True
    varies_along: ClassVar[str] = "z"

    def __post_init__(self) -> None:
        if not self.weights or not isinstance(self.weights, str):
            raise ValueError(
                'weights is empty: give a name, such as "light", or the path of a file'
            )
        if self.kernel not in ("found", "given"):
            raise ValueError(f'kernel is "{self.kernel}" and must be found or given')
        for name in ("background", "white", "gain", "noise"):
            value = getattr(self, name)
            if value != "auto" and not isfinite(value):
                raise ValueError(f"{name} is {value} and must be a number of counts, or auto")
        for name in ("gain", "noise"):
            value = getattr(self, name)
            if value != "auto" and not value >= 0:
                raise ValueError(f"{name} is {value} and must be 0 or more")
        background, white = self.background, self.white
        if background != "auto" and white != "auto" and not white > background:
            raise ValueError(f"white is {white} and must be above background, {background}")

    def widest(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """Choose the shape (1, y, x) that is searched in an image of nz, ny, nx voxels.

        The largest of the training, 31 px of "light"; at most half the image.
        """
        y, x = (_odd(min(self.largest_kernel, n // 2)) for n in image[1:])
        return 1, y, x

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Take the weights' digest, and decide range and noise: the same for all tiles."""
        from napari_deblur.gdunet.weights import name_of
        from napari_deblur.methods._learned_range import darkest_of, noise_of, white_of
        from napari_deblur.ops.statistics import background_of

        if any(sample.blur is not None and sample.blur.ndim == 3 for sample in samples):
            raise ValueError(SOLID)
        path, found = self._file()
        gain = (samples[0].facts.gain or 0.0) if self.gain == "auto" else self.gain
        if self.background == "auto":
            background = darkest_of(samples, background_of(samples), gain)
        else:
            background = self.background
        noise = noise_of(samples, background, gain) if self.noise == "auto" else self.noise
        white = white_of(samples, background, noise) if self.white == "auto" else self.white
        return replace(
            self,
            weights=name_of(path),
            digest=found,
            background=background,
            white=white,
            gain=gain,
            noise=noise,
        )

    def check(self) -> None:
        """Refuse weights that are not those that the plan was made with.

        Raises
        ------
        FileNotFoundError
            When there are none of that name or path.
        ValueError
            When they are others.
        """
        self._file()

    def first_kernel(
        self,
        shape: tuple[int, int, int],
        pixel_size: tuple[float, float, float] | None,
        facts: Facts,
    ) -> Kernel:
        """Give what each tile begins with: from the optics, or as the training began."""
        from napari_deblur.gdunet.synthesis import default_kernel
        from napari_deblur.methods._learned_kernel import optical
        from napari_deblur.protocols import Kernel

        size = (shape[1], shape[2])
        array = optical(facts, pixel_size, size)
        if array is None:
            array = default_kernel(1, size)[0, 0]
        return Kernel(array.numpy()[None], pixel_size)

    def restorer(self) -> GDUNet:
        """Give the same network with the kernel left as it is."""
        return replace(self, kernel="given")

    def estimate(
        self, samples: Sequence[Sample], shape: tuple[int, int, int], first: Kernel | None
    ) -> Kernel:
        """Find one kernel for all samples: one in each, and their mean by how much each shows.

        It is never wider than the finest detail of the image allows; and narrowed where the network
        predicts light that was held out better without any kernel than with it.

        Parameters
        ----------
        samples : of one channel
            The larger, the better, up to 256 px.
        shape : (1, y, x) of the kernel
            Even sizes, and those of more than half a sample, are padded with zeros. The report says
            which sizes the network was trained with: of others, 9 and 45 px were tried.
        first : Kernel or None
            Where the search begins. None: from the optics, or from four Gaussians of different
            widths, and the mean of what was found is taken.
        """
        import torch

        from napari_deblur import ops
        from napari_deblur.gdunet.applying import found_kernel
        from napari_deblur.methods._learned_kernel import (
            centred,
            held,
            likeness,
            plane,
            rounded,
            sound,
            starts,
        )
        from napari_deblur.methods._learned_width import narrowed
        from napari_deblur.protocols import Kernel

        if shape[0] > 1:
            raise ValueError(
                f"gdunet finds kernels of one plane, and {shape} (z, y, x) was asked for: ask for "
                f"{(1, *shape[1:])}, or take blind"
            )
        size = samples[0].pixel_size
        if self.kernel == "given":
            if first is None:
                raise ValueError('gdunet with kernel="given" needs a kernel: give one, or a psf')
            return Kernel(ops.reshaped(plane(first), shape[1:])[None], first.pixel_size or size)
        scale = self._scale()
        tiles = [sound(sample) for sample in samples]
        network, facts = self._network(tiles[0])
        sides = [min(tile.shape[axis] for tile in tiles) for axis in (-2, -1)]
        if min(sides) < 2 * SMALLEST:
            raise ValueError(
                f"an image of {sides[0]} × {sides[1]} px is too small to find a kernel in: give a "
                f"kernel, or take {2 * SMALLEST} px or more along y and x"
            )
        ky, kx = (
            min(max(_odd(n), SMALLEST), _odd(side // 2))
            for n, side in zip(shape[1:], sides, strict=True)
        )
        with torch.no_grad():
            every = [
                found_kernel(network, tiles, start, scale, part="small")
                for start in starts(samples[0], (ky, kx), first)
            ]
            whole = torch.stack([found.kernel for found in every]).mean(dim=0)
            last = every[0]
            if network.dense:
                last = found_kernel(network, tiles, whole, scale, part="dense")
                whole = last.kernel
        whole = whole.cpu()
        kernel, limited = held(samples, centred(whole.clone()))
        if "verdict" not in limited:
            clean = [replace(one, tile=tile) for one, tile in zip(samples, tiles, strict=True)]
            kernel, predicted = narrowed(network, clean, kernel, scale)
            limited |= predicted
        kernel = centred(torch.from_numpy(ops.reshaped(kernel.numpy(), shape[1:])))
        report: dict[str, Any] = {
            "method": "gdunet",
            "weights": self.weights,
            "digest": self.digest,
            "samples": [[list(span) for span in sample.region] for sample in samples],
            "searched": [ky, kx],
            "trained_with": list(facts["kernel_sizes"]),
            # Of what was found from each start, and in each sample: from the first start, or from
            # the mean of what was found.
            "starts": [rounded(likeness(found.kernel.cpu(), whole)) for found in every],
            "agreement": [rounded(likeness(one.cpu(), whole)) for one in last.each],
            "counted": [rounded(float(weight)) for weight in last.weights],
        }
        if any(sample.facts.colour is not None for sample in samples):
            report["doubt"] = FILTERED
        array = kernel.numpy()[None]
        return Kernel(array, first.pixel_size if first else size, {**report, **limited})

    def estimate_field(
        self,
        samples: Sequence[Sample],
        shape: tuple[int, int, int],
        first: Kernel | None,
        image: tuple[int, int, int],
    ) -> KernelField:
        """Find how the kernel changes with depth: one for the samples of each depth."""
        from napari_deblur.methods._learned_field import field_of_depths

        return field_of_depths(lambda some: self.estimate(some, shape, first), samples, image)

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., y, x) of counts; NaN where there are no data.

        With ``kernel="found"`` the tile finds a kernel of its own, beginning with that of `blur`.
        """
        import torch

        from napari_deblur import ops
        from napari_deblur.gdunet.applying import restored, stages
        from napari_deblur.protocols import Estimate

        scale, kernels = self._scale(), _of_planes(blur, tile)
        network, _ = self._network(tile)
        nothing = torch.zeros(0, device=tile.device)
        ops.checkpoint()
        if self.kernel == "found":
            if len(kernels) > 1:
                raise ValueError("gdunet starts from one kernel, not from a field: give one kernel")
            if min(blur.shape) < SMALLEST:
                raise ValueError(
                    f"gdunet finds no kernel of {blur.shape[0]} × {blur.shape[1]} px: ask for "
                    f"{SMALLEST} px or more along y and x, in an image of twice as many"
                )
            image, kernel = stages(network, tile, kernels[0], scale)[-1]
            return Estimate(image, kernel, nothing)
        planes = tile.reshape(-1, *tile.shape[-2:])
        image = torch.empty_like(planes)
        ky, kx = blur.shape
        padded = (planes.shape[-2] + ky - 1) * (planes.shape[-1] + kx - 1)
        many = max(1, AT_ONCE // padded) if len(kernels) == 1 else 1
        for at in range(0, len(planes), many):
            ops.checkpoint()
            kernel = kernels[at if len(kernels) > 1 else 0]
            some = planes[at : at + many]
            made = restored(network, some, kernel, scale)
            image[at : at + many] = _flat_kept(some, made, scale.span)
        return Estimate(image.reshape(tile.shape), None, nothing)

    def trace(self, tile: Tensor, blur: Blur) -> dict[str, Tensor]:
        """Show how image and kernel come about.

        Returns
        -------
        dict
            "image", shape (stages, ..., y, x), and "kernel", shape (stages, y, x), after each
            stage; the last ones are those that the method gives.
        """
        import torch

        from napari_deblur.gdunet.applying import stages

        scale, kernels = self._scale(), _of_planes(blur, tile)
        if len(kernels) > 1:
            raise ValueError("a trace is made with one kernel, not with a field: give one kernel")
        network, _ = self._network(tile)
        pairs = stages(network, tile, kernels[0], scale, fixed=self.kernel == "given")
        images = [pair.image for pair in pairs]
        if self.kernel == "given":
            planes, last = (one.reshape(-1, *tile.shape[-2:]) for one in (tile, images[-1]))
            images[-1] = _flat_kept(planes, last, scale.span).reshape(tile.shape)
        return {
            "image": torch.stack(images),
            "kernel": torch.stack([pair.kernel for pair in pairs]),
        }

    def _file(self) -> tuple[Path, str]:
        """Find the weights; give their SHA-256, too, which must be the plan's if there is one."""
        from napari_deblur.gdunet.weights import checked_digest, weights_path

        path = weights_path(self.weights)
        found = checked_digest(path)
        if self.digest not in ("", found):
            raise ValueError(
                f"{path} has the SHA-256 {found[:12]}…, and digest says {self.digest[:12]}…: "
                "find the file that was meant, or make a plan anew (leave digest out)"
            )
        return path, found

    def _scale(self) -> Scale:
        """Give range and noise to the network."""
        from napari_deblur.gdunet.applying import Scale

        numbers = (self.background, self.white, self.gain, self.noise)
        if "auto" in numbers or not self.digest:
            raise ValueError('gdunet has an "auto" left: call resolved(samples) first')
        background, white, gain, noise = (float(v) for v in numbers)
        return Scale(background, white, gain, noise)

    def _network(self, tile: Tensor) -> tuple[Network, dict[str, Any]]:
        """Load the network onto the tile's device, once per process."""
        from napari_deblur.gdunet.weights import load_network, weights_path

        return load_network(weights_path(self.weights), self.digest, str(tile.device))


def _flat_kept(planes: Tensor, image: Tensor, span: float) -> Tensor:
    """Leave pixels (planes, y, x) as they were seen where all around them are the same.

    As good as the same: between that and `ALIKE` of the range one becomes the other smoothly.

    The network, which never saw such, makes a faint pattern out of what is at the edges.
    """
    import torch
    from torch.nn.functional import max_pool2d

    def highest(values: Tensor) -> Tensor:
        rows = max_pool2d(values[:, None], (2 * FLAT + 1, 1), 1, (FLAT, 0))
        return max_pool2d(rows, (1, 2 * FLAT + 1), 1, (0, FLAT))[:, 0]

    known = torch.isfinite(planes)
    high = highest(planes.masked_fill(~known, -torch.inf))
    low = -highest((-planes).masked_fill_(~known, -torch.inf))
    there = high >= low
    seen = torch.where(known, planes, torch.where(there, high, image))
    alike = (1 - (high - low) / (ALIKE * span)).clamp(0, 1)
    return image.lerp(seen, torch.where(there, alike, 0.0))


def _odd(n: int) -> int:
    return max(n - 1 + n % 2, 1)


def _of_planes(blur: Blur, tile: Tensor) -> list[Tensor]:
    """Give the kernel of all planes of a tile, or one for each where they differ.

    A blur within planes whose kernel varies along z alone is exact that way.
    """
    if blur.ndim != 2:
        raise ValueError(SOLID)
    if blur.weights is None:
        return [blur.basis[0]]
    weights = blur.weights.flatten(-2)
    if float((weights - weights[..., :1]).abs().max()) > 1e-5:
        raise ValueError(
            "gdunet has one kernel for a plane, and this blur varies within planes: take "
            "richardson-lucy, or one kernel"
        )
    shares = weights[..., 0].reshape(len(blur.basis), -1).T
    kernels = (shares[:, :, None, None] * blur.basis).sum(dim=1).clamp(min=0)
    kernels = kernels / kernels.sum(dim=(-2, -1), keepdim=True)
    planes = tile.numel() // (tile.shape[-2] * tile.shape[-1])
    if len(kernels) not in (1, planes):
        raise ValueError(f"a tile of {planes} planes has kernels for {len(kernels)}")
    return list(kernels)
