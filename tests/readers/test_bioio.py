"""Files of microscope makers. The packages that read them are optional: without, tests are skipped.

The nd2 and lif files are made on the spot (see vendor_files.py) and read by the real packages nd2
and liffile. A czi cannot be made without bioio-czi, which is under the GPL: a stand-in for it is
used here.
"""

import errno
import pickle
import sys
import types
import weakref
from dataclasses import replace
from importlib.util import find_spec

import dask.array as da
import numpy as np
import pytest
from vendor_files import write_lif, write_nd2

from napari_deblur import many
from napari_deblur.job import Job
from napari_deblur.opening import open_stack, reopen
from napari_deblur.plates import images_in
from napari_deblur.readers._planes import Planes
from napari_deblur.registry import readers
from napari_deblur.results import open_result
from napari_deblur.stack import Channel, Reader

needs_nd2 = pytest.mark.skipif(find_spec("nd2") is None, reason="needs the package nd2")
needs_liffile = pytest.mark.skipif(find_spec("liffile") is None, reason="needs liffile")
NAMES = ["nd2", "lif", "bioio"]
CZI = b"ZISRAWFILE" + bytes(54)


def pixels(*shape):
    return np.random.default_rng(7).integers(0, 60000, shape).astype("u2")


@pytest.fixture
def nd2_file(tmp_path):
    """Two positions, three times, four planes, two channels."""
    data = pixels(2, 3, 4, 2, 20, 24)
    return write_nd2(tmp_path / "cells.nd2", data), data.transpose(0, 1, 3, 2, 4, 5)


@pytest.fixture
def lif_file(tmp_path):
    first, second = pixels(3, 2, 4, 20, 24), pixels(1, 1, 5, 22, 26)
    steps = {"t": 2.0, "z": 0.3, "y": 0.11, "x": 0.1}
    images = {"Series001": first, "Pos 2": second}
    return write_lif(tmp_path / "cells.lif", images, steps=steps), first, second


@pytest.mark.parametrize("name", NAMES)
def test_the_readers_keep_the_contract(name):
    assert isinstance(readers[name](), Reader)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("cells.nd2", b"\xda\xce\xbe\n" + bytes(60)),
        ("old.nd2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60)),
        ("cells.lif", b"\x70\0\0\0\x0a\0\0\0\x2a\x03\0\0\0<\0L\0"),
        ("cells.czi", CZI),
        ("renamed.dat", CZI),
    ],
)
def test_without_the_packages_one_sentence_says_what_to_install(tmp_path, monkeypatch, name, head):
    for package in ("nd2", "liffile", "bioio", "bioio_czi"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).write_bytes(head)
    with pytest.raises(
        ValueError, match=r"needs the package .*: pip install 'napari-deblur\[bioio]"
    ):
        open_stack(tmp_path / name)


class Frames(Planes):
    """Planes whose memory is watched."""

    def __init__(self, address, series):
        super().__init__(address, series, {"z": 6, "y": 40, "x": 50}, "u2")
        self.alive, self.most = weakref.WeakSet(), 0

    def plane(self, where):
        frame = Frame((40, 50), "u2")
        frame[:] = where["z"]
        self.alive.add(frame)
        self.most = max(self.most, len(self.alive))
        return frame


class Frame(np.ndarray):
    """An array that can be in a set."""

    __hash__ = object.__hash__


def test_a_crop_of_many_planes_does_not_hold_the_planes():
    planes = Frames("a", 0)
    block = planes[(slice(0, 6), slice(3, 5), slice(7, 9))]
    np.testing.assert_array_equal(block, np.repeat(np.arange(6), 4).reshape(6, 2, 2))
    assert planes.most <= 2


