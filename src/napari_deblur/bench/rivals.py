"""Richardson-Lucy as others have written it: each a function that does some iterations."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_deblur.bench.baselines import (
    Task,
    floor,
    ours,
    scipy_plain,
    torch_floor,
    torch_plain,
)
from napari_deblur.bench.entrants import ITERATIVE, Missing

__all__ = ["RIVALS", "Rival"]


@dataclass(frozen=True)
class Rival:
    """Somebody's Richardson-Lucy.

    Parameters
    ----------
    label : str
        What it is, for tables.
    prepare : function of a `Task`
        Gives the function that does so many iterations; raises `Missing`.
    package : str or None
        Whose version tables state.
    kind : "floor", "plain", "other" or "ours"
    """

    label: str
    prepare: Callable[[Task], Callable[[int], Any]]
    package: str | None = None
    kind: str = "other"


def _skimage(task: Task) -> Callable[[int], Any]:
    lucy = import_module("skimage.restoration").richardson_lucy
    return lambda iterations: lucy(task.image, task.kernel, iterations, clip=False)


def _redlionfish(task: Task) -> Callable[[int], Any]:
    _volumes_only(task)
    lucy = import_module("RedLionfishDeconv").doRLDeconvolutionFromNpArrays
    return lambda iterations: lucy(task.image, task.kernel, niter=iterations, method="cpu")


def _simpleitk(task: Task) -> Callable[[int], Any]:
    itk = import_module("SimpleITK")
    itk.ProcessObject.SetGlobalDefaultNumberOfThreads(task.threads)
    image, kernel = (itk.GetImageFromArray(a) for a in (task.image, task.kernel))
    return lambda iterations: itk.GetArrayFromImage(
        itk.RichardsonLucyDeconvolution(image, kernel, iterations)
    )


def _sdeconv(task: Task) -> Callable[[int], Any]:
    import torch

    lucy = import_module("sdeconv.deconv").SRichardsonLucy
    image, kernel = torch.from_numpy(task.image), torch.from_numpy(task.kernel)
    return lambda iterations: lucy(kernel, iterations, tuple(n // 2 for n in kernel.shape))(image)


def _cubic(task: Task) -> Callable[[int], Any]:
    lucy = import_module("cubic.preprocessing.richardson_lucy_xp").richardson_lucy_xp
    return lambda iterations: lucy(task.image, task.kernel, iterations, noncirc=True)


def _pyclesperanto(task: Task) -> Callable[[int], Any]:
    cle = import_module("pyclesperanto")
    if not hasattr(cle, "deconvolve"):
        raise Missing("finds no OpenCL device")
    image, kernel = cle.push(task.image), cle.push(task.kernel)
    return lambda iterations: cle.pull(cle.deconvolve(image, kernel, iteration=iterations))


def _deconwolf(task: Task, *, method: str) -> Callable[[int], Any]:
    """Run the program itself, files and all: what doesn't grow with iterations isn't counted."""
    from tifffile import imwrite

    program = shutil.which("dw")
    if program is None:
        raise Missing("not on PATH")
    _volumes_only(task)
    folder = tempfile.TemporaryDirectory(prefix="napari-deblur-bench-")
    for name, array in (("image.tif", task.image), ("psf.tif", task.kernel)):
        imwrite(Path(folder.name, name), array)

    def run(iterations: int) -> None:
        words = [program, "--threads", str(task.threads), "--iter", str(iterations)]
        words += ["--method", method, "--float", "--overwrite", "--out", "out.tif"]
        subprocess.run(
            [*words, "image.tif", "psf.tif"], cwd=folder.name, check=True, capture_output=True
        )

    return run


def _volumes_only(task: Task) -> None:
    if task.image.ndim != 3:
        raise Missing("takes volumes only")


RIVALS = {
    "floor": Rival("four transforms, planned, in place", floor, kind="floor"),
    "torch-transforms": Rival("four transforms, torch.fft", torch_floor, kind="floor"),
    **{
        name: Rival(f"napari-deblur, {name}", partial(ours, name=name), kind="ours")
        for name in ITERATIVE
    },
    "torch": Rival("torch.fft, written plainly", torch_plain, "torch", "plain"),
    "scipy": Rival("scipy.fft, written plainly", scipy_plain, "scipy", "plain"),
    "deconwolf": Rival("deconwolf, rl", partial(_deconwolf, method="rl")),
    "deconwolf-shb": Rival("deconwolf, shb", partial(_deconwolf, method="shb")),
    "redlionfish": Rival("RedLionfish (CPU, wraps around)", _redlionfish, "RedLionfish"),
    "sdeconv": Rival("sdeconv", _sdeconv, "sdeconv"),
    "pyclesperanto": Rival("pyclesperanto", _pyclesperanto, "pyclesperanto"),
    "scikit-image": Rival("scikit-image", _skimage, "scikit-image"),
    "cubic": Rival("cubic", _cubic, "cubic"),
    "simpleitk": Rival("SimpleITK", _simpleitk, "SimpleITK"),
}
