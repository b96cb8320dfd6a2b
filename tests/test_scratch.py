"""The copy of a stack from memory that workers read: nothing is made up, nothing left behind."""

import numpy as np
import pytest
import zarr

from by_hand import numbers, plan_of, small, stack_of
from napari_deblur import scratch
from napari_deblur.batch import Claimed, run
from napari_deblur.finishing import finish
from napari_deblur.verifying import verify


def test_of_a_copied_stack_nothing_is_made_up(tmp_path):
    array = numbers((4, 16, 16))
    array[:, :8, :8] = 0  # a chunk that zarr would not write
    stack = stack_of(array)
    plan, store = plan_of(stack), tmp_path / "a.zarr"
    with scratch.copied(stack, store, plan.grid):
        copy = scratch.stack_of(scratch.scratch_of(store), plan.layout)
        assert np.array_equal(copy.read(0, 0), stack.read(0, 0))
        (scratch.scratch_of(store) / "c/0/0/0/0/1").unlink()
        with pytest.raises(ValueError, match="is missing, and would be taken for empty"):
            copy.read(0, 0)
        assert not copy.read(0, 0, ((0, 4), (0, 8), (0, 8))).any()
    with pytest.raises(FileNotFoundError, match="no longer there"):
        copy.read(0, 0)


def left_by_a_killed_run(path):
    copy = scratch.scratch_of(path)
    zarr.save_array(copy, numbers((4, 8, 8)))
    return copy


@pytest.mark.parametrize("way", ["run", "finish"])
def test_the_copy_of_a_stack_that_a_killed_run_left_goes_with_the_next(tmp_path, way):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    progress = run(plan, path, stack)
    while next(progress).done < len(plan):
        pass
    copy = left_by_a_killed_run(path)
    (found,) = verify(path)
    assert str(copy) not in found.text  # of a run that lives
    with pytest.raises(Claimed):
        list(run(plan, path, stack, overwrite=True))
    assert copy.exists()
    progress.close()
    (found,) = verify(path)
    assert (found.kind, str(copy) in found.text) == ("incomplete", True)
    *_, last = run(plan, path, stack) if way == "run" else finish(path)
    assert last.phase == "complete"
    assert not copy.exists()
    assert list(verify(path)) == []
