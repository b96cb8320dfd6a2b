"""A zarr array as napari sees it."""

import pickle

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_deblur._napari.seen import Seen


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    made = zarr.create_array(
        tmp_path_factory.mktemp("z") / "a.zarr", shape=(3, 7, 11), chunks=(1, 3, 4), dtype="f4"
    )
    made[:] = np.random.default_rng(0).random((3, 7, 11), np.float32)
    return made


def _keys(n):
    return st.one_of(st.integers(-n, n - 1), st.slices(n))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations([0, 1, 2]), st.data())
def test_it_is_indexed_like_numpy(array, order, data):
    truth = np.transpose(array[:], order)
    key = tuple(data.draw(_keys(n)) for n in truth.shape[: data.draw(st.integers(0, 3))])
    seen = Seen(array, order)
    np.testing.assert_array_equal(seen[key], truth[key])
    np.testing.assert_array_equal(np.asarray(seen), truth)


def test_axes_can_be_left_out(array):
    np.testing.assert_array_equal(Seen(array, (1, 2))[...], array[0])


def test_layer_shows_what_was_written_after_a_reload(tmp_path):
    made = zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), chunks=(4, 4), dtype="f4")
    seen = Seen(made, (0, 1))
    layer = ViewerModel().add_image(seen, contrast_limits=(0, 1))
    assert layer.get_value((1, 5)) == 0
    made[:4, 4:] = 1
    assert seen[1, 5] == 0  # kept
    seen.reload((0, 1))
    layer.refresh()
    assert layer.get_value((1, 5)) == 1
    made[:4, 4:] = 2
    seen.drop((0, 1))
    assert seen[1, 5] == 2


def test_layer_is_duplicated_and_computed_with_like_numpy(array):
    from copy import deepcopy

    layer = ViewerModel().add_image(Seen(array, (0, 1, 2)), contrast_limits=(0, 1))
    seen, truth = deepcopy(layer.data), array[:]
    for same in (seen, pickle.loads(pickle.dumps(seen))):
        np.testing.assert_array_equal(same, truth)
    np.testing.assert_array_equal(seen * 2 + seen, truth * 3)
    np.testing.assert_array_equal(seen[seen > 0.5], truth[truth > 0.5])
    np.testing.assert_array_equal(np.max(seen, axis=0), truth.max(0))
    np.testing.assert_allclose(seen.mean(axis=(0, 1)), truth.mean((0, 1)))
    assert seen.astype(int).dtype.kind == "i"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations([0, 1, 2]), st.data())
def test_places_may_be_spread_with_gaps_between(array, order, data):
    whole = np.full((6, 7, 11), np.nan, np.float32)
    whole[[0, 2, 5]] = array[:]
    truth = np.transpose(whole, order)
    seen = Seen(array, order, (0, (0, 2, 5)))
    key = tuple(data.draw(_keys(n)) for n in truth.shape[: data.draw(st.integers(0, 3))])
    np.testing.assert_array_equal(seen[key], truth[key])
    at = order.index(0)
    assert [seen.stored(at, n) for n in range(6)] == [0, 0, 1, 1, 1, 2]
    chunk = [1, 1, 1]
    chunk[at] = 2
    assert seen.shown(tuple(chunk))[at] == 5


def test_what_is_spread_is_read_anew_where_it_is_shown(tmp_path):
    made = zarr.create_array(tmp_path / "a.zarr", shape=(2, 4, 4), chunks=(1, 4, 4), dtype="u2")
    seen = pickle.loads(pickle.dumps(Seen(made, (0, 1, 2), (0, (0, 3)))))
    assert seen.shape == (4, 4, 4)
    # What was left out is no darkness: the image below is seen there.
    np.testing.assert_array_equal(np.asarray(seen)[:, 0, 0], (0, np.nan, np.nan, 0))
    made[1] = 7
    seen.reload(seen.shown((1, 0, 0)))
    np.testing.assert_array_equal(np.asarray(seen)[:, 0, 0], (0, np.nan, np.nan, 7))
    assert seen.dtype == np.asarray(seen).dtype == np.float32
