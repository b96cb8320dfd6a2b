"""Content that was replaced in place is noticed, what was copied is not, and it costs little."""

import os
import shutil
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

import napari_deblur as nd
from by_hand import numbers
from napari_deblur import joining
from napari_deblur.fingerprints import agree, of_pixels, spread
from napari_deblur.opening import open_stack, reopen
from napari_deblur.plans import Plan
from napari_deblur.readers import _zarr_samples
from napari_deblur.results import open_result
from napari_deblur.writing import Picture, write_images

SHAPE = (6, 40, 50)
SETTINGS = {
    "v3": {"chunks": (2, 20, 50)},
    "v2": {"chunks": (2, 20, 50), "zarr_format": 2},
    "plain": {"chunks": (6, 40, 50), "compressors": None},
    "shards": {"chunks": (2, 10, 10), "shards": (2, 40, 50)},
}


def write(path, seed, **settings):
    """Write an array in place of whatever is there; other pixels, the same metadata."""
    named = {} if settings.get("zarr_format") == 2 else {"dimension_names": ["z", "y", "x"]}
    pixels = np.random.default_rng(seed).poisson(60, SHAPE).astype("u2")
    settings = {"chunks": (2, 20, 50), **settings}
    zarr.create_array(path, data=pixels, overwrite=True, **named, **settings)
    return path


def opened(path):
    return open_stack(path, "zyx")


# The words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ("a-1-2", "a-1-2", True),
        ("a-1-2", "a-1-3", False),
        ("a-1-2", "b-1-2", False),
        ("a", "a-1-2", True),  # of an earlier version
        ("a", "b-1-2", False),
        ("a--2", "a-1-2", True),
        ("a-1-", "a--2", True),
        ("a-1-", "a-3-2", False),
        ("a-1", "a-1-2", False),
        ("", "a-1", True),
        ("120-1732310400123456789", "120-1a2b3c4d", True),  # of a file, of an earlier version
        ("120-1732310400123456789", "121-1a2b3c4d", False),
    ],
)
def test_what_was_not_seen_does_not_count(then, now, same):
    assert agree(then, now) is same
    assert agree(now, then) is same


def test_places_are_everywhere_and_never_change():
    assert spread((2, 3), 16) == [(t, c) for t in range(2) for c in range(3)]
    assert spread((2**40, 2**40, 0), 16) == []
    places = spread((40, 70, 90), 16)
    assert len(set(places)) == 16
    for axis, size in enumerate((40, 70, 90)):
        picked = sorted(place[axis] for place in places)
        assert 0 <= picked[0] < size / 4
        assert 3 * size / 4 < picked[-1] < size
    # Results keep what was seen at these: others would make all of them results of changed inputs.
    assert spread((1000, 1000, 1000), 4) == [
        (500, 500, 500),
        (914, 232, 736),
        (328, 964, 972),
        (742, 696, 208),
    ]


# Zarr -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SETTINGS)
def test_pixels_that_were_replaced_in_place_are_noticed(tmp_path, kind):
    path = write(tmp_path / "a.zarr", 1, **SETTINGS[kind])
    source = opened(path).source
    shutil.copytree(path, tmp_path / "kept")
    write(path, 2, **SETTINGS[kind])
    with pytest.raises(ValueError, match="has changed since it was opened first") as caught:
        reopen(source)
    assert "\n" not in str(caught.value)
    # Put back by a copy that keeps no times, it is the same.
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "kept", path, copy_function=shutil.copyfile)
    np.testing.assert_array_equal(reopen(source).read(0, 0), opened(path).read(0, 0))
    assert opened(path).source == source


def test_an_image_in_a_group_that_was_replaced_is_noticed(tmp_path):
    def made(seed):
        pixels = np.random.default_rng(seed).poisson(60, SHAPE).astype("f4")
        shutil.rmtree(tmp_path / "a.ome.zarr", ignore_errors=True)
        write_images(tmp_path / "a.ome.zarr", {"a": Picture(pixels, "zyx", (0.3, 0.1, 0.1))})

    made(1)
    source = open_stack(tmp_path / "a.ome.zarr").source
    made(1)
    assert reopen(source).source == source
    made(2)
    with pytest.raises(ValueError, match="has changed since"):
        reopen(source)


