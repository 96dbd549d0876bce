"""Local networks of the published form, blind and bias-free, hence homogeneous.

They denoise images (`BiasFreeDenoiser`) or details given a clean low-pass image
(`BiasFreeConditional`). Mohan et al., "Robust and interpretable blind image denoising via bias-free
convolutional neural networks", ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalewise import processes
from scalewise.networks import strips
from scalewise.networks.base import Bands, BandSigma, ConditionalDenoiser, Denoiser
from scalewise.networks.convolution import convolution, field_of
from scalewise.score import Sigma


class BiasFreeNorm(nn.Module):
    """Divide every channel by its standard deviation, times a learned gain; nothing is subtracted.

    In training the deviation is that of the batch, in evaluation its running mean, so that a
    network of these, bias-free convolutions and ReLU is homogeneous (Mohan et al. 2020).
    """

    running_sd: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.register_buffer("running_sd", torch.ones(channels))
        self.momentum, self.epsilon = momentum, epsilon

    @property
    def scale(self) -> Tensor:
        """What evaluation multiplies every channel by, shape (channels, 1, 1)."""
        return (self.gain / self.running_sd)[:, None, None]

    @property
    def sign(self) -> Tensor:
        """Signs of the gains, shape (channels,)."""
        return torch.where(self.gain < 0, -1.0, 1.0).to(self.gain.dtype)

    def rectified(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """In training: `relu` of features (N, channels, H, W), and what is still to scale it.

        `relu(features * gain / sd) = relu(features) * gain / sd` for a gain from 0, so features of
        a channel with a negative gain must come with the other sign.

        Returns:
            The rectified features, and factors of shape (channels,), none negative.
        """
        positive, sd = rectified_deviation(features, self.epsilon)
        with torch.no_grad():
            self.running_sd.lerp_(sd, self.momentum)
        return positive, self.gain.abs() / sd


class RectifiedDeviation(torch.autograd.Function):
    """`relu` of features and the standard deviation of each channel, in few passes over memory."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        """Map (N, C, H, W) to the same and (C,): that of the whole batch, in parts of it too."""
        (first, second), images = processes.mean_of_rows(_moments(features))
        ctx.values, ctx.in_parts = images * features[0, 0].numel(), processes.in_parts()
        variance = (second - first.square()).clamp(min=0)
        kind = torch.float32 if _rounded(features) else features.dtype
        mean, sd = first.to(kind), (variance + epsilon).sqrt().to(kind)
        ctx.save_for_backward(features, mean, sd)
        return features.relu(), sd

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Add the gradients of the two outputs."""
        features, mean, sd = ctx.saved_tensors
        into_sd = processes.summed(gradients[1]) if ctx.in_parts else gradients[1]
        slope = into_sd / (sd * ctx.values)
        shift = (slope * mean).to(features.dtype)[:, None, None]
        into = torch.ops.aten.threshold_backward(gradients[0], features, 0)
        into.addcmul_(features, slope.to(features.dtype)[:, None, None]).sub_(shift)
        return into, None


def _moments(features: Tensor) -> Tensor:
    """Mean and mean square of each channel of each image of (N, C, H, W): (N, 2, C), float64.

    Image by image, since sums of few numbers lose less to rounding, and are the same wherever an
    image is computed. The fast way for where they lie in memory; sums are in float32 at least.
    """
    kind = torch.float32 if _rounded(features) else features.dtype
    wide = torch.float32 if features.device.type == "mps" else torch.float64  # which has no other
    if features.device.type == "cpu" and features.is_contiguous(memory_format=torch.channels_last):
        mean, square = features.new_zeros(2, features.shape[1], dtype=kind)  # not looked at
        each = [torch.batch_norm_update_stats(one, mean, square, 0.0) for one in features.split(1)]
        means, variances = (torch.stack(kinds).to(wide) for kinds in zip(*each, strict=True))
        return torch.stack([means, variances + means.square()], dim=1)
    means = features.mean(dim=(2, 3), dtype=kind).to(wide)
    lengths = torch.linalg.vector_norm(features, dim=(2, 3), dtype=kind).to(wide)
    return torch.stack([means, lengths.square() / features[0, 0].numel()], dim=1)


def _rounded(features: Tensor) -> bool:
    """Whether features are in half precision."""
    return features.dtype in (torch.float16, torch.bfloat16)


rectified_deviation: Callable[[Tensor, float], tuple[Tensor, Tensor]] = RectifiedDeviation.apply


