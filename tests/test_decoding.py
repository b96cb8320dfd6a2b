"""Chunks of a source that are large are unpacked a few at a time."""

from itertools import product

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_deblur import decoding
from napari_deblur.decoding import chunks_of, read
from napari_deblur.opening import open_stack
from napari_deblur.stack import Pixels


class Counting:
    """An array that knows how many chunks each look at it touched."""

    def __init__(self, shape, chunks):
        self.content = np.arange(np.prod(shape)).reshape(shape)
        self.shape, self.dtype, self.chunks, self.touched = shape, self.content.dtype, chunks, []

    def __getitem__(self, where):
        touched = 1
        for w, n, c in zip(where, self.shape, self.chunks, strict=True):
            picked = range(n)[w] if isinstance(w, slice) else [w]
            touched *= len({i // c for i in picked})
        self.touched.append(touched)
        return self.content[where]


axes = st.tuples(st.integers(1, 17), st.integers(1, 6), st.integers(0, 16), st.integers(0, 17))


@given(st.lists(axes, min_size=1, max_size=4), st.integers(1, 9), st.booleans())
def test_pieces_are_the_whole_and_none_touches_more_chunks_than_it_may(sizes, most, number):
    array = Counting([n for n, *_ in sizes], [min(n, c) for n, c, *_ in sizes])
    where = [slice(min(a, b, n), min(max(a, b), n)) for n, _, a, b in sizes]
    if number:
        where[0] = where[0].start if where[0].start < array.shape[0] else 0
    each = np.prod(array.chunks) * array.dtype.itemsize
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "ROOM", each * most)
        found = read(array, tuple(where), chunks=array.chunks)
    assert np.array_equal(found, array.content[tuple(where)])
    assert found.shape == array.content[tuple(where)].shape
    assert max(array.touched, default=0) <= most


def test_small_chunks_are_read_in_one_go_and_so_is_what_is_not_plain():
    array = Counting((20, 20), (2, 2))
    assert read(array, (slice(0, 20), 3), chunks=(2, 2)).shape == (20,)
    assert array.touched == [10]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "ROOM", 1)
        read(array, (slice(0, 20, 2), 3), chunks=(2, 2))
    assert array.touched == [10, 10]


@pytest.mark.parametrize("kind", ["zarr", "sharded", "tiff"])
def test_readers_unpack_a_few_large_chunks_at_a_time(tmp_path, monkeypatch, kind):
    content = np.random.default_rng(0).integers(0, 60_000, (6, 40, 50)).astype("u2")
    if kind == "tiff":
        path = tmp_path / "a.tif"
        options = {"photometric": "minisblack", "compression": "zlib", "tile": (16, 32)}
        tifffile.imwrite(path, content, metadata={"axes": "ZYX"}, **options)
        chunks = (1, 16, 32)
    else:
        path, chunks = tmp_path / "a.zarr", (2, 20, 25)
        shards = {"shards": (2, 40, 50)} if kind == "sharded" else {}
        made = zarr.create_array(path, shape=content.shape, chunks=chunks, dtype="u2", **shards)
        made[:] = content
    monkeypatch.setattr(decoding, "ROOM", 2 * np.prod(chunks) * 2)
    stack = open_stack(path, "zyx")
    known = chunks_of(stack.pixels)
    assert (known.shape, known.at_once, known.nbytes) == (chunks, 2, np.prod(chunks) * 2)
    plain, looks = type(stack.pixels.base), []
    seen = decoding._pieces
    monkeypatch.setattr(
        decoding, "_pieces", lambda *a: (looks.append(one) or one for one in seen(*a))
    )
    spans = ((0, 6), (3, 40), (1, 49))
    assert np.array_equal(stack.read(0, 0, spans), content[:, 3:40, 1:49])
    assert len(looks) > 1, plain


def test_frames_and_channels_in_a_chunk_count():
    array = Counting((4, 2, 6, 40, 50), (2, 2, 1, 40, 50))
    array.at_once = 3
    known = chunks_of(Pixels(array, "tczyx", region=((1, 6), (5, 40), (0, 50))))
    assert known.nbytes == 2 * 2 * 40 * 50 * 8
    assert known.times == 4
    assert known.offset == (1, 5, 0)
    assert known.held(1) * 3 == known.held(7)  # no more than are unpacked at a time
    one = chunks_of(Pixels(array, "tczyx", times=[1], channels=[0]))
    assert one.times == 1


def test_chunks_are_counted_where_they_lie():
    array = Counting((10, 100, 100), (4, 30, 100))
    array.at_once = 1
    known = chunks_of(Pixels(array, "zyx", region=((0, 10), (20, 90), (0, 100))))
    for start, length in product((0, 9, 10, 11, 40), (1, 10, 30)):
        inside = {(20 + i) // 30 for i in range(start, start + length)}
        assert known.touched(1, np.array([start]), length) == len(inside)


def test_what_lies_in_memory_or_is_mapped_is_not_unpacked(tmp_path):
    content = np.zeros((4, 30, 30), "u2")
    assert chunks_of(open_stack(content, "zyx").pixels) is None
    tifffile.imwrite(
        tmp_path / "a.tif", content, photometric="minisblack", metadata={"axes": "ZYX"}
    )
    assert chunks_of(open_stack(tmp_path / "a.tif").pixels) is None
