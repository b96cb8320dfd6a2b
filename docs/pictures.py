"""Make the pictures of the methods' pages: ``python docs/pictures.py`` (needs the extra ``bench``).

One scene for all, so that they can be compared: filaments and bodies, out of focus, 300 photons in
the brightest pixel; every number automatic.
"""

from pathlib import Path

import matplotlib.pyplot as plt

from napari_deblur import methods
from napari_deblur.bench.scenes import Case

HERE = Path(__file__).parent / "images" / "methods"
CASE = Case("mixed", "defocus", 300, (160, 160), seed=3)
SKIPPED = ("identity", "blind-richardson-lucy")
CUT = slice(20, 140)


def main() -> None:
    HERE.mkdir(parents=True, exist_ok=True)
    scene = CASE.scene()
    white = float(scene.truth.quantile(0.998))
    for name in methods:
        if name in SKIPPED:
            continue
        method = methods[name]().resolved([scene.sample()])
        restored = method(scene.tile, scene.blur).image
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
        kernel = axes[1].inset_axes((0.02, 0.72, 0.26, 0.26))
        kernel.imshow(scene.blur.basis[0], cmap="magma")
        kernel.set_axis_off()
        figure.savefig(HERE / f"{name}.png", dpi=90)
        plt.close(figure)
        print(name, {k: v for k, v in vars(method).items() if k in ("iterations", "weight")})


if __name__ == "__main__":
    main()
