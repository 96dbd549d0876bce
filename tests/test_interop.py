"""Other people's tools: torch.func, torch.export, arrays, Pillow, pipelines, the Hub, deepinv."""

import json
import pickle
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from zoo import smooth_spectrum

import scalewise
from scalewise import exact, restore
from scalewise.deepinv import DeepinvReconstructor, FromDeepinv
from scalewise.errors import UsageError
from scalewise.images import Picture, picture_of, to_array, to_pil
from scalewise.networks import LocalConditional
from scalewise.operators import Inpainting
from scalewise.prior import MultiScalePrior
from scalewise.transforms import Denoise


@pytest.fixture(scope="module")
def prior() -> MultiScalePrior:
    return scalewise.load("photos")


@pytest.fixture(scope="module")
def double() -> MultiScalePrior:
    """In double precision, so that differences of close values tell derivatives."""
    return scalewise.load("photos").double()


def images_of(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class TestTorch:
    def test_forward_is_denoise(self, prior: MultiScalePrior) -> None:
        images = images_of(2, 3, 21, 34)
        assert torch.equal(prior(images, 0.1), prior.denoise(images, 0.1))
        levels = torch.tensor([0.1, 0.3])
        assert torch.equal(prior(images, levels), prior.denoise(images, levels))

    def test_vmap(self, prior: MultiScalePrior) -> None:
        images = images_of(3, 3, 24, 40)
        found = torch.func.vmap(lambda image: prior(image[None], 0.1)[0])(images)
        torch.testing.assert_close(found, prior(images, 0.1), atol=1e-5, rtol=0)

    @pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # PyTorch's own
    def test_jvp_is_the_directional_derivative(self, double: MultiScalePrior) -> None:
        images = images_of(1, 3, 16, 24, dtype=torch.float64)
        direction = images_of(1, 3, 16, 24, seed=1, dtype=torch.float64) - 0.5
        value, found, *_ = torch.func.jvp(lambda x: double(x, 0.1), (images,), (direction,))
        torch.testing.assert_close(value, double(images, 0.1))
        small = 1e-6
        above, below = (
            double(images + small * direction, 0.1),
            double(images - small * direction, 0.1),
        )
        torch.testing.assert_close(found, (above - below) / (2 * small), atol=1e-5, rtol=1e-4)

    def test_gradient_per_image(self, double: MultiScalePrior) -> None:
        """`vmap(grad)` is the gradient of each image on its own."""
        images = images_of(2, 3, 16, 16, dtype=torch.float64)

        def energy(image: Tensor) -> Tensor:
            return double(image[None], 0.1).square().sum()

        found = torch.func.vmap(torch.func.grad(energy))(images)
        asked = images.clone().requires_grad_()
        (expected,) = torch.autograd.grad(double(asked, 0.1).square().sum(), asked)
        torch.testing.assert_close(found, expected)

    def test_gradient_of_nll(self) -> None:
        prior = exact.gaussian_prior(smooth_spectrum(), 1)
        images = 0.5 + 0.2 * images_of(2, 1, 8, 8, dtype=torch.float64)
        direction = images_of(2, 1, 8, 8, seed=1, dtype=torch.float64) - 0.5

        def bits(images: Tensor) -> Tensor:
            return prior.nll(images, steps=6, draws=2).total.sum()

        asked = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(bits(asked), asked)
        small = 1e-5
        slope = (bits(images + small * direction) - bits(images - small * direction)) / (2 * small)
        assert not slope.requires_grad
        assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-4)

    @pytest.mark.slow
    def test_export_of_any_number_and_size(self, prior: MultiScalePrior) -> None:
        count = torch.export.Dim("count", max=64)
        rows, columns = (32 * torch.export.Dim(name, min=2, max=64) for name in ("rows", "columns"))
        example = images_of(2, 3, 96, 64), torch.tensor([0.1, 0.2])
        shapes = {0: count, 2: rows, 3: columns}, {0: count}
        program = torch.export.export(prior, example, dynamic_shapes=shapes).module()
        for shape in ((1, 3, 64, 128), (3, 3, 160, 96)):
            images, levels = images_of(*shape), torch.linspace(0.05, 0.4, shape[0])
            torch.testing.assert_close(
                program(images, levels), prior(images, levels), atol=1e-5, rtol=0
            )


