"""GDUNet against classical methods, on objects and kernels that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.ndimage import shift as moved

from napari_deblur import ops
from napari_deblur.bench import gdunet_scenes
from napari_deblur.bench.gdunet_scenes import FAMILIES, SIDE, TILE, Case, objects
from napari_deblur.bench.parts import measured_parts
from napari_deblur.bench.stopping import FACTORS
from napari_deblur.bench.tracing import curve_of, trace_of
from napari_deblur.gdunet.synthesis import default_kernel
from napari_deblur.gdunet.weights import load_network
from napari_deblur.kernel_comparison import best_shift, ncc, signal_to_noise
from napari_deblur.kernel_widths import full_widths
from napari_deblur.methods.accelerated_richardson_lucy import AcceleratedRichardsonLucy
from napari_deblur.methods.blind import Blind
from napari_deblur.methods.blind_richardson_lucy import BlindRichardsonLucy
from napari_deblur.methods.gdunet import GDUNet
from napari_deblur.methods.richardson_lucy import RichardsonLucy
from napari_deblur.methods.wiener import Wiener
from napari_deblur.opening import open_stack
from napari_deblur.planning import plan
from napari_deblur.protocols import Blur, Kernel
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.restoring import restore_tile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.bench.asked import Asked
    from napari_deblur.bench.parts import Part

__all__ = ["PARTS", "measured"]

PEAKS = (100.0, 1000.0)
OBJECTS, SHARP = 8, 12
# Iterations among which the best is looked for, knowing the truth.
MOST, FEW = 300, 20
# Pixels at each border that don't count once images are aligned.
RIM = 8
SHAPE = (1, SIDE, SIDE)
Found = tuple["Tensor | None", "Tensor", float]


def measured(asked: Asked) -> Generator[str, None, dict[str, Any]]:
    """Measure the parts that were asked for; yield what is being done."""
    return (yield from measured_parts("gdunet", PARTS, asked, ["scikit-image"]))


def measured_methods(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Restore every case in every way."""
    for case in _cases(asked):
        yield str(case.name)
        row: dict[str, Any] = {"case": case.name, "peak": case.peak, "family": case.family}
        for name, way in WAYS.items():
            kernel, image, seconds = way(case)
            row[name] = {**_quality(case, image), "seconds": seconds}
            if kernel is not None and kernel is not case.kernel:
                row[name] |= _likeness(case, kernel)
        yield row


