"""The experiment on filters: those of linear denoisers are known; its rule."""

import math
from types import SimpleNamespace
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from zoo import smooth_spectrum

from scalewise.exact import gaussian_prior
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiments import filters
from scalewise.reproduce.experiments.filters import ALIKE, DETAILS, LOW, PUBLIC, SIGMAS, Measured

SIDE = 32


class TestMeasures:
    """Rows of a Jacobian, how far they reach, and how alike they are."""

    def test_rows_of_a_convolution_are_its_kernel(self) -> None:
        kernel = torch.arange(9.0).reshape(3, 3).double()

        def denoise(noisy: Tensor) -> Tensor:
            return F.conv2d(noisy, kernel[None, None], padding=1).square() / 2

        noisy = torch.rand(1, 1, 7, 8).double()
        row = filters.rows_of(denoise, noisy, [(2, 5)])[0]
        value = F.conv2d(noisy, kernel[None, None], padding=1)[0, 0, 2, 5]
        expected = torch.zeros(7, 8).double()
        expected[1:4, 4:7] = value * kernel
        torch.testing.assert_close(row, expected)

    def test_of_the_first_channels_alone(self) -> None:
        def denoise(noisy: Tensor) -> Tensor:
            return torch.cat([2 * noisy[:, :1] + noisy[:, 1:], 7 * noisy], dim=1)

        row = filters.rows_of(denoise, torch.rand(1, 2, 3, 3), [(0, 1)])[0]
        expected = torch.zeros(3, 3)
        expected[0, 1] = 2
        assert row.equal(expected)

    def test_radius_is_the_mean_distance_of_energy(self) -> None:
        image = torch.zeros(2, 9, 9)
        image[0, 4, 4], image[0, 4, 7] = 1.0, -2.0  # energy 1 at 0, 4 at distance 3
        image[1, 0, 0], image[1, 3, 4] = 0.0, 1.0  # all of it at distance 5
        assert filters.radius(image, [(4, 4), (0, 0)]) == pytest.approx((12 / 5 + 5) / 2)

    def test_likeness_is_of_filters_each_around_its_place(self) -> None:
        kernel = torch.rand(3, 3)
        image = torch.zeros(3, 12, 12)
        places = [(2, 2), (8, 5), (5, 9)]
        for row, (y, x) in zip(image, places, strict=True):
            row[y - 1 : y + 2, x - 1 : x + 2] = kernel
        assert filters.likeness(image, places) == pytest.approx(1)
        image[2] *= -1
        assert filters.likeness(image, places) == pytest.approx((1 - 1 - 1) / 3)


def exact() -> MultiScalePrior:
    return gaussian_prior(smooth_spectrum((SIDE, SIDE)), 2)


class ExactContext:
    """A stationary prior, whose filters are the same everywhere and widen with the noise."""

    seed, scale = 1, SimpleNamespace(fields=(5, 9))

    def __init__(self) -> None:
        self.networks = self
        image = torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        training = SimpleNamespace(images=[image])
        self.faces = SimpleNamespace(training=training, held_out=lambda _: image[None])

    def multi_scale(self, field: int) -> MultiScalePrior:
        assert field == 9
        return exact()


def test_filters_of_an_exact_prior() -> None:
    measured = filters.measure(cast(Context, ExactContext()))
    assert {name: list(by) for name, by in measured.shapes.items()} == {
        PUBLIC: [LOW, DETAILS],
        "face": [LOW, DETAILS],
    }
    for found in measured.shapes.values():
        assert list(found[LOW]) == list(SIGMAS)
        radii = [found[LOW][sigma]["radius"] for sigma in SIGMAS]
        assert radii == sorted(radii)
        assert radii[-1] > 1.5 * radii[0]
        assert found[DETAILS][50.0]["likeness"] > ALIKE
    rows = measured.pictures["face"]
    assert [len(row) for row in rows[LOW]] == [1 + len(filters.PLACES)] * 3
    assert rows[LOW][0][1].shape == (1, SIDE // 4, SIDE // 4)
    assert rows[DETAILS][0][1].shape == (1, 9, 9)


def test_noise_is_that_of_each_scale() -> None:
    """Unit noise of the image has deviation 1/4 in the low-pass image, and 1/2 in the details."""
    image = torch.rand(1, 1, SIDE, SIDE).double()
    found = filters.scales_of(exact(), image)
    assert {name: gain for name, (_, _, gain) in found.items()} == {LOW: 0.25, DETAILS: 0.5}
    low, details = found[LOW], found[DETAILS]
    torch.testing.assert_close(low[1], F.avg_pool2d(image, 4))
    given = F.avg_pool2d(image, 2)
    noisy = details[1] + 0.1
    expected = exact().conditionals[0](noisy, given, 0.1).details
    torch.testing.assert_close(details[0](noisy, sigma=0.1), expected)
    torch.testing.assert_close(low[0](low[1], sigma=0.1), exact().low(low[1], 0.1))


def of(radius: float, likeness: float) -> dict[str, float]:
    return {"radius": radius, "likeness": likeness}


@pytest.mark.parametrize(
    ("wide", "low", "details", "verdict"),
    [
        (1.01, 0.5, 0.5, "holds"),
        (1.0, 0.5, 0.5, "partly"),
        (1.01, ALIKE, 0.5, "partly"),
        (1.01, 0.5, ALIKE, "partly"),
        (0.9, ALIKE, 0.5, "does not hold"),
    ],
)
def test_the_rule(wide: float, low: float, details: float, verdict: str) -> None:
    least, middle, largest = SIGMAS
    found = {
        LOW: {least: of(1.0, 1.0), middle: of(9.0, low), largest: of(wide, 1.0)},
        DETAILS: {least: of(1.0, 1.0), middle: of(1.0, details), largest: of(0.0, 1.0)},
    }
    assert filters.decide(found)[0] == verdict
    shown = filters.show(Measured({PUBLIC: found}, {}))
    assert shown.verdict == verdict
    assert shown.tables[0].rows[1] == [PUBLIC, LOW, 50.0, 9.0, low]
    assert f"cosine between places at σ = 50: {low:.2f} for the low-pass" in shown.sentence
    assert math.isclose(shown.numbers[PUBLIC][LOW]["200.0"]["radius"], wide)


def test_pictures_of_faces_stay_private() -> None:
    image = [[torch.rand(1, 4, 4)]] * 3
    least, middle, largest = SIGMAS
    same = {sigma: of(1.0, 0.5) for sigma in (least, middle, largest)}
    shapes = {name: {LOW: same, DETAILS: same} for name in (PUBLIC, "face")}
    shown = filters.show(Measured(shapes, {PUBLIC: {LOW: image}, "face": {DETAILS: image}}))
    assert [(f.name, f.private) for f in shown.figures] == [
        ("astronaut-low-pass-image", False),
        ("face-details-1", True),
    ]
