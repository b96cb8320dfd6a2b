import hashlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from by_hand import small
from napari_deblur.batch import run
from napari_deblur.done import Digests, Done
from napari_deblur.ledger import Entry
from napari_deblur.pyramid import Level
from napari_deblur.results import open_result
from napari_deblur.store import Store
from napari_deblur.tiles import Grid

GRID = Grid((2, 1, 4, 6, 9), (2, 2, 3))
indices = st.sampled_from(list(GRID))
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(st.lists(st.tuples(indices, digests)))
def test_digests_are_a_mapping_of_chunks(pairs):
    found, expected = Digests(GRID), dict(pairs)
    for index, digest in pairs:
        found[index] = digest
    assert len(found) == len(expected)
    assert list(found) == sorted(expected)
    assert {index: found.get(index) for index in GRID} == {i: expected.get(i) for i in GRID}
    assert [index in found for index in GRID] == [index in expected for index in GRID]


def test_positions_are_those_of_the_grid():
    found = Digests(GRID)
    assert [found.number(index) for index in GRID] == list(range(len(GRID)))
    for index in ((2, 0, 0, 0, 0), (0, 0, 0, 0, 3), (0, 0, 0, -1, 0)):
        with pytest.raises(IndexError, match="no chunk"):
            found.number(index)


def test_a_chunk_that_is_done_takes_less_than_a_hundred_bytes():
    grid = Grid((1, 1, 20, 1000, 1000), (1, 10, 10))
    entries = (
        Entry("tile", "k", index, values=hashlib.sha256(b"%d" % number).hexdigest(), clipped=1)
        for number, index in zip(range(20_000), grid, strict=False)
    )
    tracemalloc.start()
    try:
        done = Done.of([Level(0, grid, (1, 1, 1), (1, 1, 1))])
        empty, _ = tracemalloc.get_traced_memory()
        for entry in entries:
            done.add(entry)
        full, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The arrays have their full length from the start, though the system gives no memory for it.
    assert len(done.tiles) == 20_000
    assert full - empty < 20_000
    assert empty < 100 * len(grid)


def test_what_a_store_remembers_does_not_grow_with_its_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_deblur.putting.MOST_SYNCED", 3)
    plan, stack = small()
    list(run(plan, tmp_path / "a.zarr", stack))
    store = Store(tmp_path / "a.zarr", plan)
    for index in plan.grid:
        store.files.sync_folders(tmp_path / "a.zarr" / store.chunk_name(0, index))
        assert len(store.files._synced) <= 3 + len(store.chunk_name(0, index).split("/"))
    assert open_result(tmp_path / "a.zarr").complete
