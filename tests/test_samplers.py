"""Samplers against distributions whose flow, and whose samples, are known exactly."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from zoo import SIZE, smooth_spectrum

from scalewise.errors import UsageError
from scalewise.exact import GaussianDenoiser, gaussian_prior
from scalewise.networks import BiasFreeConditional, BiasFreeDenoiser, LocalConditional, UNet
from scalewise.samplers import (
    Multistep,
    Noise,
    StepRule,
    StochasticAscent,
    draw,
    few_steps,
    karras_schedule,
    paper_ascent,
)

SPECTRUM = smooth_spectrum()
EXACT = GaussianDenoiser(SPECTRUM, 0.5)
HIGH, LOW = EXACT.sigma_range


def white(*shape: int) -> Noise:
    """Noise of each step, in float64."""

    def field(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return field


def only(noise: Noise, index: int) -> Noise:
    """The noise of one image of a batch."""
    return lambda step: noise(step)[index : index + 1]


def variances_of(samples: Tensor) -> Tensor:
    """Variance at every frequency, shape (H, W)."""
    modes = torch.fft.fft2(samples[:, 0] - 0.5, norm="ortho")
    return modes.abs().square().mean(0)


class TestSchedule:
    """Noise levels of the few-step solver."""

    def test_is_that_of_karras(self) -> None:
        levels = karras_schedule(18, 80.0, 0.002)
        assert levels[0] == pytest.approx(80)
        assert levels[-1] == pytest.approx(0.002)
        assert levels[1] == pytest.approx((80 ** (1 / 7) * 16 / 17 + 0.002 ** (1 / 7) / 17) ** 7)
        assert levels[1] == pytest.approx(57.586, rel=1e-4)
        assert levels == sorted(levels, reverse=True)

    def test_is_linear_for_rho_one(self) -> None:
        assert karras_schedule(5, 1.0, 0.2, rho=1) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])

    def test_one_step_is_the_first_level(self) -> None:
        assert karras_schedule(1, 2.0, 0.1) == pytest.approx([2.0])

    @pytest.mark.parametrize(
        ("steps", "high", "low"), [(0, 1.0, 0.1), (5, 0.1, 1.0), (5, 1.0, 0.0), (5, 1.0, -0.1)]
    )
    def test_impossible_ones_are_refused(self, steps: int, high: float, low: float) -> None:
        with pytest.raises(UsageError, match=f"found steps={steps}, low={low}, high={high}"):
            karras_schedule(steps, high, low)


class TestMultistep:
    """The few-step solver of the probability flow."""

    def test_converges_at_second_order(self) -> None:
        noise = white(4, 1, *SIZE)
        begin = HIGH * noise(0)
        flow = ((SPECTRUM + LOW**2) / (SPECTRUM + HIGH**2)).sqrt()
        wiener = SPECTRUM / (SPECTRUM + LOW**2)
        exact = 0.5 + torch.fft.ifft2(flow * wiener * torch.fft.fft2(begin)).real
        counts = [40, 80, 160, 320]
        errors = [
            float((draw(EXACT, noise, Multistep(HIGH, LOW, steps=count), mean=0.5) - exact).norm())
            for count in counts
        ]
        assert errors[-1] < 1e-3 * float((exact - 0.5).norm())
        for coarse, fine in pairwise(errors):
            assert 1.7 < math.log2(coarse / fine) < 2.5
        assert math.log2(errors[-2] / errors[-1]) == pytest.approx(2, abs=0.2)

    def test_first_step_goes_straight_to_the_denoised_state(self) -> None:
        rule = Multistep(2.0, 0.5, steps=2, rho=1)
        noisy, clean = torch.full((1, 1, 1, 1), 8.0), torch.zeros(1, 1, 1, 1)
        following, sigma, memory = rule.move(0, noisy, clean, torch.tensor([2.0]), None, white(1))
        assert float(following) == pytest.approx(2.0)
        assert sigma.tolist() == pytest.approx([0.5])
        assert memory is clean

    def test_later_steps_extrapolate_the_denoised_states(self) -> None:
        """Equal steps in log sigma, where algorithm 2 weighs 3/2 and -1/2."""
        rule = Multistep(1.0, 0.25, steps=3, rho=1e6)
        state, clean, memory = (torch.full((1, 1, 1, 1), value) for value in (2.0, 1.0, 0.0))
        following, _, _ = rule.move(1, state, clean, torch.tensor([0.5]), memory, white(1))
        assert float(following) == pytest.approx(0.5 * 2.0 + 0.5 * (1.5 * 1.0), rel=1e-4)

    def test_fresh_noise_replaces_what_the_step_took(self) -> None:
        rule = Multistep(2.0, 0.5, steps=2, rho=1, eta=1.0, s_noise=1.1)
        noisy, clean, noise = torch.full((1, 1), 8.0), torch.zeros(1, 1), white(1, 1)
        following, _, _ = rule.move(0, noisy, clean, torch.tensor([2.0]), None, noise)
        expected = 8 * (0.5 / 2) ** 2 + 1.1 * 0.5 * (1 - (0.5 / 2) ** 2) ** 0.5 * noise(1)
        torch.testing.assert_close(following, expected)

    @pytest.mark.parametrize("steps", [1, 2, 7])
    def test_calls_the_network_once_per_step(self, steps: int) -> None:
        seen: list[tuple[int, float]] = []
        levels: list[float] = []

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            levels.extend(set(sigma.tolist()))
            return noisy / 2

        def callback(step: int, noisy: Tensor, clean: Tensor) -> None:
            seen.append((step, float((noisy - 2 * clean).abs().max())))

        samples = draw(
            denoise,
            white(3, 1, 2, 2),
            Multistep(1.0, 0.1, steps=steps),
            mean=0.0,
            callback=callback,
        )
        assert samples.shape == (3, 1, 2, 2)
        assert seen == [(step, 0.0) for step in range(steps)]
        assert levels == pytest.approx(karras_schedule(steps, 1.0, 0.1))

    @pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
    def test_variance_of_samples_is_right_at_every_frequency(self, eta: float) -> None:
        count = 2000
        rule = Multistep(HIGH, LOW, steps=100, eta=eta)
        samples = draw(EXACT, white(count, 1, *SIZE), rule, mean=0.5)
        ratio = variances_of(samples) / SPECTRUM
        assert float(ratio.mean()) == pytest.approx(1, abs=4 * (2 / count / 64) ** 0.5 + 0.005)
        assert float((ratio - 1).abs().max()) < 4.5 * (2 / count) ** 0.5
        assert float(samples.mean()) == pytest.approx(
            0.5, abs=4 * float(SPECTRUM[0, 0] / 64 / count) ** 0.5
        )


def predicted_variances(rule: StochasticAscent, spectrum: Tensor) -> Tensor:
    """Variance of the ascent's samples at every frequency, in closed form, levels known."""
    variances, sigma, step = torch.full_like(spectrum, rule.start**2), rule.start, 0
    while sigma > rule.end:
        h = rule.h * (step + 1) / (1 + rule.h * step)
        pull = 1 - h * sigma**2 / (spectrum + sigma**2)
        variances = pull**2 * variances + sigma**2 * ((1 - rule.beta * h) ** 2 - (1 - h) ** 2)
        sigma, step = sigma * (1 - rule.beta * h), step + 1
    return variances * (spectrum / (spectrum + sigma**2)) ** 2