def test_a_chunk_that_was_missing_may_come_back_unless_that_is_content(tmp_path):
    path = write(tmp_path / "a.zarr", 1)
    chunk = path / "c/0/1/0"
    content, whole = chunk.read_bytes(), opened(path).source
    chunk.unlink()
    lost, meant = opened(path).source, open_stack(path, "zyx", sparse=True).source
    reopen(whole)  # it is told when its turn has come
    chunk.write_bytes(content)
    reopen(lost)
    with pytest.raises(ValueError, match="has changed since"):
        reopen(meant)


def test_few_chunks_are_looked_at_and_a_little_of_each(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=np.ones((20, 32, 32), "u2"), chunks=(1, 16, 16))
    seen = []
    sample = _zarr_samples._sample
    monkeypatch.setattr(
        _zarr_samples, "_sample", lambda file, **how: seen.append(file) or sample(file, **how)
    )
    opened(path)
    assert len(set(seen)) == len(seen) == 16
    for size in (0, 1, 2**16, 2**16 + 1, 2**40):
        for pieces in (2, 5, 16):
            parts = list(_zarr_samples._parts(size, pieces))
            assert sum(stop - start for start, stop in parts) <= 2**16
            assert all(0 <= start <= stop <= size for start, stop in parts)
            assert parts[-1][1] == size


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_in_place_of_a_chunk_is_not_waited_for(tmp_path):
    path = write(tmp_path / "a.zarr", 1)
    (path / "c/0/0/0").unlink()
    os.mkfifo(path / "c/0/0/0")
    source = opened(path).source
    assert source.fingerprint.split("-")[1] == ""


# Results --------------------------------------------------------------------------------------


@pytest.fixture
def begun(job, tmp_path):
    """Give a job whose run was interrupted after some tiles."""
    path = write(tmp_path / "a.zarr", 1)
    out = str(tmp_path / "a.deblur.zarr")
    job = replace(job, input=str(path), output=out, tile=(6, 10, 50), accept_seam=True)
    interrupt(job.run())
    return job


def interrupt(running):
    while next(running).done < 2:
        pass
    running.close()


@pytest.mark.parametrize("how", ["job", "plan", "part"])
def test_a_run_is_not_continued_with_other_pixels(begun, tmp_path, how):
    write(tmp_path / "a.zarr", 2)
    said = r'a\.deblur\.zarr holds the result of ".*a\.zarr" as it was before it changed: overwrite'
    ways = {
        "job": begun.run,
        "part": lambda: joining.planning(begun),
        "plan": lambda: nd.run(begun.plan(resume=False), begun.output),
    }
    with pytest.raises(FileExistsError, match=said) as caught:
        list(ways[how]())
    assert "\n" not in str(caught.value)
    *_, last = begun.run(overwrite=True)
    assert last.phase == "complete"
    write(tmp_path / "a.zarr", 3)
    with pytest.raises(FileExistsError, match="before it changed"):
        list(begun.run())


@pytest.mark.parametrize("how", ["job", "plan"])
def test_what_an_earlier_version_began_goes_on(begun, how):
    shutil.rmtree(begun.output)
    new = begun.plan()
    old = replace(new, source=replace(new.source, fingerprint=new.source.fingerprint[:16]))
    assert old.key != new.key
    interrupt(nd.run(old, begun.output, job=begun.resolved().to_dict()))
    first, *_, last = begun.run() if how == "job" else nd.run(new, begun.output)
    assert (first.done, last.phase) == (2, "complete")
    assert open_result(begun.output).key == old.key


# In memory ------------------------------------------------------------------------------------


