"""One forward pass of a network of details, beside the published one of the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from scalewise.errors import ScalewiseError
from scalewise.networks.graphs import recorded
from scalewise.speed import baseline, layout
from scalewise.speed.layout import Row
from scalewise.speed.machine import Setting
from scalewise.speed.timing import Work

TOLERANCE = 1e-4
"""Greatest difference from the published output, over its largest value, in float32."""


Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Forward:
    """Times of one pass over the bands of one gray image.

    Attributes:
        receptive_field: of the network.
        side: of the bands.
        ratio_to_published: how many times faster ours is.
        share_of_convolution_rate: operations per second, over those of one dense convolution.
        seconds: of ours.
        seconds_published: of the published one.
        spread: of ours, from quartile to quartile, over the median.
        gflops: rate of ours, multiplications and additions of the convolutions.
        convolution_gflops: rate of the dense convolution, measured in turns with it.
        error: greatest difference of the outputs, over the largest value.
        seconds_replayed: of ours as a CUDA graph, without the cost of launching; None on a CPU.
    """

    receptive_field: int
    side: int
    ratio_to_published: float
    share_of_convolution_rate: float
    seconds: float
    seconds_published: float
    spread: float
    gflops: float
    convolution_gflops: float
    error: float
    seconds_replayed: float | None

    def rows(self) -> Iterator[Row]:
        """Lay out the record."""
        name = f"forward pass, receptive field {self.receptive_field}, {self.side}×{self.side}"
        yield layout.compared(name, self.seconds, self.seconds_published)
        yield layout.rate(self.gflops, self.convolution_gflops)
        if self.seconds_replayed is not None:
            yield "  as a CUDA graph", layout.seconds(self.seconds_replayed), "", ""


def ready(network: Net, device: torch.device) -> Net:
    """Bring a network or prior of ours into the state in which `store.load` gives it."""
    network.eval().requires_grad_(False).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


@torch.no_grad()
def measure_forward(
    setting: Setting,
    receptive_field: int = 13,
    side: int = 512,
    width: int = baseline.WIDTH,
    depth: int = baseline.DEPTH,
) -> Forward:
    """Time a pass over bands of `side` x `side`, ours and the published one in turns.

    Raises:
        ScalewiseError: the two do not give the same details.
    """
    network = baseline.details_network(1, receptive_field, width, depth)
    plain = baseline.published_form(network).to(setting.device)
    ours = ready(network, setting.device)
    generator = torch.Generator().manual_seed(0)
    bands = torch.randn(1, 4, side, side, generator=generator).to(setting.device)
    low, noisy = bands[:, :1].contiguous(), bands[:, 1:].contiguous()

    def fast() -> Tensor:
        with setting.autocast():
            return ours(noisy, low).details

    exact = noisy - plain(torch.cat([low, noisy], dim=1))
    error = ((fast() - exact).abs().max() / exact.abs().max()).item()
    if setting.dtype == torch.float32 and not error <= TOLERANCE:
        raise ScalewiseError(
            f"the fast network differs from the published one by {error:.1e} of the largest value, "
            f"expected at most {TOLERANCE:g}; its speed means nothing"
        )
    dense, dense_flops = setting.dense()
    dense()
    works: dict[str, Work] = {
        "dense": dense,
        "ours": fast,
        "published": lambda: noisy - plain(torch.cat([low, noisy], dim=1)),
    }
    if setting.device.type == "cuda":
        works["replayed"] = recorded(fast)[0]
    times = setting.clock.compare(works, warm=False)
    rate = baseline.flops_per_position(network) * side * side / times["ours"].seconds
    limit = dense_flops / times["dense"].seconds
    return Forward(
        receptive_field=receptive_field,
        side=side,
        ratio_to_published=times["published"].seconds / times["ours"].seconds,
        share_of_convolution_rate=rate / limit,
        seconds=times["ours"].seconds,
        seconds_published=times["published"].seconds,
        spread=times["ours"].spread,
        gflops=rate / 1e9,
        convolution_gflops=limit / 1e9,
        error=error,
        seconds_replayed=times["replayed"].seconds if "replayed" in times else None,
    )
