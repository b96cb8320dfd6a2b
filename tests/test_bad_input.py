"""Bad kernels and bad images: each ends in the right result or in one clear sentence."""

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import napari_deblur as nd
from napari_deblur.job import Job
from napari_deblur.kernels import save_kernel
from napari_deblur.protocols import Kernel
from napari_deblur.psfs.gaussian import Gaussian

METHODS = [name for name in nd.methods if name != "identity"]
FLAT = Gaussian((0.0, 1.2, 1.2))((1, 7, 7), (1.0, 1.0, 1.0)).at()[0]
SOLID = Gaussian((1.0, 1.2, 1.2))((5, 7, 7), (1.0, 1.0, 1.0)).at()
QUICK = nd.methods["richardson-lucy"](iterations=10)


def scene(shape=(40, 44), background=20.0):
    random = np.random.default_rng(0)
    sharp = np.zeros(shape)
    sharp[tuple(random.integers(0, n, 12) for n in shape)] = 3000
    return random.poisson(gaussian_filter(sharp, 1.2) + background).astype(np.float32)


def quick(name):
    """The method with few iterations where it has some; all else is decided as ever."""
    cls = nd.methods[name]
    if name == "gdunet":  # which finds kernels, too
        return cls(kernel="given")
    few = {"rounds": 2, "steps": 3} if name == "blind-richardson-lucy" else {}
    return cls(iterations=8, **few) if "iterations" in cls.__dataclass_fields__ else cls()


def restored(image, method, kernel, axes="yx"):
    stack = nd.open_stack(image, axes)
    plan = nd.plan(stack, method, kernel=kernel)
    return nd.deconvolve(plan, stack).compute(scheduler="synchronous"), plan


@cache
def wanted_of(name):
    """What a method makes of the scene with nothing bad about it."""
    found = restored(scene(), quick(name), FLAT)[0]
    found.flags.writeable = False
    return found


# Kernels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (np.ones(7), r"axes \(y, x\), \(z, y, x\) or \(t, c, z, y, x\), got shape \(7,\)"),
        (np.ones((2, 3, 4, 5)), r"got shape \(2, 3, 4, 5\)"),
        (np.ones((0, 3)), r"got shape \(0, 3\)"),
        (np.zeros((5, 5)), "the kernel is zero everywhere"),
        (-np.ones((5, 5)), "the kernel has no value above 0 .*: turn its sign"),
        (np.full((5, 5), np.nan), "no finite value: measure or export it again"),
        (SOLID, "the kernel has 5 planes but the image has one"),
        (np.ones((1, 2, 1, 3, 3)), "kernels for 2 channels but the stack has 1"),
        (np.ones((3, 1, 1, 3, 3)), "kernels for 3 frames but the stack has 1"),
    ],
)
def test_a_kernel_that_is_none_is_refused(kernel, said):
    with pytest.raises(ValueError, match=said) as caught:
        nd.plan(scene(), QUICK, kernel=kernel)
    assert "\n" not in str(caught.value)


def test_a_negative_background_of_a_measured_kernel_is_removed_and_it_is_said():
    image, wanted = scene(), restored(scene(), QUICK, FLAT)[0]
    measured = np.where(FLAT > 1e-3, FLAT, -1e-4)
    measured[0, 0] = np.nan
    found, plan = restored(image, QUICK, measured)
    np.testing.assert_allclose(found, wanted, atol=0.05 * wanted.max())
    assert any("negative values (" in note and "cleaned" in note for note in plan.notes)
    assert any("1 values that were NaN or infinite were set to 0" in n for n in plan.notes)


def test_a_kernel_from_a_file_is_cleaned_too(tmp_path):
    np.save(tmp_path / "k.npy", FLAT - 1e-3)
    np.save(tmp_path / "image.npy", scene())
    import tifffile

    tifffile.imwrite(tmp_path / "i.tif", scene())
    job = Job(
        str(tmp_path / "i.tif"),
        method="richardson-lucy",
        parameters={"iterations": 3},
        kernel=str(tmp_path / "k.npy"),
    )
    assert any("cleaned" in note for note in job.plan().notes)


def test_the_sum_of_a_kernel_is_no_matter():
    one, two = (restored(scene(), QUICK, FLAT * factor)[0] for factor in (1, 37.0))
    np.testing.assert_allclose(one, two, rtol=1e-4)


