"""Hidden colours: what is visible never depends on what is hidden."""

from __future__ import annotations

import torch

from scalewise.images import Picture, fill_hidden


def test_hidden_colours_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels, alpha = torch.rand(1, 3, 13, 18, generator=generator), torch.ones(1, 1, 13, 18)
    alpha[..., 3:9, 5:] = 0
    alpha[..., :3] = 0.5
    results = []
    for hidden in (0.0, 1.0, 5.0):
        filled = fill_hidden(Picture(torch.where(alpha > 0, pixels, hidden), alpha)).pixels
        torch.testing.assert_close(filled * (alpha > 0), pixels * (alpha > 0), rtol=0, atol=0)
        results.append(filled)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_a_sprite_of_one_colour_is_filled_with_it() -> None:
    alpha = torch.zeros(1, 1, 24, 31)
    alpha[..., 8:14, 9:20] = 1
    colour = torch.tensor([0.9, 0.2, 0.1]).reshape(1, 3, 1, 1)
    filled = fill_hidden(Picture(colour * alpha, alpha)).pixels
    torch.testing.assert_close(filled, colour.expand_as(filled))


def test_filled_colours_stay_among_the_visible_ones() -> None:
    pixels, alpha = torch.rand(2, 1, 20, 20), (torch.rand(2, 1, 20, 20) > 0.7).float()
    filled = fill_hidden(Picture(pixels, alpha)).pixels
    for plane, seen in zip(filled, pixels * alpha, strict=True):
        assert plane.max() <= seen[seen > 0].max() + 1e-6
        assert plane.min() >= seen[seen > 0].min() - 1e-6


def test_opaque_and_invisible_pictures() -> None:
    opaque = Picture(torch.rand(3, 4, 5), torch.ones(1, 4, 5))
    assert fill_hidden(opaque) is opaque
    assert fill_hidden(Picture(torch.rand(3, 4, 5))).alpha is None
    assert fill_hidden(Picture(torch.rand(3, 4, 5), torch.zeros(1, 4, 5))).pixels.isfinite().all()
