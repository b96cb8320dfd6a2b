import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_deblur.tiles import Grid, halves

triples = st.tuples(*[st.integers(1, 30)] * 3)
halos = st.tuples(*[st.integers(0, 9)] * 3)


@given(triples, triples, halos)
def test_cores_cover_every_voxel_once_and_tiles_reach_a_halo_around_them(shape, core, halo):
    grid = Grid((1, 1, *shape), core, halo)
    covered = np.zeros(shape, int)
    for index in grid:
        tile = grid.tile(index)
        covered[tuple(slice(*span) for span in tile.core)] += 1
        read = np.zeros(shape, bool)
        read[tuple(slice(*span) for span in tile.read)] = True
        spans = zip(tile.core, tile.read, strict=True)
        for axis, ((start, stop), (first, last)) in enumerate(spans):
            assert first <= max(0, start - halo[axis])
            assert last >= min(shape[axis], stop + halo[axis])
            assert 0 <= first < last <= shape[axis]
        # All tiles have one shape, so that transforms and their plans are shared.
        assert tuple(b - a for a, b in tile.read) == grid.tile_shape
        inside = np.zeros(grid.tile_shape, bool)
        inside[tile.inside] = True
        assert inside.sum() == np.prod([b - a for a, b in tile.core])
    assert (covered == 1).all()
    assert len(grid) == len(list(grid))


@given(triples, triples, halos)
def test_halves_of_a_core_are_its_parts_with_their_own_halo(shape, core, halo):
    grid = Grid((1, 1, *shape), core, halo)
    tile = grid.tile((0, 0, 0, 0, 0))
    parts = halves(tile.core)
    if parts is None:
        assert all(b - a == 1 for a, b in tile.core)
        return
    sizes = [np.prod([b - a for a, b in part]) for part in parts]
    assert sum(sizes) == np.prod([b - a for a, b in tile.core])
    for part in parts:
        around = grid.around((0, 0, 0, 0, 0), part)
        for (start, stop), (first, last), h, n in zip(part, around.read, halo, shape, strict=True):
            assert first <= max(0, start - h)
            assert last >= min(n, stop + h)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Grid((1, 1, 0, 5, 5), (1, 1, 1)), "1 or more"),
        (lambda: Grid((1, 1, 5, 5, 5), (1, 1, 1), (0, -1, 0)), "0 px or more"),
    ],
)
def test_impossible_grids_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_there_is_no_tile_outside_the_grid():
    with pytest.raises(IndexError, match="no tile"):
        Grid((1, 1, 5, 5, 5), (5, 5, 5)).tile((0, 0, 0, 1, 0))
