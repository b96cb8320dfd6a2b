import os
import pickle
import time
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
import tifffile

from napari_deblur.opening import coarsest, open_stack, reopen
from napari_deblur.stack import Channel, Optics, Reader, Source

SPACING = {"PhysicalSizeZ": 300, "PhysicalSizeZUnit": "nm", "PhysicalSizeY": 0.12}
SPACING |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeX": 1.1e-4, "PhysicalSizeXUnit": "mm"}

OPTICS = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
 <Instrument ID="Instrument:0">
  <Objective ID="Objective:0" LensNA="0.4" Immersion="Air"/>
  <Objective ID="Objective:1" LensNA="1.4" Immersion="Oil" NominalMagnification="63"/>
 </Instrument>
 <Image ID="Image:0" Name="first">
  <ObjectiveSettings ID="Objective:1"{settings}/>
  <Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="24" SizeY="40" SizeZ="5"
   SizeC="2" SizeT="3" TimeIncrement="1.5" TimeIncrementUnit="min" PhysicalSizeX="0.11">
   <Channel ID="Channel:0:0" Name="DAPI" EmissionWavelength="461" ExcitationWavelength="405"
    Color="65535" SamplesPerPixel="1"/>
   <Channel ID="Channel:0:1" Name="Cy5" SamplesPerPixel="1"/>
   <TiffData/>
  </Pixels>
 </Image>
