"""Images as they may be stored: any part of them reads as numpy has it, whatever lies beneath."""

import json
import pickle
from dataclasses import dataclass
from typing import Any

import numcodecs
import numpy as np
import tifffile
import zarr
from fuzzing import fuzzed
from hypothesis import assume, event, given
from hypothesis import strategies as st
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    TransposeCodec,
    ZstdCodec,
)

from napari_deblur.opening import open_stack, reopen
from napari_deblur.stack import AXES, Source

DTYPES = ["?", "i1", "u1", "<i2", ">i2", "<u2", ">u2", "<i4", ">u4", "<i8", ">u8"]
DTYPES += ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]
PACKED = [None, ZstdCodec(), ZstdCodec(checksum=True), BloscCodec(), GzipCodec()]
PACKED += [[GzipCodec(), Crc32cCodec()], [Crc32cCodec()]]
PACKED_2 = [None, numcodecs.Zlib(), numcodecs.Blosc(), numcodecs.Zstd(), numcodecs.LZ4()]
PACKED_2 += [numcodecs.GZip(), numcodecs.BZ2(), numcodecs.LZMA()]


@dataclass
class Case:
    axes: str
    pixels: Any
    kind: str
    draw: Any


@st.composite
def cases(draw, kinds):
    """An image with its axes in any order."""
    outer = draw(st.lists(st.sampled_from("tcz"), unique=True, max_size=3))
    axes = "".join(draw(st.permutations([*outer, "y", "x"])))
    shape = [draw(st.integers(1, 3 if axis in "tc" else 14)) for axis in axes]
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    least, most = (0, 2) if dtype.kind == "b" else (0 if dtype.kind == "u" else -100, 120)
    pixels = random.integers(least, most, shape).astype(dtype)
    return Case(axes, pixels, draw(st.sampled_from(kinds)), draw)


