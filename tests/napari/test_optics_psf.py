"""Kernels from optics: every model's form, presets, the picture, and the layer that is added."""

import gc
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import layer_source
from qtpy.QtCore import QTimer

from napari_deblur import optics, registry
from napari_deblur._napari.kernel_adding import kernel_data
from napari_deblur._napari.optics_form import OpticsForm
from napari_deblur._napari.optics_psf import OpticsPsf
from napari_deblur._napari.psf_making import Asked, has_presets, lengths_of, made, preset, size_of
from napari_deblur._napari.reading import kernel_of
from napari_deblur.protocols import Kernel

SPATIAL = {"units": "um", "axis_labels": ("z", "y", "x")}
LENS, DYE = "60x/1.20 water", "EGFP"


@pytest.fixture
def viewer():
    model = ViewerModel()
    model.add_image(np.zeros((12, 40, 50)), name="cells", scale=(0.3, 0.1, 0.1),
                    translate=(3, 2, 1), **SPATIAL)  # fmt: skip
    return model


@pytest.fixture
def widget(viewer, qtbot):
    made = OpticsPsf(viewer)
    qtbot.addWidget(made)
    viewer.layers.events.inserted.connect(made.reset_choices)
    viewer.layers.events.removed.connect(made.reset_choices)
    return made


def choose(widget, model, lens=None, dye=None):
    widget.form.model.setCurrentIndex(widget.form.model.findData(model))
    for box, name in ((widget.form.objective, lens), (widget.form.fluorophore, dye)):
        if name is not None:
            box.setCurrentIndex(box.findData(name))
            box.activated.emit(box.currentIndex())


def settled(widget, qtbot):
    """Wait until the picture shows what the form says."""
    qtbot.waitUntil(lambda: not widget._timer.isActive() and not widget._drawing, timeout=60_000)


def add(widget, qtbot):
    """Add the kernel; give its layer."""
    before = list(widget.viewer.layers)
    widget.add.click()
    qtbot.waitUntil(lambda: not widget.busy(), timeout=60_000)
    new = [layer for layer in widget.viewer.layers if layer not in before]
    assert new, widget.status.text()
    return new[0]


@pytest.mark.parametrize("name", [n for n in registry.psfs if n != "measured"])
def test_the_form_of_every_model_gives_its_kernel(widget, qtbot, name):
    choose(widget, name, LENS, DYE)
    widget.shape.setText("5, 15, 15")
    assert widget.form.presets.isVisibleTo(widget) == has_presets(registry.psfs[name])
    settled(widget, qtbot)
    assert widget._asked is not None, widget.facts.text()
    layer = add(widget, qtbot)
    assert layer.name == f"psf [{name}]"
    np.testing.assert_allclose(layer.scale, (0.3, 0.1, 0.1))
    asked = Asked(name, widget.asked().parameters, (0.3, 0.1, 0.1), (5, 15, 15))
    want, _ = made(asked)
    found = kernel_of(layer)
    np.testing.assert_allclose(found.array, want.array, atol=1e-7)
    assert found.pixel_size == pytest.approx(want.pixel_size)
    assert layer.metadata["deblur"]["kernel"]["psf"] == name


def test_a_measured_kernel_needs_its_file(widget, qtbot, tmp_path):
    choose(widget, "measured")
    assert not widget.form.presets.isVisibleTo(widget)
    assert widget.form.file_row.isVisibleTo(widget)
    settled(widget, qtbot)
    assert widget.facts.text() == "Choose the file of the measured kernel."
    r = np.arange(9) - 4.0
    bead = np.exp(-(r[:, None] ** 2 + r**2) / 8)[None].repeat(3, axis=0).astype("f4")
    tifffile.imwrite(tmp_path / "psf.tif", bead, photometric="minisblack")
    widget.form.file.put(str(tmp_path / "psf.tif"))
    widget.form.forms["measured"]["pixel_size"].value = "0.3, 0.1, 0.1"
    settled(widget, qtbot)
    assert "FWHM" in widget.facts.text()
    assert kernel_of(add(widget, qtbot)).shape[0] == 3


