"""Tiled equals whole: the promise of the halo, measured on scenes that are hard for it."""

from dataclasses import replace

import dask
import numpy as np
import pytest
import torch

import napari_deblur as nd
from napari_deblur import ops
from napari_deblur.protocols import Blur, Kernel
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.restoring import restore_tile
from napari_deblur.stack import Pixels, Stack
from napari_deblur.tiles import Grid


def gaussian(n=17, sigma=2.0):
    return Gaussian((0.0, sigma, sigma))((1, n, n), (1.0, 1.0, 1.0)).at()[0]


def airy(n=31, radius=4.0):
    from scipy.special import j1

    y, x = np.mgrid[:n, :n] - n // 2
    r = np.hypot(y, x) * 3.8317 / radius
    r[n // 2, n // 2] = 1e-9
    return (2 * j1(r) / r) ** 2


def disc(radius=6.0):
    n = 15
    y, x = np.mgrid[:n, :n] - n // 2
    return np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)


def motion(length=31):
    return np.ones((1, length))


KERNELS = {"gaussian": gaussian(), "airy": airy(), "disc": disc(), "motion": motion()}


def half_bright(shape, kernel, peak=1000.0, seed=5):
    """Dots and lines, the right half under ten times the light; Poisson noise."""
    random = np.random.default_rng(seed)
    thing = np.zeros(ops.object_shape(shape, kernel.shape), np.float32)
    for _ in range(thing.size // 250):
        y, x = (int(random.integers(0, n)) for n in thing.shape)
        thing[y : y + int(random.integers(1, 12)), x : x + 2] = random.uniform(0.1, 1) * peak
    thing[:, thing.shape[1] // 2 :] *= 10
    thing[:, thing.shape[1] // 2 :] += 2 * peak
    blur = Blur(torch.from_numpy(np.ascontiguousarray(kernel, np.float32))[None])
    blurred = ops.blur(torch.from_numpy(thing), blur).numpy() + 20
    return random.poisson(np.maximum(blurred, 0)).astype(np.uint16)


def stack_of(array, axes="yx"):
    return Stack(Pixels(array, axes), axes)


RL = nd.methods["richardson-lucy"](iterations=30)


def restored(plan, stack):
    with dask.config.set(scheduler="synchronous"):
        return nd.deconvolve(plan, stack).compute()


def seam_of(tiled, whole, plan):
    facts = plan.channels[0].facts
    return np.abs(tiled - whole).max() / (facts.white - facts.background)


@pytest.mark.parametrize(
    ("name", "seam", "shape", "tile"),
    [
        ("gaussian", 1e-3, (260, 300), (1, 90, 110)),
        ("gaussian", 5e-5, (260, 300), (1, 90, 110)),
        ("airy", 1e-3, (280, 300), (1, 100, 110)),
        ("airy", 5e-5, (420, 440), (1, 120, 110)),
        ("disc", 1e-3, (300, 320), (1, 110, 120)),
        ("disc", 5e-5, (440, 420), (1, 120, 110)),
        ("motion", 1e-3, (120, 900), (1, 60, 290)),
    ],
)
def test_tiled_equals_whole(name, seam, shape, tile):
    kernel = KERNELS[name] / KERNELS[name].sum()
    stack = stack_of(half_bright(shape, kernel))
    method = nd.methods["richardson-lucy"](iterations=30)
    plan = nd.plan(stack, method, kernel=Kernel(kernel), tile=tile, seam=seam)
    assert len(plan) > 2, plan.notes
    assert plan.expected_seam <= seam
    whole = nd.plan(stack, method, kernel=Kernel(kernel))
    assert len(whole) == 1
    assert plan.channels[0].method == whole.channels[0].method
    assert seam_of(restored(plan, stack), restored(whole, stack), plan) <= seam


@pytest.mark.parametrize(
    ("tile", "shape"), [((1, 3, 6), (1, 21, 3)), ((1, 3, 2), (1, 7, 3)), ((1, 3, 3), (1, 5, 5))]
)
def test_what_a_plan_states_holds_for_tiles_of_a_few_pixels_with_holes(tile, shape):
    """Tiles do without more than an eighth of such an axis, and cuts of two axes add up."""
    kernel = Gaussian((0.0, 1.0, 0.8))(shape, (1.0, 1.0, 1.0))
    for seed in range(6):
        random = np.random.default_rng(seed)
        image = random.poisson(40, (6, 6)).astype(np.int16)
        image[random.random(image.shape) < 0.2] = np.iinfo(image.dtype).max
        stack = nd.open_stack(image, "yx")
        plan = nd.plan(stack, "tikhonov", kernel=kernel, tile=tile, accept_seam=True)
        whole = replace(plan, grid=Grid(plan.grid.shape, (1, 6, 6)))
        left = np.nanmax(np.abs(restored(plan, stack) - restored(whole, stack))) / image.max()
        assert left <= 1.2 * plan.expected_seam


@pytest.mark.parametrize("name", ["gaussian", "disc"])
def test_a_halo_of_zero_fails(name):
    kernel = KERNELS[name] / KERNELS[name].sum()
    stack = stack_of(half_bright((200, 220), kernel))
    plan = nd.plan(stack, RL, kernel=Kernel(kernel), tile=(1, 70, 80))
    bare = replace(plan, grid=Grid(plan.grid.shape, plan.grid.core, (0, 0, 0)))
    whole = replace(plan, grid=Grid(plan.grid.shape, (1, 200, 220)))
    assert seam_of(restored(bare, stack), restored(whole, stack), plan) > 1e-2


def test_wiener_tiled_equals_whole():
    kernel = KERNELS["gaussian"] / KERNELS["gaussian"].sum()
    stack = stack_of(half_bright((300, 320), kernel))
    plan = nd.plan(stack, "wiener", kernel=Kernel(kernel), tile=(1, 110, 120))
    whole = nd.plan(stack, "wiener", kernel=Kernel(kernel))
    assert len(plan) > 4
    assert seam_of(restored(plan, stack), restored(whole, stack), plan) <= 1e-3


def test_volume_tiled_equals_whole_for_any_chunks():
    zarr = pytest.importorskip("zarr")
    model = Gaussian((0.8, 1.5, 1.5))((5, 11, 11), (1.0, 1.0, 1.0))
    random = np.random.default_rng(2)
    thing = np.zeros((26, 90, 100), np.float32)
    thing[tuple(random.integers(0, n, 900) for n in thing.shape)] = 5000
    blur = Blur(torch.from_numpy(model.at().copy())[None])
    seen = ops.blur(torch.from_numpy(thing), blur).numpy() + 10
    counts = random.poisson(seen).astype(np.uint16)
    method = nd.methods["richardson-lucy"](iterations=10)
    whole_plan = nd.plan(stack_of(counts, "zyx"), method, kernel=model)
    whole = restored(whole_plan, stack_of(counts, "zyx"))
    results = []
    for chunks in ((22, 80, 90), (3, 17, 90), (22, 13, 29)):
        array = zarr.create_array({}, shape=counts.shape, chunks=chunks, dtype=counts.dtype)
        array[:] = counts
        stack = stack_of(array, "zyx")
        plan = nd.plan(stack, method, kernel=model, tile=(22, 36, 41))
        assert len(plan) > 4
        results.append(restored(plan, stack))
        assert seam_of(results[-1], whole, plan) <= 1e-3
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_tiles_in_any_order_and_on_any_scheduler_are_bit_identical():
    kernel = KERNELS["gaussian"] / KERNELS["gaussian"].sum()
    stack = stack_of(half_bright((200, 210), kernel))
    plan = nd.plan(stack, RL, kernel=Kernel(kernel), tile=(1, 70, 80))
    lazy = nd.deconvolve(plan, stack)
    results = [lazy.compute(scheduler="synchronous"), lazy.compute(scheduler="threads")]
    backwards = np.empty_like(results[0])
    for index in reversed(list(plan.grid)):
        _, y, x = plan.tile(index).core
        backwards[slice(*y), slice(*x)] = restore_tile(plan, stack, index).image[0]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        results.append(lazy.compute(scheduler="synchronous"))
    finally:
        torch.set_num_threads(threads)
    for result in (*results[1:], backwards):
        assert np.array_equal(results[0], result)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "int16", ">u2", "bool"])
def test_identity_through_tiles_is_exact(dtype):
    random = np.random.default_rng(0)
    array = (random.random((2, 3, 7, 33, 41)) * 200).astype(dtype)
    stack = stack_of(array, "tczyx")
    plan = nd.plan(stack, "identity", tile=(3, 10, 17))
    assert np.array_equal(restored(plan, stack), array.astype(np.float32))


def test_memory_running_out_splits_the_tile_and_the_seam_holds(monkeypatch):
    from napari_deblur.methods.richardson_lucy import RichardsonLucy

    kernel = KERNELS["gaussian"] / KERNELS["gaussian"].sum()
    stack = stack_of(half_bright((220, 230), kernel))
    plan = nd.plan(stack, RL, kernel=Kernel(kernel))
    whole = restore_tile(plan, stack, (0, 0, 0, 0, 0))
    call = RichardsonLucy.__call__

    def hungry(self, tile, blur):
        if tile.numel() > 40_000:
            raise torch.OutOfMemoryError("CUDA out of memory (not really)")
        return call(self, tile, blur)

    monkeypatch.setattr(RichardsonLucy, "__call__", hungry)
    seen = []
    split = restore_tile(plan, stack, (0, 0, 0, 0, 0), on_split=seen.append)
    assert seen == list(range(1, split.splits + 1))
    assert split.splits >= 1
    assert seam_of(split.image, whole.image, plan) <= 1e-3
    again = restore_tile(plan, stack, (0, 0, 0, 0, 0), splits=split.splits)
    assert np.array_equal(again.image, split.image)