class TestArrays:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
    @pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4), (20, 30, 2)])
    def test_there_and_back(self, shape: tuple[int, ...], dtype: Any) -> None:
        top = 1 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
        array = (np.random.default_rng(0).random(shape) * top).astype(dtype)
        back = to_array(picture_of(array))
        assert back.dtype == array.dtype
        np.testing.assert_allclose(back, array, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "F"])
    def test_pillow_there_and_back(self, mode: str) -> None:
        values = np.random.default_rng(0).random((20, 30))
        if mode == "F":
            image = Image.fromarray(values.astype(np.float32))
        elif mode == "I;16":
            image = Image.fromarray((60000 * values).astype(np.uint16))
        else:
            image = Image.fromarray((255 * values).astype(np.uint8)).convert(mode)
        back = to_pil(picture_of(image))
        assert back.mode == mode
        np.testing.assert_allclose(np.asarray(back), np.asarray(image), atol=1e-6)

    @pytest.mark.parametrize(("mode", "becomes"), [("P", "RGBA"), ("1", "L"), ("CMYK", "RGB")])
    def test_other_modes_of_pillow(self, mode: str, becomes: str) -> None:
        image = Image.new("RGB", (8, 6), (200, 100, 50)).convert(mode)
        back = to_pil(picture_of(image))
        assert back.mode == becomes
        shown = np.asarray(image.convert("RGB"), float) - np.asarray(back.convert("RGB"), float)
        assert np.abs(shown).max() == 0

    def test_an_image_of_pillow_is_turned_upright_and_keeps_its_profile(self) -> None:
        image = Image.new("RGB", (8, 6))
        image.info["icc_profile"] = b"a profile"
        image.getexif()[0x0112] = 6
        picture = picture_of(image)
        assert picture.pixels.shape[-2:] == (8, 6)
        assert picture.icc == b"a profile"

    def test_counts_of_a_camera_are_known(self) -> None:
        """As in a file: 12 bits in 16."""
        array = np.random.default_rng(0).integers(100, 4095, (64, 64)).astype(np.uint16)
        assert picture_of(array).intensities.white == (4095.0,)

    @pytest.mark.parametrize(
        ("image", "sentence"),
        [
            (np.zeros((2, 3, 4, 5), np.uint8), "found (2, 3, 4, 5)"),
            (np.zeros((3, 0), np.uint8), "found (3, 0, 1)"),
            (np.zeros((3, 20, 30), np.uint8), "channels last"),
            (np.zeros((4, 4), complex), "complex128"),
            (np.array([["a"]]), "integers of up to 32 bits or floats"),
            (np.full((4, 4), np.nan, np.float32), "NaN"),
            (torch.zeros(3, 4, 4), "found Tensor"),
            ("noisy.png", "scalewise.read_image reads files"),
            (None, "found NoneType"),
        ],
    )
    def test_what_is_no_picture(self, image: Any, sentence: str) -> None:
        with pytest.raises(UsageError) as error:
            picture_of(image)
        assert sentence in str(error.value)

    def test_what_pillow_cannot_hold(self) -> None:
        with pytest.raises(UsageError, match="take the array instead"):
            to_pil(Picture(torch.rand(1, 3, 4, 4), depth="uint16"))
        with pytest.raises(UsageError, match="2 planes"):
            to_pil(Picture(torch.rand(2, 1, 4, 4)))

    def test_restoring_takes_them(self, prior: MultiScalePrior) -> None:
        array = (np.random.default_rng(0).random((24, 32, 3)) * 255).astype(np.uint8)
        image, picture = Image.fromarray(array), picture_of(array)
        expected = to_array(restore.denoise(picture, prior, sigma=0.1).picture)
        assert np.array_equal(restore.denoise(array, prior, sigma=0.1).array, expected)
        assert np.array_equal(np.asarray(restore.denoise(image, prior, sigma=0.1).image), expected)
        assert restore.upscale(array, prior, samples=None).array.shape == (48, 64, 3)
        hole = torch.zeros(24, 32)
        hole[8:12, 8:12] = 1
        filled = restore.inpaint(image, hole, prior).array
        assert np.array_equal(filled[:8], array[:8])


