"""Results in a bucket of a real server."""

import numpy as np

from buckets import running, server  # noqa: F401
from by_hand import small
from napari_deblur import places
from napari_deblur.batch import run
from napari_deblur.places import place_of
from napari_deblur.results import open_result
from napari_deblur.verifying import verify

OUT = "s3://cells/out/a.deblur.zarr"


def content(address):
    """Give the bytes of all files but the ledger's."""
    root = place_of(address)
    names = {places.relative(file, root): file for file in places.files(root)}
    return {name: file.read_bytes() for name, file in names.items() if ".jsonl" not in name}


def test_a_result_is_the_same_in_a_bucket_and_in_a_folder(server, tmp_path):  # noqa: F811
    plan, stack = small()
    *_, last = run(plan, OUT, stack)
    assert last.phase == "complete"
    list(run(plan, tmp_path / "a.zarr", stack))
    assert content(OUT) == content(tmp_path / "a.zarr")
    assert list(verify(OUT)) == []
    result = open_result(OUT)
    np.testing.assert_array_equal(
        result.levels[0][:], open_result(tmp_path / "a.zarr").levels[0][:]
    )
    assert str(result.path) == OUT


def test_a_lost_object_is_found_and_made_again(server):  # noqa: F811
    plan, stack = small()
    list(run(plan, OUT, stack))
    before = content(OUT)
    (place_of(OUT) / "0/c/0/1/2").unlink()
    (found,) = verify(OUT)
    assert (found.kind, found.path) == ("missing", "0/c/0/1/2")
    first, *_, last = run(plan, OUT, stack)
    assert (first.done, last.phase) == (len(plan) - 1, "complete")
    assert content(OUT) == before