def test_empty_fields_are_one_sentence(widget, qtbot):
    settled(widget, qtbot)
    assert widget.facts.text() == "Choose an objective, or give its numerical aperture (NA)."
    widget.add.click()
    assert "choose an objective" in widget.status.text()
    choose(widget, "gibson-lanni", LENS)
    settled(widget, qtbot)
    assert widget.facts.text().startswith("Choose a dye, or give the wavelength")
    choose(widget, "gibson-lanni", LENS, DYE)
    widget.form.forms["gibson-lanni"]["na"].value = "1.6"
    settled(widget, qtbot)
    assert "--" not in widget.facts.text()
    assert "n_immersion" not in widget.facts.text()
    assert "refractive" in widget.facts.text() or "immersion n" in widget.facts.text()


def test_optics_have_the_same_names_in_all_forms(widget, viewer, qtbot):
    from qtpy.QtWidgets import QLabel

    from napari_deblur._napari.kernel_row import KernelRows

    def labels(form):
        return {one.text() for one in form.findChildren(QLabel)}

    known = KernelRows()
    qtbot.addWidget(known)
    names = {"NA", "immersion n", "sample n", "λ (µm)", "dye", "objective", "model"}
    assert names <= labels(known)
    assert names <= labels(widget.form)


def test_presets_fill_the_fields_and_let_go_when_those_are_changed(widget):
    choose(widget, "vectorial", LENS, DYE)
    lens, dye = optics.objective(LENS), optics.fluorophore(DYE)
    form = widget.form.forms["vectorial"]
    assert float(form["na"].value) == lens.na
    assert float(form["n_immersion"].value) == lens.n_immersion
    assert float(form["wavelength"].value) == dye.emission
    form["depth"].value = 3.0
    assert widget.form.objective.currentData() == LENS
    form["na"].value = "1.1"
    assert widget.form.objective.currentData() is None
    assert widget.form.fluorophore.currentData() == DYE


@pytest.mark.parametrize("name", [n for n in registry.psfs if has_presets(registry.psfs[n])])
def test_every_objective_fills_every_form(qtbot, name):
    form = OpticsForm()
    qtbot.addWidget(form)
    form.model.setCurrentIndex(form.model.findData(name))
    for lens in optics.objectives():
        for box, chosen in ((form.objective, lens), (form.fluorophore, DYE)):
            box.setCurrentIndex(box.findData(chosen))
            box.activated.emit(box.currentIndex())
        found = form.parameters()
        for field, value in preset(registry.psfs[name], lens, DYE).items():
            assert found[field] == pytest.approx(value, rel=1e-5), (lens, field)
        assert form.objective.currentData() == lens


def test_what_is_matched_to_lens_and_dye_lets_go_of_both(qtbot):
    form = OpticsForm()
    qtbot.addWidget(form)
    form.model.setCurrentIndex(form.model.findData("gaussian"))
    for box, chosen in ((form.objective, LENS), (form.fluorophore, DYE)):
        box.setCurrentIndex(box.findData(chosen))
        box.activated.emit(box.currentIndex())
    assert form.objective.currentData() == LENS
    form.forms["gaussian"]["sigma"].value = "0.3, 0.1, 0.1"
    assert form.objective.currentData() is form.fluorophore.currentData() is None


def test_a_form_follows_after_a_value_that_it_did_not_take(widget, monkeypatch):
    from napari_deblur._napari import optics_form

    wrong = {"depth": 1e9}
    monkeypatch.setattr(optics_form, "preset", lambda *_: wrong)
    with pytest.raises(ValueError, match="outside of the allowed range"):
        widget.form._preset_chosen()
    wrong.clear()
    edits = []
    widget.form.changed.connect(lambda: edits.append(1))
    widget.form.forms["gibson-lanni"]["depth"].value = 2.5
    assert edits


def test_the_first_kernel_is_announced(widget, qtbot):
    assert widget._asked is None
    choose(widget, "gibson-lanni", LENS, DYE)
    widget.draw()
    assert widget.picture.title.text() == "Computing the kernel …"
    assert widget.facts.text() == ""
    settled(widget, qtbot)
    assert "FWHM" in widget.facts.text()


