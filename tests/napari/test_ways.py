"""What is known of the blur, which methods suit that, and the job that the form makes of it."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image

from napari_deblur import registry
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.placing import picked_channels
from napari_deblur._napari.reading import channel_in, described_by
from napari_deblur._napari.samples import movie, photo, spots
from napari_deblur._napari.texts import lasting, read_as
from napari_deblur._napari.ways import MODELS, TRUST, WAYS, about, methods_for, weights_files
from napari_deblur.checking import check_wish
from napari_deblur.job import Job
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Facts, Kernel

FLAT = {"scale": (0.1, 0.1), "units": "um", "axis_labels": ("y", "x")}


@pytest.fixture
def viewer(qapp):
    return ViewerModel()


@pytest.fixture
def widget(viewer, qtbot):
    made = Deblur(viewer)
    qtbot.addWidget(made)
    viewer.layers.events.inserted.connect(made.reset_choices)
    viewer.layers.events.removed.connect(made.reset_choices)
    return made


def _open(viewer, layers):
    for data, kwargs, _ in layers:
        viewer.add_image(data, **kwargs)


def _ask(widget):
    steps = widget.asking()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def test_every_method_is_offered_where_it_can_do_something():
    image = open_stack(np.ones((9, 9), np.float32), "yx")
    given = {"find": None, "psf": Kernel(np.ones((3, 3))), "measured": Kernel(np.ones((3, 3)))}
    for way, kernel in given.items():
        names = methods_for(way)
        assert len(set(names)) == len(names)
        for name in names:
            check_wish(image, registry.methods[name](), kernel, "channel", 0)
    offered = {name for way in WAYS for name in methods_for(way)}
    assert offered == set(registry.methods) - {"identity"}
    assert set(TRUST) == offered
    assert not {"wiener", "richardson-lucy"} & set(methods_for("find"))


def test_ways_and_methods_are_said_in_plain_lines():
    for one in WAYS.values():
        assert one.does.endswith(".")
        assert one.trust.startswith("Trust it where")
    for way in WAYS:
        for name in methods_for(way):
            assert len(about(name, way)) < 250
    assert "search starts from the kernel" in about("blind", "measured")
    assert "restores with the kernel that is given" in about("gdunet", "psf")
    assert "given" not in about("gdunet", "find")
    assert set(MODELS) == set(registry.psfs) - {"measured"}


def test_read_as_counts_time_points_and_channels(qapp):
    labels = {"axis_labels": tuple("tczyx"), "units": ("s", "pixel", "um", "um", "um")}
    data = np.lib.stride_tricks.as_strided(
        np.zeros(1, np.uint16), (20, 2, 64, 2048, 2048), (0, 0, 0, 0, 0)
    )
    layer = Image(data, scale=(1, 1, 0.3, 0.1, 0.1), contrast_limits=(0, 1), **labels)
    from napari_deblur._napari.reading import stack_of

    assert read_as(stack_of(layer)) == (
        "20 time points × 2 channels of 64 × 2048 × 2048 voxels of 0.3 × 0.1 × 0.1 µm, uint16"
    )
    one = stack_of(layer).selected(times=[3], channels=[1])
    assert read_as(one, 2).startswith("1 time point × 1 of 2 channels of 64 ×")
    assert channel_in(one, 1) == 0
    assert channel_in(one, 0) is None
    plain = open_stack(np.ones((9, 8, 3), np.uint8), "yxs")
    assert read_as(plain) == "9 × 8 pixels in colour of unknown size, uint8"
    assert [lasting(v) for v in (0.1, 40, 400, 10000)] == ["1 s", "40 s", "7 min", "2.8 h"]


def test_the_way_decides_what_is_offered_until_a_method_is_chosen(widget):
    def by(way):
        widget.set_way(way)
        return widget.method.currentText()

    ways = ("find", "file", "layer", "find", "psf")
    assert [by(way) for way in ways] == [
        "blind",
        "accelerated-richardson-lucy",
        "accelerated-richardson-lucy",
        "blind",
        "accelerated-richardson-lucy",
    ]
    assert not widget.scope.isEnabled()
    widget.method.setCurrentText("blind")
    assert "search starts" in widget.about.text()
    assert [by(way) for way in ("layer", "find")] == ["blind", "blind"]
    assert widget.scope.isEnabled()
    widget.set_way("file")
    widget.method.setCurrentText("wiener")
    assert [by(way) for way in ("psf", "find")] == ["wiener", "blind"]  # wiener finds nothing


def test_the_form_is_a_job(viewer, widget):
    _open(viewer, spots())
    heard = []
    widget.changed.connect(lambda: heard.append(1))
    ask = _ask(widget)
    assert ask.job == Job("", method="blind")
    widget.method.setCurrentText("blind-richardson-lucy")
    widget._forms["blind-richardson-lucy"]["rounds"].value = 7
    widget.scope.setCurrentIndex(widget.scope.findData("field"))
    widget.shape.setText("9, 11")
    widget.advanced.tile.setText("1, 128, 128")
    widget.advanced.dtype.setCurrentIndex(2)
    widget.advanced.background.setChecked(False)
    assert len(heard) >= 6
    job = _ask(widget).job
    assert job == Job(
        "", method="blind-richardson-lucy", parameters={"rounds": 7}, scope="field",
        shape=(1, 9, 11), tile=(1, 128, 128), dtype="uint16", keep_background=False,
    )  # fmt: skip
    assert Job.from_dict(job.to_dict()) == job
    widget.advanced.reset()
    assert _ask(widget).job == Job("", method="blind-richardson-lucy")


def test_numbers_of_the_camera_go_into_the_job(viewer, widget):
    _open(viewer, spots())
    lines = widget.advanced.camera.lines
    assert widget.advanced.camera.fields() == {}
    for name, text in {"gain": "2,2", "offset": "-3", "read_noise": "0", "background": "9"}.items():
        lines[name].setText(text)
    ask = _ask(widget)
    job = ask.job
    assert (job.gain, job.offset, job.read_noise, job.background) == (2.2, -3, 0, 9)
    assert ask.arguments(widget.stack())["facts"].gain == 2.2
    for name, text, said in (("gain", "0", "gain is 0"), ("read_noise", "x", 'read noise is "x"')):
        lines[name].setText(text)
        with pytest.raises(ValueError, match=said):
            _ask(widget)
    widget.advanced.reset()
    assert _ask(widget).job == Job("", method="blind")


def test_the_window_does_not_load_the_engine():
    """It would stand still for a second or more."""
    code = """
