"""A prior as a pipeline, a model and a scheduler of diffusers.

    from scalewise.diffusers import ScalewiseModel, ScalewisePipeline, ScalewiseScheduler

    pipeline = ScalewisePipeline(ScalewiseModel.from_pretrained("faces"), ScalewiseScheduler())
    pipeline(num_images=4, seed=0).images[0].save("face.png")

The pipeline draws by `MultiScalePrior.sample`, the scheduler steps by a rule of `samplers`, and the
model is saved and loaded by `store`: there is no second copy of any of them here.
"""

# without annotations from the future: diffusers 0.35 looks at those of the pipeline's __init__
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor

from scalewise import store
from scalewise.checks import whole_number
from scalewise.errors import UsageError
from scalewise.networks import Network
from scalewise.prior import MultiScalePrior
from scalewise.samplers import Multistep, few_steps
from scalewise.score import per_image
from scalewise.store.config import TOLD, describe

try:
    from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin, SchedulerMixin
    from diffusers.configuration_utils import register_to_config
    from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
    from diffusers.utils import BaseOutput
    from diffusers.utils.torch_utils import randn_tensor
except ImportError as missing:
    raise UsageError(
        f"scalewise.diffusers needs an extra: pip install 'scalewise[diffusers]' ({missing})"
    ) from missing

__all__ = [
    "ScalewiseModel",
    "ScalewiseModelOutput",
    "ScalewisePipeline",
    "ScalewiseScheduler",
    "ScalewiseSchedulerOutput",
]

BATCH = 64
"""How many images are drawn at a time."""

OUTPUTS = ("pil", "np", "pt")
"""Kinds of images that the pipeline gives."""


@dataclass
class ScalewiseModelOutput(BaseOutput):
    """What the model gives.

    Attributes:
        sample: the denoised images, shape (N, C, H, W).
    """

    sample: Tensor


@dataclass
class ScalewiseSchedulerOutput(BaseOutput):
    """What a step of the scheduler gives.

    Attributes:
        prev_sample: the state at the next noise level; after the last step, the sample itself.
    """

    prev_sample: Tensor


class ScalewiseModel(ModelMixin, ConfigMixin):
    """A prior as a model of diffusers, whose `config` is that of a Scalewise model folder.

    `save_pretrained` writes such a folder, which `scalewise.load` and the command line read too.

    Args:
        prior: the prior, whose networks `store.NETWORKS` names.
        facts: `name`, `description`, `training`, `scores` and `license` of `ModelConfig`.

    Raises:
        ScalewiseError: a network has no name, or the facts are not JSON.
    """

    config_name = "config.json"

    def __init__(self, prior: MultiScalePrior, **facts: Any) -> None:
        super().__init__()
        config = describe(prior, **{"name": "scalewise"} | facts)
        self.register_to_config(**json.loads(config.to_json()))
        self.prior = prior

    def forward(
        self, sample: Tensor, timestep: Tensor | float, return_dict: bool = True
    ) -> ScalewiseModelOutput | tuple[Tensor]:
        """Return the least-squares estimate of the images, by `prior.denoise`.

        Args:
            sample: images in [0, 1] plus white Gaussian noise, shape (N, C, H, W).
            timestep: standard deviation of that noise, in the unit of the images; a number or
                shape (N,).
            return_dict: false for a tuple.
        """
        clean = self.prior.denoise(sample, timestep)
        return ScalewiseModelOutput(sample=clean) if return_dict else (clean,)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write a Scalewise model folder, over one that is there.

        Args:
            save_directory: the folder; folders above it are made.
            options: of diffusers, of other formats of weights; none has an effect.

        Raises:
            ScalewiseError: it holds something else, or cannot be written.
        """
        Path(save_directory).absolute().parent.mkdir(parents=True, exist_ok=True)
        facts = {name: self.config[name] for name in TOLD}
        store.save(self.prior, save_directory, force=True, **facts)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Load a model on the CPU, in evaluation mode, its weights frozen.

        Args:
            pretrained_model_name_or_path: a model folder, the name of a packaged model, or a hub
                id `owner/name`.
            options: of diffusers: `subfolder` and `torch_dtype` count, others have no effect.

        Raises:
            ScalewiseError: nothing has that name, or its files are missing or damaged.
        """
        place: str | Path = pretrained_model_name_or_path
        if options.get("subfolder"):
            place = Path(place) / options["subfolder"]
        config = store.read_config(store.resolve(place))
        model = cls(store.load(place, device="cpu"), **config.told)
        dtype = options.get("torch_dtype")
        return model.eval() if dtype is None else model.to(dtype).eval()


