"""Richardson-Lucy, seconds per iteration, against scikit-image on the same stack.

Interleaved in one process, so that both see the same machine; medians of ratios. Needs the
extra ``test`` (scikit-image): ``python bench/speed.py [--rounds 5]``.
"""

import argparse
import statistics
from time import perf_counter

import numpy as np
import torch
from skimage.restoration import richardson_lucy

from napari_deblur.methods.richardson_lucy import RichardsonLucy
from napari_deblur.protocols import Blur
from napari_deblur.psfs.gaussian import Gaussian


def seconds(call):
    start = perf_counter()
    call()
    return perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 256, 256))
    parser.add_argument("--iterations", type=int, default=2)
    asked = parser.parse_args()
    random = np.random.default_rng(0)
    image = random.poisson(100, asked.shape).astype(np.float32)
    kernel = Gaussian((3.0, 2.0, 2.0))((33, 33, 33), (1.0, 1.0, 1.0)).at()
    tile, blur = torch.from_numpy(image), Blur(torch.from_numpy(kernel.copy())[None])
    n = asked.iterations
    method = {k: RichardsonLucy(k, 10.0, 90.0, 0.0) for k in (n, 3 * n)}
    ours, theirs = [], []
    for _ in range(asked.rounds + 1):
        # Three times the iterations less once: what comes before the loop is not counted.
        spans = [seconds(lambda k=k: method[k](tile, blur)) for k in (3 * n, n)]
        others = [
            seconds(lambda k=k: richardson_lucy(image, kernel, k, clip=False)) for k in (3 * n, n)
        ]
        ours.append((spans[0] - spans[1]) / (2 * n))
        theirs.append((others[0] - others[1]) / (2 * n))
    ratios = sorted(b / a for a, b in zip(ours[1:], theirs[1:], strict=True))
    low, _, high = statistics.quantiles(ratios, n=4)
    print(f"stack {asked.shape}, kernel 33 × 33 × 33, {torch.get_num_threads()} threads")
    print(
        f"napari-deblur, unknown border (object 32 px longer): {statistics.median(ours[1:]):.3f} s"
    )
    print(f"scikit-image, zero border: {statistics.median(theirs[1:]):.3f} s")
    print(f"ratio: median {statistics.median(ratios):.2f}, quartiles {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