def test_a_kernel_beside_its_middle_is_reported_and_centred_on_wish():
    image, off = scene(), np.zeros((11, 11), np.float32)
    off[4:, 3:10] = FLAT  # 2 px down, 1 px to the right
    plan = nd.plan(image, QUICK, kernel=off)
    assert any("(+0.00, +2.00, +1.00) px" in note for note in plan.notes)
    centred = nd.plan(image, QUICK, kernel=off, centre_kernel=True)
    assert any("moved to its middle: by (+0.00, -2.00, -1.00) px" in n for n in centred.notes)
    assert not any("off its middle" in note for note in centred.notes)
    assert np.abs(centred.kernel.centroid()).max() < 0.01
    straight = nd.deconvolve(nd.plan(image, QUICK, kernel=FLAT), nd.open_stack(image))
    same = nd.deconvolve(centred, nd.open_stack(image))
    np.testing.assert_allclose(
        same.compute(scheduler="synchronous"), straight.compute(scheduler="synchronous"), rtol=1e-3
    )


def test_a_job_centres_its_kernel(tmp_path):
    import tifffile

    off = np.zeros((11, 11), np.float32)
    off[4:, 3:10] = FLAT
    save_kernel(Kernel(off), tmp_path / "k.tif")
    tifffile.imwrite(tmp_path / "i.tif", scene())
    job = Job(str(tmp_path / "i.tif"), kernel=str(tmp_path / "k.tif"), centre_kernel=True,
              method="richardson-lucy", parameters={"iterations": 2})  # fmt: skip
    assert np.abs(job.plan().kernel.centroid()).max() < 0.01
    assert "--centre-kernel" in job.command()


# Images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_negative_counts_are_restored_as_the_same_scene_that_was_brighter(name):
    image, wanted = scene(), wanted_of(name)
    found, _ = restored(image - 40, quick(name), FLAT)
    assert np.isfinite(found).all()
    # The beads are sharper; trained networks are careful with the brightest.
    more = 1.1 if getattr(nd.methods[name], "learned", False) else 1.2
    assert found.max() > more * (image - 40).max()
    # Without an offset nothing says how light relates to noise, so only nearly the same.
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("kind", [np.float32, np.uint16])
def test_a_constant_image_stays_as_it_is(name, value, kind):
    found, _ = restored(np.full((24, 26), value, kind), quick(name), FLAT)
    learned = getattr(nd.methods[name], "learned", False)
    np.testing.assert_allclose(found, value, atol=0.01 * max(value, 1) if learned else 1e-3)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("cut", ["one wide", "one high", "one pixel"])
def test_an_image_of_one_pixel_across(name, cut):
    image = scene()[
        {"one wide": np.s_[:, :1], "one high": np.s_[:1], "one pixel": np.s_[:1, :1]}[cut]
    ]
    if name.startswith("blind"):
        with pytest.raises(ValueError, match="can't be found in an image that has 1 along"):
            restored(image, quick(name), FLAT)
        return
    found, _ = restored(image, quick(name), FLAT)
    assert found.shape == image.shape
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 10 * image.max()


@pytest.mark.parametrize("name", METHODS)
def test_an_image_of_nan_alone_is_refused(name):
    with pytest.raises(ValueError, match="no valid pixel in any sample"):
        restored(np.full((24, 26), np.nan, np.float32), quick(name), FLAT)


@pytest.mark.parametrize("name", METHODS)
def test_holes_are_filled_and_harm_nothing_around_them(name):
    image = scene()
    holes = image.copy()
    holes[np.random.default_rng(1).random(image.shape) < 0.03] = np.nan
    found, _ = restored(holes, quick(name), FLAT)
    assert np.isfinite(found).all()
    assert np.corrcoef(found.ravel(), wanted_of(name).ravel())[0, 1] > 0.8


@pytest.mark.parametrize("name", METHODS)
def test_a_kernel_larger_than_the_image(name):
    wide = Gaussian((0.0, 1.2, 1.2))((1, 45, 45), (1.0, 1.0, 1.0)).at()[0]
    image = scene()
    if name.startswith("blind"):
        with pytest.raises(ValueError, match="ask for 40 or less there"):
            restored(image, quick(name), wide)
        return
    found, _ = restored(image, quick(name), wide)
    wanted = wanted_of(name)
    # Beyond 3 px this kernel is nothing: the result is that of the small one, but for the border.
    inside = np.s_[8:-8, 8:-8]
    assert np.corrcoef(found[inside].ravel(), wanted[inside].ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", METHODS)
# Powers of two, by which nothing is rounded: a search in so small an image hangs on the last bit.
@pytest.mark.parametrize("factor", [2.0**-20, 2.0**20])
def test_any_unit_will_do(name, factor):
    wanted = wanted_of(name)
    found, _ = restored(scene() * np.float32(factor), quick(name), FLAT)
    np.testing.assert_allclose(found / factor, wanted, atol=0.02 * wanted.max())


@pytest.mark.parametrize("name", METHODS)
def test_a_single_plane_and_a_kernel_with_depth(name):
    for image, axes in ((scene(), "yx"), (scene()[None], "zyx")):
        with pytest.raises(ValueError, match="5 planes but the image has one"):
            restored(image, quick(name), SOLID, axes)