class TestTransform:
    def test_all_kinds_alike(self, prior: MultiScalePrior) -> None:
        step = Denoise(prior, sigma=0.1)
        array = (np.random.default_rng(0).random((24, 32, 3)) * 255).astype(np.uint8)
        tensor = torch.from_numpy(array).movedim(-1, 0) / 255
        clean = step(array)
        assert (clean.dtype, clean.shape) == (array.dtype, array.shape)
        assert np.array_equal(np.asarray(step(Image.fromarray(array))), clean)
        same = (step(tensor).clamp(0, 1) * 255).movedim(0, -1).numpy()
        assert np.abs(same - clean).max() <= 0.501
        gray = step(tensor[:1])
        assert gray.shape == (1, 24, 32)
        assert step(array[..., :1]).shape == (24, 32, 1)

    def test_it_goes_to_workers(self) -> None:
        step = Denoise("photos", sigma=0.1)
        image = images_of(3, 16, 16)
        clean = step(image)
        sent = pickle.dumps(step)
        assert len(sent) < 1000
        assert torch.equal(pickle.loads(sent)(image), clean)
        assert repr(step) == "Denoise(model='photos', sigma=0.1)"

    def test_bad_level(self) -> None:
        with pytest.raises(UsageError, match="0 or more"):
            Denoise(sigma=-1)


