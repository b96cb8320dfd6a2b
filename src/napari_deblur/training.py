"""Train a network on one's own sharp images, as settings in a file say."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.opening import open_stack
from napari_deblur.pictures import GLOW, GREY, Box, Page, Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.gdunet.training import Step

__all__ = ["image_pairs", "line_of", "sharp_images", "train_network", "training_settings"]

SETTINGS = Path(__file__).parent / "gdunet" / "settings"
KEYS = {
    "images": {"folder", "patterns", "share"},
    "pairs": {"blurred", "sharp"},
    "optics": {"na", "wavelength", "pixel_size"},
}
# What a lens does, where it is known: how often kernels are of each family.
LENS = (("lens", 0.7), ("layers", 0.1), ("gaussian", 0.1), ("point", 0.1))
# How well aperture, wavelength and pixel size are known.
WITHIN = 0.1
# Planes of a stack that are taken, evenly over its depth.
PLANES = 8
# Of the picture of the progress, in pixels.
CELL, GAP, HEAD = 170, 10, 62


def train_network(
    settings: str | Path,
    out: Path,
    *,
    data: Path | None = None,
    device: str = "cpu",
    **changes: Any,
) -> Iterator[Step]:
    """Train a network, or go on with a training that was stopped.

    Parameters
    ----------
    settings : str or Path
        A TOML file, or the name of one of this package: "tiny".
    out : Path
        A folder for checkpoints, weights, the log and a picture of each validation's cases,
        ``progress.png``; what it holds is gone on with.
    data : Path, optional
        Where the folders of images are; beside the settings by default.
    device : str
        "cpu", "cuda" or "mps".
    **changes
        Settings of the training that go before the file's.

    Yields
    ------
    Step
        See `napari_deblur.gdunet.training.train`.

    Raises
    ------
    FileNotFoundError
        When the settings or a folder of images are not there.
    ValueError
        When the file says something unknown.
    """
    from napari_deblur.gdunet.schedule import Settings
    from napari_deblur.gdunet.training import train

    path = training_settings(settings)
    words = _checked(path.name, tomllib.loads(path.read_text("utf-8")))
    asked = {**_of_optics(words.get("optics")), **words.get("training", {}), **changes}
    if "iterations" in changes and "decay" not in changes:  # of fewer, the last fifth
        decay = asked.get("decay", Settings.decay)
        asked["decay"] = min(decay, max(changes["iterations"] // 5, 1))
    chosen = Settings.of(asked)
    root = path.parent if data is None else data
    images = {}
    for i, part in enumerate(words.get("images", [])):
        found = sharp_images(root / part["folder"], part.get("patterns", ["*"]))
        images[f"{i}: {part['folder']}"] = (float(part.get("share", 1.0)), found)
    pairs = [
        pair
        for part in words.get("pairs", [])
        for pair in image_pairs(root / part["blurred"], root / part["sharp"])
    ]
    for step in train(chosen, images, out, pairs=pairs, device=device):
        if step.shown:
            _page_of(step).image.save(out / "progress.png")
        yield step


def _checked(name: str, words: dict[str, Any]) -> dict[str, Any]:
    """Raise where a file has what nobody reads, or lacks what is needed."""
    if unknown := sorted(set(words) - set(KEYS) - {"training"}):
        raise ValueError(
            f"{name} has parts {', '.join(unknown)}: known are training, {', '.join(KEYS)}"
        )
    for kind, known in KEYS.items():
        parts = words.get(kind, [])
        for i, part in enumerate([parts] if isinstance(parts, dict) else parts):
            if unknown := sorted(set(part) - known):
                raise ValueError(
                    f"{kind} {i + 1} of {name} have {', '.join(unknown)}: known are "
                    f"{', '.join(sorted(known))}"
                )
            needed = {"folder"} if kind == "images" else known
            if missing := sorted(needed - set(part)):
                raise ValueError(f"{kind} {i + 1} of {name} lack {', '.join(missing)}")
    return words


def _of_optics(optics: dict[str, float] | None) -> dict[str, Any]:
    """Turn numerical aperture, wavelength and pixel size (µm) into settings."""
    if optics is None:
        return {}
    if any(not value > 0 for value in optics.values()):
        raise ValueError(f"optics are {optics}: na, wavelength and pixel_size (µm) are above 0")
    scale = optics["na"] * optics["pixel_size"] / optics["wavelength"]
    return {"scales": [scale * (1 - WITHIN), scale * (1 + WITHIN)], "families": LENS}


def line_of(step: Step) -> str:
    """Say in a line how far a training is; in another one what the validation says."""
    n = step.numbers
    words = [f"{step.iteration}: loss {step.loss:.4f}"]
    if "psnr out" in n:
        words.append(f"PSNR {n['psnr in']:.2f} to {n['psnr out']:.2f} dB")
        words.append(f"kernel NCC {n['ncc first']:.3f} to {n['ncc out']:.3f}")
    if "psnr out pairs" in n:
        words.append(f"pairs {n['psnr in pairs']:.2f} to {n['psnr out pairs']:.2f} dB")
    if "psnr out given" in n:
        words.append(f"kernel given {n['psnr in given']:.2f} to {n['psnr out given']:.2f} dB")
    line = ", ".join([*words, f"{n['seconds']:.2f} s each"])
    if step.validation is None:
        return line
    v = step.validation
    kinds = dict.fromkeys(name.split(": ")[0] for name in v)
    return "\n".join(
        [line]
        + [
            f"  {kind}: PSNR {v[f'{kind}: psnr in']:.2f} to {v[f'{kind}: psnr out']:.2f} dB, "
            f"kernel given {v[f'{kind}: psnr given']:.2f} dB, kernel NCC "
            f"{v[f'{kind}: ncc first']:.3f} to {v[f'{kind}: ncc out']:.3f}, SNR "
            f"{v[f'{kind}: snr first']:.2f} to {v[f'{kind}: snr out']:.2f} dB"
            for kind in kinds
        ]
    )


def _page_of(step: Step) -> Page:
    """Draw what the network makes of some cases."""
    page = Page(2 * GAP + 5 * (CELL + GAP), HEAD + len(step.shown) * (CELL + GAP) + GAP)
    lefts = [GAP + column * (CELL + GAP) for column in range(5)]
    page.words(lefts[0], 16, f"After {step.iteration} iterations")
    for left, title in zip(lefts, ("blurred", "restored", "sharp", "kernel", "true"), strict=True):
        page.words(left, HEAD - 12, title, size=14, at="ls")
    for row, one in enumerate(step.shown):
        top = HEAD + row * (CELL + GAP)
        for left, values in zip(lefts, one[1:], strict=True):
            image = values.shape == one.sharp.shape
            alike = (one.sharp,) if image else (one.found, one.true)
            limits = (0.0, max(float(np.quantile(v, 0.999 if image else 1.0)) for v in alike))
            drawn = Picture(values, limits, colours=GREY if image else GLOW, power=0.7)
            page.picture(Box(left, top, CELL, CELL), drawn)
        page.words(lefts[0] + 5, top + CELL - 5, one.name, size=13, at="ls")
    return page


def training_settings(settings: str | Path) -> Path:
    """Give the file of settings: of this package by name, or by its path."""
    packaged = SETTINGS / f"{settings}.toml"
    path = packaged if packaged.is_file() else Path(settings)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in SETTINGS.glob("*.toml")))
        raise FileNotFoundError(
            f'no settings "{settings}": give the path of a TOML file, or one of: {names}'
        )
    return path


def image_pairs(blurred: Path, sharp: Path) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Read pairs of images with the same names from two folders, plane by plane."""
    for folder in (blurred, sharp):
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}")
    names = sorted({f.name for f in blurred.iterdir()} & {f.name for f in sharp.iterdir()})
    if not names:
        raise FileNotFoundError(
            f"{blurred} and {sharp} have no names in common: both images of a pair have one name"
        )
    pairs = []
    for name in names:
        one, other = (sharp_images(folder, [name]) for folder in (blurred, sharp))
        if len(one) != len(other):
            raise ValueError(f"{name} has {len(one)} planes blurred and {len(other)} sharp")
        pairs += list(zip(one, other, strict=True))
    return pairs


def sharp_images(folder: Path, patterns: list[str]) -> list[NDArray[Any]]:
    """Read the planes of all images of a folder whose names fit, in the order of the names.

    Colours become their mean; channels are images of their own. Of a deep stack a few planes.
    """
    files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    if not files:
        raise FileNotFoundError(f"no images {', '.join(patterns)} in {folder}")
    planes: list[NDArray[Any]] = []
    for file in files:
        stack = open_stack(file)
        array = np.asarray(stack.data)
        if stack.rgb:
            array = array.mean(axis=stack.axes.index("c"))
        array = array.reshape(-1, *array.shape[-2:])
        planes += list(array[:: -(-len(array) // PLANES)])
    return planes
