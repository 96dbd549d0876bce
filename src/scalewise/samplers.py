"""Noise schedules, the one sampling loop, and the step rules that it runs.

`draw` knows nothing of scales or images: a step rule says at which noise level to begin, how to
move from one noisy state to the next given the denoised one, and when to stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from itertools import count
from typing import Any, Protocol

import torch
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.networks import Network
from scalewise.score import per_image, residual_sigma

Noise = Callable[[int], Tensor]
"""Maps a step to a standard Gaussian field of shape (N, C, H, W), on the denoiser's device."""

Callback = Callable[[int, Tensor, Tensor], None]
"""Called with (step, noisy, denoised) after every call of the network."""


class StepRule(Protocol):
    """How a sampler moves. A rule holds settings only; `memory` is what a run remembers.

    Examples:
        >>> from scalewise.samplers import Multistep, StepRule
        >>> rule: StepRule = Multistep(start=1.0, end=0.01, steps=10)
        >>> rule.start
        1.0
    """

    @property
    def start(self) -> float:
        """First noise level."""

    def finished(self, step: int, sigma: Tensor) -> Tensor:
        """Tell, per image (N,), whether the denoised state of this step is the sample."""

    def move(
        self, step: int, noisy: Tensor, clean: Tensor, sigma: Tensor, memory: Any, noise: Noise
    ) -> tuple[Tensor, Tensor, Any]:
        """Return the next noisy state, its noise levels (N,), and what to remember."""


