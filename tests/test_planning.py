import dask
import numpy as np
import pytest
import torch

import napari_deblur as nd
from napari_deblur import ops
from napari_deblur.planning import planning
from napari_deblur.protocols import Blur, Facts, Kernel
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.restoring import restore_tile
from napari_deblur.stack import Pixels, Stack


def seen(shape=(70, 80), sigma=1.6, peak=800, seed=0, background=10):
    random = np.random.default_rng(seed)
    kernel = Gaussian((0.0, sigma, sigma))((1, 11, 11), (1.0, 1.0, 1.0))
    thing = torch.zeros(ops.object_shape(shape, (11, 11)))
    for _ in range(40):
        y, x = (int(random.integers(0, n)) for n in thing.shape)
        thing[y : y + 2, x : x + 4] = peak * random.uniform(0.3, 1)
    blurred = ops.blur(thing, Blur(torch.from_numpy(kernel.at().copy()))).clamp(min=0)
    return random.poisson(blurred.numpy() + background).astype(np.uint16), kernel


PLAIN = nd.methods["richardson-lucy"](iterations=5)
QUICK = nd.methods["blind-richardson-lucy"](iterations=5, rounds=3, steps=3)


def test_planning_says_what_it_does_and_returns_a_plan():
    array, _ = seen()
    steps = planning(array, QUICK, shape=(1, 9, 9))
    said = []
    while True:
        try:
            said.append(next(steps))
        except StopIteration as done:
            plan = done.value
            break
    assert len(said) == 4
    assert "finding the kernel" in said[1]
    assert isinstance(plan, nd.Plan)


def test_preview_and_run_agree():
    array, _ = seen()
    plan = nd.plan(array, QUICK, shape=(1, 9, 9))
    again = nd.plan(array, QUICK, shape=(1, 9, 9))
    assert plan.key == again.key
    short = nd.deconvolve(array, QUICK, shape=(1, 9, 9)).compute(scheduler="synchronous")
    long = nd.deconvolve(plan, nd.open_stack(array)).compute(scheduler="synchronous")
    assert np.array_equal(short, long)
    assert nd.estimate_kernel(array, QUICK, (1, 9, 9)).array.tolist() == plan.kernel.array.tolist()


def test_a_kernel_for_each_channel():
    first, second = seen(sigma=1.2)[0], seen(sigma=2.2, seed=1)[0]
    stack = nd.open_stack(np.stack([first, second]), axes="cyx")
    kernels = {
        0: Gaussian((0.0, 1.2, 1.2))((1, 7, 7), (1.0, 1.0, 1.0)),
        1: Gaussian((0.0, 2.2, 2.2))((1, 11, 11), (1.0, 1.0, 1.0)),
    }
    plan = nd.plan(stack, PLAIN, kernel=kernels)
    assert plan.kernel.array.shape == (1, 2, 1, 11, 11)
    assert np.array_equal(plan.kernel.at(0, 0)[0, 2:-2, 2:-2], kernels[0].at()[0])
    with pytest.raises(ValueError, match="no kernel for channel 1"):
        nd.plan(stack, PLAIN, kernel={0: kernels[0]})
    found = nd.plan(stack, QUICK, shape=(1, 9, 9))
    assert found.kernel.array.shape == (1, 2, 1, 9, 9)


def test_a_kernel_for_each_frame_and_one_factor_of_brightness():
    movie = np.stack([seen((90, 96), peak=peak)[0] for peak in (800, 400, 200)])
    stack = nd.open_stack(movie, axes="tyx")
    plan = nd.plan(stack, QUICK, shape=(1, 9, 9), scope="channel-time")
    assert plan.kernel.array.shape == (3, 1, 1, 9, 9)
    gains = np.array(plan.channels[0].gains)
    np.testing.assert_allclose(gains / gains[0], [1, 0.5, 0.25], rtol=0.1)
    # The restored frames fade as the input does: no flicker is added.
    dark = plan.channels[0].facts.background
    light = [(restore_tile(plan, stack, (t, 0, 0, 0, 0)).image - dark).sum() for t in range(3)]
    ratio = np.array(light) / (movie - dark).sum(axis=(1, 2))
    np.testing.assert_allclose(ratio / ratio[0], 1, rtol=0.05)