import sys
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.samples import simulated
viewer = ViewerModel()
viewer.add_image(simulated(32)[0], name="cells")
widget = Deblur(viewer)
widget.advanced.camera.lines["gain"].setText("2")
for name in ("blind", "gdunet"):
    widget.method.setCurrentText(name)
    widget.confirmed()
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_photographs_are_undone_by_their_curve(viewer, widget):
    _open(viewer, photo())
    assert widget.layer.currentText() == "photo"
    assert widget.method.currentText() == "blind-sparse"
    assert _ask(widget).job.gamma == "srgb"
    widget.advanced.gamma.setCurrentIndex(1)
    assert _ask(widget).job.gamma == "linear"
    assert widget.channels.isHidden()


def test_optics_by_name_make_the_kernel(viewer, widget):
    _open(viewer, spots())
    widget.set_way("psf")
    known = widget.known
    known.objective.setCurrentText("60x/1.40 oil")
    known.lens.objective_chosen()
    known.fluorophore.setCurrentText("EGFP")
    known.lens.fluorophore_chosen()
    known.optics["n_sample"].setText("1.38")
    known._forms["gibson-lanni"][0]["depth"].value = 3.0
    ask = _ask(widget)
    assert ask.job == Job(
        "", method="accelerated-richardson-lucy", psf="gibson-lanni", na=1.4, n_immersion=1.515,
        psf_parameters={"depth": 3.0}, n_sample=1.38, wavelength=0.507,
    )  # fmt: skip
    assert ask.arguments(widget.stack())["facts"].na == 1.4
    known.defaults.click()
    assert _ask(widget).job.psf_parameters == {}