def test_what_was_typed_stays_with_another_model(widget):
    choose(widget, "gibson-lanni", LENS, DYE)
    widget.form.forms["gibson-lanni"]["na"].value = "0.95"
    choose(widget, "vectorial")
    assert widget.form.forms["vectorial"]["na"].value == "0.95"
    choose(widget, "disc")
    choose(widget, "confocal")
    assert widget.form.forms["confocal"]["na"].value == "0.95"


def test_a_dye_says_nothing_of_two_photons():
    assert preset(registry.psfs["two-photon"], None, DYE) == {}
    both = preset(registry.psfs["confocal"], None, DYE)
    assert both == {"wavelength": 0.507, "excitation": 0.488}
    assert preset(registry.psfs["gaussian"], LENS, None) == {}
    assert len(preset(registry.psfs["gaussian"], LENS, DYE)["sigma"]) == 3


@pytest.mark.parametrize("lens", list(optics.objectives()))
def test_every_objective_makes_a_lens(lens):
    cls = registry.psfs["gibson-lanni"]
    cls(**preset(cls, lens, DYE))


def test_the_picture_and_the_advice_follow_the_form(widget, qtbot):
    choose(widget, "gibson-lanni", LENS, DYE)
    settled(widget, qtbot)
    assert [name for name, *_ in widget.picture.sections] == ["xy", "xz", "yz"]
    assert "FWHM z" in widget.facts.text()
    assert not widget.advice.isVisibleTo(widget)
    widget.size.lines["x"].setText("0.3")
    settled(widget, qtbot)
    assert "too coarse" in widget.advice.text()
    assert widget.advice.isVisibleTo(widget)
    widget.layer.box.setCurrentIndex(0)  # none
    widget.size.lines["z"].setText("")
    settled(widget, qtbot)
    assert [name for name, *_ in widget.picture.sections] == ["xy"]
    assert kernel_of(add(widget, qtbot)).shape[0] == 1


def test_voxel_size_is_the_layer_s_and_a_new_layer_is_offered(widget, viewer):
    choose(widget, "gibson-lanni", LENS, DYE)
    assert widget.layer.layer is viewer.layers["cells"]
    assert widget.size.texts() == ["0.3", "0.1", "0.1"]
    flat = viewer.add_image(np.zeros((20, 30)), name="flat", scale=(0.2, 0.2), units="um",
                            axis_labels=("y", "x"))  # fmt: skip
    widget.layer.choose(flat)
    assert widget.size.texts() == ["", "0.2", "0.2"]
    assert widget.asked().image == (1, 20, 30)
    assert widget.asked().flat


def test_an_image_that_is_opened_later_is_taken(qtbot):
    viewer = ViewerModel()
    widget = OpticsPsf(viewer)
    qtbot.addWidget(widget)
    viewer.layers.events.inserted.connect(widget.reset_choices)
    assert widget.layer.layer is None
    assert widget.size.texts() == ["", "", ""]
    viewer.add_image(np.zeros((12, 40, 50)), scale=(0.3, 0.1, 0.1), **SPATIAL)
    assert widget.size.texts() == ["0.3", "0.1", "0.1"]
    widget.layer.box.setCurrentIndex(0)
    widget.size.lines["z"].setText("0.5")
    viewer.add_image(np.zeros((12, 40, 50)), scale=(0.4, 0.1, 0.1), **SPATIAL)
    assert widget.size.texts()[0] == "0.5"


def test_optics_are_read_from_the_file_of_the_layer(viewer, qtbot, tmp_path):
    import napari_deblur as nd
    from napari_deblur.stack import Channel, Optics
    from napari_deblur.writing import Picture, write_pictures

    path = tmp_path / "cells.ome.tif"
    write_pictures(path, {"image": Picture(
        np.zeros((3, 20, 20), "f4"), "zyx", (0.3, 0.1, 0.1), (Channel("a", emission=0.6),),
        Optics(na=0.9, n_immersion=1.0),
    )}, {})  # fmt: skip
    assert nd.open_stack(path).optics.na == 0.9
    with layer_source(path=str(path)):
        viewer.add_layer(Image(tifffile.imread(path), name="file"))
    viewer.layers.selection.active = viewer.layers["file"]
    widget = OpticsPsf(viewer)
    qtbot.addWidget(widget)
    form = widget.form.forms["gibson-lanni"]
    assert (form["na"].value, form["wavelength"].value) == ("0.9", "0.6")


