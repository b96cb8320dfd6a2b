"""Make the bundled sample from its source (see src/napari_deblur/data/README.md).

python scripts/make_sample.py arabidopsis-embryo.tif
"""

import sys
from pathlib import Path

import numpy as np
import tifffile

TARGET = Path(__file__).parents[1] / "src" / "napari_deblur" / "data" / "arabidopsis_embryo.tif"
PLANES = slice(14, 94)  # the rest lies below and above the embryo
PIXEL_SIZE = 0.345  # µm, z, y and x; data/README.md says why


def main(source: str) -> None:
    """Cut the planes out and write them as a compressed OME-TIFF."""
    stack = np.ascontiguousarray(tifffile.imread(source)[PLANES])
    metadata: dict[str, object] = {"axes": "ZYX", "Name": "Arabidopsis embryo, cell walls"}
    for axis in "XYZ":
        metadata[f"PhysicalSize{axis}"] = PIXEL_SIZE
        metadata[f"PhysicalSize{axis}Unit"] = "µm"
    tifffile.imwrite(
        TARGET,
        stack,
        ome=True,
        photometric="minisblack",
        compression="zlib",
        compressionargs={"level": 9},
        predictor=True,
        metadata=metadata,
    )
    print(f"{TARGET}: {stack.shape} {stack.dtype}, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
