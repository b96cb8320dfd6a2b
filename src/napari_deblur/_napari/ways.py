"""What the user knows of the blur, and which methods suit that. No windows here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_deblur import registry
from napari_deblur._napari.form import summary_of

__all__ = [
    "MODELS",
    "TRUST",
    "WAYS",
    "Way",
    "about",
    "default_of",
    "fixed",
    "methods_for",
    "weights_files",
]


@dataclass(frozen=True)
class Way:
    """One of the ways to a kernel.

    Parameters
    ----------
    title : str
        What the user can say of the blur.
    does, trust : str
        What is done then, and when to believe it.
    """

    title: str
    does: str
    trust: str


WAYS = {
    "find": Way(
        "I don't know the blur",
        "The kernel is found in the image, and the image is restored with it.",
        "Trust it where it is said that the image speaks for the kernel; it needs structure "
        "finer than the blur, and light.",
    ),
    "psf": Way(
        "I know my optics",
        "The kernel is computed from the lens, the light and the voxel size.",
        "Trust it where lens, immersion and sample are what you say; nothing of the image goes "
        "into the kernel.",
    ),
    "measured": Way(
        "I have beads or a measured PSF",
        "The kernel that you have is used as it is.",
        "Trust it where it was measured with the same lens, colour and depth as the image.",
    ),
}

# When to believe a method, or to take it: a line for each.
TRUST = {
    "blind": "The one to begin with: it says itself whether to believe the kernel.",
    "gdunet": "For planes that look like those of its training; look at the kernel first.",
    "blind-sparse": "For motion and photographs with clear edges; not for dim specimens.",
    "blind-richardson-lucy": "Well known, but it trades sharpness: look at the kernel first.",
    "accelerated-richardson-lucy": "The one to begin with: it stops by itself, before the noise.",
    "richardson-lucy": "The classic: trust it where it stops by itself or after few iterations.",
    "richardson-lucy-tv": "For few photons and flat areas; it costs fine texture.",
    "total-variation": "For flat pieces with sharp edges; fine texture becomes patches.",
    "wavelet": "For few photons and soft bodies; thin lines gain least.",
    "hyper-laplacian": "For photographs with strong edges; not for counts of few photons.",
    "wiener": "The fastest: for a first look. It can go below zero and ring.",
    "tikhonov": "Fast and linear: for numbers that are compared. It can go below zero.",
}
FIRST = ("blind", "gdunet", "blind-sparse", "blind-richardson-lucy")
# The proof of the geometry; it deblurs nothing.
HIDDEN = {"identity"}
# Models that the form offers, the usual ones first; a measured one comes from a layer or a file.
MODELS = (
    "gibson-lanni", "vectorial", "confocal", "light-sheet", "two-photon", "pupil", "gaussian",
    "disc", "motion", "turbulence",
)  # fmt: skip


def methods_for(way: str) -> list[str]:
    """Give the methods that suit what is known, the best to begin with first.

    Without a kernel those that find one; with one those that use it, and then those that begin
    their search there.
    """
    known = [name for name in registry.methods if name not in HIDDEN]
    order = [name for name in (*FIRST, *TRUST) if name in known]
    order = list(dict.fromkeys([*order, *known]))
    finders = [name for name in order if hasattr(registry.methods[name], "estimate")]
    if way == "find":
        return finders
    return [name for name in order if name not in finders] + finders


def default_of(way: str, *, rgb: bool = False) -> str:
    """Give the method that is taken until the user chooses one; photographs were moved."""
    from napari_deblur.checking import default_method

    if rgb and way == "find":
        return "blind-sparse"
    return default_method("channel", known=way != "find")


def about(name: str, way: str) -> str:
    """Say in two sentences what a method does, and when to trust it."""
    cls = registry.methods[name]
    parts = [summary_of(cls), TRUST.get(name, "")]
    if way != "find" and hasattr(cls, "estimate"):
        parts.append(
            "Here it restores with the kernel that is given."
            if _takes_given(cls)
            else "Its search starts from the kernel that is given."
        )
    return " ".join(filter(None, parts))


def fixed(cls: Any, way: str) -> dict[str, Any]:
    """Give the parameters that the way decides, which the form does not show."""
    return {"kernel": "found" if way == "find" else "given"} if _takes_given(cls) else {}


def _takes_given(cls: Any) -> bool:
    return getattr(cls, "kernel", None) == "found"


def weights_files(folder: Path) -> list[str]:
    """Give what can stand for weights: names that are packaged, then files that were trained."""
    packaged = Path(__file__).parents[1] / "gdunet" / "weights"
    names = sorted(file.stem for file in packaged.glob("*.safetensors"))
    trained: list[Path] = []
    if folder.is_dir():
        found = [*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors")]
        trained = [file for file in found if file.stem != "checkpoint"]
    return names + [str(file) for file in sorted(trained)]