def lens_image(viewer, name, metadata=None, path=None, **kwargs):
    """Add an image of which its file, or its metadata, say the optics."""
    with layer_source(path=None if path is None else str(path)):
        layer = Image(np.zeros((3, 20, 20), "f4"), name=name, scale=(0.3, 0.1, 0.1),
                      metadata=metadata or {}, **{**SPATIAL, **kwargs})  # fmt: skip
    return viewer.add_layer(layer)


def values(form, *names):
    return [float(form.forms["gibson-lanni"][name].value or 0) for name in names]


def test_optics_are_those_of_the_image_and_of_its_channel(viewer, widget, tmp_path):
    from napari_deblur.stack import Channel, Optics
    from napari_deblur.writing import Picture, write_pictures

    path = tmp_path / "two.ome.tif"
    lights = (Channel("GFP", emission=0.51), Channel("Cy5", emission=0.67))
    write_pictures(path, {"image": Picture(
        np.zeros((2, 3, 20, 20), "f4"), "czyx", (0.3, 0.1, 0.1), lights,
        Optics(na=1.2, n_immersion=1.33, n_sample=1.38),
    )}, {})  # fmt: skip
    names, form = ("na", "n_immersion", "n_sample", "wavelength"), widget.form
    first = values(form, *names)
    widget.layer.choose(lens_image(viewer, "cells Cy5", path=path))
    assert values(form, *names) == [1.2, 1.33, 1.38, 0.67]  # not those of oil and of channel 0
    form.forms["gibson-lanni"]["n_sample"].value = 1.4
    said = {"optics": {"na": 0.8, "n_immersion": 1.0, "wavelengths": [0.6]}}
    widget.layer.choose(lens_image(viewer, "air", said))
    assert values(form, *names) == [0.8, 1.0, 1.4, 0.6]  # what was typed stays
    choose(widget, "vectorial")
    choose(widget, "gibson-lanni")
    widget.layer.choose(viewer.layers["cells"])  # of which nothing is said
    assert values(form, *names) == [0, first[1], 1.4, 0]
    choose(widget, "gibson-lanni", LENS)
    lens = optics.objective(LENS)
    widget.layer.choose(viewer.layers["air"])
    assert values(form, "na", "n_immersion", "wavelength") == [lens.na, lens.n_immersion, 0.6]


def test_the_light_is_that_of_the_channel_that_is_shown(viewer, widget):
    image = np.zeros((2, 3, 20, 20), "f4")
    said = {"optics": {"na": 1.1, "wavelengths": [0.52, 0.61]}}
    layer = viewer.add_image(image, name="both", axis_labels=tuple("czyx"), metadata=said)
    viewer.dims.set_point(0, 1)
    widget.layer.choose(layer)
    assert values(widget.form, "na", "wavelength") == [1.1, 0.61]
    viewer.dims.set_point(0, 0)
    assert values(widget.form, "wavelength") == [0.52]


def test_adding_a_kernel_leaves_the_image_as_it_is_and_says_what_differs(viewer, widget, qtbot):
    choose(widget, "gibson-lanni", LENS, DYE)
    widget.shape.setText("3, 15, 15")
    add(widget, qtbot)
    assert "is for" not in widget.status.text()
    widget.size.lines["x"].setText("0.2")
    add(widget, qtbot)
    cells = viewer.layers["cells"]
    assert tuple(cells.scale) == (0.3, 0.1, 0.1)
    assert "has voxels of 0.3 × 0.1 × 0.1 µm, and the kernel is for 0.3 × 0.1 × 0.2 µm" in (
        widget.status.text()
    )
    cells.scale, cells.units = (1, 1, 1), ("pixel",) * 3
    for line, text in zip(widget.size.lines.values(), ("0.3", "0.1", "0.1"), strict=True):
        line.setText(text)
    add(widget, qtbot)
    assert "“cells” is shown in pixels" in widget.status.text()


