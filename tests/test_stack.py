import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_deblur.stack import Channel, Pixels, Source, Stack

DATA = np.random.default_rng(5).integers(0, 60000, (4, 3, 5, 8, 7)).astype("u2")


def span(size):
    return st.integers(0, size - 1).flatmap(
        lambda start: st.tuples(st.just(start), st.integers(start + 1, size))
    )


def picks(size):
    return st.none() | st.lists(st.integers(0, size - 1), min_size=1, max_size=5)


def regions(sizes):
    return st.none() | st.tuples(*(span(size) for size in sizes))


def taken(data, times, channels, region):
    data = data if times is None else data[times]
    data = data if channels is None else data[:, channels]
    for axis, (start, stop) in enumerate(region or ()):
        data = np.take(data, range(start, stop), axis + 2)
    return data


def whole(stack):
    frames, channels = stack.shape[:2]
    return np.stack([[stack.read(t, c) for c in range(channels)] for t in range(frames)])


@given(st.permutations("tczyx"), st.data())
def test_selecting_twice_equals_indexing_twice(order, data):
    base = np.transpose(DATA, ["tczyx".index(axis) for axis in order])
    source = Source("a", "tiff")
    stack, expected = Stack(Pixels(base, "".join(order)), "tczyx", source=source), DATA
    for _ in range(2):
        frames, channels, *sizes = stack.shape
        chosen = [data.draw(s) for s in (picks(frames), picks(channels), regions(sizes))]
        times, selected, region = chosen
        stack = stack.selected(times=times, channels=selected, region=region)
        expected = taken(expected, times, selected, region)
    np.testing.assert_array_equal(whole(stack), expected)
    assert len(stack.channels) == stack.shape[1]
    again = Stack(Pixels(DATA, "tczyx"), "tczyx").selected(
        times=stack.source.times, channels=stack.source.channels, region=stack.source.region
    )
    np.testing.assert_array_equal(whole(again), expected)


@given(regions((5, 8, 7)))
def test_reading_a_region_equals_indexing(region):
    stack = Stack(Pixels(DATA, "tczyx"), "tczyx").selected(region=((0, 5), (0, 8), (0, 7)))
    np.testing.assert_array_equal(stack.read(2, 1, region), taken(DATA, None, None, region)[2, 1])


# dask itself is wrong for a start below the array with a negative step, so starts lie inside.
INDEX = st.integers(-4, 3) | st.builds(
    slice,
    st.none() | st.integers(-4, 3),
    st.none() | st.integers(-4, 3),
    st.none() | st.sampled_from([-3, -2, -1, 1, 2, 3]),
)


@given(st.tuples(INDEX, st.just(slice(None)), INDEX, INDEX, INDEX))
def test_the_lazy_array_takes_every_basic_index(where):
    stack = Stack(Pixels(DATA, "tczyx"), "tczyx")
    np.testing.assert_array_equal(stack.data[where].compute(scheduler="synchronous"), DATA[where])


def test_the_lazy_array_has_the_axes_of_the_stack():
    stack = Stack(Pixels(DATA[0, 0], "zyx"), "zyx")
    np.testing.assert_array_equal(stack.data.compute(scheduler="synchronous"), DATA[0, 0])


def test_channels_follow_the_selection():
    stack = Stack(Pixels(DATA, "tczyx"), "tczyx", channels=tuple(map(Channel, "abc")))
    assert [c.name for c in stack.selected(channels=[2, 0]).channels] == ["c", "a"]


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"times": [4]}, "time 4 is outside the stack, which has 4"),
        ({"channels": [-1]}, "channel -1 is outside"),
        ({"channels": []}, "no channel is left"),
        ({"region": ((0, 5), (3, 9), (0, 7))}, "region 3:9 along y does not lie inside 0:8"),
        ({"region": ((2, 2), (0, 8), (0, 7))}, "region 2:2 along z"),
    ],
)
def test_selections_outside_are_named(selection, said):
    with pytest.raises(ValueError, match=said):
        Stack(Pixels(DATA, "tczyx"), "tczyx").selected(**selection)


def test_colours_are_not_taken_apart():
    stack = Stack(Pixels(DATA[0, :, 0], "cyx"), "cyx", rgb=True)
    with pytest.raises(ValueError, match="belong together"):
        stack.selected(channels=[0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"axes": "zyxct"}, "in the order tczyx"),
        ({"axes": "tcyx"}, "axis z has length 5 but is not among"),
        ({"pixel_size": (1, 0, 1)}, "each > 0 or unknown"),
        ({"channels": (Channel(),)}, "1 channels are described but the stack has 3"),
    ],
)
def test_a_stack_that_contradicts_itself_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Stack(Pixels(DATA, "tczyx"), **({"axes": "tczyx"} | settings))


def test_a_source_survives_json():
    source = Source(
        "a.tif",
        "tiff",
        "zyx",
        (None, 0.2, 0.1),
        1,
        2,
        "A/1/0",
        (3, 1),
        (0,),
        ((0, 1), (2, 3), (4, 5)),
        "abc",
    )
    assert Source.from_dict(json.loads(json.dumps(source.to_dict()))) == source


@pytest.mark.parametrize(
    ("axes", "size", "said"),
    [
        (
            "tczyx",
            (0.3, 0.12, 0.11),
            "4 time points × 3 channels × 5 × 8 × 7 voxels of 0.3 × 0.12 × 0.11 µm, uint16",
        ),
        ("tczyx", None, "4 time points × 3 channels × 5 × 8 × 7 voxels of unknown size, uint16"),
    ],
)
def test_the_summary_says_how_the_data_are_read(axes, size, said):
    assert Stack(Pixels(DATA, axes), axes, size).summary() == said
