"""What all tests share: fixed seeds, few threads, the `gpu` mark, and the reference material."""

import os
import random
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Before torch is imported, here or in a subprocess: timings and rounding as on a small machine; one
# thread for each of several processes that share it, whatever the first has set for itself.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))

os.environ["SCALEWISE_CONFIG"] = ""  # whatever this machine has for defaults

hypothesis.settings.register_profile("scalewise", deadline=None, derandomize=True)
hypothesis.settings.load_profile("scalewise")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none, and start every test from the same seeds."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of published networks and research images, which lies beside the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder 'shared' beside the repository")
    return folder
