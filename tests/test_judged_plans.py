"""A plan says of kernels that were given whether the image speaks for them."""

import numpy as np
import pytest

import napari_deblur as nd
from napari_deblur.bench.blind_scenes import Scene, gaussian
from napari_deblur.kernel_comparison import ncc as likeness
from napari_deblur.kernel_judging import judged_found
from napari_deblur.kernel_verdicts import verdict_of
from napari_deblur.kernels import padded
from napari_deblur.protocols import Facts, Kernel
from napari_deblur.views import views_of

SCENE = Scene("filaments", "gaussian", 400.0, (144, 144))


def planned(sigma, **more):
    kernel = Kernel(gaussian(sigma)[None, None, None], SCENE.size)
    method = nd.methods["richardson-lucy"](iterations=2)
    return nd.plan(
        SCENE.counts.numpy(),
        method,
        kernel=kernel,
        facts=SCENE.facts,
        **more,
    )


def said(plan):
    return [note for note in plan.notes if "the given kernel" in note]


@pytest.mark.parametrize(("sigma", "verdict"), [(2.0, "believe"), (3.2, "doubtful")])
def test_a_plan_believes_or_doubts_a_given_kernel(sigma, verdict):
    plan = planned(sigma)
    judged = plan.kernel.report["judged"]
    assert judged["verdict"] == verdict
    (note,) = said(plan)
    assert note.endswith(judged["why"])
    again = planned(sigma)
    assert (again.kernel.report, again.notes) == (plan.kernel.report, plan.notes)


def test_it_can_be_left_out_and_changes_nothing_else():
    without, plan = planned(3.2, judge=False), planned(3.2)
    assert not said(without)
    assert np.array_equal(without.kernel.array, plan.kernel.array)
    assert without.channels == plan.channels


@pytest.mark.parametrize(
    ("planes", "why"),
    [
        (5, "was not judged: the image is smaller than 8 × 32 × 32 voxels (z, y, x)"),
        (
            9,
            "is doubtful: no structure stands out from the noise, so there may be nothing to "
            "deblur",
        ),
    ],
)
def test_a_kernel_of_several_planes_is_judged_by_volumes(planes, why):
    counts = np.random.default_rng(0).poisson(30, (planes, 50, 50)).astype(np.uint16)
    stack = nd.open_stack(counts, "zyx")
    method = nd.methods["richardson-lucy"](iterations=2)
    plan = nd.plan(stack, method, kernel=np.ones((3, 3, 3)))
    assert said(plan) == [f"the given kernel {why}"]


@pytest.mark.parametrize("side", [1, 9])
def test_a_point_is_said_to_leave_the_image_as_it_is(side):
    counts = np.random.default_rng(0).poisson(30, (60, 60)).astype(np.uint16)
    kernel = np.zeros((side, side))
    kernel[side // 2, side // 2] = 1
    plan = nd.plan(counts, nd.methods["richardson-lucy"](iterations=2), kernel=kernel)
    assert said(plan) == [
        "the given kernel was not judged: it is a point, and leaves the image as it is"
    ]


def test_pixels_without_data_stay_where_they_are_when_an_image_is_moved():
    counts = np.random.default_rng(0).poisson(30, (60, 60)).astype(np.float32)
    counts[:8] = np.nan
    kernel = np.zeros((9, 9))
    kernel[6, 6] = 1
    method = nd.methods["richardson-lucy"](iterations=2)
    (note,) = [one for one in nd.plan(counts, method, kernel=kernel).notes if "moved" in one]
    assert "(+0.00, +2.00, +2.00) px" in note
    assert "pixels without data stay where they are" in note


@pytest.mark.parametrize("name", ["blind-richardson-lucy", "blind-sparse"])
def test_a_plan_says_whether_to_believe_what_was_found(name):
    plan = nd.plan(SCENE.counts.numpy(), name, facts=SCENE.facts, shape=(1, 15, 15))
    (note,) = [one for one in plan.notes if one.startswith("the kernel that was found is ")]
    assert "believed: " in note or "doubtful: " in note


NOISE = np.random.default_rng(3).poisson(10, (144, 144)).astype(np.float32)


@pytest.mark.parametrize(
    ("method", "scope"), [("blind-richardson-lucy", "channel"), ("blind-richardson-lucy", "tile"),
                          ("blind-sparse", "channel")]
)  # fmt: skip
def test_noise_is_left_as_it_is_whoever_looked_for_a_kernel(method, scope):
    plan = nd.plan(NOISE, method, scope=scope, shape=(1, 15, 15), facts=SCENE.facts)
    (note,) = [one for one in plan.notes if "nothing to deblur" in one]
    assert note.endswith("; it is left as it is")
    np.testing.assert_array_equal(np.asarray(nd.deconvolve(plan, NOISE)).squeeze(), NOISE)


def test_each_frame_has_its_verdict_and_noise_is_no_place_to_start_from():
    movie = np.stack([NOISE, SCENE.counts.numpy().squeeze()])
    stack = nd.open_stack(movie, "tyx", SCENE.size[1])
    camera = Facts(gain=1.0, offset=0.0, read_noise=0.0)
    method = nd.methods["blind"](families=("gaussian",), refine=False)
    plan = nd.plan(stack, method, scope="channel-time", facts=camera, shape=(1, 15, 15))
    noise, image = plan.kernel.report["frames"]
    assert noise["verdict"] == "nothing to deblur"
    # From the noise's kernel, a point, nothing would be found.
    true = nd.Kernel(gaussian(2.0)).array
    assert likeness(padded(plan.kernel.at(1), true.shape[2:]), true[0, 0]) > 0.97
    (note,) = [one for one in plan.notes if "frame by frame" in one]
    assert f"{image['verdict'].replace('believe', 'believed')} in frame 1: " in note
    assert note.endswith(
        "nothing to deblur in frame 0: no structure stands out from the noise; left as they are"
    )
    result = np.asarray(nd.deconvolve(plan, stack)).squeeze()
    np.testing.assert_array_equal(result[0], NOISE)
    assert np.abs(result[1] - movie[1]).max() > 10


def test_optics_that_cannot_be_used_are_named():
    counts = SCENE.counts.numpy().squeeze()
    facts = Facts(na=1.2, wavelength=0.5)
    plan = nd.plan(counts, "blind-richardson-lucy", facts=facts, shape=(1, 9, 9))
    (note,) = [one for one in plan.notes if "optics" in one]
    assert "has no voxel size, which they need" in note


def test_a_search_that_ended_in_a_point_on_a_blurred_image_is_doubted():
    stack = nd.open_stack(SCENE.counts.numpy().squeeze())
    (views,) = views_of(stack, solid=False, given={0: SCENE.facts}, gamma="linear").values()
    point = np.zeros((15, 15))
    point[7, 7] = 1
    found = judged_found(views, nd.Kernel(point, report={"doubt": None}))
    assert verdict_of(found.report)[0] == "doubtful"
    assert "the search ended in a point" in found.report["doubt"]
    np.testing.assert_array_equal(found.array.squeeze(), point)
