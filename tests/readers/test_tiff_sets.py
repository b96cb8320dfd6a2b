"""Images in several files, several images in one set, and the stacks of Micro-Manager."""

import json
import struct
from uuid import UUID

import numpy as np
import pytest
import tifffile

from napari_deblur.opening import open_stack, reopen
from napari_deblur.plates import images_in

VOLUME = np.random.default_rng(5).integers(1, 60000, (6, 20, 24)).astype("u2")
IDS = [str(UUID(int=n + 1)) for n in range(3)]
SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
IMAGE = """<Image ID="Image:{n}" Name="{name}"><Pixels ID="Pixels:{n}" DimensionOrder="XYZCT"
 Type="uint16" SizeX="24" SizeY="20" SizeZ="6" SizeC="1" SizeT="1" PhysicalSizeX="{size}">
 <Channel ID="Channel:{n}:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="6">
 <UUID FileName="{n}.ome.tif">urn:uuid:{id}</UUID></TiffData></Pixels></Image>"""


def ome(own, *images):
    return (
        f'<?xml version="1.0"?><OME xmlns="{SCHEMA}" UUID="urn:uuid:{own}">{"".join(images)}</OME>'
    )


@pytest.fixture(params=[None, "zlib"])
def positions(request, tmp_path):
    """Three images, each in a file of its own, all described in each file."""
    images = [IMAGE.format(n=n, name=f"at {n}", size=n + 1, id=own) for n, own in enumerate(IDS)]
    for n, own in enumerate(IDS):
        tifffile.imwrite(
            tmp_path / f"{n}.ome.tif",
            VOLUME + np.uint16(n),
            description=ome(own, *images),
            metadata=None,
            compression=request.param,
        )
    return tmp_path


@pytest.mark.parametrize("file", range(3))
@pytest.mark.parametrize("series", range(3))
def test_an_image_is_read_from_the_file_that_holds_it(positions, file, series):
    stack = open_stack(positions / f"{file}.ome.tif", series=series)
    np.testing.assert_array_equal(stack.read(0, 0), VOLUME + np.uint16(series))
    assert stack.pixel_size == (None, None, series + 1)


def test_where_images_are_missing_the_others_keep_their_voxel_sizes(positions, caplog):
    caplog.set_level("CRITICAL")
    (positions / "0.ome.tif").unlink()
    stack = open_stack(positions / "1.ome.tif")
    np.testing.assert_array_equal(stack.read(0, 0), VOLUME + np.uint16(1))
    assert stack.pixel_size == (None, None, 2)


def test_of_two_images_of_one_name_the_voxel_size_is_unknown(tmp_path, caplog):
    caplog.set_level("CRITICAL")
    images = [IMAGE.format(n=n, name="same", size=n + 1, id=IDS[n]) for n in range(2)]
    tifffile.imwrite(
        tmp_path / "1.ome.tif", VOLUME, description=ome(IDS[1], *images), metadata=None
    )
    assert open_stack(tmp_path / "1.ome.tif").pixel_size is None


@pytest.mark.parametrize("packed", [None, "zlib"])
def test_another_file_of_an_image_counts_as_the_first_does(tmp_path, packed, caplog):
    caplog.set_level("CRITICAL")
    data = IMAGE.format(n=0, name="a", size=1, id=IDS[0])
    more = (
        f'<TiffData IFD="0" FirstT="1" PlaneCount="6"><UUID FileName="1.ome.tif">urn:uuid:{IDS[1]}'
    )
    data = data.replace("</Pixels>", more + "</UUID></TiffData></Pixels>")
    data = data.replace('SizeT="1"', 'SizeT="2"')
    for n in range(2):
        tifffile.imwrite(
            tmp_path / f"{n}.ome.tif", VOLUME, description=ome(IDS[n], data), metadata=None,
            compression=packed,
        )  # fmt: skip
    first, second = tmp_path / "0.ome.tif", tmp_path / "1.ome.tif"
    source = open_stack(first).source
    raw = second.read_bytes()
    at = raw.index(VOLUME[3].tobytes()) if packed is None else len(raw) - 300
    other = bytearray(raw)
    other[at] ^= 1
    cases = {"has changed": other}
    if packed is not None:  # of the other, tifffile leaves the file open, which pytest minds
        cases["1.ome.tif.* is cut short"] = raw[:-300]
    for said, content in cases.items():
        second.write_bytes(content)
        with pytest.raises(ValueError, match=said):
            reopen(source)
    second.write_bytes(raw)
    assert reopen(source).source == source


@pytest.mark.parametrize("where", ["../away.ome.tif", "absolute", "in/../../away.ome.tif"])
def test_files_outside_of_the_folder_are_not_read(tmp_path, where, caplog):
    caplog.set_level("CRITICAL")
    (tmp_path / "here/in").mkdir(parents=True)
    away, path = tmp_path / "away.ome.tif", tmp_path / "here/0.ome.tif"
    image = IMAGE.format(n=0, name="a", size=1, id=IDS[1])
    words = image.replace("0.ome.tif", str(away) if where == "absolute" else where)
    tifffile.imwrite(away, VOLUME, description=ome(IDS[1], image), metadata=None)
    tifffile.imwrite(path, VOLUME[:1], description=ome(IDS[0], words), metadata=None)
    with pytest.raises(ValueError, match="outside of its folder"):
        open_stack(path)