@needs_nd2
def test_an_nd2_says_what_it_holds_and_reads_what_is_asked(nd2_file):
    path, data = nd2_file
    stack = open_stack(path)
    assert (stack.axes, stack.shape, stack.dtype) == ("tczyx", (3, 2, 4, 20, 24), np.dtype("u2"))
    assert stack.pixel_size == pytest.approx((0.3, 0.11, 0.11))
    assert stack.time_step == 2
    assert [(c.name, c.emission) for c in stack.channels] == [("DAPI", 0.461), ("GFP", 0.509)]
    assert (stack.optics.na, stack.optics.n_immersion) == (1.4, 1.515)
    assert stack.optics.magnification == 60
    assert stack.pixels.chunks == (1, 20, 24)
    assert stack.source.reader == "nd2"
    for t, c in np.ndindex(3, 2):
        np.testing.assert_array_equal(stack.read(t, c), data[0, t, c])
    np.testing.assert_array_equal(
        stack.read(2, 1, ((1, 3), (4, 9), (5, 24))), data[0, 2, 1, 1:3, 4:9, 5:24]
    )
    np.testing.assert_array_equal(stack.data[1, :, 2, ::3].compute(), data[0, 1, :, 2, ::3])


@needs_nd2
def test_every_position_of_an_nd2_is_a_series(nd2_file):
    path, data = nd2_file
    assert [(i.series, i.title) for i in images_in(str(path))] == [(0, "well 0"), (1, "well 1")]
    second = open_stack(path, series=1)
    np.testing.assert_array_equal(second.read(1, 0), data[1, 1, 0])
    np.testing.assert_array_equal(reopen(second.source).read(2, 1), data[1, 2, 1])
    again = pickle.loads(pickle.dumps(second.pixels.base))
    np.testing.assert_array_equal(again[0, 2:4, 1], data[1, 0, 1, 2:4])
    with pytest.raises(ValueError, match=r"series=2 was asked for but .* has 2"):
        open_stack(path, series=2)


@needs_nd2
def test_an_nd2_of_one_plane_has_fewer_axes(tmp_path):
    data = pixels(1, 1, 1, 1, 20, 24)
    stack = open_stack(write_nd2(tmp_path / "a.nd2", data))
    assert (stack.axes, stack.pixel_size) == ("yx", (None, 0.11, 0.11))
    np.testing.assert_array_equal(stack.read(0, 0)[0], data[0, 0, 0, 0])
    volume = pixels(1, 1, 5, 1, 20, 24)
    stack = open_stack(write_nd2(tmp_path / "b.nd2", volume))
    assert stack.axes == "zyx"
    assert stack.channels == (Channel("DAPI", "#00ff00", 0.461),)
    np.testing.assert_array_equal(stack.read(0, 0), volume[0, 0, :, 0])
    assert len(images_in(str(tmp_path / "b.nd2"))) == 1


@needs_nd2
@pytest.mark.parametrize("cut", [0.3, 0.9, 0.999])
def test_an_nd2_that_was_cut_short_is_refused(nd2_file, cut):
    path, _ = nd2_file
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(ValueError, match="cannot be read, it is damaged"):
        open_stack(path)


@needs_nd2
def test_an_nd2_whose_acquisition_was_stopped_is_refused(nd2_file):
    # The package gives zeros for frames that are not there.
    path, _ = nd2_file
    raw = path.read_bytes()
    name = "uiSequenceCount\0".encode("utf-16-le")
    at = raw.index(name) + len(name)
    path.write_bytes(raw[:at] + b"\x11\0\0\0" + raw[at + 4 :])
    with pytest.raises(ValueError, match="has 17 of 24 frames"):
        open_stack(path)
    write_nd2(path, pixels(1, 1, 6, 1, 20, 24), lost=[4])
    with pytest.raises(ValueError, match="has 5 of 6 frames"):
        open_stack(path)


@needs_liffile
def test_a_lif_says_what_it_holds_and_reads_what_is_asked(lif_file):
    path, data, _ = lif_file
    stack = open_stack(path)
    assert (stack.axes, stack.shape, stack.dtype) == ("tczyx", (3, 2, 4, 20, 24), np.dtype("u2"))
    assert stack.pixel_size == pytest.approx((0.3, 0.11, 0.1))
    assert stack.time_step == pytest.approx(2)
    assert [(c.name, c.color) for c in stack.channels] == [("Green", "#00ff00"), ("Red", "#ff0000")]
    assert (stack.optics.na, stack.optics.n_immersion) == (1.4, 1.518)
    assert stack.pixels.chunks == (1, 20, 24)
    for t, c in np.ndindex(3, 2):
        np.testing.assert_array_equal(stack.read(t, c), data[t, c])
    np.testing.assert_array_equal(
        stack.read(2, 1, ((1, 3), (4, 9), (5, 24))), data[2, 1, 1:3, 4:9, 5:24]
    )


