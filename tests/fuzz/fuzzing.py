"""How many cases: a few, always the same, or as many as `make fuzz` asks for."""

import os

from hypothesis import HealthCheck, settings

# In the environment: NAPARI_DEBLUR_FUZZ=500, for all tests together.
CASES = int(os.environ.get("NAPARI_DEBLUR_FUZZ", "0"))


def fuzzed(few, share):
    """Let hypothesis try `few` cases, the same in each run, or a share of those asked for."""
    return settings(
        max_examples=max(few, round(CASES * share)),
        derandomize=not CASES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
