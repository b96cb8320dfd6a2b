"""Make the pictures of the methods' pages: ``python docs/pictures.py [NAME ...]``.

Needs the extra ``bench``. One scene for all that are given the kernel, so that they can be
compared: filaments and bodies, out of focus, 300 photons in the brightest pixel; every number
automatic. Those that find a kernel in planes show it beside the true one; `blind` shows what it
makes of the bundled chromosomes, `blind-sparse` what it makes of a photograph of scikit-image's
(CC0) under the shake of a hand.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import napari_deblur as nd
from napari_deblur import methods, ops
from napari_deblur.bench.motion import aligned_error
from napari_deblur.bench.scenes import Case, Scene
from napari_deblur.data import sample_path
from napari_deblur.kernels import padded
from napari_deblur.protocols import Blur, Facts
from napari_deblur.psfs.motion import Motion

HERE = Path(__file__).parent / "images" / "methods"
CASE = Case("mixed", "defocus", 300, (160, 160), seed=3)
BLIND = {"gdunet": Case("mixed", "gaussian", 300, (160, 160), seed=3)}
SKIPPED = ("identity",)
# A part of the photograph, 19 px for the shake, and the noise in grey levels.
PHOTO, SHAKE, GRAIN = (slice(60, 340), slice(110, 390)), 19, 0.8
CUT = slice(20, 140)
LARGER = 3


def main(names: list[str]) -> None:
    HERE.mkdir(parents=True, exist_ok=True)
    for name in names or [*methods]:
        if name == "blind":
            figure = found()
        elif name == "blind-sparse":
            figure = shaken()
        elif name in BLIND:
            figure = blindly(name)
        elif name in SKIPPED or hasattr(methods[name], "estimate"):
            continue
        else:
            figure = compared(name)
        figure.savefig(HERE / f"{name}.png", dpi=90)
        plt.close(figure)


def compared(name: str) -> plt.Figure:
    """Draw the object, what is seen of it and what the method makes of that."""
    scene = CASE.scene()
    method = methods[name]().resolved([scene.sample()])
    print(name, {k: v for k, v in vars(method).items() if k in ("iterations", "weight")})
    return _drawn(name, scene, method(scene.tile, scene.blur).image, None)


def blindly(name: str) -> plt.Figure:
    """Draw the same for a method that finds the kernel, and that kernel."""
    scene = BLIND[name].scene()
    stack = nd.open_stack(scene.tile.numpy(), "yx")
    plan = nd.plan(stack, name, facts=scene.facts)
    print(name, *plan.notes, sep="\n  ")
    restored = torch.from_numpy(np.asarray(nd.deconvolve(plan, stack)).squeeze())
    return _drawn(name, scene, restored, plan.kernel.at()[0])


def _drawn(
    name: str, scene: Scene, restored: torch.Tensor, kernel: np.ndarray | None
) -> plt.Figure:
    white = float(scene.truth.quantile(0.998))
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
    panels = (
        ("the object", scene.truth, ""),
        ("seen", scene.tile, f"{scene.psnr(scene.tile):.1f} dB"),
        (name, restored, f"{scene.psnr(restored):.1f} dB"),
    )
    for axis, (title, image, figures) in zip(axes, panels, strict=True):
        axis.imshow(image[CUT, CUT], cmap="gray", vmin=0, vmax=white, interpolation="nearest")
        axis.set_title(f"{title}  {figures}".strip(), fontsize=10)
        axis.set_axis_off()
    true = scene.blur.basis[0].numpy()
    for axis, one in ((axes[1], true), (axes[2], kernel)):
        if one is not None:
            inset = axis.inset_axes((0.02, 0.72, 0.26, 0.26))
            inset.imshow(ops.reshaped(one, true.shape), cmap="magma")
            inset.set_axis_off()
    return figure


def found() -> plt.Figure:
    """Draw the chromosomes, what `blind` makes of them, and the kernel that it found."""
    stack = nd.open_stack(sample_path("chromosomes"))
    plan = nd.plan(stack, "blind", shape=(13, 23, 23))
    before, after = stack.read(0, 0), np.asarray(nd.deconvolve(plan, stack))
    nz, ny, nx = (n // LARGER // 2 * 2 + 1 for n in before.shape)
    kernel = padded(plan.kernel.at(), (nz, ny, nx))
    dark = plan.channels[0].facts.background
    figure, axes = plt.subplots(2, 3, figsize=(8, 6.9), layout="constrained")
    for column, title, image, low, colours in (
        (axes[:, 0], "seen", before, dark, "gray"),
        (axes[:, 1], "restored", after, dark, "gray"),
        (axes[:, 2], f"kernel, {LARGER} × larger", kernel, 0, "magma"),
    ):
        top = image.max() if image is kernel else np.percentile(image, 99.8)
        z, y, _ = (n // 2 for n in image.shape)
        dz, dy, dx = stack.pixel_size
        for axis, cut, aspect in zip(
            column, (image[z], image[:, y]), (dy / dx, dz / dx), strict=True
        ):
            axis.imshow(cut, cmap=colours, vmin=low, vmax=top, aspect=aspect)
            axis.set_axis_off()
        column[0].set_title(title, fontsize=10)
    print("blind", *plan.notes, sep="\n  ")
    return figure


def shaken() -> plt.Figure:
    """Draw a photograph, what a shaking hand leaves of it, and what `blind-sparse` gives."""
    from skimage.data import camera

    sharp = camera()[PHOTO].astype(np.float32)
    shake = Motion(15.0, width=2.0, path="hand-shake")((1, SHAKE, SHAKE), (1.0, 1.0, 1.0)).at()
    seen = ops.blur(torch.from_numpy(sharp), Blur(torch.from_numpy(shake.copy()))).numpy()
    seen = seen + GRAIN * np.random.default_rng(100).standard_normal(seen.shape)
    seen = seen.round().clip(0, 255).astype(np.float32)
    stack = nd.open_stack(seen, "yx")
    plan = nd.plan(
        stack, "blind-sparse", shape=(1, 31, 31), facts=Facts(background=0.0, white=255.0)
    )
    print("blind-sparse", *plan.notes, sep="\n  ")
    restored = np.asarray(nd.deconvolve(plan, stack)).squeeze()
    half = SHAKE // 2
    truth = sharp[half:-half, half:-half]
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
    kernels = (None, shake[0], plan.kernel.at()[0])
    panels = (("the photograph", truth), ("shaken", seen), ("blind-sparse", restored))
    for axis, (title, image), one in zip(axes, panels, kernels, strict=True):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.set_axis_off()
        if one is not None:
            decibels = 10 * np.log10(255**2 / aligned_error(image, truth))
            title = f"{title}  {decibels:.1f} dB"
            inset = axis.inset_axes((0.72, 0.72, 0.26, 0.26))
            inset.imshow(ops.reshaped(one, (25, 25)), cmap="magma")
            inset.set_axis_off()
        axis.set_title(title, fontsize=10)
    return figure


if __name__ == "__main__":
    main(sys.argv[1:])
