"""Train a network on one's own sharp images, as settings in a file say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_deblur
from napari_deblur.gridding import chosen_device
from napari_deblur.opening import open_stack
from napari_deblur.pictures import GLOW, GREY, Box, Page, Picture
from napari_deblur.registry import readers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.gdunet.card import Material
    from napari_deblur.gdunet.training import Step

__all__ = [
    "COLUMNS",
    "image_pairs",
    "line_of",
    "page_of",
    "sharp_images",
    "train_network",
    "training_settings",
]

SETTINGS = Path(__file__).parent / "gdunet" / "settings"
# Planes of a channel that are taken, evenly over depth and time.
PLANES = 8
# Files that are named where several are passed over.
NAMED = 5
# Of the picture of the progress, in pixels.
CELL, GAP, HEAD = 170, 10, 62
COLUMNS = ("blurred", "restored", "sharp", "kernel", "true")


def train_network(
    settings: str | Path,
    out: Path,
    *,
    data: Path | None = None,
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
    **changes: Any,
) -> Iterator[Step]:
    """Train a network, or go on with a training that was stopped.

    Parameters
    ----------
    settings : str or Path
        A TOML file, or the name of one of this package: "tiny" or "light".
    out : Path
        A folder for checkpoints, weights, the log, a picture of each validation's cases,
        ``progress.png``, and what is to be known of the weights, ``model_card.md``; what it holds
        is gone on with.
    data : Path, optional
        Where the folders of images are; beside the settings by default.
    device : str
        "cpu", "cuda" or "mps"; "auto" for CUDA where there is one.
    stop : function without arguments
        Asked before each iteration; once it says True all is saved and the training ends.
    say : function of a str
        Is told in sentences what is used and what is passed over.
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
        When the file, or a change, says something unknown or impossible, there is no such device,
        `out` is a file, or images are of no use.
    """
    from napari_deblur.gdunet.asked import asked, of_optics
    from napari_deblur.gdunet.card import Card
    from napari_deblur.gdunet.cutting import Each
    from napari_deblur.gdunet.schedule import Settings
    from napari_deblur.gdunet.training import train

    path = training_settings(settings)
    words = asked(path)
    values = {**of_optics(words.get("optics")), **words.get("training", {}), **changes}
    fewer, decay = changes.get("iterations"), values.get("decay")
    if "decay" not in changes and isinstance(fewer, int) and isinstance(decay, int):
        values["decay"] = min(decay, max(fewer // 5, 1))  # of fewer, the last fifth
    start = words.get("start", "")
    if start:  # it knows already what is easy
        values.setdefault("curriculum", 0)
    chosen = Settings.of(values)
    device = chosen_device(device)
    if out.exists() and not out.is_dir():
        raise ValueError(f'"{out}" is a file: give a folder, there or not yet, for what is written')
    root = path.parent if data is None else data
    images: dict[str, tuple[float, Sequence[NDArray[Any]]]] = {}
    materials: list[Material] = []
    for i, part in enumerate(words.get("images", [])):
        folder, patterns = root / part["folder"], part.get("patterns", ["*"])
        if data is None and path.parent == SETTINGS and not folder.is_dir():
            raise FileNotFoundError(
                f'the images that "{settings}" was trained on are not in the package: say where '
                f"the folder {part['folder']} is (--data FOLDER), or write settings of your own"
            )
        files = _files(folder, patterns, say)
        name = part["folder"] if part["folder"] not in images else f"{part['folder']} ({i + 1})"
        images[name] = (float(part.get("share", 1.0)), Each(_planes, files))
        materials += _materials("sharp", files)
    both: list[tuple[Path, Path]] = []
    for part in words.get("pairs", []):
        two = root / part["blurred"], root / part["sharp"]
        names = _names_of_pairs(*two, say)
        both += [(two[0] / name, two[1] / name) for name in names]
        materials += _materials("blurred of a pair", [two[0] / name for name in names])
        materials += _materials("sharp of a pair", [two[1] / name for name in names])
    for there in (path.parent, root):  # beside the settings, or with the images
        if start and (there / start).is_file():
            start = str(there / start)
            break
    program = f"napari-deblur {napari_deblur.__version__}"
    card = Card(out, chosen, start, words.get("optics"), materials, device, program)
    pairs = Each(_pair, both)
    for step in train(
        chosen, images, out, pairs=pairs, device=device, start=start, stop=stop, say=say
    ):
        if step.shown:
            page_of(step).image.save(out / ".progress.png")
            (out / ".progress.png").replace(out / "progress.png")
        if step.validation:
            card.write()
        yield step
    card.write()


def _materials(kind: str, files: list[Path]) -> list[Material]:
    """Give name and hash of every file that is learned from."""
    from napari_deblur.gdunet.card import Material

    found = []
    for file in files:
        digest = ""  # of a folder, such as an OME-Zarr, which may be as large as it likes
        if file.is_file():
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        found.append(Material(kind, f"{file.parent.name}/{file.name}", digest))
    return found


def line_of(step: Step) -> str:
    """Say in a line how far a training is; in another one what the validation says."""
    n = step.numbers
    known = np.isfinite(step.loss)
    begun = not known and not step.numbers
    words = [f"{step.iteration}: " + ("validated" if begun else f"loss {step.loss:.4f}")]
    if "psnr out" in n:
        words.append(f"PSNR {n['psnr in']:.2f} to {n['psnr out']:.2f} dB")
        words.append(f"kernel NCC {n['ncc first']:.3f} to {n['ncc out']:.3f}")
    if "psnr out pairs" in n:
        words.append(f"pairs {n['psnr in pairs']:.2f} to {n['psnr out pairs']:.2f} dB")
    if "psnr out given" in n:
        words.append(f"kernel given {n['psnr in given']:.2f} to {n['psnr out given']:.2f} dB")
    line = ", ".join([*words, *([f"{n['seconds']:.2f} s each"] if "seconds" in n else [])])
    if step.validation is None:
        return line
    v = step.validation
    lines = [line]
    for kind in dict.fromkeys(name.split(": ")[0] for name in v):
        said = f"  {kind}: PSNR {v[f'{kind}: psnr in']:.2f} to {v[f'{kind}: psnr out']:.2f} dB"
        if f"{kind}: psnr given" in v:
            said += (
                f", kernel given {v[f'{kind}: psnr given']:.2f} dB, kernel NCC "
                f"{v[f'{kind}: ncc first']:.3f} to {v[f'{kind}: ncc out']:.3f}, SNR "
                f"{v[f'{kind}: snr first']:.2f} to {v[f'{kind}: snr out']:.2f} dB"
            )
        lines.append(said)
    return "\n".join(lines)


def page_of(step: Step, *, words: bool = True, each: int | None = None) -> Page:
    """Draw what the network makes of some cases: blurred, restored, sharp; kernel, true one.

    Parameters
    ----------
    words : bool
        Whether headings and names are written.
    each : int, optional
        How many cases of each kind are drawn.
    """
    kinds = [one.name for one in step.shown]
    most = len(kinds) if each is None else each
    rows = [one for i, one in enumerate(step.shown) if kinds[:i].count(one.name) < most]
    head = HEAD if words else GAP
    page = Page(2 * GAP + 5 * (CELL + GAP), head + len(rows) * (CELL + GAP) + GAP)
    lefts = [GAP + column * (CELL + GAP) for column in range(5)]
    if words:
        page.words(lefts[0], 16, f"After {step.iteration} iterations")
        for left, title in zip(lefts, COLUMNS, strict=True):
            page.words(left, HEAD - 12, title, size=14, at="ls")
    for row, one in enumerate(rows):
        top = head + row * (CELL + GAP)
        for left, values in zip(lefts, one[1:], strict=True):
            image = values.shape == one.sharp.shape
            alike = (one.sharp,) if image else (one.found, one.true)
            limits = (0.0, max(float(np.quantile(v, 0.999 if image else 1.0)) for v in alike))
            drawn = Picture(values, limits, colours=GREY if image else GLOW, power=0.7)
            page.picture(Box(left, top, CELL, CELL), drawn)
        if words:
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
    """Read pairs of images with the same names from two folders, each (planes, y, x)."""
    names = _names_of_pairs(blurred, sharp, lambda line: None)
    return [_pair((blurred / name, sharp / name)) for name in names]


def _names_of_pairs(blurred: Path, sharp: Path, say: Callable[[str], None]) -> list[str]:
    """Find the names of images that are in both folders."""
    there = [{file.name for file in _files(folder, ["*"], say)} for folder in (blurred, sharp)]
    for folder, alone in ((blurred, there[0] - there[1]), (sharp, there[1] - there[0])):
        if alone:
            say(f"{folder}: passed over, without a partner of the same name: {_listed(alone)}")
    if not there[0] & there[1]:
        raise FileNotFoundError(
            f"{blurred} and {sharp} have no names in common: both images of a pair have one name"
        )
    return sorted(there[0] & there[1])


def _pair(files: tuple[Path, Path]) -> tuple[NDArray[Any], NDArray[Any]]:
    blurred, sharp = (_planes(file) for file in files)
    if len(blurred) != len(sharp):
        name = files[0].name
        raise ValueError(f"{name} has {len(blurred)} planes blurred and {len(sharp)} sharp")
    return blurred, sharp


def sharp_images(folder: Path, patterns: list[str]) -> list[NDArray[Any]]:
    """Read the planes of all images of a folder whose names fit, in the order of the names.

    Colours become their mean; channels are images of their own. Of a deep stack, or a long movie,
    a few planes of each channel, and only these are read.
    """
    files = _files(folder, patterns, lambda line: None)
    return [plane for file in files for plane in _planes(file)]


def _planes(file: Path) -> NDArray[Any]:
    """Read planes of a file, (planes, y, x); see `sharp_images`."""
    stack = open_stack(file)
    frames, channels, depth, ny, nx = stack.shape
    sites = list(np.ndindex(frames, depth))
    sites = sites[:: -(-len(sites) // PLANES)]
    planes = np.stack([
        [stack.read(t, c, ((z, z + 1), (0, ny), (0, nx)))[0] for t, z in sites]
        for c in range(channels)
    ])  # fmt: skip
    if stack.rgb:
        return np.asarray(planes[:3].mean(axis=0))
    return planes.reshape(-1, ny, nx)


def _files(folder: Path, patterns: list[str], say: Callable[[str], None]) -> list[Path]:
    """Find the images of a folder, in the order of their names; pass over what is none."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    there = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    files = [file for file in there if not file.name.startswith(".")]
    images = [file for file in files if any(readers[n]().accepts(str(file)) for n in readers)]
    passed = {file.name for file in files} - {file.name for file in images}
    if passed and images:
        say(f"{folder}: passed over, no images: {_listed(passed)}")
    if not images:
        named = "" if patterns == ["*"] else f" with names like {', '.join(patterns)}"
        rest = f": {_listed(passed)} can't be read as such" if passed else ""
        raise FileNotFoundError(f"no images{named} in {folder}{rest}")
    return images


def _listed(names: set[str]) -> str:
    """Name some of many."""
    first = ", ".join(sorted(names)[:NAMED])
    return first if len(names) <= NAMED else f"{first} and {len(names) - NAMED} more"