class BiasFreeCNN(nn.Sequential):
    """The published trunk: bias-free convolutions, normalisations and ReLU in a row.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernels: sides (3 or 1) of the convolutions; the first and last stand alone, linear.
        width: channels between.
    """

    def __init__(self, inputs: int, outputs: int, kernels: list[int], width: int = 64) -> None:
        widths = [inputs] + [width] * (len(kernels) - 1) + [outputs]
        layers: list[nn.Module] = []
        for place, kernel in enumerate(kernels):
            layers.append(convolution(widths[place], widths[place + 1], kernel, bias=False))
            if 0 < place < len(kernels) - 1:
                layers += [BiasFreeNorm(width), nn.ReLU()]
        super().__init__(*layers)

    def forward(self, features: Tensor, *, exact: bool = False) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W); see `Network.exact`.

        In evaluation each normalisation is folded into the convolution before it, and in training
        its scale into the convolution after it; both are exact.
        """
        if self.training:
            return self._in_training(features)
        layers = self._folded()
        if not exact and strips.suits(features, *(layer.weight for layer in layers)):
            width, outputs = len(layers[0].weight), len(layers[-1].weight)
            return strips.run(lambda _: layers, features, width, outputs)
        for layer in layers:
            features = F.conv2d(features, layer.weight, padding=layer.margin)
            features = torch.relu(features) if layer.rectified else features
        return features

    def _in_training(self, features: Tensor) -> Tensor:
        scale: Tensor | None = None
        for layer, following in pairwise([*self, None]):
            if not isinstance(layer, nn.Conv2d):
                continue
            weight = layer.weight if scale is None else layer.weight * scale[:, None, None]
            normed = isinstance(following, BiasFreeNorm)
            if normed:
                weight = weight * following.sign[:, None, None, None]
            features = F.conv2d(features, weight, padding=layer.padding)
            if normed:
                features, scale = following.rectified(features)
        return features

    def _folded(self) -> list[strips.Layer]:
        """The convolutions, with the normalisations that follow them in their weights."""
        layers = []
        for layer, following in pairwise([*self, None]):
            if isinstance(layer, nn.Conv2d):
                normed = isinstance(following, BiasFreeNorm)
                weight = layer.weight * following.scale[:, None] if normed else layer.weight
                layers.append(strips.Layer(weight, rectified=normed))
        return layers


class BiasFreeDenoiser(Denoiser):
    """Blind, bias-free image denoiser of the published form: `noisy - trunk(noisy)`.

    Args:
        channels: C of the images.
        kernels: sides (3 or 1) of the convolutions.
        width: channels between.
        size: height and width of the images that it learnt, where it is the low-pass network.

    Examples:
        >>> from scalewise.networks import BiasFreeDenoiser
        >>> network, image = BiasFreeDenoiser(1, [3] * 5, width=8).eval(), torch.rand(1, 1, 16, 16)
        >>> torch.allclose(network(4 * image), 4 * network(image), atol=1e-5)
        True
    """

    homogeneous = True

    def __init__(
        self,
        channels: int,
        kernels: list[int],
        *,
        width: int = 64,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(channels=channels, kernels=list(kernels), width=width, size=size)
        self.receptive_field = field_of(kernels)
        self.trunk = BiasFreeCNN(channels, channels, kernels, width)

    def forward(self, noisy: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Denoise images (N, C, H, W); `sigma` is not looked at."""
        return noisy - self.trunk(noisy, exact=self.exact)


class BiasFreeConditional(ConditionalDenoiser):
    """Blind, bias-free denoiser of details given a clean low-pass image, of the published form.

    Args:
        channels: C of the images.
        kernels: sides (3 or 1) of the convolutions.
        width: channels between.

    Examples:
        >>> from scalewise.networks import BiasFreeConditional
        >>> network = BiasFreeConditional(1, [3] * 4, width=8).eval()
        >>> bands = network(torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16))
        >>> bands.details.shape, network.receptive_field
        (torch.Size([1, 3, 16, 16]), 9)
    """

    homogeneous = True

    def __init__(self, channels: int, kernels: list[int], *, width: int = 64) -> None:
        super().__init__(channels=channels, kernels=list(kernels), width=width)
        self.receptive_field = field_of(kernels)
        self.trunk = BiasFreeCNN(4 * channels, 3 * channels, kernels, width)

    def forward(
        self,
        noisy: Tensor,
        low: Tensor,
        sigma: BandSigma | None = None,
        noisy_low: Tensor | None = None,
    ) -> Bands:
        """Denoise details (N, 3C, h, w); `sigma` and `noisy_low` are not looked at."""
        return Bands(noisy - self.trunk(torch.cat([low, noisy], dim=1), exact=self.exact), low)
