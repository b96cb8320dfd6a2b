import numpy as np
import pytest
from imagecodecs import png_encode
from PIL import Image

from napari_deblur.opening import open_stack
from napari_deblur.stack import Reader


@pytest.fixture
def colour():
    return np.random.default_rng(3).integers(0, 255, (40, 24, 4)).astype("u1")


def test_the_reader_keeps_the_contract():
    from napari_deblur.registry import readers

    assert isinstance(readers["picture"](), Reader)


@pytest.mark.parametrize("dtype", ["u1", "u2", "?"])
def test_grey_pictures_keep_their_depth(tmp_path, dtype):
    image = np.random.default_rng(3).integers(0, 2 if dtype == "?" else 250, (40, 24))
    image = image.astype(dtype) * (257 if dtype == "u2" else 1)
    image = image.astype(dtype)
    Image.fromarray(image).save(tmp_path / "a.png")
    stack = open_stack(tmp_path / "a.png")
    assert (stack.axes, stack.rgb, stack.dtype) == ("yx", False, np.dtype(dtype))
    np.testing.assert_array_equal(stack.read(0, 0)[0], image)
    np.testing.assert_array_equal(stack.data[3:9, 5:].compute(), image[3:9, 5:])


@pytest.mark.parametrize(("name", "samples"), [("a.png", 3), ("a.png", 4), ("a.bmp", 3)])
def test_colour_becomes_channels_that_belong_together(tmp_path, colour, name, samples):
    Image.fromarray(colour[..., :samples]).save(tmp_path / name)
    stack = open_stack(tmp_path / name)
    assert (stack.axes, stack.rgb, stack.shape) == ("cyx", True, (1, samples, 1, 40, 24))
    assert [c.name for c in stack.channels] == ["red", "green", "blue", "alpha"][:samples]
    np.testing.assert_array_equal(stack.read(0, 2)[0], colour[..., 2])


def test_sixteen_bit_colour_keeps_all_its_bits(tmp_path, colour):
    image = colour[..., :3].astype("u2") * 256 + 77
    (tmp_path / "a.png").write_bytes(png_encode(image))
    stack = open_stack(tmp_path / "a.png")
    assert (stack.rgb, stack.dtype) == (True, np.uint16)
    np.testing.assert_array_equal(stack.read(0, 1)[0], image[..., 1])


def test_a_jpeg_is_colour_or_grey(tmp_path, colour):
    Image.fromarray(colour[..., :3]).save(tmp_path / "colour.jpg")
    Image.fromarray(colour[..., 0]).save(tmp_path / "grey.jpeg")
    assert open_stack(tmp_path / "colour.jpg").rgb
    assert open_stack(tmp_path / "grey.jpeg").axes == "yx"


def test_alpha_of_a_grey_picture_is_left_out(tmp_path, colour):
    Image.fromarray(colour[..., :2]).save(tmp_path / "la.png")
    (tmp_path / "la16.png").write_bytes(png_encode(colour[..., :2].astype("u2") * 256))
    np.testing.assert_array_equal(open_stack(tmp_path / "la.png").read(0, 0)[0], colour[..., 0])
    stack = open_stack(tmp_path / "la16.png")
    assert (stack.axes, stack.dtype) == ("yx", np.uint16)
    np.testing.assert_array_equal(stack.read(0, 0)[0], colour[..., 0] * np.uint16(256))


def test_a_palette_becomes_colour(tmp_path, colour):
    picture = Image.fromarray(colour[..., :3]).quantize(16)
    picture.save(tmp_path / "a.png")
    stack = open_stack(tmp_path / "a.png")
    assert stack.rgb
    wanted = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(stack.read(0, 0)[0], wanted[..., 0])


def test_only_the_header_is_read_on_opening(tmp_path, colour):
    Image.fromarray(colour).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    stack = open_stack(tmp_path / "a.png")
    assert stack.shape == (1, 4, 1, 40, 24)
    with pytest.raises(ValueError, match="damaged or cut short"):
        stack.read(0, 0)


def test_a_picture_without_a_picture_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    with pytest.raises(ValueError, match="cannot be opened"):
        open_stack(tmp_path / "a.png")


def test_pillows_limit_on_size_holds(tmp_path, colour, monkeypatch):
    Image.fromarray(colour).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="decompression bomb"):
        open_stack(tmp_path / "a.png")