def measured_sharp(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Restore what is hardly blurred: it must stay as it is."""
    for seed, thing in enumerate(_objects(asked, SHARP)):
        for peak in PEAKS:
            case = Case(f"object {seed}, point, {peak:g} photons", thing, "point", peak, seed)
            row: dict[str, Any] = {"case": case.name, "peak": peak}
            row["input"] = _quality(case, case.scene.tile)
            for name in ("GDUNet, as planned", "GDUNet", "GDUNet, true kernel"):
                kernel, image, _ = WAYS[name](case)
                row[name] = _quality(case, image)
                if kernel is not None:
                    row[name]["width"] = float(np.mean(_widths(kernel)))
            yield row


def measured_networks(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Restore every case with all the weights of a folder."""
    if asked.weights is None:
        yield "left out: it needs --weights FOLDER"
        return
    files = sorted(asked.weights.rglob("*.safetensors"))
    named = {
        file.relative_to(asked.weights).with_suffix("").as_posix(): file
        for file in files
        if file.stem != "checkpoint"
    }
    if not named:
        raise ValueError(f"{asked.weights} has no weights: give a folder with .safetensors files")
    for case in _cases(asked):
        row: dict[str, Any] = {"case": case.name, "peak": case.peak, "family": case.family}
        row["input"] = {**_quality(case, case.scene.tile), "seconds": 0.0}
        for name, file in named.items():
            row |= _of_weights(name, file, case)
        yield row


def _of_weights(name: str, file: Path, case: Case) -> dict[str, Any]:
    """Restore with weights: blind, where they find kernels, and with the true kernel."""
    method = GDUNet(weights=str(file), kernel="given").resolved([case.sample])
    begun = perf_counter()
    image = _restored(method, case, case.kernel)
    seconds = perf_counter() - begun
    given = {**_quality(case, image), "seconds": seconds}
    network, _ = load_network(file, method.digest)
    if not network.configuration.blind:
        return {name: given}
    make = partial(GDUNet, weights=str(file))
    kernel, image, seconds = _by(make, lambda _: None)(case)
    assert kernel is not None
    blind = {**_quality(case, image), **_likeness(case, kernel), "seconds": seconds}
    return {name: blind, f"{name}, true kernel": given}


def measured_noise(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Restore nothing but noise."""
    for level in (10.0, 100.0, 1000.0):
        random = np.random.default_rng(int(level))
        nothing = np.zeros((TILE + SIDE - 1,) * 2, np.float32)
        case = Case(f"nothing, background {level:g}", nothing, "point", 1.0, int(level))
        scene = case.scene
        tile = torch.from_numpy(random.poisson(level, (TILE, TILE)).astype(np.float32))
        facts = replace(
            scene.facts, background=level, white=float(tile.max()), noise=float(level**0.5)
        )
        sample = replace(case.sample, tile=tile, facts=facts)
        method = GDUNet().resolved([sample])
        kernel = method.estimate([sample], SHAPE, None)
        blur = Blur(torch.from_numpy(kernel.at()[:1].copy()))
        image = _made(method.restorer().resolved([replace(sample, blur=blur)])(tile, blur))
        yield {
            "case": case.name,
            "deviation before": float(tile.std()),
            "deviation after": float(image.std()),
            "verdict": str(kernel.report.get("verdict", "")),
        }


def measured_speed(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Time a tile of 512 × 512: the kernel's search, and the image with a kernel."""
    side = 128 if asked.quick else 512
    thing = objects(None, 1, side + SIDE - 1)[0]
    case = Case("speed", thing, "aberrated", 1000.0, 0)
    sample = case.sample
    method = GDUNet().resolved([sample])
    blur, times = case.scene.blur, []
    restorer = method.restorer().resolved([replace(sample, blur=blur)])
    for _ in range(asked.rounds + 1):
        begun = perf_counter()
        restorer(sample.tile, blur)
        times.append(perf_counter() - begun)
    begun = perf_counter()
    method.estimate([sample], SHAPE, None)
    yield {
        "case": f"{side} × {side}",
        "threads": torch.get_num_threads(),
        "restoring": float(np.median(times[1:])),
        "finding": perf_counter() - begun,
    }


def _objects(asked: Asked, count: int) -> NDArray[np.float32]:
    tile = 2 * SIDE if asked.quick else TILE
    return objects(asked.data, 1 if asked.quick else count, tile + SIDE - 1)


def _cases(asked: Asked) -> Iterator[Case]:
    things = _objects(asked, OBJECTS)
    for number, thing in enumerate(things):
        for which, family in enumerate(list(FAMILIES)[: 1 if asked.quick else None]):
            for peak in PEAKS[: 1 if asked.quick else None]:
                name = f"object {number}, {family}, {peak:g} photons"
                seed = number * len(FAMILIES) + which
                yield Case(name, thing, family, peak, seed, asked.quick)


def _untouched(case: Case) -> Found:
    return None, case.scene.tile, 0.0


def _best_iteration(kernel: Callable[[Case], Tensor]) -> Callable[[Case], Found]:
    def way(case: Case) -> Found:
        scene = case.scene
        blur = Blur(kernel(case)[None])
        scene = replace(scene, blur=blur)
        method = RichardsonLucy(iterations=1).resolved([scene.sample()])
        begun = perf_counter()
        curve = curve_of(trace_of(method, scene.tile, blur, FEW if case.quick else MOST), scene)
        seconds = perf_counter() - begun
        best = replace(method, iterations=curve.best[0])
        return kernel(case), _made(best(scene.tile, blur)), seconds

    return way


def _wiener(case: Case) -> Found:
    scene = case.scene
    begun = perf_counter()
    method = Wiener().resolved([scene.sample()])
    images = [
        _made(replace(method, noise=method.noise * factor)(scene.tile, scene.blur))
        for factor in FACTORS
    ]
    return None, max(images, key=scene.psnr), perf_counter() - begun


def _by(make: Callable[[], Any], start: Callable[[Case], Kernel | None]) -> Callable[[Case], Found]:
    """Find a kernel and restore with it, as the method does by default."""

    def way(case: Case) -> Found:
        begun = perf_counter()
        sample, first = case.sample, start(case)
        method = make().resolved([sample])
        kernel = method.estimate([sample], SHAPE, first)
        image = _restored(method.restorer(), case, _plane(kernel))
        return _plane(kernel), image, perf_counter() - begun

    return way


def _planned(case: Case) -> Found:
    """Do what a user does who knows nothing: camera, noise and whether to deblur are found too."""
    begun = perf_counter()
    stack = open_stack(case.scene.tile.numpy(), "yx")
    planned = plan(stack, "gdunet")
    image = restore_tile(planned, stack, next(iter(planned.grid))).image[0]
    kernel = ops.reshaped(planned.kernel.at(), SHAPE)[0]
    return torch.from_numpy(kernel), torch.from_numpy(image), perf_counter() - begun


def _given(case: Case) -> Found:
    begun = perf_counter()
    image = _restored(GDUNet().restorer(), case, case.kernel)
    return None, image, perf_counter() - begun


@lru_cache(maxsize=1)
def _of_families(case: Case) -> tuple[Kernel, float]:
    """Search the families once for all ways that need it; give the kernel and the seconds."""
    begun = perf_counter()
    method = Blind()
    if case.quick:
        method = replace(method, families=("gaussian",), refine=False)
    kernel = method.estimate([case.sample], SHAPE, None)
    return kernel, perf_counter() - begun


def _families(case: Case) -> Found:
    """Do what `blind` does by default."""
    kernel, searching = _of_families(case)
    begun = perf_counter()
    image = _restored(Blind().restorer(), case, _plane(kernel))
    return _plane(kernel), image, searching + perf_counter() - begun


def _from_families(case: Case) -> Found:
    """Let the network begin with the kernel of the families, and improve it."""
    first, searching = _of_families(case)
    begun = perf_counter()
    method = GDUNet().resolved([case.sample])
    kernel = _plane(method.estimate([case.sample], SHAPE, first))
    image = _restored(method.restorer(), case, kernel)
    return kernel, image, searching + perf_counter() - begun


def _with_families(case: Case) -> Found:
    """Let the network restore with the kernel of the families as it is."""
    kernel, searching = _of_families(case)
    begun = perf_counter()
    image = _restored(GDUNet().restorer(), case, _plane(kernel))
    return _plane(kernel), image, searching + perf_counter() - begun


def _restored(method: Any, case: Case, kernel: Tensor) -> Tensor:
    scene = replace(case.scene, blur=Blur(kernel[None]))
    return _made(method.resolved([scene.sample()])(scene.tile, scene.blur))


def _default(case: Case) -> Tensor:
    return default_kernel(1, (SIDE, SIDE))[0, 0]


WAYS: dict[str, Callable[[Case], Found]] = {
    "input": _untouched,
    "Richardson-Lucy, true kernel, best iteration": _best_iteration(lambda case: case.kernel),
    "Wiener, true kernel, best constant": _wiener,
    "Richardson-Lucy, default kernel, best iteration": _best_iteration(_default),
    "blind Richardson-Lucy": _by(BlindRichardsonLucy, lambda _: Gaussian.wide(SHAPE)),
    "blind (families)": _families,
    "GDUNet": _by(GDUNet, lambda _: None),
    "GDUNet, as planned": _planned,
    "GDUNet from the families' kernel": _from_families,
    "GDUNet with the families' kernel": _with_families,
    "GDUNet, true kernel": _given,
}


def _quality(case: Case, image: Tensor) -> dict[str, float]:
    """Measure an image as it lies, and once shifted, scaled and raised to fit the truth."""
    from skimage.metrics import structural_similarity

    scene = case.scene
    truth = (scene.truth.numpy() - gdunet_scenes.BACKGROUND) / scene.peak
    seen = (image.numpy() - gdunet_scenes.BACKGROUND) / scene.peak
    fitted = _aligned(truth, seen)[RIM:-RIM, RIM:-RIM]
    apart = truth[RIM:-RIM, RIM:-RIM] - fitted
    found = {
        "psnr": scene.psnr(image),
        "aligned": float(-10 * np.log10((apart**2).mean() + 1e-12)),
    }
    for name, one in (("ssim", seen), ("aligned ssim", fitted)):
        of = truth if one is seen else truth[RIM:-RIM, RIM:-RIM]
        found[name] = float(
            structural_similarity(
                of,
                one,
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )
    return found


def _aligned(truth: NDArray[Any], image: NDArray[Any]) -> NDArray[Any]:
    """Shift an image onto the truth by parts of a pixel, and fit gain and offset."""
    one, other = truth - truth.mean(), image - image.mean()
    by, _ = best_shift(one, other)
    if max(abs(v) for v in by) < SIDE / 2:
        image = moved(image, by, order=3, mode="nearest")
    gain, offset = np.polyfit(image.ravel(), truth.ravel(), 1)
    return np.asarray(gain * image + offset)


def _likeness(case: Case, kernel: Tensor) -> dict[str, float]:
    """Compare a kernel with the true one, as it lies."""
    true, found = case.kernel.numpy(), kernel.numpy()
    size, truth = _widths(kernel), _widths(case.kernel)
    wrong = _sse(case, kernel) / _sse(case, case.kernel)
    return {
        "kernel snr": signal_to_noise(true, found),
        "ncc": ncc(true, found),
        "fwhm error": float(np.mean([abs(a / b - 1) for a, b in zip(size, truth, strict=True)])),
        "error ratio": wrong,
    }


def _sse(case: Case, kernel: Tensor) -> float:
    """Give the squared error of what one and the same method makes with a kernel."""
    image = _restored(AcceleratedRichardsonLucy(), case, kernel)
    return float((image - case.scene.truth).square().sum())


def _widths(kernel: Tensor) -> list[float]:
    widths = full_widths(Kernel(kernel.numpy()[None, None, None], None, {}))[1:]
    return [np.nan if width is None else width for width in widths]


def _plane(kernel: Kernel) -> Tensor:
    return torch.from_numpy(kernel.at()[0].copy())


def _made(estimate: Any) -> Tensor:
    image: Tensor = estimate.image
    return image


PARTS: dict[str, Part] = {
    "methods": measured_methods,
    "sharp": measured_sharp,
    "noise": measured_noise,
    "speed": measured_speed,
    "networks": measured_networks,
}