class TestHub:
    def test_there_and_back(self, prior: MultiScalePrior, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        ours = scalewise.PretrainedPrior.from_pretrained("photos")
        ours.save_pretrained(folder)
        assert {file.name for file in folder.iterdir()} == {
            "README.md",
            "config.json",
            "model.safetensors",
        }
        again = scalewise.PretrainedPrior.from_pretrained(folder, device="cpu")
        images = images_of(1, 3, 16, 16)
        assert torch.equal(again.denoise(images, 0.1), prior.denoise(images, 0.1))
        assert torch.equal(scalewise.load(folder).denoise(images, 0.1), prior.denoise(images, 0.1))
        assert not again.training
        assert again.facts.license == ours.facts.license
        assert again.calibration == prior.calibration
        again.save_pretrained(folder)  # over itself

    def test_the_card_is_one(self, tmp_path: Path) -> None:
        """Its front matter is what the hub's own classes read; another licence has a name."""
        for name in scalewise.packaged():
            folder = scalewise.store.resolve(name)
            card = huggingface_hub.ModelCard.load(folder / "README.md")
            data: dict[str, Any] = card.data.to_dict()
            assert data["library_name"] == "scalewise"
            assert data["pipeline_tag"] == "image-to-image"
            assert data["license"] == "other" or "license_name" not in data
            written = huggingface_hub.ModelCard(str(card))
            assert str(written.data) == str(card.data)

    def test_push_sends_three_files(
        self, prior: MultiScalePrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Through the library's own code; what would go over the network is caught."""
        sent: dict[str, Any] = {}

        def create(self: Any, repo_id: str, **options: Any) -> Any:
            sent["repo"] = repo_id
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def upload(self: Any, *, folder_path: Any, **options: Any) -> Any:
            files = Path(folder_path)
            sent["files"] = {file.name: file.stat().st_size for file in files.iterdir()}
            sent["config"] = json.loads((files / "config.json").read_text())
            return "https://huggingface.co/me/mine/commit/1"

        monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create)
        monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
        scalewise.PretrainedPrior.from_pretrained("photos").push_to_hub("me/mine")
        assert sent["repo"] == "me/mine"
        assert sent["files"].keys() == {"README.md", "config.json", "model.safetensors"}
        assert sent["config"]["channels"] == 3

    def test_from_the_hub(
        self, prior: MultiScalePrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A model of the hub is downloaded at its revision, and its three files alone."""
        asked: dict[str, Any] = {}

        def snapshot(name: str, **options: Any) -> str:
            asked.update(options, name=name)
            return str(scalewise.store.resolve("photos"))

        def config(**options: Any) -> str:
            return str(scalewise.store.resolve("photos") / "config.json")

        monkeypatch.setattr("scalewise.hub.snapshot_download", snapshot)
        monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", config)
        found = scalewise.PretrainedPrior.from_pretrained("me/mine", revision="v1")
        assert (asked["name"], asked["revision"]) == ("me/mine", "v1")
        assert len(asked["allow_patterns"]) == 3
        images = images_of(1, 3, 16, 16)
        assert torch.equal(found.denoise(images, 0.1), prior.denoise(images, 0.1))


class TestDeepinv:
    """Without deepinv; `tests/deepinv.sh` runs its own algorithms."""

    @pytest.mark.parametrize(
        "sigma",
        [0.1, np.float64(0.1), np.float32(0.1), torch.tensor(0.1), torch.tensor([0.1]), [0.1]],
    )
    def test_levels_of_any_kind(self, prior: MultiScalePrior, sigma: Any) -> None:
        images = images_of(2, 3, 16, 24)
        found = prior.as_deepinv()(images, sigma, extra="ignored")
        torch.testing.assert_close(found, prior.denoise(images, 0.1))

    def test_none_is_estimated_and_zero_is_the_identity(self, prior: MultiScalePrior) -> None:
        images, denoiser = images_of(2, 3, 32, 32), prior.as_deepinv()
        assert torch.equal(denoiser(images), prior.denoise(images))
        assert torch.equal(denoiser(images, 0), images)
        levels = torch.tensor([0.0, 0.1])
        assert torch.equal(denoiser(images, levels)[0], images[0])
        torch.testing.assert_close(denoiser(images, levels)[1:], prior.denoise(images[1:], 0.1))

    def test_types_channels_and_gradients(self, prior: MultiScalePrior) -> None:
        denoiser = prior.as_deepinv()
        images = images_of(1, 3, 16, 16, dtype=torch.float64).requires_grad_()
        found = denoiser(images, 0.1)
        assert found.dtype == torch.float64
        (gradient,) = torch.autograd.grad(found.sum(), images)
        assert bool(gradient.abs().sum() > 0)
        gray = images_of(2, 1, 16, 16)
        alike = prior.denoise(gray.expand(-1, 3, -1, -1), 0.1).mean(1, keepdim=True)
        torch.testing.assert_close(denoiser(gray, 0.1), alike)
        with pytest.raises(UsageError, match="3 channels, or 1"):
            denoiser(images_of(1, 2, 16, 16), 0.1)

    def test_a_prior_of_gray_images_takes_channels_one_by_one(self) -> None:
        prior = exact.gaussian_prior(smooth_spectrum(), 1)
        images = images_of(2, 2, 8, 8, dtype=torch.float64)
        found = prior.as_deepinv()(images, 0.1)
        torch.testing.assert_close(found[:, 1:], prior.denoise(images[:, 1:], 0.1))

    def test_huge_levels_give_the_mean(self) -> None:
        """Diffusions of deepinv begin at 80 times the range."""
        prior = exact.gaussian_prior(smooth_spectrum(), 1)
        images = 79 * torch.randn(1, 1, 8, 8, dtype=torch.float64)
        found = prior.as_deepinv()(images, 79.0)
        assert float((found - found.mean()).abs().max()) < 0.1

    def test_reconstruction_is_restore(self, prior: MultiScalePrior) -> None:
        class Physics(Inpainting):
            class noise_model:
                sigma = torch.tensor([0.02])

        known = images_of(16, 16) < 0.7
        physics = Physics(known)
        y = physics.A(images_of(1, 3, 16, 16, seed=1))
        found = DeepinvReconstructor(prior, iterations=2)(y, physics)
        torch.testing.assert_close(found, prior.restore(y, physics, 0.02, iterations=2))
        sample = DeepinvReconstructor(prior, samples=1, seed=5, iterations=2)(y, physics)
        expected = prior.restore(y, physics, 0.02, samples=1, seed=5, iterations=2)[0]
        torch.testing.assert_close(sample, expected)
        with pytest.raises(UsageError, match="None or 1"):
            DeepinvReconstructor(prior, samples=2)

    def test_a_foreign_low_pass_network(self, tmp_path: Path) -> None:
        class Half(nn.Module):
            def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
                assert sigma.shape == (len(x),)
                return x / (1 + sigma.view(-1, 1, 1, 1) ** 2)

        low = FromDeepinv(Half(), channels=3, size=(4, 4))
        prior = MultiScalePrior(low, [LocalConditional(3, 5, width=8, blocks=1)]).eval()
        images = images_of(2, 3, 8, 8)
        assert prior.denoise(images, 0.1).shape == images.shape
        levels = torch.tensor([0.1, 0.2])
        torch.testing.assert_close(low(images, levels)[1], images[1] / 1.04)
        assert prior.sample(2, size=(8, 8)).shape == (2, 3, 8, 8)
        with pytest.raises(scalewise.ScalewiseError, match="FromDeepinv cannot be saved"):
            scalewise.save(prior, tmp_path / "model")


def as_other_programs_do(file: Path, prior: MultiScalePrior, smallest: int) -> None:
    """What chaiNNer and darktable ask of a file: one image in, one out, NCHW, of any size."""
    import onnx
    import onnxruntime

    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 20}
    assert model.ir_version <= 10
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (told,), (given,) = session.get_inputs(), session.get_outputs()
    for each in (told, given):
        assert each.type == "tensor(float)"
        assert each.shape == ["count", prior.channels, "rows", "columns"]
    several = smallest - 1
    for sides in ((64, 64), (smallest, 50), (43, 37)):
        images = images_of(1, prior.channels, *sides)
        (found,) = session.run(None, {told.name: images.numpy()})
        rows, columns = (max(-side % several, 2 * several - side) for side in sides)
        mirrored = torch.nn.functional.pad(images, (0, columns, 0, rows), "reflect")
        with torch.no_grad():
            expected = prior(mirrored, 0.1)[..., : sides[0], : sides[1]]
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=0)


class TestOnnx:
    @pytest.mark.slow
    def test_a_tiny_model(self, tmp_path: Path) -> None:
        """Every file computes what PyTorch does, for other sizes and numbers."""
        import onnxruntime
        from cli_tools import tiny_prior

        from scalewise.export import export_onnx

        prior = tiny_prior(1, (8, 8), 2)
        rows = export_onnx(prior, tmp_path)
        files = ["denoiser.onnx", "low.onnx", "details-1.onnx", "details-2.onnx"]
        assert [row["file"] for row in rows] == files
        assert all(row["difference"] <= 1e-5 for row in rows)
        session = onnxruntime.InferenceSession(str(tmp_path / "denoiser.onnx"))
        images, levels = images_of(3, 1, 40, 64), torch.tensor([0.05, 0.1, 0.5])
        (found,) = session.run(None, {"noisy": images.numpy(), "sigma": levels.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(
                torch.from_numpy(found), prior(images, levels), atol=1e-5, rtol=0
            )
        (built, *_) = export_onnx(prior, tmp_path, sigma=0.1)
        assert list(built["inputs"]) == ["noisy"]
        as_other_programs_do(tmp_path / "denoiser.onnx", prior, built["smallest"])
        session = onnxruntime.InferenceSession(str(tmp_path / "denoiser.onnx"))
        (found,) = session.run(None, {"noisy": images.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(
                torch.from_numpy(found), prior(images, 0.1), atol=1e-5, rtol=0
            )

    def test_bad_level(self, prior: MultiScalePrior, tmp_path: Path) -> None:
        from scalewise.export import export_onnx

        with pytest.raises(UsageError, match="0 or more"):
            export_onnx(prior, tmp_path, sigma=-0.1)

    def test_the_command_replaces_nothing_unasked(self, tmp_path: Path) -> None:
        from cli_tools import scalewise as run

        (tmp_path / "a.onnx").write_text("mine")
        done = run("export", "photos", "--onnx", str(tmp_path))
        assert done.code == 1
        assert "give --force to overwrite it" in done.stderr
        done = run("export", "photos", "--onnx", str(tmp_path / "a.onnx"))
        assert "is a file; give a folder" in done.stderr
        assert (tmp_path / "a.onnx").read_text() == "mine"

    @pytest.mark.slow
    def test_the_command(self, tmp_path: Path) -> None:
        from cli_tools import scalewise as run
        from cli_tools import tiny_prior

        scalewise.save(tiny_prior(1, (8, 8), 1), tmp_path / "model")
        done = run("export", str(tmp_path / "model"), "--onnx", str(tmp_path / "onnx" / "there"))
        assert done.code == 0, done.stderr
        assert "denoiser.onnx: noisy, sigma; sides of " in done.stdout
        assert "differs from PyTorch by" in done.stdout
