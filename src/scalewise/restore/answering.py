"""Questions to the networks: answered one by one, or those of several pictures as one batch.

What restores a picture is a generator that yields its questions and is sent the answers, so that it
need not know whom else the networks answer at the same time.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore.asking import MEAN, Ask


class Question(NamedTuple):
    """A noisy image, and what is asked of it.

    Attributes:
        prior: which answers.
        ask: the mean, samples, or what lies between.
        noisy: shape (C, H, W).
        told: its noise.
    """

    prior: MultiScalePrior
    ask: Ask
    noisy: Tensor
    told: NoiseModel | float | None

    @property
    def alike(self) -> tuple[int, ...] | None:
        """What questions that may be answered with it share; None if it is to be answered alone."""
        alike = self.ask is MEAN and isinstance(self.told, float)
        return (id(self.prior), *self.noisy.shape) if alike else None


Result = TypeVar("Result")
Asking = Generator[Question, Tensor, Result]
"""Yields questions, is sent images (K, C, H, W) on the CPU, and returns a result."""


@torch.no_grad()
def answered(work: Asking[Result]) -> Result:
    """The result of what asks, its questions answered one by one.

    Args:
        work: what asks.

    Examples:
        >>> from scalewise.restore import answered, denoising
        >>> picture, prior = scalewise.Picture(torch.rand(3, 32, 32)), scalewise.load("photos")
        >>> answered(denoising(picture, prior, sigma=0.1)).sigma
        (0.1,)
    """
    try:
        question = next(work)
        while True:
            question = work.send(question.ask(question.prior, question.noisy, question.told))
    except StopIteration as end:
        return end.value


@torch.no_grad()
def answered_together(works: Sequence[Asking[Result]]) -> list[Result | Exception]:
    """The results of several that ask; what they ask of images of one size is one batch.

    Answers are those of one by one but for the rounding of floats.

    Args:
        works: what asks.

    Returns:
        A result of each, or what went wrong with it alone.

    Examples:
        >>> from scalewise.restore import answered_together, denoising
        >>> pictures = [scalewise.Picture(torch.rand(3, 32, 32)) for _ in range(4)]
        >>> prior = scalewise.load("photos")
        >>> works = [denoising(picture, prior, sigma=0.1) for picture in pictures]
        >>> [found.sigma for found in answered_together(works)]
        [(0.1,), (0.1,), (0.1,), (0.1,)]
    """
    outcomes: dict[int, Result | Exception] = {}
    asked: dict[int, Question] = {}

    def go_on(number: int, answer: Tensor | None = None) -> None:
        asked.pop(number, None)
        try:
            # the first `send` of a generator is of None
            asked[number] = works[number].send(answer)  # type: ignore[arg-type]
        except StopIteration as end:
            outcomes[number] = end.value
        except Exception as error:
            outcomes[number] = error

    for number in range(len(works)):
        go_on(number)
    while asked:
        first = next(iter(asked.values())).alike
        alike = [n for n, question in asked.items() if question.alike == first]
        numbers = alike if first is not None else alike[:1]
        answers = _answers([asked[number] for number in numbers])
        for number, answer in zip(numbers, answers, strict=True):
            if isinstance(answer, Exception):
                outcomes[number] = answer
                del asked[number]
            else:
                go_on(number, answer)
    return [outcomes[number] for number in range(len(works))]


def _answers(questions: list[Question]) -> list[Tensor | Exception]:
    """An answer to each question, or why there is none; those of several are alike."""
    try:
        prior, ask, noisy, told = questions[0]
        if len(questions) == 1:
            return [ask(prior, noisy, told)]
        levels = torch.tensor([question.told for question in questions])
        noisy = torch.stack([question.noisy for question in questions])
        return list(prior.denoise(noisy, levels).cpu().split(1))
    except Exception as error:
        if len(questions) == 1:
            return [error]
    return [answer for question in questions for answer in _answers([question])]
