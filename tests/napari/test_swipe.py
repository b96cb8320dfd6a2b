"""What is compared with a preview is the image, not an older result."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_deblur._napari.swipe import Overlay

DATA = np.ones((8, 8), np.float32)


@pytest.fixture
def viewer():
    made = ViewerModel()
    made.add_image(DATA, name="cells")
    made.add_image(DATA, name="restored", metadata={"deblur": {"store": "a"}})
    made.add_image(DATA, name="preview", metadata={"deblur": {"preview": "image"}})
    return made


def shown(viewer):
    return {layer.name for layer in viewer.layers if layer.visible}


def test_before_shows_the_image_and_after_the_result_comes_back(viewer):
    overlay = Overlay(viewer)
    overlay.look(before=True)
    assert shown(viewer) == {"cells"}
    overlay.look(before=False)
    assert shown(viewer) == {"cells", "restored", "preview"}


def test_what_the_user_hid_stays_hidden(viewer):
    overlay = Overlay(viewer)
    viewer.layers["restored"].visible = False
    overlay.look(before=True)
    overlay.look(before=False)
    assert shown(viewer) == {"cells", "preview"}


def test_results_come_back_when_the_preview_is_put_away(viewer):
    overlay = Overlay(viewer)
    overlay.look(before=True)
    overlay.hide()
    assert shown(viewer) == {"cells", "restored"}