</OME>"""


def test_the_reader_keeps_the_contract():
    from napari_deblur.registry import readers

    assert isinstance(readers["tiff"](), Reader)


@pytest.mark.parametrize("packed", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_pixels_and_axes_come_back_from_every_layout(tmp_path, volume, packed, order, big):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, volume, metadata={"axes": "ZYX"}, byteorder=order, bigtiff=big, **packed)
    stack = open_stack(path)
    assert (stack.axes, stack.shape, stack.dtype) == ("zyx", (1, 1, 5, 40, 24), np.uint16)
    np.testing.assert_array_equal(stack.read(0, 0), volume)
    np.testing.assert_array_equal(
        stack.read(0, 0, ((1, 4), (7, 33), (2, 19))), volume[1:4, 7:33, 2:19]
    )
    np.testing.assert_array_equal(stack.data.compute(), volume)
    assert stack.name == "cells"


def test_ome_sizes_in_three_units_become_micrometres(tmp_path, volume):
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, volume, metadata={"axes": "ZYX", **SPACING})
    stack = open_stack(path)
    assert stack.pixel_size == pytest.approx((0.3, 0.12, 0.11))
    assert stack.name == "cells"
    assert open_stack(path, pixel_size=(None, 1, None)).pixel_size == pytest.approx((0.3, 1, 0.11))


@pytest.mark.parametrize(
    ("settings", "index"),
    [("", 1.515), (' RefractiveIndex="1.47"', 1.47), (' Medium="Water"', 1.333)],
)
def test_ome_optics_are_those_of_the_objective_that_was_used(tmp_path, hyperstack, settings, index):
    path = tmp_path / "cells.ome.tif"
    xml = OPTICS.replace("{settings}", settings)
    planes = hyperstack.reshape(-1, 40, 24)
    tifffile.imwrite(path, planes, description=xml, metadata=None)
    stack = open_stack(path)
    assert stack.axes == "tczyx"
    assert stack.optics == Optics(1.4, index, None, 63)
    assert stack.channels[0] == Channel("DAPI", "#0000ff", 0.461, 0.405)
    assert stack.channels[1] == Channel("Cy5")
    assert stack.time_step == 90
    assert stack.pixel_size == (None, None, 0.11)
    np.testing.assert_array_equal(stack.read(2, 1), hyperstack[2, 1])


def test_imagej_spacing_interval_and_colours_are_read(tmp_path, hyperstack):
    path = tmp_path / "cells.tif"
    ramp = np.arange(256, dtype="u1")
    green, grey = np.stack([ramp * 0, ramp, ramp * 0]), np.stack([ramp] * 3)
    tifffile.imwrite(
        path,
        np.moveaxis(hyperstack, 1, 2),
        imagej=True,
        resolution=(1 / 0.11, 1 / 0.12),
        metadata={
            "axes": "TZCYX",
            "spacing": 0.3,
            "unit": "um",
            "finterval": 2.5,
            "LUTs": [green, grey],
        },
    )
    stack = open_stack(path)
    assert stack.axes == "tczyx"
    assert stack.pixel_size == pytest.approx((0.3, 0.12, 0.11), rel=1e-5)
    assert stack.time_step == 2.5
    assert [c.color for c in stack.channels] == ["#00ff00", None]
    np.testing.assert_array_equal(stack.read(1, 1), hyperstack[1, 1])


def test_a_stack_that_was_taken_from_the_top_has_a_voxel_size(tmp_path, volume):
    metadata = {"axes": "ZYX", "unit": "um", "spacing": -0.4}
    tifffile.imwrite(tmp_path / "a.tif", volume, imagej=True, resolution=(8, 8), metadata=metadata)
    assert open_stack(tmp_path / "a.tif").pixel_size == (0.4, 0.125, 0.125)


def test_imagej_without_a_unit_has_no_voxel_size(tmp_path, volume):
    tifffile.imwrite(tmp_path / "a.tif", volume, imagej=True, metadata={"axes": "ZYX"})
    assert open_stack(tmp_path / "a.tif").pixel_size is None


@pytest.mark.parametrize(
    ("resolution", "unit", "size"),
    [
        ((1e4 / 0.11, 1e4 / 0.12), "CENTIMETER", (0.12, 0.11)),
        ((25400 / 0.5, 25400 / 0.4), "INCH", (0.4, 0.5)),
        ((72, 72), "INCH", None),
        ((300, 300), "INCH", None),
        ((1, 1), "NONE", None),
    ],
)
def test_resolution_of_a_printer_is_not_that_of_the_microscope(tmp_path, resolution, unit, size):
    path = tmp_path / "plain.tif"
    tifffile.imwrite(
        path, np.zeros((40, 24), "u1"), resolution=resolution, resolutionunit=unit, metadata=None
    )
    read = open_stack(path).pixel_size
    assert (read and read[1:]) == (size and pytest.approx(size, rel=1e-5))


def test_planes_of_unknown_meaning_are_asked_for(tmp_path, volume):
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, volume, metadata=None)
    with pytest.raises(ValueError, match=r'shape \(5, 40, 24\).*axes="zyx"'):
        open_stack(path)
    assert open_stack(path, "tyx").shape == (5, 1, 1, 40, 24)
    assert open_stack(path, "zyx").read(0, 0).shape == (5, 40, 24)


@pytest.mark.parametrize("axes", ["yx", "zzx", "zyq", "tcz", "tczyx"])
def test_axes_that_cannot_be_are_refused(tmp_path, volume, axes):
    tifffile.imwrite(tmp_path / "a.tif", volume, metadata={"axes": "ZYX"})
    with pytest.raises(ValueError, match=rf'axes="{axes}" do not fit .*\(5, 40, 24\)'):
        open_stack(tmp_path / "a.tif", axes)


@pytest.mark.parametrize(
    ("axes", "size"),
    [("zyx", (0.5, 0.2, 0.1)), ("zxy", (0.5, 0.1, 0.2)), ("yzx", (0.2, 0.5, 0.1))],
)
def test_a_voxel_size_belongs_to_its_axis_whatever_that_is_called(tmp_path, volume, axes, size):
    sizes = dict(zip("ZYX", (0.5, 0.2, 0.1), strict=True))
    metadata = {"axes": "ZYX"} | {f"PhysicalSize{axis}": value for axis, value in sizes.items()}
    tifffile.imwrite(tmp_path / "a.ome.tif", volume, metadata=metadata)
    assert open_stack(tmp_path / "a.ome.tif", axes).pixel_size == pytest.approx(size)


def test_the_distance_of_planes_that_are_called_frames_is_kept(tmp_path, volume):
    metadata = {"axes": "TYX", "unit": "um", "spacing": 0.4}
    tifffile.imwrite(tmp_path / "a.tif", volume, imagej=True, resolution=(8, 8), metadata=metadata)
    assert open_stack(tmp_path / "a.tif").pixel_size == (None, 0.125, 0.125)
    assert open_stack(tmp_path / "a.tif", "zyx").pixel_size == (0.4, 0.125, 0.125)


def test_axes_may_name_the_ones_of_length_one_too(tmp_path, volume):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, volume[:, None], metadata={"axes": "ZCYX"})
    assert open_stack(path).axes == "zyx"
    assert open_stack(path, "zcyx").axes == "czyx"
    assert open_stack(path, "tcyx").shape == (5, 1, 1, 40, 24)


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("packed", [{}, {"compression": "zlib"}, {"planarconfig": "separate"}])
def test_colour_becomes_channels_that_belong_together(tmp_path, samples, packed):
    image = np.random.default_rng(0).integers(0, 255, (40, 24, samples)).astype("u1")
    stored = np.moveaxis(image, -1, 0) if "planarconfig" in packed else image
    extra = {"extrasamples": ["unassalpha"]} if samples == 4 else {}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **packed, **extra)
    stack = open_stack(tmp_path / "a.tif")
    assert stack.rgb
    assert stack.axes == "cyx"
    assert [c.name for c in stack.channels] == ["red", "green", "blue", "alpha"][:samples]
    for c in range(samples):
        np.testing.assert_array_equal(stack.read(0, c)[0], image[..., c])


def test_a_coloured_volume_keeps_its_planes(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (5, 40, 24, 3)).astype("u1")
    metadata = {"axes": "ZYXS"}
    tifffile.imwrite(tmp_path / "a.ome.tif", image, photometric="rgb", metadata=metadata)
    stack = open_stack(tmp_path / "a.ome.tif")
    assert (stack.axes, stack.rgb) == ("czyx", True)
    np.testing.assert_array_equal(
        stack.data.compute(scheduler="synchronous"), np.moveaxis(image, -1, 0)
    )


def test_colour_can_be_read_as_channels_but_not_as_space(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 24, 3), "u1"), photometric="rgb")
    assert not open_stack(tmp_path / "a.tif", "yxc").rgb
    with pytest.raises(ValueError, match="colour samples: name it s"):
        open_stack(tmp_path / "a.tif", "zyx")


@pytest.mark.parametrize("kind", ["plain", "ome", "imagej", "zlib", "ome-zlib-tiles"])
def test_a_file_cut_anywhere_is_refused(tmp_path, volume, kind, caplog):
    caplog.set_level("CRITICAL")
    settings = {
        "plain": {"metadata": None},
        "ome": {"ome": True},
        "imagej": {"imagej": True},
        "zlib": {"compression": "zlib"},
        "ome-zlib-tiles": {"ome": True, "compression": "zlib", "tile": (16, 16)},
    }[kind]
    path = tmp_path / "whole.tif"
    tifffile.imwrite(path, volume, **({"metadata": {"axes": "ZYX"}} | settings))
    whole = path.read_bytes()
    np.testing.assert_array_equal(open_stack(path, "zyx").read(0, 0), volume)
    # The writer ends with 16 bytes that no page refers to: losing those loses nothing.
    for length in np.linspace(9, len(whole) - 17, 60).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut short|damaged"):
            open_stack(path, "zyx")


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_fewer_planes_than_the_metadata_promise_are_refused(tmp_path, volume, kind, caplog):
    caplog.set_level("CRITICAL")
    path = tmp_path / "a.tif"
    xml = OPTICS.replace("{settings}", "")
    text = xml if kind == "ome" else "ImageJ=1.54f\nimages=30\nslices=30\n"
    tifffile.imwrite(path, volume, description=text, metadata=None, compression="zlib")
    with pytest.raises(ValueError, match=r"promise"):
        open_stack(path, "zyx")


def test_a_directory_that_runs_in_a_circle_is_refused(tmp_path, volume):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, volume[0], metadata=None)
    raw = bytearray(path.read_bytes())
    first = int.from_bytes(raw[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(raw[first : first + 2], "little")
    raw[end : end + 4] = raw[4:8]
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="runs in a circle"):
        open_stack(path)


@pytest.mark.parametrize("dialect", [{"bigtiff": True}, {"imagej": True, "truncate": True}])
def test_ten_gigabytes_open_without_being_read(tmp_path, dialect):
    path = tmp_path / "huge.tif"
    shape = (320, 4096, 4096)
    tifffile.imwrite(path, shape=shape, dtype="u2", metadata={"axes": "ZYX"}, **dialect)
    assert path.stat().st_size > 1e10
    started = time.thread_time()
    stack = open_stack(path)
    crop = stack.read(0, 0, ((200, 203), (1000, 1050), (500, 570)))
    assert time.thread_time() - started < 1  # to read them takes seconds
    assert stack.shape[2:] == shape
    assert crop.shape == (3, 50, 70)
    assert stack.pixels.chunks == (1, *shape[1:])


def test_one_of_several_series_is_opened(tmp_path, volume):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(volume, metadata={"axes": "ZYX", **SPACING})
        writer.write(volume[:3, :30], metadata={"axes": "TYX", "PhysicalSizeX": 0.5})
    assert open_stack(path).shape == (1, 1, 5, 40, 24)
    second = open_stack(path, series=1)
    assert second.shape == (3, 1, 1, 30, 24)
    assert second.pixel_size == (None, None, 0.5)
    np.testing.assert_array_equal(second.read(2, 0)[0], volume[2, :30])
    with pytest.raises(ValueError, match=r"series=2 was asked for but .* has 2"):
        open_stack(path, series=2)


TWO_FILES = """<?xml version="1.0"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
 <Image ID="Image:0">
  <Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="24" SizeY="40" SizeZ="5"
   SizeC="1" SizeT="2"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>
   <TiffData FirstT="0" IFD="0" PlaneCount="5">
    <UUID FileName="t0.ome.tif">urn:uuid:{first}</UUID></TiffData>
   <TiffData FirstT="1" IFD="0" PlaneCount="5">
    <UUID FileName="t1.ome.tif">urn:uuid:{second}</UUID></TiffData>
  </Pixels>
 </Image>