def test_a_file_that_is_described_elsewhere_says_so(tmp_path, caplog):
    caplog.set_level("CRITICAL")
    only = '<BinaryOnly MetadataFile="first.ome.tif" UUID="urn:uuid:1"/>'
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, description=ome(IDS[1], only), metadata=None)
    with pytest.raises(ValueError, match="open the first file of the set"):
        open_stack(tmp_path / "a.tif")


# Micro-Manager ----------------------------------------------------------------------------------


def micro_manager(path, description, places, **lengths):
    """Write VOLUME as Micro-Manager does: a map of (c, z, t, position) behind all planes."""
    height, width = VOLUME[0].shape
    summary = {"MicroManagerVersion": "2.0", "Channels": 1, "Prefix": path.name.split("_MM")[0]}
    words = json.dumps(summary | lengths).encode() + b" "
    words += b" " * (len(words) % 2)
    text = description.encode() + b"\0\0"
    out, offsets = bytearray(40) + words, []
    for number, plane in enumerate(VOLUME):
        offsets.append(len(out))
        count = 13 + (number == 0)
        pixels = len(out) + 6 + 12 * count
        end = pixels + plane.nbytes
        tags = [
            (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1),
            (262, 3, 1, 1), (273, 4, 1, pixels), (277, 3, 1, 1), (278, 3, 1, height),
            (279, 4, 1, plane.nbytes), (282, 5, 1, end), (283, 5, 1, end + 8), (296, 3, 1, 3),
            (51123, 2, 10, end + 16),
        ]  # fmt: skip
        tags += [(270, 2, len(text), end + 26)] * (number == 0)
        more = struct.pack("<IIII", 10000, 1, 10000, 1) + b'{"a": 12}\0' + text * (number == 0)
        more += b"\0" * (len(more) % 2)
        following = end + len(more) if number < len(VOLUME) - 1 else 0
        out += struct.pack("<H", count) + b"".join(struct.pack("<HHII", *t) for t in sorted(tags))
        out += struct.pack("<I", following) + plane.astype("<u2").tobytes() + more
    behind = len(out)
    out += struct.pack("<II", 3453623, len(VOLUME))
    for place, offset in zip(places, offsets, strict=True):
        out += struct.pack("<5I", *place, offset)
    struct.pack_into("<2sHI", out, 0, b"II", 42, offsets[0])
    header = (54773648, behind, 483765892, 0, 99384722, 0, 2355492, len(words))
    struct.pack_into("<8I", out, 8, *header)
    path.write_bytes(out)


def described(images, slices, frames):
    """Give its OME-XML."""
    found = []
    for n in range(images):
        data = "".join(
            f'<TiffData FirstT="{t}" FirstZ="{z}" IFD="{(n * frames + t) * slices + z}" '
            'PlaneCount="1"/>'
            for t in range(frames)
            for z in range(slices)
        )
        image = IMAGE.format(n=n, name=f"Pos{n}", size=0.5, id="")
        image = image[: image.index("<TiffData")] + data + "</Pixels></Image>"
        image = image.replace('SizeZ="6"', f'SizeZ="{slices}"')
        found.append(image.replace('SizeT="1"', f'SizeT="{frames}"'))
    return ome(IDS[0], *found)


IMAGEJ = "ImageJ=1.52\nimages=6\nslices=3\nframes=2\nhyperstack=true\nunit=um\nspacing=0.3\n"


@pytest.mark.parametrize("dialect", ["ome", "imagej"])
def test_a_stack_of_micro_manager_is_read(tmp_path, dialect, caplog):
    caplog.set_level("CRITICAL")
    path = tmp_path / "a_MMStack.tif"
    places = [(0, z, t, 0) for t in range(2) for z in range(3)]
    words = described(1, 3, 2) if dialect == "ome" else IMAGEJ
    micro_manager(path, words, places, Slices=3, Frames=2, Positions=1)
    with tifffile.TiffFile(path) as tif:
        assert tif.series[0].kind == "mmstack"
    stack = open_stack(path)
    assert (stack.axes, stack.shape) == ("tzyx", (2, 1, 3, 20, 24))
    np.testing.assert_array_equal(np.concatenate([stack.read(t, 0) for t in range(2)]), VOLUME)
    assert stack.pixel_size == ((None, None, 0.5) if dialect == "ome" else (0.3, 1e-4, 1e-4))


def test_positions_of_micro_manager_are_images(tmp_path, caplog):
    caplog.set_level("CRITICAL")
    path = tmp_path / "a_MMStack.ome.tif"
    places = [(0, z, 0, n) for n in range(2) for z in range(3)]
    micro_manager(path, described(2, 3, 1), places, Slices=3, Frames=1, Positions=2)
    assert [image.title for image in images_in(str(path))] == ["Pos0", "Pos1"]
    for n in range(2):
        stack = open_stack(path, series=n)
        np.testing.assert_array_equal(stack.read(0, 0), VOLUME[3 * n : 3 * n + 3])


def test_a_stack_of_micro_manager_that_was_cut_is_refused(tmp_path, caplog):
    caplog.set_level("CRITICAL")
    path = tmp_path / "a_MMStack.ome.tif"
    places = [(0, z, t, 0) for t in range(2) for z in range(3)]
    micro_manager(path, described(1, 3, 2), places, Slices=3, Frames=2, Positions=1)
    raw = path.read_bytes()
    for length in range(len(raw) // 8, len(raw), len(raw) // 8):
        path.write_bytes(raw[:length])
        try:
            stack = open_stack(path)
        except ValueError:
            continue
        np.testing.assert_array_equal(np.concatenate([stack.read(t, 0) for t in range(2)]), VOLUME)
