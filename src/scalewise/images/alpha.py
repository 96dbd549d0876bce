"""Colours under transparent pixels, which no eye sees."""

from dataclasses import replace

import torch

from scalewise.images.filling import filled
from scalewise.images.picture import Picture


def fill_hidden(picture: Picture) -> Picture:
    """Give fully transparent pixels the colours of visible ones near them.

    What is stored under alpha 0 cannot be seen and may be anything. A network that sees it lets it
    bleed into visible edges; so it is replaced by the mean of the visible pixels nearby, weighted
    by alpha. Visible pixels stay as they are.

    Returns:
        The picture with filled pixels; itself if no pixel is fully transparent.
    """
    if picture.alpha is None or bool((picture.alpha > 0).all()):
        return picture
    visible, around = picture.alpha > 0, filled(picture.pixels, picture.alpha)
    return replace(picture, pixels=torch.where(visible, picture.pixels, around))