</OME>"""


def test_an_image_in_two_files_is_whole_or_refused(tmp_path, volume, caplog):
    caplog.set_level("CRITICAL")
    first, second = str(UUID(int=1)), str(UUID(int=2))
    for name, own, data in (("t0", first, volume), ("t1", second, volume[::-1])):
        xml = TWO_FILES.format(own=own, first=first, second=second)
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", data, description=xml, metadata=None)
    stack = open_stack(tmp_path / "t0.ome.tif")
    assert stack.axes == "tzyx"
    np.testing.assert_array_equal(stack.read(1, 0), volume[::-1])
    (tmp_path / "t1.ome.tif").unlink()
    with pytest.raises(ValueError, match="5 of the 10 planes"):
        open_stack(tmp_path / "t0.ome.tif")


def test_levels_of_a_pyramid_have_their_own_voxel_size(tmp_path, volume):
    path = tmp_path / "pyramid.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        size = {"axes": "ZYX", **SPACING}
        writer.write(volume, subifds=1, metadata=size, compression="zlib")
        writer.write(volume[:, ::2, ::2], subfiletype=1, compression="zlib")
    fine, coarse = open_stack(path), open_stack(path, level=1)
    assert (fine.levels, coarse.levels) == (2, 2)
    assert coarse.pixel_size == pytest.approx((0.3, 0.24, 0.22))
    np.testing.assert_array_equal(coarse.read(0, 0), volume[:, ::2, ::2])
    part = coarsest(fine.selected(region=((1, 3), (5, 9), (3, 24))))
    assert part.shape[2:] == (2, 3, 11)
    assert coarsest(coarse) is None
    with pytest.raises(ValueError, match=r"level=2 was asked for but .* has 2"):
        open_stack(path, level=2)


def test_a_changed_file_is_noticed_and_a_copy_is_the_same(tmp_path, volume):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, volume, metadata={"axes": "ZYX"})
    source = Source.from_dict(open_stack(path).source.to_dict())
    os.utime(path, ns=(1, 1))
    assert reopen(source).shape == (1, 1, 5, 40, 24)
    tifffile.imwrite(path, volume + np.uint16(1), metadata={"axes": "ZYX"})
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match="has changed since"):
        reopen(source)
    assert reopen(source, check=False).shape == (1, 1, 5, 40, 24)
    earlier = replace(source, fingerprint=f"{path.stat().st_size}-1732310400123456789")
    assert reopen(earlier).shape == (1, 1, 5, 40, 24)
    with pytest.raises(ValueError, match="has changed since"):
        reopen(replace(earlier, fingerprint="12-1732310400123456789"))


def test_a_piece_of_a_large_file_that_changed_is_noticed(tmp_path):
    path = tmp_path / "a.tif"
    pixels = np.zeros((64, 256, 256), "u2")
    for first in range(0, 64, 4):
        tifffile.imwrite(path, pixels, metadata={"axes": "ZYX"})
        source = open_stack(path).source
        with tifffile.TiffFile(path) as tif:
            begin = tif.series[0].dataoffset
        with path.open("r+b") as file:
            file.seek(begin + first * pixels[0].nbytes)
            file.write(b"\1" * pixels[:4].nbytes)
        with pytest.raises(ValueError, match="has changed since"):
            reopen(source)


@pytest.mark.parametrize("packed", [{}, {"compression": "zlib"}])
def test_pixels_travel_by_path_not_by_value(tmp_path, volume, packed):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, volume, metadata={"axes": "ZYX"}, **packed)
    sent = pickle.dumps(open_stack(path).pixels)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).read(0, 0), volume)


def test_pixels_that_cannot_be_decoded_name_the_file(tmp_path, volume):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, volume, metadata={"axes": "ZYX"}, compression="zlib")
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[2].dataoffsets[0]
    raw[place : place + 400] = bytes(400)
    path.write_bytes(raw)
    stack = open_stack(path)
    with pytest.raises(ValueError, match=r'"[^"]*a.tif" cannot be decoded'):
        stack.read(0, 0)


def test_changed_bytes_are_an_error_in_words_or_nothing(tmp_path, volume, caplog):
    caplog.set_level("CRITICAL")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, volume, metadata={"axes": "ZYX"}, compression="zlib", tile=(16, 16))
    whole = path.read_bytes()
    random = np.random.default_rng(11)
    for _ in range(150):
        raw = bytearray(whole)
        for place in random.integers(4, 300, 2):
            raw[place] = random.integers(256)
        path.write_bytes(raw)
        with suppress(ValueError):
            open_stack(path, "zyx")


def test_complex_pixels_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 24), "c8"))
    with pytest.raises(ValueError, match="real numbers"):
        open_stack(tmp_path / "a.tif")


def test_a_plate_field_of_a_tiff_is_refused(tmp_path, volume):
    tifffile.imwrite(tmp_path / "a.tif", volume, metadata={"axes": "ZYX"})
    with pytest.raises(ValueError, match="leave field out"):
        open_stack(tmp_path / "a.tif", field="A/1/0")


@pytest.mark.parametrize("planes", [3, 4])
@pytest.mark.parametrize("stated", [True, False])
def test_few_planes_are_no_colours_if_the_file_or_the_user_says_so(tmp_path, planes, stated):
    array = np.arange(planes * 12 * 14, dtype=np.uint16).reshape(planes, 12, 14)
    metadata = {"axes": "ZYX"} if stated else None
    tifffile.imwrite(
        tmp_path / "z.tif", array, photometric="rgb", planarconfig="separate", metadata=metadata
    )
    stack = open_stack(tmp_path / "z.tif", None if stated else "zyx")
    assert (stack.axes, stack.rgb) == ("zyx", False)
    assert np.array_equal(np.asarray(stack.data), array)
