"""Results lie where their image lies, look as it does, and tell the whole job."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils import notifications

from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.reader import read
from napari_deblur._napari.samples import simulated
from napari_deblur.job import Job

MICRONS = {"scale": (0.2, 0.1), "units": "um", "axis_labels": ("y", "x")}
PICTURE = simulated(64)[0]
CASES = {
    "turned": (PICTURE, {
        **MICRONS, "translate": (3.0, -5.0), "rotate": 30.0, "shear": (0.2,), "colormap": "magenta",
        "blending": "additive", "gamma": 0.8
    }),
    "nanometres": (PICTURE, {
        "scale": (200, 100), "units": "nm", "axis_labels": ("y", "x"), "translate": (3000, -5000),
        "affine": [[1, 0.1, 700], [0, 1, 900], [0, 0, 1]], "contrast_limits": (0, 60_000)
    }),
    "multiscale": ([PICTURE, PICTURE[::2, ::2]], {
        **MICRONS, "multiscale": True, "contrast_limits": (90, 700)
    }),
    "colour": (np.stack([PICTURE // 4] * 3, axis=-1).astype(np.uint8), {**MICRONS, "rgb": True}),
    "movie": (np.stack([[PICTURE] * 2] * 2), {
        "scale": (1.0, 5000.0, 0.2, 0.1), "units": ("pixel", "ms", "um", "um"),
        "axis_labels": tuple("ctyx"), "translate": (0.0, 10_000.0, 1.0, 2.0),
        "affine": np.diag((1.0, 1.0, 1.0, -1.0, 1.0)),
    }),
}  # fmt: skip


@pytest.fixture
def widget(qapp, qtbot, monkeypatch):
    """The widget, without a window."""
    monkeypatch.setattr(notifications, "show_error", pytest.fail)
    viewer = ViewerModel()
    made = Deblur(viewer)
    qtbot.addWidget(made)
    viewer.layers.events.inserted.connect(made.reset_choices)
    r = np.arange(5) - 2
    viewer.add_image(np.exp(-(r[:, None] ** 2 + r**2) / 4), name="psf", **MICRONS)
    made.set_way("layer")
    made.kernel_layer.setCurrentText("psf")
    made.method.setCurrentText("richardson-lucy")
    made._forms["richardson-lucy"]["iterations"].value = 2
    return made


@pytest.mark.parametrize("case", CASES)
def test_place_units_and_looks_are_kept(widget, qtbot, case):
    data, kwargs = CASES[case]
    viewer = widget.viewer
    source = viewer.add_image(data, name="cells", **kwargs)
    # Another kind of layer being active changes nothing.
    viewer.add_labels(np.zeros((8, 8), int), name="labels")
    viewer.layers.selection.active = viewer.layers["labels"]
    assert widget.layer.currentText() == "cells"
    if case == "movie":
        widget.channels._rows[0][0].setChecked(False)
    widget.start_run()
    qtbot.waitUntil(lambda: not widget.busy(), timeout=60_000)
    restored = viewer.layers["cells restored [richardson-lucy]"]
    kernels = viewer.layers["cells kernels [richardson-lucy]"]
    assert not restored.multiscale
    assert restored.rgb == source.rgb
    for one in (restored, kernels):
        assert one.axis_labels == source.axis_labels
        assert tuple(one.units) == tuple(source.units)
    np.testing.assert_allclose(restored.scale, source.scale)
    np.testing.assert_allclose(restored.rotate, source.rotate)
    np.testing.assert_allclose(restored.shear, source.shear)
    first = (1, 0, 0, 0) if case == "movie" else (0, 0)  # channel 1 is the first of the result
    corner = source.data_to_world(first)
    np.testing.assert_allclose(restored.data_to_world((0,) * len(first)), corner)
    if not source.rgb:
        assert restored.colormap.name == source.colormap.name
        assert kernels.data_to_world((0,) * len(first)) != corner
    job = Job.from_dict(restored.metadata["deblur"]["job"])
    assert job.parameters == {"iterations": 2}
    assert job.channels == ((1,) if case == "movie" else None)
    if case == "colour":
        assert job.gamma == "srgb"
        assert restored.data.dtype == np.uint8
        assert abs(float(np.asarray(restored.data).mean()) - data.mean()) < 3
    # Opened from the disk it lies and looks the same.
    pixels, attributes, _ = read(restored.metadata["deblur"]["store"])[0]
    again = Image(pixels, **attributes)
    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_allclose(getattr(again, name), getattr(restored, name))
    np.testing.assert_allclose(again.affine.affine_matrix, source.affine.affine_matrix)
    assert [str(u) for u in again.units] == [str(u) for u in source.units]
    assert again.blending == restored.blending == source.blending
    if not source.rgb:
        for one in (again, restored):
            assert (one.colormap.name, one.gamma) == (source.colormap.name, source.gamma)
            assert one.contrast_limits[0] == source.contrast_limits[0]
        assert again.contrast_limits == restored.contrast_limits
    if case == "nanometres":  # it clips nothing
        assert restored.contrast_limits == source.contrast_limits
    # Sliders move image and kernels together.
    for axis in range(source.ndim - 2):
        (low, high), (first, last) = (
            (one.extent.world[0][axis] - half, one.extent.world[1][axis] + half)
            for one in (kernels, restored)
            for half in [one.scale[axis] / 2]
        )
        assert low <= first + 1e-6
        assert high >= last - 1e-6