def test_size_and_voxels_are_read_from_texts():
    assert size_of(["", "0,1", " 0.2 "]) == (None, 0.1, 0.2)
    for texts, said in ((["1", "", "1"], "along y is empty"), (["1", "a", "1"], 'is "a"'),
                        (["1", "1", "-2"], "must be above 0")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            size_of(texts)
    assert lengths_of(" auto", flat=False) is None
    assert lengths_of("3 x 5 × 7", flat=False) == (3, 5, 7)
    assert lengths_of("5, 7", flat=True) == (1, 5, 7)
    for text in ("4, 5, 5", "a"):
        with pytest.raises(ValueError, match="odd"):
            lengths_of(text, flat=False)
    with pytest.raises(ValueError, match="3 planes"):
        lengths_of("3, 5, 5", flat=True)


def test_a_kernel_lies_beside_its_image(viewer):
    image = viewer.layers["cells"]
    kernel = Kernel(np.ones((5, 7, 9), "f4"), (0.3, 0.1, 0.1), {"source": "test"})
    data, kwargs, kind = kernel_data(kernel, "psf", image)
    layer = Image(data, **kwargs)
    assert kind == "image"
    assert layer.extent.world[0][2] > image.extent.world[1][2]
    assert layer.extent.world[0][1] == pytest.approx(image.extent.world[0][1], abs=0.1)
    middle = image.extent.world[:, 0].mean()
    assert layer.data_to_world((2, 0, 0))[0] == pytest.approx(middle)
    assert layer.metadata["kernel_pixel_size"] == (0.3, 0.1, 0.1)
    assert [str(u) for u in layer.units] == ["micrometer"] * 3
    # Of an image in nm, too.
    small = Image(np.zeros((12, 40, 50)), scale=(300, 100, 100), units="nm",
                  axis_labels=("z", "y", "x"))  # fmt: skip
    assert kernel_data(kernel, "psf", small)[1]["translate"][2] == pytest.approx(5.25, abs=0.1)


def test_deblur_offers_the_kernel(widget, viewer, qtbot):
    from napari_deblur._napari.deblur import Deblur

    choose(widget, "gibson-lanni", LENS, DYE)
    widget.shape.setText("3, 15, 15")
    layer = add(widget, qtbot)
    deblur = Deblur(viewer)
    qtbot.addWidget(deblur)
    offered = [deblur.kernel_layer.itemData(i) for i in range(deblur.kernel_layer.count())]
    assert offered[0] is layer
    assert viewer.layers.selection.active is viewer.layers["cells"]
    assert deblur.chosen() is viewer.layers["cells"]


def test_what_is_said_of_a_kernel_is_scrolled_to(widget, qtbot):
    choose(widget, "gibson-lanni", LENS, DYE)
    settled(widget, qtbot)
    widget.resize(340, 400)
    widget.show()
    add(widget, qtbot)
    assert "Deblur offers it" in widget.status.text()
    qtbot.waitUntil(
        lambda: widget.status.visibleRegion().boundingRect().size() == widget.status.size()
    )


def test_the_window_answers_while_the_picture_is_drawn(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(np.zeros((12, 64, 64)), scale=(0.3, 0.1, 0.1), **SPATIAL)
    _, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "PSF from optics")
    choose(widget, "confocal", LENS, DYE)
    settled(widget, qtbot)
    assert "FWHM" in widget.facts.text()
    beats = []
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(time.thread_time()))
    gc.collect()
    gc.disable()
    try:
        timer.start(2)
        for n, name in enumerate(("vectorial", "gibson-lanni", "confocal")):
            choose(widget, name)
            settled(widget, qtbot)
            widget.form.forms[name]["depth"].value = 1.0 + n
            settled(widget, qtbot)
            assert "FWHM" in widget.facts.text()
    finally:
        timer.stop()
        gc.enable()
    # What the window's own thread did between two beats; the machine may be busy besides.
    assert max(np.diff(beats)) < 0.2


def test_widgets_cost_little_to_import():
    code = (
        "import sys, napari_deblur._napari.optics_psf, napari_deblur._napari.beads_psf, "
        "napari_deblur._napari.writer as w; "
        "print([m for m in ('torch', 'zarr', 'tifffile', 'pyqtgraph') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
