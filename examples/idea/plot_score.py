r"""
A denoiser knows the slope of the probability
=============================================

For the physicist. The least-squares denoiser ``D`` and the gradient of the log probability of
noisy images, the score, are one function (Tweedie's formula):

.. math:: \nabla \log p_\sigma(y) = (D(y) - y) / \sigma^2

Of Gaussian fields the density is known, so the formula can be checked: the score by the denoisers
of three scales against the derivative of the log density, value by value.
"""

import matplotlib.pyplot as plt
import torch

from scalewise.exact import GaussianDenoiser, gaussian_prior, power_law_spectrum

sigma = 0.1
spectrum = 0.15**2 * power_law_spectrum((64, 64))
prior = gaussian_prior(spectrum, levels=3)
generator = torch.Generator().manual_seed(0)
white, noise = torch.randn(2, 1, 1, 64, 64, generator=generator, dtype=torch.float64)
field = 0.5 + torch.fft.ifft2(torch.fft.fft2(white) * spectrum.sqrt()).real
noisy = field + sigma * noise

score = prior.score(noisy, sigma)

wanted = noisy.clone().requires_grad_()
density = GaussianDenoiser(spectrum + sigma**2, mean=0.5).law.log_density(wanted)
(gradient,) = torch.autograd.grad(density.sum(), wanted)
print("largest difference:", float((score - gradient).abs().max()))

figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.2), layout="constrained")
for axis, name, image in zip(
    axes,
    ("noisy field", "denoised", "score"),
    (noisy, prior.denoise(noisy, sigma), score),
    strict=False,
):
    axis.imshow(image[0, 0].numpy(), cmap="gray" if image is not score else "coolwarm")
    axis.set_title(name)
    axis.axis("off")
axes[3].plot(gradient.flatten().numpy(), score.flatten().numpy(), ".", markersize=2)
axes[3].set(xlabel="derivative of the log density", ylabel="(denoised - noisy) / σ²", title="equal")
plt.show()
