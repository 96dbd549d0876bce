"""From the name of a device to the device."""

from __future__ import annotations

import torch

from scalewise.errors import UsageError


def pick_device(name: str = "auto") -> torch.device:
    """Choose where to compute.

    Args:
        name: "cpu", "cuda" (also "cuda:1"), "mps", or "auto" for the best one there is.

    Raises:
        UsageError: the device is unknown or absent.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device must be auto, cpu, cuda or mps, found {name!r}")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps)}[device.type]
    if (device.index or 0) >= count:
        raise UsageError(f"device {name} is not there: PyTorch sees {count} of that type; use auto")
    return device
