import pytest

from napari_deblur import ops
from napari_deblur.protocols import Cancelled


def test_checkpoint_does_nothing_until_asked():
    ops.checkpoint()
    asked = []
    with ops.cancellable(lambda: bool(asked)):
        ops.checkpoint()
        asked.append(1)
        with pytest.raises(Cancelled):
            ops.checkpoint()
    ops.checkpoint()