def test_a_gaussian_is_what_the_form_says(viewer, widget):
    from napari_deblur.modelled import model_of

    _open(viewer, spots())
    widget.set_way("psf")
    known = widget.known
    known.model.setCurrentText("gaussian")
    assert known.comes_to.text().startswith("auto needs NA and λ")
    with pytest.raises(ValueError, match="NA is empty"):
        _ask(widget)
    for name, text in (("na", "0.9"), ("wavelength", "0.55"), ("n_immersion", "1.33")):
        known.optics[name].setText(text)
    ask = _ask(widget)
    asked = ask.arguments(widget.stack())
    sigma = model_of(asked["psf"], asked["facts"]).sigma
    assert known.comes_to.text().endswith(f"sigma {', '.join(f'{s:.4g}' for s in sigma)} µm")
    # Numbers count as they are typed, also those that a Gaussian has by itself.
    row = known._forms["gaussian"][0]["sigma"]
    for text, wanted in (("0.3, 0.1, 0.1", (0.3, 0.1, 0.1)), ("0.0815", (0.0815,) * 3)):
        row.value = text
        assert _ask(widget).job.psf_parameters == {"sigma": wanted}
        assert known.comes_to.isHidden()
    row.value = "0.3, 0.1"
    with pytest.raises(ValueError, match="has 2 numbers: give 3"):
        _ask(widget)
    known.defaults.click()
    assert _ask(widget).job.psf_parameters == {}


def test_a_gaussian_is_matched_to_the_light_of_each_channel(viewer, widget):
    _open(viewer, movie())
    widget.set_way("psf")
    widget.known.model.setCurrentText("gaussian")
    said = widget.known.comes_to.text()
    assert said.endswith("0.1675, 0.1675 µm for λ 0.67")
    assert "0.1313, 0.1313 µm for λ 0.525" in said
    widget.channels._rows[1][1].setText("0.6")
    assert "for λ 0.6" in widget.known.comes_to.text()


def test_only_the_optics_that_a_model_takes_are_shown_and_count(viewer, widget):
    _open(viewer, spots())
    widget.set_way("psf")
    known = widget.known
    known.optics["na"].setText("0.9")
    shown = {}
    for name in MODELS:
        known.model.setCurrentText(name)
        lines = known.optics.items()
        shown[name] = {n for n, line in lines if line.isVisibleTo(known)}
        assert known.objective.isVisibleTo(known) == ("na" in shown[name])
        assert known.fluorophore.isVisibleTo(known) == ("wavelength" in shown[name])
    assert shown["gibson-lanni"] == {"na", "wavelength", "n_immersion", "n_sample"}
    assert shown["two-photon"] == {"na", "n_immersion", "n_sample"}
    assert shown["gaussian"] == {"na", "wavelength", "n_immersion"}
    assert shown["disc"] == shown["motion"] == shown["turbulence"] == set()
    known.model.setCurrentText("disc")
    assert known._forms["disc"][0]["radius"].native.isVisibleTo(known)  # not folded away
    assert _ask(widget).job.na is None
    known.model.setCurrentText("gaussian")
    assert known.optics["na"].text() == "0.9"


def test_an_objective_is_let_go_of_when_its_numbers_are_typed_over(viewer, widget):
    _open(viewer, spots())
    widget.set_way("psf")
    known = widget.known
    for box, name in ((known.objective, "60x/1.40 oil"), (known.fluorophore, "EGFP")):
        box.setCurrentText(name)
        box.activated.emit(box.currentIndex())
    known.optics["na"].setText("1.40")  # the same
    known.optics["n_sample"].setText("1.38")
    assert known.objective.currentText() == "60x/1.40 oil"
    known.optics["na"].setText("1.3")
    assert known.objective.currentData() == ""
    assert known.fluorophore.currentText() == "EGFP"
    known.optics["wavelength"].setText("")
    assert known.fluorophore.currentData() == ""


@pytest.mark.parametrize("name", MODELS)
def test_every_model_makes_a_kernel_from_the_form(viewer, widget, name):
    _open(viewer, spots())
    widget.set_way("psf")
    widget.known.model.setCurrentText(name)
    widget.known.optics["na"].setText("0.9")
    widget.known.optics["wavelength"].setText("0.55")
    widget.shape.setText("9, 9")
    ask, stack = _ask(widget), widget.stack()
    from napari_deblur.modelled import sampled

    asked = ask.arguments(stack)
    kernel = sampled(stack, 0, asked["psf"], asked["facts"] or Facts(), (1, 9, 9), (1, 9, 9), [])
    assert kernel.shape == (1, 9, 9)