@needs_liffile
@pytest.mark.parametrize("frames", [1, 3])
def test_a_lif_that_was_scanned_in_xz_is_read_as_it_lies(tmp_path, frames):
    data = pixels(frames, 2, 4, 5, 6)
    steps = {"t": 2.0, "z": 0.3, "y": 0.11, "x": 0.1}
    write_lif(tmp_path / "a.lif", {"xzy": data}, steps=steps, order="xzyt")
    stack = open_stack(tmp_path / "a.lif")
    assert stack.shape == data.shape
    assert stack.pixel_size == pytest.approx((0.3, 0.11, 0.1))
    assert stack.pixels.chunks == (4, 1, 6)
    for t, c in np.ndindex(frames, 2):
        np.testing.assert_array_equal(stack.read(t, c), data[t, c])
    region = ((1, 3), (2, 4), (3, 6))
    np.testing.assert_array_equal(stack.read(0, 1, region), data[0, 1, 1:3, 2:4, 3:6])


@needs_liffile
def test_a_network_that_is_away_is_no_damage(lif_file, monkeypatch):
    stack = open_stack(lif_file[0])

    def away(self, where):
        raise OSError(errno.ESTALE, "Stale file handle", "cells.lif")

    monkeypatch.setattr(type(stack.pixels.base), "plane", away)
    with pytest.raises(OSError, match="Stale file handle"):
        stack.read(0, 0)


@needs_liffile
def test_every_image_of_a_lif_is_a_series(lif_file):
    path, _, data = lif_file
    assert [(i.series, i.title) for i in images_in(str(path))] == [(0, "Series001"), (1, "Pos 2")]
    second = open_stack(path, series=1)
    assert (second.axes, second.shape) == ("zyx", (1, 1, 5, 22, 26))
    np.testing.assert_array_equal(second.read(0, 0), data[0, 0])
    np.testing.assert_array_equal(reopen(second.source).read(0, 0), data[0, 0])
    with pytest.raises(ValueError, match=r"series=2 was asked for but .* has 2"):
        open_stack(path, series=2)


@needs_liffile
@pytest.mark.parametrize("kept", [20, 800])
def test_a_lif_that_was_cut_short_is_refused(lif_file, kept):
    path, _, _ = lif_file
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="cannot be read, it is damaged"):
        open_stack(path)


@needs_liffile
def test_planes_that_a_lif_lost_are_no_zeros(lif_file):
    path, _, _ = lif_file
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="cannot be read, it is damaged"):
        open_stack(path, series=1).read(0, 0)


@needs_nd2
@needs_liffile
@pytest.mark.parametrize("kind", ["nd2", "lif"])
def test_damage_is_a_sentence_and_never_a_crash(kind, request):
    path = request.getfixturevalue(f"{kind}_file")[0]
    random, raw = np.random.default_rng(3), path.read_bytes()
    said = []
    for _ in range(40):
        damaged = bytearray(raw)
        for at in random.integers(0, 5000, 3):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            images_in(str(path))
            open_stack(path).read(0, 0)
        except ValueError as error:
            said.append(str(error))
    assert len(said) > 5
    assert not any("\n" in text for text in said)


@needs_liffile
def test_the_tiles_of_a_mosaic_are_not_taken_for_an_image(tmp_path):
    steps = {"t": 2.0, "z": 0.3, "y": 0.11, "x": 0.1}
    images = {"scan": pixels(3, 1, 1, 20, 24)}
    write_lif(tmp_path / "a.lif", images, steps=steps, letters="xyz......t")
    with pytest.raises(ValueError, match=r"image 0 of .* is a mosaic of 3 tiles: merge it in LAS"):
        open_stack(tmp_path / "a.lif")