class TestStochasticAscent:
    """The paper's sampler."""

    @pytest.mark.parametrize(("h", "beta"), [(0.01, 0.5), (0.05, 0.2), (0.002, 0.9)])
    def test_variances_are_those_of_the_algorithm(self, h: float, beta: float) -> None:
        count = 1500
        rule = StochasticAscent(HIGH, LOW, h=h, beta=beta, blind=False)
        ratio = variances_of(draw(EXACT, white(count, 1, *SIZE), rule, mean=0.5))
        ratio = ratio / predicted_variances(rule, SPECTRUM)
        assert float(ratio.mean()) == pytest.approx(1, abs=4 * (2 / count / 64) ** 0.5)
        assert float((ratio - 1).abs().max()) < 4.5 * (2 / count) ** 0.5

    @pytest.mark.parametrize("beta", [0.2, 0.5])
    def test_the_algorithm_becomes_exact_as_steps_become_small(self, beta: float) -> None:
        errors = []
        for h in (1e-2, 1e-3, 1e-4):
            rule = StochasticAscent(HIGH, LOW, h=h, beta=beta)
            ratio = predicted_variances(rule, SPECTRUM) / SPECTRUM
            errors.append(float((ratio - 1).abs().max()))
        assert errors[0] > 2 * errors[1] > 4 * errors[2]
        assert errors[2] < 0.05

    def test_small_steps_reach_the_covariance(self) -> None:
        count = 800
        rule = StochasticAscent(HIGH, LOW, h=5e-4, beta=0.5, blind=False)
        ratio = variances_of(draw(EXACT, white(count, 1, *SIZE), rule, mean=0.5)) / SPECTRUM
        assert float(ratio.mean()) == pytest.approx(1, abs=4 * (2 / count / 64) ** 0.5 + 0.06)

    def test_a_blind_denoiser_of_few_dimensions_gives_their_covariance(self) -> None:
        """Four of 144 dimensions vary, so the residual shows the noise level to 1.4 %."""
        count, size = 1200, (12, 12)
        spectrum = torch.zeros(size, dtype=torch.float64)
        spectrum[[0, 0, 1, 11], [1, 11, 0, 0]] = torch.tensor([4.0, 4.0, 1.0, 1.0]).double()
        free = spectrum == 0

        def blind(noisy: Tensor, sigma: Tensor) -> Tensor:
            modes = torch.fft.fft2(noisy - 0.5, norm="ortho")
            noise = modes[..., free].abs().square().mean(-1)[..., None, None]
            return 0.5 + torch.fft.ifft2(spectrum / (spectrum + noise) * modes, norm="ortho").real

        rule = StochasticAscent(20.0, 0.05, h=0.004, beta=0.5)
        measured = variances_of(draw(blind, white(count, 1, *size), rule, mean=0.5))
        ratio = measured[~free] / predicted_variances(rule, spectrum)[~free]
        assert float(ratio.mean()) == pytest.approx(1, abs=4 * (2 / count / 4) ** 0.5 + 0.02)
        assert float((measured[~free] / spectrum[~free] - 1).abs().max()) < 0.2
        assert float(measured[free].max()) < 1e-20

    @pytest.mark.parametrize("blind", [True, False])
    @pytest.mark.parametrize("beta", [0.01, 0.5, 1.0])
    def test_a_step_leaves_the_noise_it_promises(self, beta: float, blind: bool) -> None:
        rule, sigma, step = StochasticAscent(1.0, 0.01, h=0.05, beta=beta, blind=blind), 0.7, 6
        noise = white(2, 1, 200, 200)
        noisy = sigma * noise(0)
        h = 0.05 * 7 / (1 + 0.05 * 6)
        following, level, _ = rule.move(
            step, noisy, torch.zeros_like(noisy), torch.full((2,), sigma).double(), None, noise
        )
        expected = pytest.approx([sigma * (1 - beta * h)] * 2, rel=5 / (2 * 200**2) ** 0.5)
        assert following.std(dim=(1, 2, 3)).tolist() == expected
        assert level.tolist() == expected

    def test_without_noise_it_walks_straight(self) -> None:
        rule = StochasticAscent(1.0, 0.01, h=0.2, beta=1.0)
        noisy, clean = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        following, _, _ = rule.move(0, noisy, clean, torch.ones(1), None, white(1, 1, 4, 4))
        torch.testing.assert_close(following, torch.full((1, 1, 4, 4), 0.8), check_dtype=False)

    def test_the_limit_stops_it(self) -> None:
        steps: list[int] = []
        draw(
            lambda noisy, sigma: noisy - 1,  # a residual that never falls
            white(1, 1, 2, 2),
            StochasticAscent(1.0, 0.01, limit=25),
            callback=lambda step, noisy, clean: steps.append(step),
        )
        assert steps == list(range(25))

    def test_an_image_ends_by_its_own_level_and_then_stays(self) -> None:
        """Each image is denoised by its own factor, so they end at different steps."""
        noise, factors = white(3, 1, 4, 4), torch.tensor([0.0, 0.5, 0.85]).double()
        rule = StochasticAscent(1.0, 0.1, h=0.1, beta=1.0)
        ends: list[list[bool]] = []

        def shrink(factors: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
            def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
                ends.append((sigma <= rule.end).tolist())
                return factors.view(-1, 1, 1, 1) * noisy

            return denoise

        together = draw(shrink(factors), noise, rule)
        assert len({[step[index] for step in ends].index(True) for index in range(3)}) > 1
        for index in range(3):
            alone = draw(shrink(factors[index]), only(noise, index), rule)
            assert torch.equal(alone[0], together[index])


RULES: list[StepRule] = [
    Multistep(HIGH, LOW, steps=15),
    Multistep(HIGH, LOW, steps=15, eta=1.0),
    StochasticAscent(HIGH, LOW, h=0.05, beta=0.5, blind=False),
    StochasticAscent(HIGH, LOW, h=0.05, beta=0.5, blind=True),
]
RULE_NAMES = ["multistep", "with fresh noise", "told ascent", "blind ascent"]


class TestDraw:
    """The loop, whatever the rule."""

    @pytest.mark.parametrize("rule", RULES, ids=RULE_NAMES)
    def test_a_sample_does_not_depend_on_its_batch(self, rule: StepRule) -> None:
        noise = white(5, 1, *SIZE)
        together = draw(EXACT, noise, rule, mean=EXACT.prior_mean(SIZE))
        for index in range(5):
            alone = draw(EXACT, only(noise, index), rule, mean=0.5)
            torch.testing.assert_close(alone[0], together[index], rtol=0, atol=1e-12)

    @pytest.mark.parametrize("rule", RULES, ids=RULE_NAMES)
    def test_a_single_image_is_drawn_exactly(self, rule: StepRule) -> None:
        image = torch.rand(1, 1, *SIZE, dtype=torch.float64)
        samples = draw(lambda noisy, sigma: image.expand_as(noisy), white(3, 1, *SIZE), rule)
        assert torch.equal(samples, image.expand(3, -1, -1, -1))

    @pytest.mark.parametrize("rule", RULES, ids=RULE_NAMES)
    def test_it_starts_around_the_centre(self, rule: StepRule) -> None:
        noise, states = white(2, 1, *SIZE), []
        centre = torch.rand(1, 1, *SIZE, dtype=torch.float64)
        draw(
            EXACT,
            noise,
            rule,
            mean=centre,
            callback=lambda step, noisy, clean: states.append(noisy),
        )
        torch.testing.assert_close(states[0], centre + HIGH * noise(0))


class TestDefaults:
    """What is chosen for a network."""

    @pytest.mark.parametrize(
        ("make", "steps", "beta", "blind"),
        [
            (lambda: UNet(1, (8, 8), width=8, multiples=(1,), blocks=1), 40, 0.01, False),
            (lambda: LocalConditional(1, 9, width=8), 10, 0.5, False),
            (lambda: BiasFreeDenoiser(1, [3, 3], width=4), 12, 0.01, True),
            (lambda: BiasFreeConditional(1, [3, 3], width=4), 4, 0.5, True),
            (lambda: gaussian_prior(SPECTRUM, 1).details[0], 10, 0.5, False),
        ],
    )
    def test_follow_the_kind_of_network(
        self, make: Callable[[], UNet], steps: int, beta: float, blind: bool
    ) -> None:
        network = make()
        start, end = network.sigma_range
        first = 3 * start if blind and steps == 12 else start
        noise = {40: {"eta": 1.0, "s_noise": 1.01}, 12: {"eta": 1.0}}.get(steps, {})
        assert few_steps(network) == Multistep(first, end, steps=steps, **noise)
        growing = network.conditional or not blind
        rule = StochasticAscent(start, end, h=0.01, beta=beta, blind=blind, growing=growing)
        assert paper_ascent(network) == rule