def test_channels_have_their_own_light_method_or_are_left_out(viewer, widget):
    _open(viewer, movie())
    rows = widget.channels._rows
    assert not widget.channels.isHidden()
    assert [row[1].text() for row in rows] == ["0.525", "0.67"]  # of the layer's metadata
    job = _ask(widget).job
    assert [(table.index, table.wavelength) for table in job.channel] == [(0, 0.525), (1, 0.67)]
    assert (job.na, job.channels) == (0.9, None)
    widget.set_way("psf")
    rows[1][2].setCurrentText("wiener")
    rows[0][1].setText("0.6")
    job = _ask(widget).job
    assert job.channel[0].wavelength == 0.6
    assert job.channel[1].method == "wiener"
    asked = _ask(widget).arguments(widget.stack())
    assert [asked["facts"][c].wavelength for c in (0, 1)] == [0.6, 0.67]
    rows[0][0].setChecked(False)
    job, stack = _ask(widget).job, widget.stack()
    assert (job.channels, len(job.channel)) == ((1,), 1)
    assert stack.shape[1] == 1
    assert stack.channels[0].emission == 0.67
    assert "1 of 2 channels" in widget.reads.text()
    rows[1][0].setChecked(False)
    assert "No channel is left" in widget.reads.text()
    with pytest.raises(ValueError, match="tick one"):
        _ask(widget)
    _open(viewer, movie())  # another one
    assert widget.layer.currentData() is viewer.layers[-1]
    assert [row[0].isChecked() for row in widget.channels._rows] == [True, True]
    viewer.layers.clear()
    assert widget.channels.isHidden()


def test_what_was_chosen_of_channels_comes_back_with_their_image(viewer, widget):
    def look():
        return [(use.isChecked(), light.text(), method.currentText())
                for use, light, method in widget.channels._rows]  # fmt: skip

    _open(viewer, movie())
    widget.set_way("psf")
    first = widget.layer.currentData()
    use, light, method = widget.channels._rows[1]
    use.setChecked(False)
    light.setText("0.7")
    method.setCurrentText("wiener")
    chosen = look()
    assert chosen == [(True, "0.525", "as below"), (False, "0.7", "wiener")]
    _open(viewer, movie())  # another one
    other = [viewer.layers[-1], first].index(widget.layer.currentData())
    assert other == 0
    assert look() == [(True, "0.525", "as below"), (True, "0.67", "as below")]
    offered = widget.channels._rows[0][2]
    names = [offered.itemText(n) for n in range(offered.count())]
    assert names == ["as below", *methods_for("psf")]
    layers = [widget.layer.itemData(n) for n in range(widget.layer.count())]
    widget.layer.setCurrentIndex(layers.index(first))
    assert look() == chosen
    for axes in ("tzyx", "tcyx"):
        widget.axes.setText(axes)
        widget.axes.textEdited.emit(axes)
        assert widget.channels.isHidden() == (axes == "tzyx")
    assert look() == chosen