def test_another_array_is_not_taken_for_the_first(tmp_path):
    array, other = numbers(SHAPE), numbers(SHAPE) + np.uint16(1)
    plan, out = nd.plan(open_stack(array, "zyx"), "identity"), tmp_path / "a.zarr"
    assert Plan.from_dict(plan.to_dict()).key == plan.key
    with pytest.raises(ValueError, match="holds other pixels than the one that the plan was made"):
        nd.run(plan, out, other)
    *_, last = nd.run(plan, out, array.astype("f8"))
    assert last.phase == "complete"
    again = nd.plan(open_stack(other, "zyx"), "identity")
    with pytest.raises(FileExistsError, match="the result of an array with other pixels"):
        list(nd.run(again, out, other))
    *_, last = nd.run(nd.plan(open_stack(array, "zyx"), "identity"), out, array)
    assert last.note == "it was complete already"


def test_results_of_arrays_without_a_fingerprint_go_on(tmp_path):
    array, out = numbers(SHAPE), tmp_path / "a.zarr"
    new = nd.plan(open_stack(array, "zyx"), "identity")
    list(nd.run(replace(new, fingerprint=""), out, array))
    *_, last = nd.run(new, out, array)
    assert last.note == "it was complete already"


@pytest.mark.parametrize("place", [(0, 0, 0), (3, 20, 25), (5, 39, 49)])
def test_one_voxel_of_a_small_array_is_noticed(place):
    array = numbers(SHAPE)
    before = of_pixels(open_stack(array, "zyx"))
    array[place] += 1
    assert not agree(before, of_pixels(open_stack(array, "zyx")))


def test_of_what_is_computed_a_few_small_blocks_are():
    computed = []

    def block(block_info=None):
        computed.append(block_info[None]["chunk-location"])
        return np.full((1, 32, 32), block_info[None]["chunk-location"][0], "f4")

    chunks = ((1,) * 30, (32,) * 8, (32,) * 8)
    array = da.map_blocks(block, chunks=chunks, dtype="f4", meta=np.empty(0))
    found = of_pixels(open_stack(array, "zyx"))
    assert 1 <= len(computed) <= 4
    assert agree(found, of_pixels(open_stack(array, "zyx")))
    assert not agree(found, of_pixels(open_stack(array + 1, "zyx")))
    large = da.zeros((512, 512, 512), chunks=-1)
    assert of_pixels(open_stack(large, "zyx")) == ""


def test_blocks_that_cannot_be_computed_say_nothing():
    class Broken:
        shape, dtype = (4, 40, 50), np.dtype("u2")

        def __getitem__(self, where):
            raise RuntimeError("no")

    assert of_pixels(open_stack(Broken(), "zyx")) == "blocks----"


def test_a_plan_of_one_file_is_not_run_on_another(tmp_path):
    first, second = write(tmp_path / "a.zarr", 1), write(tmp_path / "b.zarr", 2)
    plan = nd.plan(first, "identity")
    with pytest.raises(ValueError, match=r"made for .*a\.zarr.* of .*b\.zarr.* is another"):
        nd.run(plan, tmp_path / "out.zarr", second)
    shutil.rmtree(second)
    shutil.copytree(first, second)
    *_, last = nd.run(plan, tmp_path / "out.zarr", second)
    assert last.phase == "complete"


@pytest.mark.parametrize("kind", ["zarr", "tif"])
def test_a_stack_that_changed_since_its_plan_is_refused(tmp_path, kind):
    def made(seed):
        if kind == "zarr":
            return write(tmp_path / "a.zarr", seed)
        tifffile.imwrite(tmp_path / "a.tif", numbers(SHAPE, seed), metadata={"axes": "ZYX"})
        os.utime(tmp_path / "a.tif", (seed, seed))
        return tmp_path / "a.tif"

    stack = opened(made(1))
    plan = nd.plan(stack, "identity")
    made(2)
    with pytest.raises(ValueError, match="has changed since"):
        nd.run(plan, tmp_path / "out.zarr", stack)
