"""The pipeline, the model and the scheduler of diffusers, beside the prior that they wrap."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo import SIZE, randomised, smooth_spectrum

from scalewise import store
from scalewise.errors import ScalewiseError, UsageError
from scalewise.exact import GaussianDenoiser
from scalewise.networks import LocalConditional, UNet
from scalewise.prior import MultiScalePrior
from scalewise.samplers import Multistep, draw, few_steps

MISSING = find_spec("diffusers") is None
needs_diffusers = pytest.mark.skipif(MISSING, reason="needs diffusers: the extra diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_a_missing_diffusers_is_told_in_a_sentence() -> None:
    script = (
        "import sys; sys.modules['diffusers'] = None\n"
        "from scalewise.errors import UsageError\n"
        "try:\n    import scalewise.diffusers\n"
        "except UsageError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith(
        "scalewise.diffusers needs an extra: pip install 'scalewise[diffusers]' ("
    )


@pytest.fixture(autouse=True)
def offline(request: pytest.FixtureRequest) -> None:
    """Nothing here may ask the hub, and no bar of progress is of interest."""
    if not MISSING:
        from huggingface_hub import constants

        patched = request.getfixturevalue("monkeypatch")
        patched.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> MultiScalePrior:
    """A small one that knows nothing, of images of 16x16, laid out as loaded ones are."""
    low = randomised(UNet(channels=3, size=(8, 8), width=8, multiples=(1,), blocks=1))
    details = randomised(LocalConditional(channels=3, receptive_field=5, width=8))
    folder = tmp_path_factory.mktemp("models") / "small"
    store.save(MultiScalePrior(low, [details]), folder)
    return store.load(folder, device="cpu")


@pytest.fixture(scope="module")
def pipeline(prior: MultiScalePrior) -> Any:
    from scalewise.diffusers import ScalewiseModel, ScalewisePipeline, ScalewiseScheduler

    pipeline = ScalewisePipeline(
        ScalewiseModel(prior, name="small", license="mit"), ScalewiseScheduler()
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@needs_diffusers
class TestPipeline:
    """Drawing, saving and loading."""

    def test_draws_what_the_prior_draws(self, pipeline: Any, prior: MultiScalePrior) -> None:
        drawn = pipeline(num_images=3, seed=5, output_type="pt").images
        assert torch.equal(drawn, prior.sample(3, seed=5))
        assert torch.equal(pipeline(3, output_type="pt").images, prior.sample(3, seed=0))

    def test_draws_other_sizes(self, pipeline: Any, prior: MultiScalePrior) -> None:
        drawn = pipeline(size=(13, 22), seed=1, output_type="pt", return_dict=False)
        assert isinstance(drawn, tuple)
        assert torch.equal(drawn[0], prior.sample(1, size=(13, 22), seed=1))

    def test_gives_pictures_of_pillow_and_arrays(
        self, pipeline: Any, prior: MultiScalePrior
    ) -> None:
        expected = prior.sample(2).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        np.testing.assert_array_equal(pipeline(2, output_type="np").images, expected)
        pictures = pipeline(2).images
        for picture, values in zip(pictures, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(picture), (255 * values).round())

    def test_a_generator_draws_a_seed(self, pipeline: Any, prior: MultiScalePrior) -> None:
        one, other = (torch.Generator().manual_seed(seed) for seed in (4, 4))
        first = pipeline(generator=one, output_type="pt").images
        assert torch.equal(first, pipeline(generator=other, output_type="pt").images)
        assert not torch.equal(first, pipeline(generator=one, output_type="pt").images)

    def test_draws_in_as_many_steps_as_asked(self, pipeline: Any, prior: MultiScalePrior) -> None:
        from dataclasses import replace

        def three(network: Any) -> Any:
            rule = few_steps(network)
            assert isinstance(rule, Multistep)
            return replace(rule, steps=3)

        drawn = pipeline(num_inference_steps=3, output_type="pt").images
        assert torch.equal(drawn, prior.sample(1, sampler=three))

    def test_comes_back_from_a_folder(
        self, pipeline: Any, prior: MultiScalePrior, tmp_path: Path
    ) -> None:
        from scalewise.diffusers import ScalewisePipeline

        for _ in range(2):  # over one that is there, as diffusers does
            pipeline.save_pretrained(tmp_path / "new" / "folder")
        back = ScalewisePipeline.from_pretrained(tmp_path / "new" / "folder")
        back.set_progress_bar_config(disable=True)
        expected = prior.sample(2, seed=3)
        assert torch.equal(back(2, seed=3, output_type="pt").images, expected)
        again = store.load(tmp_path / "new" / "folder" / "prior", device="cpu")
        assert torch.equal(again.sample(2, seed=3), expected)
        index = json.loads((tmp_path / "new" / "folder" / "model_index.json").read_text())
        assert index["prior"] == ["scalewise.diffusers", "ScalewiseModel"]

    def test_comes_back_without_the_hub_in_another_process(
        self, pipeline: Any, prior: MultiScalePrior, tmp_path: Path
    ) -> None:
        pipeline.save_pretrained(tmp_path / "pipeline")
        script = (
            "import sys, torch; from scalewise.diffusers import ScalewisePipeline\n"
            "pipeline = ScalewisePipeline.from_pretrained(sys.argv[1])\n"
            "torch.save(pipeline(seed=3, output_type='pt').images, sys.argv[2])"
        )
        file = tmp_path / "drawn.pt"
        subprocess.run(
            [sys.executable, "-c", script, tmp_path / "pipeline", file],
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            check=True,
            capture_output=True,
        )
        drawn: Tensor = torch.load(file, weights_only=True)
        assert torch.equal(drawn, prior.sample(1, seed=3))

    @pytest.mark.parametrize(
        ("asked", "told"),
        [
            ({"output_type": "jpg"}, "output_type must be one of pil, np, pt, found 'jpg'"),
            ({"seed": 1, "generator": torch.Generator()}, "seed and generator both say"),
            ({"generator": [torch.Generator()]}, "generator must be one torch.Generator, found l"),
            ({"num_images": 0}, "num_images must be .* found 0"),
            ({"num_inference_steps": 0}, "num_inference_steps must be .* found 0"),
            ({"size": (0, 4)}, "size must be .* found 0"),
        ],
    )
    def test_impossible_wishes_are_refused(self, pipeline: Any, asked: Any, told: str) -> None:
        with pytest.raises(UsageError, match=told):
            pipeline(**asked)


@needs_diffusers
class TestModel:
    """A prior with the config of its folder."""

    def test_has_the_config_of_the_folder(self, pipeline: Any, tmp_path: Path) -> None:
        pipeline.prior.save_pretrained(tmp_path / "model")
        config = json.loads((tmp_path / "model" / "config.json").read_text())
        assert dict(pipeline.prior.config) == config
        assert (config["name"], config["license"]) == ("small", "mit")

    def test_comes_from_a_name_and_a_subfolder(self, pipeline: Any, tmp_path: Path) -> None:
        from scalewise.diffusers import ScalewiseModel

        name = store.packaged()[0]
        model = ScalewiseModel.from_pretrained(name)
        read = store.read_config(store.resolve(name))
        assert dict(model.config) == json.loads(read.to_json())
        assert store.fingerprint(model.prior) == store.fingerprint(store.load(name))
        pipeline.save_pretrained(tmp_path / "pipeline")
        part = ScalewiseModel.from_pretrained(tmp_path / "pipeline", subfolder="prior")
        assert dict(part.config) == dict(pipeline.prior.config)
        half = ScalewiseModel.from_pretrained(
            tmp_path / "pipeline", subfolder="prior", torch_dtype=torch.bfloat16
        )
        assert half.dtype == torch.bfloat16

    def test_denoises_as_the_prior_does(self, pipeline: Any, prior: MultiScalePrior) -> None:
        noisy = torch.rand(2, 3, 16, 16)
        assert torch.equal(pipeline.prior(noisy, 0.1).sample, prior.denoise(noisy, 0.1))
        levels = torch.tensor([0.1, 0.2])
        assert torch.equal(pipeline.prior(noisy, levels, False)[0], prior.denoise(noisy, levels))

    def test_an_unknown_name_is_told_in_a_sentence(self) -> None:
        from scalewise.diffusers import ScalewiseModel

        with pytest.raises(UsageError, match="no model is called 'nowhere'"):
            ScalewiseModel.from_pretrained("nowhere")

    def test_other_things_are_not_overwritten(self, pipeline: Any, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("mine")
        with pytest.raises(ScalewiseError, match="holds something other than a Scalewise model"):
            pipeline.prior.save_pretrained(tmp_path)


EXACT = GaussianDenoiser(smooth_spectrum(), 0.5)


def exact(noisy: Tensor, sigma: Tensor) -> Tensor:
    """The exact denoiser, in float32."""
    return EXACT(noisy, sigma).float()


@needs_diffusers
class TestScheduler:
    """The steps of one scale."""

    @pytest.mark.parametrize(
        "rule",
        [
            Multistep(*EXACT.sigma_range),
            Multistep(1.5, 0.02, steps=7, rho=5.0, eta=1.0, s_noise=1.02),
            Multistep(1.0, 0.1, steps=1),
        ],
    )
    def test_goes_where_our_sampler_goes(self, rule: Multistep) -> None:
        """Bit for bit, twice: a new run forgets the one before."""
        from scalewise.diffusers import ScalewiseScheduler

        fields = [torch.randn(3, 1, *SIZE) for _ in range(rule.steps + 1)]
        expected = draw(exact, lambda step: fields[step], rule, mean=0.5)
        settings = {name: getattr(rule, name) for name in ("rho", "eta", "s_noise")}
        scheduler = ScalewiseScheduler(rule.start, rule.end, **settings)
        for _ in range(2):
            scheduler.set_timesteps(rule.steps)
            state = 0.5 + scheduler.init_noise_sigma * fields[0]
            for step, sigma in enumerate(scheduler.timesteps):
                clean = exact(scheduler.scale_model_input(state, sigma), sigma.expand(3))
                state = scheduler.step(
                    clean, sigma, state, variance_noise=fields[step + 1]
                ).prev_sample
            assert torch.equal(state, expected)

    def test_draws_a_scale_of_a_prior(self, pipeline: Any, prior: MultiScalePrior) -> None:
        network, scheduler = prior.low, pipeline.scheduler
        scheduler.set_timesteps(network=network)
        fields = [torch.randn(2, 3, 8, 8) for _ in range(len(scheduler.timesteps) + 1)]
        mean = network.prior_mean((8, 8))
        with torch.no_grad():
            expected = draw(network, lambda step: fields[step], few_steps(network), mean=mean)
            state = mean + scheduler.init_noise_sigma * fields[0]
            for step, sigma in enumerate(scheduler.timesteps):
                clean = network(state, sigma.expand(2))
                (state,) = scheduler.step(
                    clean, sigma, state, variance_noise=fields[step + 1], return_dict=False
                )
        assert torch.equal(state, expected)

    def test_fresh_noise_is_the_generators(self) -> None:
        from scalewise.diffusers import ScalewiseScheduler

        def stepped(seed: int) -> Tensor:
            scheduler = ScalewiseScheduler(1.0, 0.1, steps=4, eta=1.0)
            scheduler.set_timesteps()
            state = torch.zeros(1, 1, 32, 32)
            generator = torch.Generator().manual_seed(seed)
            found = scheduler.step(state, scheduler.timesteps[0], state, generator=generator)
            return torch.as_tensor(found.prev_sample)

        assert torch.equal(stepped(1), stepped(1))
        assert not torch.equal(stepped(1), stepped(2))

    def test_comes_back_from_a_folder(self, tmp_path: Path) -> None:
        from scalewise.diffusers import ScalewiseScheduler

        scheduler = ScalewiseScheduler(2.0, 0.1, steps=9, eta=0.5)
        scheduler.save_pretrained(tmp_path)
        back = ScalewiseScheduler.from_pretrained(tmp_path)
        assert back.rule() == scheduler.rule() == Multistep(2.0, 0.1, steps=9, eta=0.5)

    def test_adds_noise_of_a_level(self) -> None:
        from scalewise.diffusers import ScalewiseScheduler

        clean, noise = torch.rand(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
        noisy = ScalewiseScheduler().add_noise(clean, noise, torch.tensor([0.5, 2.0]))
        torch.testing.assert_close(noisy[0], clean[0] + 0.5 * noise[0])
        torch.testing.assert_close(noisy[1], clean[1] + 2 * noise[1])

    def test_steps_out_of_turn_are_refused(self) -> None:
        from scalewise.diffusers import ScalewiseScheduler

        state, scheduler = torch.zeros(1, 1, 4, 4), ScalewiseScheduler(1.0, 0.25, steps=2)
        with pytest.raises(UsageError, match="set_timesteps must be called before"):
            scheduler.step(state, 1.0, state)
        scheduler.set_timesteps()
        with pytest.raises(UsageError, match=r"step 1 of 2 was expected at noise level 1\.0"):
            scheduler.step(state, 0.25, state)
        for sigma in scheduler.timesteps:
            scheduler.step(state, sigma, state)
        with pytest.raises(UsageError, match=r"the run has ended, found 0\.25"):
            scheduler.step(state, 0.25, state)

    def test_a_range_is_needed(self) -> None:
        from scalewise.diffusers import ScalewiseScheduler

        with pytest.raises(UsageError, match="knows no range of noise levels"):
            ScalewiseScheduler(start=1.0).set_timesteps(10)