def draw(
    denoise: Callable[[Tensor, Tensor], Tensor],
    noise: Noise,
    rule: StepRule,
    *,
    mean: Tensor | float = 0.0,
    first: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Draw samples from the distribution that a denoiser holds.

    Args:
        denoise: maps (noisy, sigma of shape (N,)) to the least-squares clean estimate.
        noise: standard Gaussian field of each step.
        rule: where to begin, how to move, when to stop.
        mean: what the first noisy state is centred on.
        first: the first noisy state itself, of noise level `rule.start`, if there is one.
        callback: called after every step.

    Returns:
        The samples, of the shape that `noise` gives.

    Examples:
        >>> from scalewise.samplers import Multistep, draw
        >>> generator = torch.Generator().manual_seed(0)
        >>> noise = lambda step: torch.randn(500, 1, 2, 2, generator=generator)
        >>> wiener = lambda noisy, sigma: noisy * 0.04 / (0.04 + sigma.view(-1, 1, 1, 1) ** 2)
        >>> draw(wiener, noise, Multistep(4.0, 0.01, steps=40)).std().round(decimals=1)
        tensor(0.2000)
    """
    noisy = sample = mean + rule.start * noise(0) if first is None else first
    sigma = torch.full((len(noisy),), rule.start, dtype=noisy.dtype, device=noisy.device)
    done, memory = torch.zeros_like(sigma, dtype=torch.bool), None
    ended = 0
    for step in count():
        clean = denoise(noisy, sigma)
        if callback:
            callback(step, noisy, clean)
        sample = torch.where(done.view(-1, 1, 1, 1), sample, clean) if ended else clean
        done = done | rule.finished(step, sigma)
        ended = int(done.sum())
        if ended == len(done):
            break
        noisy, sigma, memory = rule.move(step, noisy, clean, sigma, memory, noise)
    return sample


def karras_schedule(steps: int, high: float, low: float, *, rho: float = 7.0) -> list[float]:
    """Noise levels from `high` to `low`, denser at the end (Karras et al. 2022, equation 5).

    Args:
        steps: number of levels, from 1.
        high: first level.
        low: last level, above 0.
        rho: how much denser.

    Raises:
        UsageError: there is no level, `low` is not above 0, or `high` is below it.

    Examples:
        >>> from scalewise.samplers import karras_schedule
        >>> [round(sigma, 2) for sigma in karras_schedule(4, 1.0, 0.01)]
        [1.0, 0.29, 0.07, 0.01]
    """
    if steps < 1 or not 0 < low <= high:
        raise UsageError(
            "a noise schedule needs steps >= 1 and 0 < low <= high, "
            f"found steps={steps}, low={low}, high={high}"
        )
    first, last = high ** (1 / rho), low ** (1 / rho)
    ramp = [step / max(1, steps - 1) for step in range(steps)]
    return [(first + place * (last - first)) ** rho for place in ramp]


@dataclass(frozen=True)
class Multistep:
    """Second-order multistep solver of the reverse diffusion, one network call per step.

    DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), or with fresh noise SDE-DPM-Solver++(2M) (there,
    appendix D.2), on the schedule of Karras et al.

    Attributes:
        start: first noise level.
        end: last noise level, whose denoised state is the sample.
        steps: number of calls of the network.
        rho: density of the schedule at its end.
        eta: 0 follows the probability flow, deterministic after the first noise; 1 the reverse
            diffusion, whose fresh noise makes up for errors of earlier steps.
        s_noise: factor of the fresh noise; a little above 1 makes up for the energy that
            imperfect denoisers lose (`S_noise` of Karras et al. 2022, section 4).

    Examples:
        >>> from scalewise.samplers import Multistep
        >>> prior = scalewise.load("photos")
        >>> posterior = prior.posterior(torch.rand(1, 3, 32, 32), 0.1)
        >>> posterior.samples(1, rule=Multistep(1.0, 0.05, steps=6, eta=1.0)).shape
        torch.Size([1, 1, 3, 32, 32])
    """

    start: float
    end: float
    _: KW_ONLY
    steps: int = 20
    rho: float = 7.0
    eta: float = 0.0
    s_noise: float = 1.0

    @property
    def levels(self) -> list[float]:
        """Noise level of each step, from `start` to `end`."""
        return karras_schedule(self.steps, self.start, self.end, rho=self.rho)

    def finished(self, step: int, sigma: Tensor) -> Tensor:
        """All images end together, at the last level of the schedule.

        Examples:
            >>> from scalewise.samplers import Multistep
            >>> Multistep(1.0, 0.01, steps=4).finished(3, torch.full((2,), 0.01))
            tensor([True, True])
        """
        return torch.full_like(sigma, step + 1 >= self.steps, dtype=torch.bool)

    def move(
        self, step: int, noisy: Tensor, clean: Tensor, sigma: Tensor, memory: Any, noise: Noise
    ) -> tuple[Tensor, Tensor, Any]:
        """Step towards the denoised state, extrapolated from this and the previous one.

        Args:
            step: number of the step, from 0.
            noisy: state, shape (N, C, H, W).
            clean: its least-squares estimate, same shape.
            sigma: noise levels of the state, shape (N,).
            memory: what the last step returned; None at first.
            noise: standard Gaussian field of each step.

        Returns:
            The next state, its noise levels (N,), and what to remember.

        Examples:
            >>> from scalewise.samplers import Multistep
            >>> noisy, clean = torch.full((1, 1, 2, 2), 0.9), torch.full((1, 1, 2, 2), 0.5)
            >>> rule, noise = Multistep(1.0, 0.25, steps=2), lambda step: torch.zeros(1, 1, 2, 2)
            >>> noisy, sigma, _ = rule.move(0, noisy, clean, torch.ones(1), None, noise)
            >>> noisy.mean().round(decimals=2), sigma.round(decimals=2)
            (tensor(0.6000), tensor([0.2500]))
        """
        levels = self.levels
        now, then = levels[step], levels[step + 1]
        aim = clean
        if memory is not None:
            weight = 0.5 * math.log(now / then) / math.log(levels[step - 1] / now)
            aim = torch.lerp(memory, clean, 1 + weight)
        kept = (then / now) ** self.eta
        following = torch.lerp(aim, noisy, kept * then / now)
        if self.eta:
            added = self.s_noise * then * math.sqrt(1 - kept**2)
            following = following + added * noise(step + 1)
        return following, torch.full_like(sigma, then), clean


@dataclass(frozen=True)
class StochasticAscent:
    """The paper's stochastic ascent of the score.

    Each step goes a fraction `h_t` of the way to the denoised state and adds noise so that the
    level falls by `1 - beta * h_t` (Kadkhodaie and Simoncelli, NeurIPS 2021, algorithm 1;
    Kadkhodaie et al., ICLR 2023, algorithm 1). The level is read off the network's own residual,
    unless the network is told it: a residual is always smaller than the noise, so telling it back
    would lose the true level within a few steps.

    Attributes:
        start: first noise level.
        end: noise level at which to stop.
        h: first step size; step `t` has `h t / (1 + h (t - 1))`, or `h` if it does not grow.
        beta: 1 adds no noise; the smaller, the more stochastic.
        limit: number of steps at which to stop at the latest.
        blind: whether the level is read off the residual; otherwise it follows the rule.
        growing: whether the step size grows towards 1.

    Examples:
        >>> from scalewise.samplers import StochasticAscent
        >>> prior = scalewise.load("photos")
        >>> rule = lambda network: StochasticAscent(*network.sigma_range, h=0.2, blind=False)
        >>> prior.upscale(torch.rand(1, 3, 8, 8), 2, sampler=rule).shape
        torch.Size([1, 1, 3, 16, 16])
    """

    start: float
    end: float
    _: KW_ONLY
    h: float = 0.01
    beta: float = 0.5
    limit: int = 20_000
    blind: bool = True
    growing: bool = True

    def finished(self, step: int, sigma: Tensor) -> Tensor:
        """An image ends when its own noise level has come down to `end`.

        Examples:
            >>> from scalewise.samplers import StochasticAscent
            >>> StochasticAscent(1.0, 0.01).finished(0, torch.tensor([0.5, 0.005]))
            tensor([False,  True])
        """
        return (sigma <= self.end) | (step + 1 >= self.limit)

    def move(
        self, step: int, noisy: Tensor, clean: Tensor, sigma: Tensor, memory: Any, noise: Noise
    ) -> tuple[Tensor, Tensor, Any]:
        """Go up the score by `h_t` and put back noise.

        Args:
            step: number of the step, from 0.
            noisy: state, shape (N, C, H, W).
            clean: its least-squares estimate, same shape.
            sigma: noise levels of the state, shape (N,).
            memory: what the last step returned; None at first.
            noise: standard Gaussian field of each step.

        Returns:
            The next state, its noise levels (N,), and what to remember.

        Examples:
            >>> from scalewise.samplers import StochasticAscent
            >>> noisy, clean = torch.full((1, 1, 2, 2), 0.9), torch.full((1, 1, 2, 2), 0.5)
            >>> rule = StochasticAscent(1.0, 0.01, h=0.5, beta=1.0)
            >>> noisy, _, _ = rule.move(0, noisy, clean, torch.ones(1), None, lambda step: noisy)
            >>> noisy.mean().round(decimals=2)  # half of the way
            tensor(0.7000)
        """
        h = self.h * (step + 1) / (1 + self.h * step) if self.growing else self.h
        level = residual_sigma(noisy, clean) if self.blind else sigma
        kept = (1 - self.beta * h) ** 2
        gamma = per_image(level * math.sqrt(kept - (1 - h) ** 2), noisy)
        following = torch.lerp(noisy, clean, h) + gamma * noise(step + 1)
        return following, level * math.sqrt(kept), None


Sampler = Callable[[Network], StepRule]
"""Chooses the step rule for a network, from its range of noise levels."""


def few_steps(network: Network) -> StepRule:
    """The default: second-order steps, as many as the range of noise levels needs and no more.

    Images take 40 steps of networks told the level and 12 of blind ones, whose range is shorter,
    both with fresh noise; details given a low-pass image 10 and 4, in the flow
    (`benchmarks/LOG.md`). A blind network of images cannot tell contrast, and a few steps lose some
    of it: they begin at three times its range, and so have the contrast of the paper's ascent.

    Examples:
        >>> from scalewise.samplers import few_steps
        >>> prior = scalewise.load("photos")
        >>> few_steps(prior.low).steps, few_steps(prior.conditionals[0]).steps
        (40, 10)
    """
    start, end = network.sigma_range
    if network.noise_conditional and network.conditional:
        return Multistep(start, end, steps=10)
    if network.noise_conditional:
        return Multistep(start, end, steps=40, eta=1.0, s_noise=1.01)
    if network.conditional:
        return Multistep(start, end, steps=4)
    return Multistep(3 * start, end, steps=12, eta=1.0)


def paper_ascent(network: Network) -> StepRule:
    """The paper's stochastic ascent, with its `h` and `beta` for low-pass images and details.

    As published, a blind low-pass network is followed in thousands of steps of one size. Told its
    level, which then falls by the rule alone, the step size must grow.

    Examples:
        >>> from scalewise.samplers import paper_ascent
        >>> rule = paper_ascent(scalewise.load("photos").conditionals[0])
        >>> rule.h, rule.beta
        (0.01, 0.5)
    """
    start, end = network.sigma_range
    beta = 0.5 if network.conditional else 0.01
    told = network.noise_conditional
    return StochasticAscent(
        start, end, h=0.01, beta=beta, blind=not told, growing=told or network.conditional
    )


SAMPLERS: dict[str, Sampler] = {"few-steps": few_steps, "paper": paper_ascent}
"""Samplers by the names that the command line gives them."""
