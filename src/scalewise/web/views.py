"""What a browser shows: PNG of 8 bits."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

OVERLAY = (255, 122, 0)
"""Colour of what is uncertain."""


def png(image: Tensor, alpha: Tensor | None = None) -> bytes:
    """A PNG of an image.

    Args:
        image: intensities, shape (C, H, W), clipped to [0, 1].
        alpha: shape (1, H, W), 1 where opaque.
    """
    if alpha is not None:
        image = torch.cat([image.expand(3, -1, -1), alpha])
    shown = (image.detach().clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).numpy()
    return _encoded(Image.fromarray(shown[..., 0] if shown.shape[-1] == 1 else shown))


def overlay(deviation: Tensor) -> tuple[bytes, float]:
    """A PNG that is opaque where deviations are large, and the deviation that is opaque.

    Args:
        deviation: of every pixel, shape (C, H, W), in intensities.
    """
    strength = deviation.detach().mean(0)
    most = max(float(np.quantile(strength.numpy(), 0.995)), 1e-6)
    share = (strength / most).clamp(0, 1)
    shown = np.empty((*share.shape, 4), np.uint8)
    shown[..., :3] = OVERLAY
    shown[..., 3] = (share * 255).round().numpy()
    return _encoded(Image.fromarray(shown)), most


def text(data: bytes) -> str:
    """Bytes for JSON."""
    return base64.b64encode(data).decode()


def mask_of(data: str, size: tuple[int, int]) -> Tensor | None:
    """What was painted, (H, W), above 0 where opaque: a PNG in base64 of this height and width."""
    try:
        with Image.open(BytesIO(base64.b64decode(data, validate=True)), formats=["PNG"]) as image:
            if image.size != (size[1], size[0]):
                return None
            return torch.from_numpy(np.asarray(image.convert("RGBA"))[..., 3].copy()).float() / 255
    except (ValueError, OSError, SyntaxError):
        return None


def _encoded(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