class ScalewiseScheduler(SchedulerMixin, ConfigMixin):
    """The steps of one scale, as `samplers.Multistep` takes them.

    A "timestep" is a noise level: the standard deviation that the model is told. The model's output
    is the denoised state, neither noise nor a residual. What is None is chosen for each network
    (`samplers.few_steps`), or is the default of `Multistep` where there is no network.

    Args:
        start: first noise level.
        end: last noise level, whose denoised state is the sample.
        steps: number of calls of the network.
        rho: density of the schedule at its end.
        eta: 0 follows the probability flow, 1 the reverse diffusion with fresh noise.
        s_noise: factor of the fresh noise.
    """

    order = 1

    @register_to_config
    def __init__(
        self,
        start: float | None = None,
        end: float | None = None,
        steps: int | None = None,
        rho: float | None = None,
        eta: float | None = None,
        s_noise: float | None = None,
    ) -> None:
        self._rule: Multistep | None = None
        self._step, self._memory = 0, None
        self.timesteps = torch.empty(0)
        self.num_inference_steps: int | None = None
        self.init_noise_sigma = 1.0 if start is None else start

    def rule(self, network: Network | None = None, steps: int | None = None) -> Multistep:
        """The rule that this scheduler follows.

        Args:
            network: for which what is not configured is chosen.
            steps: instead of those configured.

        Raises:
            UsageError: no network is given, and no range of noise levels configured.
        """
        names = ("start", "end", "steps", "rho", "eta", "s_noise")
        given = {name: self.config[name] for name in names if self.config[name] is not None}
        if steps is not None:
            given["steps"] = whole_number(steps, "num_inference_steps")
        if network is not None:
            return replace(cast(Multistep, few_steps(network)), **given)
        if not given.keys() >= {"start", "end"}:
            raise UsageError(
                "the scheduler knows no range of noise levels; give set_timesteps the network, or "
                "make the scheduler with start and end"
            )
        return Multistep(**given)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: torch.device | str | None = None,
        network: Network | None = None,
    ) -> None:
        """Begin a run: choose its noise levels, `timesteps`, and forget the run before.

        Args:
            num_inference_steps: how many; None for as many as are configured.
            device: where `timesteps` are.
            network: of a prior, such as `model.prior.low`, for which they are chosen.
        """
        rule = self._rule = self.rule(network, num_inference_steps)
        levels = [rule.start, *rule.levels[1:]]
        self.timesteps = torch.tensor(levels, dtype=torch.float32, device=device)
        self.init_noise_sigma = rule.start
        self.num_inference_steps = rule.steps
        self._step, self._memory = 0, None

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """Return the state as it is: the networks scale it themselves."""
        return sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return `x + sigma * z`, shape (N, C, H, W), for noise levels of shape (N,)."""
        return original_samples + per_image(timesteps, original_samples) * noise

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | float,
        sample: Tensor,
        generator: torch.Generator | None = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> ScalewiseSchedulerOutput | tuple[Tensor]:
        """Take one step, by `Multistep.move`.

        Args:
            model_output: the denoised state, shape (N, C, H, W).
            timestep: its noise level, the next one of `timesteps`.
            sample: the noisy state.
            generator: of the fresh noise, where `eta` is above 0.
            variance_noise: that noise itself, of variance 1, instead.
            return_dict: false for a tuple.

        Raises:
            UsageError: `set_timesteps` was not called, or a step is out of turn.
        """
        rule, now = self._turn(timestep)

        def fresh(step: int) -> Tensor:
            if variance_noise is not None:
                return variance_noise
            return randn_tensor(sample.shape, generator, sample.device, sample.dtype)

        sigma = torch.full((len(sample),), float(timestep)).to(sample)
        following = model_output
        if not bool(rule.finished(now, sigma).all()):
            following, _, self._memory = rule.move(
                now, sample, model_output, sigma, self._memory, fresh
            )
        self._step = now + 1
        return ScalewiseSchedulerOutput(following) if return_dict else (following,)

    def _turn(self, timestep: Tensor | float) -> tuple[Multistep, int]:
        """The rule, and the number of the step whose turn it is."""
        if self._rule is None:
            raise UsageError("set_timesteps must be called before the first step")
        left = self.timesteps.tolist()[self._step :]
        if not left or float(timestep) != left[0]:
            raise UsageError(
                f"step {self._step + 1} of {self._rule.steps} was expected at noise level "
                f"{left[0] if left else 'none, the run has ended'}, found {float(timestep):g}; go "
                "through timesteps in order, and call set_timesteps for a new run"
            )
        return self._rule, self._step


class ScalewisePipeline(DiffusionPipeline):
    """Draw images from scratch, one scale at a time, by `MultiScalePrior.sample`.

    Args:
        prior: the model.
        scheduler: how each scale is drawn.
    """

    def __init__(self, prior: ScalewiseModel, scheduler: ScalewiseScheduler) -> None:
        super().__init__()
        self.register_modules(prior=prior, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        num_images: int = 1,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        size: tuple[int, int] | None = None,
        num_inference_steps: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Draw images.

        Args:
            num_images: how many.
            seed: image `i` of a seed is that of `prior.sample`, whatever the number; 0 by default.
            generator: draws a seed, instead: two calls with one generator give other images.
            size: height and width; those of the training images by default.
            num_inference_steps: calls of the network for each scale; None for as many as the
                scheduler says.
            output_type: "pil"; "np", float (N, H, W, C) clipped to [0, 1]; or "pt", the tensor
                (N, C, H, W) of `prior.sample` as it is, not clipped.
            return_dict: false for a tuple.

        Returns:
            `ImagePipelineOutput`, or a tuple of the images.

        Raises:
            UsageError: an argument is out of range or contradicts another, or the model cannot
                draw.
        """
        if output_type not in OUTPUTS:
            raise UsageError(
                f"output_type must be one of {', '.join(OUTPUTS)}, found {output_type!r}"
            )
        if seed is not None and generator is not None:
            raise UsageError("seed and generator both say what is drawn; give one of them")
        if generator is not None:
            seed = _seed_from(generator)
        count, prior = whole_number(num_images, "num_images"), self.prior.prior

        def sampler(network: Network) -> Multistep:
            return self.scheduler.rule(network, num_inference_steps)

        with self.progress_bar(total=ceil(count / BATCH) * (prior.levels + 1)) as bar:
            images = prior.sample(
                count,
                seed=0 if seed is None else seed,
                size=size,
                sampler=sampler,
                batch=BATCH,
                callback=lambda level, image: bar.update(),
            )
        shown = self._shown(images, output_type)
        return ImagePipelineOutput(images=shown) if return_dict else (shown,)

    def _shown(self, images: Tensor, output_type: str) -> Any:
        """Images (N, C, H, W) of the kind that is asked for."""
        if output_type == "pt":
            return images
        array = images.clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()
        to_pil = cast(Callable[[Any], Any], self.numpy_to_pil)
        return to_pil(array) if output_type == "pil" else array


def _seed_from(generator: Any) -> int:
    """A seed, drawn from a generator of PyTorch."""
    if not isinstance(generator, torch.Generator):
        raise UsageError(
            f"generator must be one torch.Generator, found {type(generator).__name__}; images of "
            "one call differ by their number, so one generator or one seed is enough"
        )
    drawn = torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device)
    return int(drawn)
