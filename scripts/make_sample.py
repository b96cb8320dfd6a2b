"""Make the bundled samples from their sources (see src/napari_deblur/data/README.md).

python scripts/make_sample.py embryo arabidopsis-embryo.tif
python scripts/make_sample.py chromosomes xyz_8bit__chromosomes.tif
"""

import sys
from pathlib import Path

import numpy as np
import tifffile

FOLDER = Path(__file__).parents[1] / "src" / "napari_deblur" / "data"
# File, title, planes that are kept, voxel size z, y, x in µm (data/README.md says why).
SAMPLES = {
    "embryo": (
        "arabidopsis_embryo.tif",
        "Arabidopsis embryo, cell walls",
        slice(14, 94),  # the rest lies below and above the embryo
        (0.345, 0.345, 0.345),
    ),
    "chromosomes": ("chromosomes.tif", "Chromosomes", slice(None), (0.15, 0.0339, 0.0339)),
}


def main(name: str, source: str) -> None:
    """Cut the planes out and write them as a compressed OME-TIFF."""
    file, title, planes, sizes = SAMPLES[name]
    stack = np.ascontiguousarray(tifffile.imread(source)[planes])
    if stack.max() < 256:
        stack = stack.astype(np.uint8)
    metadata: dict[str, object] = {"axes": "ZYX", "Name": title}
    for axis, size in zip("ZYX", sizes, strict=True):
        metadata[f"PhysicalSize{axis}"] = size
        metadata[f"PhysicalSize{axis}Unit"] = "µm"
    tifffile.imwrite(
        FOLDER / file,
        stack,
        ome=True,
        photometric="minisblack",
        compression="zlib",
        compressionargs={"level": 9},
        predictor=True,
        metadata=metadata,
    )
    size = (FOLDER / file).stat().st_size
    print(f"{FOLDER / file}: {stack.shape} {stack.dtype}, {size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