def test_optics_of_the_file_reach_the_job(viewer, widget, tmp_path):
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Instrument ID="Instrument:0"><Objective ID="Objective:0" LensNA="1.2"/></Instrument>'
        '<Image ID="Image:0"><InstrumentRef ID="Instrument:0"/>'
        '<ObjectiveSettings ID="Objective:0" RefractiveIndex="1.33"/>'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="20" SizeY="20" '
        'SizeC="2" SizeZ="1" SizeT="1" PhysicalSizeX="0.1" PhysicalSizeY="0.1">'
        '<Channel ID="Channel:0:0" Name="green" EmissionWavelength="510"/>'
        '<Channel ID="Channel:0:1" Name="red" EmissionWavelength="610"/>'
        "<TiffData/></Pixels></Image></OME>"
    )
    data = np.random.default_rng(0).integers(0, 99, (2, 20, 20), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", data, description=xml, metadata=None)
    both = Image(data, name="a", axis_labels=tuple("cyx"), scale=(1, 0.1, 0.1))
    red = Image(data[1], name="a red", **FLAT)
    for layer in (both, red):
        layer._source = layer.source.model_copy(update={"path": str(tmp_path / "a.ome.tif")})
    channels, optics = described_by(red)
    assert ([c.emission for c in channels], optics.na) == ([0.61], 1.2)
    viewer.add_layer(both)
    job = _ask(widget).job
    assert [table.wavelength for table in job.channel] == [0.51, 0.61]
    assert (job.na, job.n_immersion) == (1.2, 1.33)
    viewer.layers.clear()
    viewer.add_layer(red)
    job = _ask(widget).job
    assert (job.wavelength, job.na, job.channel) == (0.61, 1.2, ())
    widget.known.optics["wavelength"].setText("0.6")  # the user knows better, for this layer
    widget.refresh()
    assert _ask(widget).job.wavelength == 0.61  # but cannot see it here
    widget.set_way("psf")
    assert _ask(widget).job.wavelength == 0.6
    viewer.layers.clear()
    viewer.add_image(data[0], name="another", **FLAT)
    widget.set_way("find")
    assert _ask(widget).job.wavelength is None


def test_no_ordinary_image_is_taken_for_the_kernel(viewer, widget):
    _open(viewer, spots())
    widget.set_way("layer")
    assert widget.kernel_layer.currentData() is None
    with pytest.raises(ValueError, match="Choose the layer that holds the kernel"):
        _ask(widget)
    kernel = viewer.add_image(
        np.ones((5, 5)), name="psf", metadata={"kernel_pixel_size": (1.0, 0.1, 0.1)}
    )
    assert widget.kernel_layer.currentData() is kernel


def test_the_image_is_taken_where_a_kernel_is_active(viewer, qtbot):
    _open(viewer, spots())
    viewer.add_image(np.ones((5, 5)), name="psf", metadata={"kernel_pixel_size": (1.0, 0.1, 0.1)})
    made = Deblur(viewer)
    qtbot.addWidget(made)
    assert made.layer.currentText() == "spots"


def test_gdunet_takes_the_kernel_that_is_given_and_weights_by_path(viewer, widget, tmp_path):
    _open(viewer, spots())
    widget.method.setCurrentText("gdunet")
    form = widget._forms["gdunet"]
    assert [row.name for row in form][:1] == ["weights"]
    assert not {"kernel", "digest"} & {row.name for row in form}
    assert _ask(widget).job.parameters == {}
    widget.set_way("psf")
    widget.known.model.setCurrentText("disc")
    form["weights"].value = str(tmp_path / "mine.safetensors")
    ask = _ask(widget)
    assert ask.job.parameters == {
        "kernel": "given", "weights": str(tmp_path / "mine.safetensors")
    }  # fmt: skip
    trained = tmp_path / "run"
    trained.mkdir()
    for name in ("best", "weights", "checkpoint"):
        (trained / f"{name}.safetensors").touch()
    assert weights_files(tmp_path) == [
        "light",
        "tiny",
        str(trained / "best.safetensors"),
        str(trained / "weights.safetensors"),
    ]


def test_weights_are_chosen_from_a_box(qtbot, tmp_path):
    from napari_deblur._napari.form import form_of
    from napari_deblur._napari.weights_row import WeightsRow

    form = form_of(registry.methods["gdunet"])
    box = WeightsRow(form["weights"], tmp_path)
    qtbot.addWidget(box)
    assert box.box.currentText() == "light"
    box.box.setCurrentText("/a/b.safetensors")
    assert form["weights"].value == "/a/b.safetensors"
    form["weights"].value = "tiny"
    assert box.box.currentText() == "tiny"


def test_results_of_some_channels_lie_beside_their_own():
    image = {
        "scale": (2.0, 0.1, 0.1), "translate": (1.0, 0.0, 5.0), "units": ("pixel", "um", "um"),
        "axis_labels": ("c", "y", "x"),
    }  # fmt: skip
    assert picked_channels(image, None) == image
    assert picked_channels(image, (1, 2))["translate"] == (3.0, 0.0, 5.0)
    every_other = picked_channels(image, (0, 2))
    assert every_other["scale"] == image["scale"]
    flat = {name: value[1:] for name, value in image.items()}
    assert picked_channels(flat, (1,)) == flat
