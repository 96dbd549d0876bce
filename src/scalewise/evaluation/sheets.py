"""Contact sheets: images side by side with captions, and plain grids of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from scalewise.errors import UsageError

INK, FAINT, PAPER = (32, 32, 32), (96, 96, 96), (255, 255, 255)
_SPELT = str.maketrans({"σ": "sigma", "×": "x", "–": "-", "−": "-"})

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def grid(images: Tensor, columns: int | None = None, gap: int = 2) -> Tensor:
    """Lay images of one size out in rows, on white.

    Args:
        images: shape (N, C, H, W), intensities in [0, 1].
        columns: images per row; by default as many as rows, or one more.
        gap: pixels between images and around them.

    Returns:
        One image, shape (C, rows * (H + gap) + gap, columns * (W + gap) + gap).
    """
    count, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    canvas = images.new_ones(channels, rows * (height + gap) + gap, columns * (width + gap) + gap)
    for number, image in enumerate(images):
        top = gap + number // columns * (height + gap)
        left = gap + number % columns * (width + gap)
        canvas[:, top : top + height, left : left + width] = image.clamp(0, 1)
    return canvas


def sheet(
    rows: Sequence[Sequence[Tensor]],
    titles: Sequence[str] = (),
    labels: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    height: int | None = None,
    gap: int = 8,
    text: int = 14,
) -> Tensor:
    """Draw rows of images with words around them.

    All cells have one height: smaller images are enlarged without smoothing, so that their
    pixels show, larger ones shrunk. A column is as wide as its widest image.

    Args:
        rows: images (C, H, W) with C = 1 or 3, intensities in [0, 1]; rows may differ in length.
        titles: one per column, above it.
        labels: one per row, left of it.
        captions: one per image, below it.
        height: of a cell, in pixels; that of the tallest image by default.
        gap: pixels between cells and around them.
        text: size of the letters, in pixels.

    Returns:
        The sheet, shape (3, H, W), intensities in [0, 1].

    Raises:
        UsageError: there is no image, or the words do not go with the images.
    """
    _check(rows, titles, captions, labels)
    height = height or max(image.shape[-2] for row in rows for image in row)
    cells = [[_cell(image, height) for image in row] for row in rows]
    font = ImageFont.load_default(text)
    line = text + 6
    margin = gap + (gap + max(_width(label, font) for label in labels) if labels else 0)
    widths = _column_widths(cells, titles, captions, font)
    middles = [margin + sum(widths[:c]) + c * gap + widths[c] / 2 for c in range(len(widths))]
    top, pitch = gap + (line if titles else 0), height + gap + (line if captions else 0)
    right = margin + sum(widths) + gap * len(widths)
    canvas = Image.new("RGB", (right, top + pitch * len(rows)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for middle, title in zip(middles, titles, strict=False):
        draw.text((middle, line / 2 + 2), _spell(title), INK, font, anchor="mm")
    for number, row in enumerate(cells):
        y = top + number * pitch
        if number < len(labels):
            draw.text((gap, y + height / 2), _spell(labels[number]), INK, font, anchor="lm")
        for middle, cell in zip(middles, row, strict=False):
            canvas.paste(cell, (round(middle - cell.width / 2), y))
        for middle, words in zip(middles, captions[number] if captions else (), strict=False):
            draw.text((middle, y + height + line / 2), _spell(words), FAINT, font, anchor="mm")
    return torch.from_numpy(np.array(canvas)).movedim(-1, 0).float() / 255


def stack(sheets: Sequence[Tensor], titles: Sequence[str], gap: int = 8, text: int = 14) -> Tensor:
    """Put sheets below each other, each under its title.

    Args:
        sheets: shape (3, H, W) each, intensities in [0, 1].
        titles: one per sheet.
        gap: pixels between them, and left of the titles.
        text: size of the letters, in pixels.

    Returns:
        One sheet, as wide as the widest, shape (3, H, W).
    """
    font, line = ImageFont.load_default(text), text + gap
    heights = [gap + line + sheet.shape[1] for sheet in sheets]
    canvas = Image.new("RGB", (max(sheet.shape[2] for sheet in sheets), sum(heights)), PAPER)
    draw, top = ImageDraw.Draw(canvas), 0
    for sheet, title, height in zip(sheets, titles, heights, strict=True):
        draw.text((gap, top + gap), _spell(title), INK, font)
        canvas.paste(_cell(sheet, sheet.shape[1]), (0, top + gap + line))
        top += height
    return torch.from_numpy(np.array(canvas)).movedim(-1, 0).float() / 255


def _check(
    rows: Sequence[Sequence[Tensor]],
    titles: Sequence[str],
    captions: Sequence[Sequence[str]],
    labels: Sequence[str],
) -> None:
    """Refuse empty sheets and words that belong to nothing."""
    if not rows or not all(rows):
        raise UsageError("a sheet needs at least one row, and every row at least one image")
    columns = max(len(row) for row in rows)
    if len(titles) > columns:
        raise UsageError(f"a sheet of {columns} columns has room for no more titles: {titles}")
    if labels and len(labels) != len(rows):
        raise UsageError(f"labels must be one per row, found {len(labels)} for {len(rows)} rows")
    if captions and [len(row) for row in captions] != [len(row) for row in rows]:
        raise UsageError("captions must be one per image, in rows as the images are")


def _cell(image: Tensor, height: int) -> Image.Image:
    """One image, brought to a height."""
    pixels = image.detach().cpu().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    cell = Image.fromarray(pixels.expand(3, -1, -1).movedim(0, -1).contiguous().numpy())
    if cell.height == height:
        return cell
    method = Image.Resampling.NEAREST if cell.height < height else Image.Resampling.BOX
    return cell.resize((max(1, round(cell.width * height / cell.height)), height), method)


def _column_widths(
    cells: list[list[Image.Image]],
    titles: Sequence[str],
    captions: Sequence[Sequence[str]],
    font: Font,
) -> list[int]:
    """Width of each column: that of its widest image or words."""
    widths = [0] * max(len(row) for row in cells)
    for row in cells:
        widths = [max(pair) for pair in zip_longest(widths, (c.width for c in row), fillvalue=0)]
    for words in (titles, *captions):
        needed = (_width(word, font) for word in words)
        widths = [max(pair) for pair in zip_longest(widths, needed, fillvalue=0)]
    return widths


def _spell(words: str) -> str:
    """Spell out the signs that Pillow's own font lacks."""
    return words.translate(_SPELT)


def _width(words: str, font: Font) -> int:
    return math.ceil(font.getlength(_spell(words)))
