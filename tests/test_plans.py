import json
from dataclasses import replace

import numpy as np

import napari_deblur as nd
from napari_deblur.plans import Plan
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.stack import Channel, Optics, Pixels, Stack


def planned(iterations=30, **changed):
    array = np.random.default_rng(0).poisson(40, (2, 2, 6, 40, 44)).astype(np.uint16)
    stack = Stack(
        Pixels(array, "tczyx"),
        "tczyx",
        pixel_size=(0.5, 0.1, 0.12),
        channels=(Channel("a", "#00ff00", 0.52), Channel("b")),
        optics=Optics(na=1.2),
        time_step=2.0,
    )
    kernel = Gaussian((0.5, 0.15, 0.15))((3, 5, 5), (0.5, 0.1, 0.12))
    return nd.plan(stack, nd.methods["richardson-lucy"](iterations, **changed), kernel=kernel)


def test_a_plan_survives_json_to_the_last_bit():
    plan = planned()
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.to_dict() == plan.to_dict()
    assert again.key == plan.key
    assert np.array_equal(again.kernel.array, plan.kernel.array)
    assert again.channels == plan.channels


def test_the_key_tells_what_decides_the_result_and_nothing_else():
    plan = planned()
    assert planned(iterations=31).key != plan.key
    assert replace(plan, dtype="uint16").key != plan.key
    assert replace(plan, memory=1, disk=2, notes=("x",)).key == plan.key


def test_the_summary_says_what_will_be_done():
    text = planned().summary()
    for word in ("richardson-lucy", "iterations 30", "tiles", "seam", "µm"):
        assert word in text