@needs_nd2
def test_positions_are_restored_each_to_its_own_place(nd2_file, tmp_path):
    path, data = nd2_file
    job = Job("", method="identity", device="cpu", times="0", channels=("GFP",))
    outcomes = [s.outcome for s in many.run(job, [str(path)], tmp_path / "out") if s.outcome]
    assert [(o.state, o.image) for o in outcomes] == [
        ("complete", "well 0"),
        ("complete", "well 1"),
    ]
    for n, outcome in enumerate(outcomes):
        assert outcome.output.endswith(f"{n}.deblur.zarr")
        result = open_result(outcome.output)
        np.testing.assert_array_equal(np.squeeze(result.levels[0]), data[n, 0, 1])


# A stand-in for bioio-czi -------------------------------------------------------------------------


class Czi:
    """What bioio's image of a czi says, as far as it is asked."""

    scenes = ("left", "right")
    channel_names = ("DAPI", "GFP")
    physical_pixel_sizes = (0.3, 0.11, 0.1)
    dims = types.SimpleNamespace(order="TCZYX")

    def __init__(self, address, reader, chunk_dims):
        self.scene = 0

    def set_scene(self, n):
        self.scene = n

    @property
    def dask_data(self):
        data = np.stack([pixels(1, 2, 4, 20, 24), pixels(1, 2, 4, 20, 24)[..., ::-1]])
        return da.from_array(data[self.scene], chunks=(1, 1, 1, 20, 24))

    @property
    def ome_metadata(self):
        raise NotImplementedError


@pytest.fixture
def czi(tmp_path, monkeypatch):
    bioio = types.SimpleNamespace(BioImage=Czi)
    monkeypatch.setitem(sys.modules, "bioio", bioio)
    monkeypatch.setitem(sys.modules, "bioio_czi", types.SimpleNamespace(Reader=None))
    (tmp_path / "cells.czi").write_bytes(CZI)
    return tmp_path / "cells.czi"


def test_a_czi_is_what_bioio_says(czi):
    data = pixels(1, 2, 4, 20, 24)[0]
    stack = open_stack(czi)
    assert (stack.axes, stack.shape) == ("czyx", (1, 2, 4, 20, 24))
    assert stack.pixel_size == (0.3, 0.11, 0.1)
    assert [c.name for c in stack.channels] == ["DAPI", "GFP"]
    assert stack.pixels.chunks == (1, 20, 24)
    np.testing.assert_array_equal(stack.read(0, 1), data[1])
    second = open_stack(czi, series=1)
    np.testing.assert_array_equal(reopen(second.source).read(0, 0), data[0, :, :, ::-1])
    assert [i.title for i in images_in(str(czi))] == ["left", "right"]
    with pytest.raises(ValueError, match=r"series=2 was asked for but .* has 2"):
        open_stack(czi, series=2)


def test_the_metadata_of_a_czi_are_read_as_ome_xml(czi, monkeypatch):
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument '
        'ID="Instrument:0"><Objective ID="Objective:0" LensNA="1.2" Immersion="Water"/>'
        '</Instrument><Image ID="Image:0"><ObjectiveSettings ID="Objective:0"/>'
        '<Pixels ID="Pixels:0" '
        'PhysicalSizeX="0.1" PhysicalSizeY="0.1" PhysicalSizeZ="0.5"><Channel Name="Hoechst" '
        'EmissionWavelength="450"/><Channel Name="A568" EmissionWavelength="600"/></Pixels></Image>'
        "</OME>"
    )
    said = types.SimpleNamespace(to_xml=lambda: xml)
    monkeypatch.setattr(Czi, "ome_metadata", said)
    stack = open_stack(czi)
    assert stack.pixel_size == (0.5, 0.1, 0.1)
    assert [(c.name, c.emission) for c in stack.channels] == [("Hoechst", 0.45), ("A568", 0.6)]
    assert (stack.optics.na, stack.optics.n_immersion) == (1.2, 1.333)


def test_a_plate_or_resolution_of_these_files_is_refused(czi):
    with pytest.raises(ValueError, match="level=1 was asked for but"):
        open_stack(czi, level=1)
    assert replace(open_stack(czi).source, fingerprint="").address == str(czi)