def stored_by_hand(path, case):
    """Write version 2 without zarr: its order and byte order are not taken on trust."""
    pixels, draw = case.pixels, case.draw
    chunks = [draw(st.integers(1, n + 2)) for n in pixels.shape]
    order, separator = draw(st.sampled_from("CF")), draw(st.sampled_from("./"))
    fill = draw(st.sampled_from([None, 0, 1]))
    known = {"zarr_format": 2, "shape": pixels.shape, "chunks": chunks, "dtype": pixels.dtype.str}
    known |= {"compressor": None, "filters": None, "fill_value": fill, "order": order}
    path.mkdir()
    (path / ".zarray").write_text(json.dumps(known | {"dimension_separator": separator}))
    for at in np.ndindex(*(-(-n // c) for n, c in zip(pixels.shape, chunks, strict=True))):
        part = pixels[tuple(slice(i * c, (i + 1) * c) for i, c in zip(at, chunks, strict=True))]
        block = np.full(chunks, 7, pixels.dtype)  # what lies beyond the array is nobody's
        block[tuple(map(slice, part.shape))] = part
        file = path / separator.join(map(str, at))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(block.tobytes(order))


def stored_by_zarr(path, case):
    """Write it with any codec, order, byte order, and names of chunks."""
    pixels, draw = case.pixels, case.draw
    chunks = tuple(draw(st.integers(1, n + 2)) for n in pixels.shape)
    settings = {"fill_value": np.ones((), pixels.dtype).item() if draw(st.booleans()) else 0}
    key = {"name": "v2", "separator": draw(st.sampled_from("./"))}
    if case.kind == "zarr 2":
        shuffle = [numcodecs.Shuffle(pixels.dtype.itemsize)]
        settings |= {
            "zarr_format": 2,
            "compressors": draw(st.sampled_from(PACKED_2)),
            "filters": draw(st.sampled_from([None, shuffle])),
            "order": draw(st.sampled_from("CF")),
        }
    else:
        key["name"] = draw(st.sampled_from(["default", "v2"]))
        order = tuple(draw(st.permutations(range(pixels.ndim))))
        settings["compressors"] = draw(st.sampled_from(PACKED))
        settings["filters"] = draw(st.sampled_from([None, [TransposeCodec(order=order)]]))
        if pixels.dtype.itemsize > 1:
            settings["serializer"] = BytesCodec(endian=draw(st.sampled_from(["big", "little"])))
        if case.kind == "shards":
            settings["shards"] = tuple(c * draw(st.integers(1, 3)) for c in chunks)
    settings["config"] = {"write_empty_chunks": True}
    zarr.create_array(path, data=pixels, chunks=chunks, chunk_key_encoding=key, **settings)


def stored_as_tiff(path, case):
    """Write it in strips or tiles, packed or not, in either byte order."""
    pixels, draw = case.pixels, case.draw
    how = {"compression": draw(st.sampled_from([None, None, "zlib", "lzw", "zstd", "packbits"]))}
    assume(pixels.dtype.kind != "b" or how["compression"] is None)
    predicts = how["compression"] not in (None, "packbits") and pixels.dtype.itemsize < 8
    how["predictor"] = predicts and draw(st.booleans())
    layout = draw(st.sampled_from(["tiles", "strips", "one"]))
    how["tile"] = (16, 16) if layout == "tiles" else None
    how["rowsperstrip"] = draw(st.integers(1, pixels.shape[-2])) if layout == "strips" else None
    how |= {"byteorder": draw(st.sampled_from("<>")), "bigtiff": draw(st.booleans())}
    how["ome"] = draw(st.booleans()) and pixels.dtype.name not in ("float16", "int64", "uint64")
    axes = {"axes": case.axes.upper()}
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=axes, **how)


def looked_at(stack, case):
    """Compare parts of a stack, and all of it, with the array."""
    wanted = np.transpose(case.pixels, [case.axes.index(a) for a in AXES if a in case.axes])
    np.testing.assert_array_equal(np.asarray(stack.data), wanted)
    missing = tuple(n for n, axis in enumerate(AXES) if axis not in case.axes)
    wanted = np.expand_dims(wanted, missing)
    for _ in range(3):
        t, c = (case.draw(st.integers(0, n - 1)) for n in wanted.shape[:2])
        region = []
        for n in wanted.shape[2:]:
            start = case.draw(st.integers(0, n - 1))
            region.append((start, case.draw(st.integers(start + 1, n))))
        part = wanted[(t, c, *(slice(*span) for span in region))]
        found = stack.read(t, c, tuple(region))
        assert found.dtype == case.pixels.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, part)
        chosen = stack.selected(times=[t], channels=[c], region=tuple(region))
        np.testing.assert_array_equal(chosen.read(0, 0), part)


WAYS = {"by hand": stored_by_hand, "tiff": stored_as_tiff}


@fuzzed(15, 0.5)
@given(data=st.data())
def test_every_layout_reads_as_numpy_has_it(data, tmp_path_factory):
    kinds = ["by hand", "zarr 2", "zarr 3", "shards", "tiff"]
    case = data.draw(cases(kinds))
    case.draw = data.draw
    if case.kind == "tiff":  # planes lie one after the other, and axes of length 1 have no name
        outer = [n for n, axis in enumerate(case.axes) if axis not in "yx"]
        outer = [n for n in outer if case.pixels.shape[n] > 1]
        kept = [*outer, case.axes.index("y"), case.axes.index("x")]
        pixels = case.pixels[tuple(slice(None) if n in kept else 0 for n in range(len(case.axes)))]
        order = [sorted(kept).index(n) for n in kept]
        case.pixels = np.ascontiguousarray(pixels.transpose(order))
        case.axes = "".join(case.axes[n] for n in kept)
    path = tmp_path_factory.mktemp("layout") / "image"
    WAYS.get(case.kind, stored_by_zarr)(path, case)
    stack = open_stack(path, case.axes)
    event(case.kind)
    looked_at(stack, case)
    looked_at(pickle.loads(pickle.dumps(stack)), case)
    again = reopen(Source.from_dict(json.loads(json.dumps(stack.source.to_dict()))))
    np.testing.assert_array_equal(np.asarray(again.data), np.asarray(stack.data))
