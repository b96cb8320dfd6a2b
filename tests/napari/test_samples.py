"""Sample data: the same each time, in their places, quickly there, and with a sentence."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_deblur._napari import made_up, samples
from napari_deblur._napari.reading import stack_of
from napari_deblur.data import sample_path
from napari_deblur.opening import open_stack

NAMES = ["spots", "chromosomes", "embryo", "movie", "tilted", "bead_stack", "photo"]


@pytest.fixture(scope="module")
def opened():
    return {name: getattr(samples, name)() for name in NAMES}


def test_the_manifest_names_them_all():
    npe2 = pytest.importorskip("npe2")
    import napari_deblur

    path = Path(napari_deblur.__file__).parent / "napari.yaml"
    manifest = npe2.PluginManifest.from_file(path)
    assert [sample.key for sample in manifest.contributions.sample_data] == NAMES
    names = {command.python_name for command in manifest.contributions.commands}
    assert {f"napari_deblur._napari.samples:{name}" for name in NAMES} <= names


@pytest.mark.parametrize("name", NAMES)
def test_each_is_the_same_again_and_quickly_there(name, opened):
    seconds = []
    for _ in range(3):
        start = time.thread_time()
        again = getattr(samples, name)()
        seconds.append(time.thread_time() - start)
    assert min(seconds) < 0.5
    for one, other in zip(opened[name], again, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:] == other[1:]


@pytest.mark.parametrize("name", NAMES)
def test_each_lies_in_its_place_and_says_what_to_try(name, opened):
    viewer = ViewerModel()
    for data in opened[name]:
        viewer.add_layer(Layer.create(*data))
    shown = [layer for layer in viewer.layers if layer.visible]
    assert len(shown) == 1
    sentence = shown[0].metadata["try"]
    assert sentence.endswith(".")
    assert 30 < len(sentence) < 160
    for layer in viewer.layers:
        units = dict(zip(layer.axis_labels, map(str, layer.units), strict=True))
        unit = "pixel" if name == "photo" else "micrometer"
        assert {units[axis] for axis in "zyx" if axis in units} == {unit}
        assert units.get("t", "second") == "second"
        assert set(layer.axis_labels) <= set("tczyx")
        assert tuple(layer.scale) == tuple(shown[0].scale)
        low, high = layer.contrast_limits
        assert low < high


def test_all_of_them_lie_in_one_viewer(opened):
    viewer = ViewerModel()
    for name in sorted(NAMES, key=("movie", "photo").__contains__):
        for data in opened[name]:
            viewer.add_layer(Layer.create(*data))
        # Channels and photographs have no unit: with them napari shows none at all.
        assert name in ("movie", "photo") or viewer.layers.extent.units is not None
    summaries = {name: stack_of(viewer.layers[name]).summary() for name in ("movie", "beads")}
    assert summaries["movie"].startswith("6 time points × 2 channels × 128 × 128")
    assert summaries["beads"].startswith("32 × 160 × 160 voxels of 0.2 × 0.1 × 0.1 µm")
    assert stack_of(viewer.layers["embryo"]).shape == (1, 1, 80, 112, 109)
    assert viewer.layers["photo"].rgb
    assert stack_of(viewer.layers["photo"]).pixel_size is None


@pytest.mark.parametrize("file", samples.SIZES)
def test_voxel_sizes_are_those_of_the_files(file):
    assert samples.SIZES[file] == pytest.approx(open_stack(sample_path(file)).pixel_size)


def test_what_a_sentence_names_is_there(opened, qtbot):
    """What is to be chosen in Deblur is offered there, and is not chosen already."""
    from napari_deblur._napari.deblur import Deblur

    viewer = ViewerModel()
    form = Deblur(viewer)
    qtbot.addWidget(form)
    viewer.layers.events.inserted.connect(form.reset_choices)
    for name in NAMES:
        for data in opened[name]:
            viewer.add_layer(Layer.create(*data))
        sentence = viewer.layers[-1].metadata["try"]
        for layer in re.findall(r"layer ([\w ]+truth)", sentence):
            assert layer in viewer.layers
        form.layer.setCurrentIndex(form.layer.findData(viewer.layers[-1]))
        assert form.method.currentText() not in sentence
        scope = form.advanced.scope
        for words, fold, row in re.findall(r"“(.+?)” under (\w+) ▸ (\w+)", sentence):
            assert scope.findText(words) > 0
            assert fold == form.fold.button.text()
            rows = scope.parentWidget().layout()
            assert rows.labelForField(scope).text() == row
    assert "of unknown size" in form.reads.text()  # of the photograph


def test_they_import_no_torch():
    calls = "; ".join(f"samples.{name}()" for name in NAMES)
    code = (
        f"from napari_deblur._napari import samples; {calls}; import sys; "
        "sys.exit(bool({'torch', 'zarr'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_simulated_picture_is_always_the_same():
    first, second = samples.simulated()[0], samples.simulated()[0]
    assert first.dtype == np.uint16
    np.testing.assert_array_equal(first, second)
    assert 100 < first.mean() < 200


def test_blur_grows_from_left_to_right():
    image, sharp = made_up.tilted(0.8, 3.2)
    edges = [np.abs(np.diff(part.astype(float), axis=1)).max() for part in np.split(image, 4, 1)]
    assert edges == sorted(edges, reverse=True)
    assert edges[0] > 4 * edges[3]
    # Light is neither made nor lost: there are 100 counts of background.
    assert image.astype(float).mean() - 100 == pytest.approx(sharp.mean(), rel=0.05)


def test_the_longer_wavelength_is_blurred_more():
    one, two = samples.SIGMAS
    assert two / one == pytest.approx(0.670 / 0.525)
    assert one == pytest.approx(0.1225)


def test_a_moving_camera_keeps_light_and_colour():
    moved, sharp = made_up.photograph(11.0, 25.0)
    light = [((image / 255) ** 2.2).mean((0, 1)) for image in (moved, sharp)]
    np.testing.assert_allclose(light[0], light[1], rtol=0.05)
    kernel = made_up._way(11.0, 25.0)
    assert kernel.sum() == pytest.approx(1)
    y, x = np.indices(kernel.shape) - len(kernel) // 2
    spread = np.sqrt((kernel * (x**2 + y**2)).sum())
    assert spread == pytest.approx(11 / np.sqrt(12), rel=0.1)
    assert (kernel * x * y).sum() > 0  # from x towards y


def test_bad_beads_are_found_to_be_bad(opened):
    from napari_deblur.beads import beads_to_kernel

    stack, kwargs, _ = opened["bead_stack"][0]
    # The upper half holds all four that are bad; the kernel's shape is given to save time.
    half = open_stack(stack[:, :84, :110], "zyx", kwargs["scale"])
    _, report = beads_to_kernel(half, shape=(21, 21, 21))
    assert report.rejected == {"close": 2, "saturated": 1, "cut off": 1}
    known = np.array(kwargs["metadata"]["places"])
    for bead in report.used:
        # Along z the beads are wider below, so that the middle of their light lies there.
        assert np.abs(known - bead.place)[:, 1:].max(axis=1).min() < 0.05
    assert report.own[1:] == pytest.approx([2.3548 * 0.13] * 2, rel=0.12)