def test_each_tile_finds_its_own_kernel():
    array, _ = seen((90, 100))
    stack = nd.open_stack(array)
    plan = nd.plan(stack, QUICK, shape=(1, 9, 9), scope="tile", tile=(1, 50, 55))
    assert plan.finds_kernels
    first, second = (restore_tile(plan, stack, (0, 0, 0, 0, x)) for x in (0, 1))
    assert first.kernel.shape == (1, 9, 9)
    assert not np.array_equal(first.kernel, second.kernel)
    assert first.kernel.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("gamma", ["linear", "srgb"])
def test_a_picture_in_colour_has_one_kernel_and_keeps_range_and_alpha(tmp_path, gamma):
    from PIL import Image

    grey = seen(peak=200)[0].clip(0, 255)
    alpha = np.random.default_rng(0).integers(0, 255, grey.shape)
    picture = np.stack([grey, grey // 2, grey // 3, alpha], axis=-1).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "p.png")
    stack = nd.open_stack(tmp_path / "p.png")
    plan = nd.plan(stack, QUICK, shape=(1, 9, 9), gamma=gamma)
    assert plan.dtype == "uint8"
    assert plan.kernel.array.shape[:2] == (1, 1)
    image = nd.deconvolve(plan, stack).compute(scheduler="synchronous")
    assert np.array_equal(image[3], alpha)
    np.testing.assert_allclose(image[:3].mean((1, 2)), picture[..., :3].mean((0, 1)), rtol=0.1)
    same = nd.deconvolve(nd.plan(stack, "identity", gamma=gamma), stack)
    np.testing.assert_allclose(
        same.compute(scheduler="synchronous"), picture.transpose(2, 0, 1), atol=1e-3
    )


def test_saturated_pixels_stay_saturated_deep_inside():
    array, kernel = seen(peak=400)
    array = array.astype(np.uint16)
    array[20:60, 20:60] = 4095
    stack = nd.open_stack(array)
    plan = nd.plan(stack, PLAIN, kernel=kernel)
    assert plan.channels[0].facts.saturation == 4095
    image = restore_tile(plan, stack, (0, 0, 0, 0, 0)).image[0]
    assert np.isfinite(image).all()
    assert image[40, 40] == 4095


def test_a_kernel_of_other_voxels_is_resampled_and_it_is_said():
    stack = nd.open_stack(seen()[0], pixel_size=(0.2, 0.2))
    fine = Gaussian((0.0, 0.4, 0.4))((1, 31, 31), (1.0, 0.1, 0.1))
    plan = nd.plan(stack, PLAIN, kernel=fine)
    assert plan.kernel.pixel_size[1:] == (0.2, 0.2)
    assert any("resampled" in note for note in plan.notes)


def test_what_matters_about_a_kernel_is_said():
    array, kernel = seen()
    off = np.roll(kernel.at(), 1, axis=-1)
    notes = nd.plan(array, PLAIN, kernel=Kernel(off)).notes
    assert any("off its middle" in note for note in notes)
    assert any("image's" in note or "pixel for pixel" in note for note in notes)


def test_memory_decides_the_tiles_and_is_kept():
    array, kernel = seen((500, 520))
    plan = nd.plan(
        array, nd.methods["richardson-lucy"](iterations=30), kernel=kernel, memory=3_000_000
    )
    assert len(plan) > 3
    assert plan.memory <= 3_000_000
    assert min(c - 2 * h for c, h in zip(plan.grid.core[1:], plan.grid.halo[1:], strict=True)) >= 0
    with pytest.raises(ValueError, match="allow more memory"):
        nd.plan(
            nd.open_stack(np.random.default_rng(0).poisson(5, (300, 300)).astype("u2")),
            nd.methods["richardson-lucy"](iterations=100),
            kernel=Kernel(np.ones((41, 41))),
            memory=1_100_000,
        )


def test_a_widefield_kernel_is_not_cut_along_z():
    random = np.random.default_rng(0)
    array = random.poisson(50, (30, 60, 64)).astype(np.uint16)
    z = np.abs(np.arange(31) - 15)[:, None, None]
    y, x = np.mgrid[-7:8, -7:8]
    cone = np.exp(-(y**2 + x**2) / (2 * (1 + 0.3 * z) ** 2)) / (1 + 0.3 * z) ** 2
    plan = nd.plan(nd.open_stack(array, "zyx"), PLAIN, kernel=Kernel(cone), tile=(10, 30, 32))
    assert plan.grid.core[0] == 30
    assert any(note.startswith("z is not cut") for note in plan.notes)


def test_sixteen_bit_output_has_room_for_what_deblurring_piles_up():
    array, kernel = seen()
    plain = nd.plan(array, PLAIN, kernel=kernel, dtype="uint16")
    assert (plain.scale, plain.offset) == (1.0, 0.0)
    small = nd.plan(
        nd.open_stack(array.astype(np.float32) / 1000),
        PLAIN,
        kernel=kernel,
        dtype="uint16",
    )
    assert small.scale == pytest.approx(8 * small.channels[0].facts.white / 65535)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"method": "RL"}, "there are: accelerated-richardson-lucy, blind, blind-richardson-lucy"),
        ({"method": "richardson-lucy"}, "needs a kernel"),
        ({"method": "wiener", "kernel": Kernel(np.ones((3, 3))), "scope": "tile"}, "in each tile"),
        ({"method": QUICK, "shape": (3, 9, 9)}, "1 along z"),
        ({"method": QUICK, "shape": (1, 99, 9)}, "40 along y"),
        ({"scope": "everything"}, 'scope "everything" is not one of'),
        ({"seam": 2.0}, "seam is 2.0"),
        ({"gamma": "log"}, 'gamma "log"'),
        ({"dtype": "int8", "method": QUICK, "shape": (1, 5, 5)}, 'dtype "int8"'),
        ({"device": "cuda:9"}, "no device"),
        ({"tile": (0, 5, 5), "method": QUICK, "shape": (1, 5, 5)}, "tile \\(0, 5, 5\\) must be"),
        ({"memory": 5, "method": QUICK, "shape": (1, 5, 5)}, "too little"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(asked, text):
    with pytest.raises((ValueError, KeyError), match=text):
        nd.plan(seen((40, 44))[0], **asked)


def test_an_image_of_nothing_is_refused_and_zeros_stay_zeros():
    with pytest.raises(ValueError, match="no valid pixel"):
        nd.plan(np.full((30, 32), np.nan, np.float32), QUICK, shape=(1, 5, 5))
    zeros = np.zeros((30, 32), np.uint16)
    with dask.config.set(scheduler="synchronous"):
        assert nd.deconvolve(zeros, QUICK, shape=(1, 5, 5)).compute().max() == 0


def test_an_image_one_pixel_wide_works():
    line = np.random.default_rng(0).poisson(50, (1, 40)).astype(np.float32)
    image = nd.deconvolve(line, PLAIN, Kernel(np.ones((3, 3))))
    assert np.isfinite(image.compute(scheduler="synchronous")).all()


def test_lengths_may_be_given_as_y_x():
    array, kernel = seen()
    stack = nd.open_stack(np.stack([array] * 4), "zyx")
    plan = nd.plan(stack, PLAIN, kernel=kernel, tile=(40, 50))
    assert plan.grid.core == (4, 40, 50)
    assert nd.estimate_kernel(array, QUICK, (7, 9)).shape == (1, 7, 9)
    with pytest.raises(ValueError, match=r"tile \(9,\) must be z, y, x or y, x"):
        nd.plan(array, PLAIN, kernel=kernel, tile=(9,))


@pytest.mark.parametrize("axes", ["yx", "cyx"])
def test_a_grey_photograph_is_restored_in_linear_light(axes):
    picture = np.full((60, 64), 40, np.uint8)
    picture[20:40, 20:40] = 200
    array = picture if axes == "yx" else np.stack([picture, picture])
    stack = nd.open_stack(array, axes)
    kernel = Gaussian((0.0, 1.0, 1.0))((1, 7, 7), (1.0, 1.0, 1.0))
    plan = nd.plan(stack, PLAIN, kernel=kernel, gamma="srgb")
    image = nd.deconvolve(plan, stack).compute(scheduler="synchronous")
    np.testing.assert_allclose(image[..., :8, :8], 40, atol=1.5)


def test_a_bead_on_nothing_at_all():
    y, x = np.mgrid[:96, :96]
    bead = np.exp(-((y - 48) ** 2 + (x - 48) ** 2) / 18) * 100
    bead[np.hypot(y - 48, x - 48) > 6] = 0
    plan = nd.plan(bead.astype(np.float32), QUICK, shape=(1, 9, 9))
    assert plan.channels[0].facts.background == 0


def test_identity_of_a_fading_series_is_exact():
    movie = np.stack([seen(peak=peak)[0] for peak in (800, 300)])
    stack = nd.open_stack(movie, "tyx")
    same = nd.deconvolve(nd.plan(stack, "identity"), stack).compute(scheduler="synchronous")
    assert np.array_equal(same, movie)


def test_saturation_without_the_background():
    array, kernel = seen(peak=400)
    array[20:60, 20:60] = 4095
    stack = nd.open_stack(array)
    plan = nd.plan(stack, PLAIN, kernel=kernel, keep_background=False)
    image = restore_tile(plan, stack, (0, 0, 0, 0, 0)).image[0]
    assert image[40, 40] == pytest.approx(4095 - plan.channels[0].facts.background)


def test_given_facts_are_used():
    array, kernel = seen()
    plan = nd.plan(array, PLAIN, kernel=kernel, facts=Facts(background=3.0))
    assert plan.channels[0].method.background == 3.0


def test_a_plan_in_memory_needs_its_stack():
    array, kernel = seen()
    plan = nd.plan(Stack(Pixels(array, "yx"), "yx"), PLAIN, kernel=kernel)
    with pytest.raises(ValueError, match="lives in memory"):
        restore_tile(plan, None, (0, 0, 0, 0, 0))


@pytest.mark.parametrize("method", [None, "richardson-lucy", "accelerated-richardson-lucy"])
def test_a_kernel_of_one_point_leaves_the_image_as_it_is(method):
    counts = np.random.default_rng(3).poisson(100, (64, 64)).astype(np.float32)
    stack = nd.open_stack(counts, "yx")
    point = np.zeros((3, 3), np.float32)
    point[1, 1] = 1
    done = nd.deconvolve(nd.plan(stack, method, kernel=point), stack)
    np.testing.assert_array_equal(np.squeeze(done.compute()), counts)


def test_an_array_will_do_where_its_stack_would(tmp_path):
    array = np.random.default_rng(0).poisson(50.0, (3, 24, 26)).astype(np.float32)
    plan = nd.plan(nd.open_stack(array, "tyx"), PLAIN, kernel=np.ones((3, 3)))
    wanted = nd.deconvolve(plan, nd.open_stack(array, "tyx")).compute(scheduler="synchronous")
    assert (nd.deconvolve(plan, array).compute(scheduler="synchronous") == wanted).all()
    list(nd.run(plan, tmp_path / "o.zarr", array))
    assert (nd.open_stack(tmp_path / "o.zarr").read(1, 0)[0] == wanted[1]).all()
    for call in (nd.deconvolve, lambda plan, other: nd.run(plan, tmp_path / "p.zarr", other)):
        with pytest.raises(ValueError, match="but the plan was made for"):
            call(plan, array[:, 1:])
    with pytest.raises(ValueError, match="lives in memory"):
        nd.deconvolve(plan)


@pytest.mark.parametrize(
    ("scope", "kernel", "name"),
    [
        ("channel", np.ones((3, 3)), "accelerated-richardson-lucy"),
        ("tile", None, "blind-richardson-lucy"),
    ],
)
def test_a_method_that_nobody_named_is_named(scope, kernel, name):
    array = np.random.default_rng(0).poisson(50.0, (40, 40)).astype(np.float32)
    plan = nd.plan(array, kernel=kernel, scope=scope, shape=None if kernel is not None else (5, 5))
    assert f"no method was named: {name} is taken" in plan.notes
    named = nd.plan(array, PLAIN, kernel=np.ones((3, 3)))
    assert not any("no method" in note for note in named.notes)
