"""The fast form gives what the plain form gives, wherever it is used, and holds little."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_tools import picture_file, save_models, scalewise
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from zoo import randomised

from scalewise.networks import (
    BiasFreeConditional,
    BiasFreeDenoiser,
    ConditionalDenoiser,
    LocalConditional,
    LocalDenoiser,
    Network,
    spread_kernels,
    strips,
)

SIZES = [(1, 1), (1, 7), (5, 1), (2, 3), (8, 8), (13, 10), (31, 37)]


def blind(field: int = 9, depth: int = 6, width: int = 16) -> Network:
    return randomised(BiasFreeDenoiser(1, spread_kernels(field, depth), width=width))


def blind_conditional(field: int = 9, depth: int = 6, width: int = 16) -> Network:
    return randomised(BiasFreeConditional(1, spread_kernels(field, depth), width=width))


def told(field: int = 9, depth: int = 6, width: int = 16) -> Network:
    return randomised(LocalConditional(3, field, width=width, blocks=depth - 2))


def told_image(field: int = 9, depth: int = 6, width: int = 16) -> Network:
    return randomised(LocalDenoiser(3, field, width=width, blocks=depth - 2))


MAKERS = [blind, blind_conditional, told, told_image]
every_network = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def inputs_of(network: Network, size: tuple[int, int], count: int) -> list[Tensor]:
    channels = network.settings["channels"]
    bands = (3, 1, 1) if network.conditional else (1,)
    return [torch.rand(count, k * channels, *size) for k in bands]


def outputs_of(network: Network, inputs: list[Tensor], sigma: Any = 0.1) -> Tensor:
    if isinstance(network, ConditionalDenoiser):
        return torch.cat(network(inputs[0], inputs[1], sigma, *inputs[2:]), dim=1)
    return network(*inputs, sigma)


@contextmanager
def plain(network: Network) -> Iterator[None]:
    network.exact = True
    try:
        yield
    finally:
        network.exact = False


class Runs:
    """How often the fast form ran."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, run = 0, strips.run

        def counted(*arguments: Any) -> Tensor:
            self.count += 1
            return run(*arguments)

        monkeypatch.setattr(strips, "run", counted)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


def assert_same(network: Network, inputs: list[Tensor], sigma: Any = 0.1) -> None:
    """Compare both forms, to 1e-5 of the largest value."""
    with torch.no_grad():
        found = outputs_of(network, inputs, sigma)
        with plain(network):
            expected = outputs_of(network, inputs, sigma)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


class TestSameValues:
    """Strips, columns and groups of images leave no trace."""

    @pytest.mark.parametrize("size", SIZES, ids=str)
    @pytest.mark.parametrize("count", [1, 3])
    @every_network
    def test_whole_images(self, make: Any, size: tuple[int, int], count: int) -> None:
        network = make()
        assert_same(network, inputs_of(network, size, count))

    @pytest.mark.parametrize(("pixels", "columns"), [(20, 11), (90, 1024), (300, 16)])
    @pytest.mark.parametrize(("field", "depth"), [(5, 4), (13, 9)])
    @every_network
    def test_strips_and_columns(
        self,
        make: Any,
        field: int,
        depth: int,
        pixels: int,
        columns: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(strips, "FEATURES", 16 * pixels)
        monkeypatch.setattr(strips, "COLUMNS", columns)
        network = make(field, depth)
        for size in [(19, 27), (1, 40), (40, 1)]:
            assert_same(network, inputs_of(network, size, 2))

    @pytest.mark.parametrize("pixels", [60, 700, 1 << 20])
    @pytest.mark.parametrize(
        "levels", [(0.1, 0.1, 0.1, 0.1), (0.0, 0.02, 0.02, 5.0), (0.03,)], ids=str
    )
    def test_levels_by_image(
        self, pixels: int, levels: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(strips, "FEATURES", 16 * pixels)
        network = told()
        assert_same(network, inputs_of(network, (17, 11), 4), torch.tensor(levels))

    def test_sampling_and_least_squares(self) -> None:
        network = told()
        noisy, low, _ = inputs_of(network, (17, 11), 2)
        for sigma in (0.2, float("inf")):
            assert_same(network, [noisy, low], sigma)

    @every_network
    def test_memory_formats(self, make: Any) -> None:
        network = make().to(memory_format=torch.channels_last)
        inputs = inputs_of(network, (14, 19), 3)
        layouts = [
            [values.contiguous(memory_format=torch.channels_last) for values in inputs],
            [values.transpose(2, 3).contiguous().transpose(2, 3) for values in inputs],
            [values[:, :, 1:-1, 2:] for values in inputs],
        ]
        for layout in layouts:
            assert_same(network, layout)

    @every_network
    def test_the_shape_in_use(self, make: Any) -> None:
        network = make(13, 8, 64)
        assert_same(network, inputs_of(network, (150, 131), 1))


class TestChoice:
    """Where it cannot be used or is not wanted, the plain form is."""

    @every_network
    def test_it_is_used_without_being_asked_for(self, make: Any, runs: Runs) -> None:
        network = make().requires_grad_(False)
        outputs_of(network, inputs_of(network, (8, 8), 1))
        assert runs.count == 1
        with plain(network):
            outputs_of(network, inputs_of(network, (8, 8), 1))
        assert runs.count == 1

    @pytest.mark.parametrize("value", ["", "0"])
    def test_the_variable_must_say_so(
        self, value: str, runs: Runs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SCALEWISE_EXACT", value)
        network = blind().requires_grad_(False)
        outputs_of(network, inputs_of(network, (8, 8), 1))
        assert runs.count == 1

    @every_network
    def test_changed_weights_count_at_once(self, make: Any) -> None:
        network = make()
        inputs = inputs_of(network, (12, 9), 2)
        for seed in (1, 2):
            randomised(network, seed)
            assert_same(network, inputs)

    @every_network
    def test_gradients_go_through_the_plain_form(self, make: Any, runs: Runs) -> None:
        network = make()
        inputs = inputs_of(network, (8, 8), 1)
        outputs_of(network, inputs).sum().backward()
        network.requires_grad_(False)
        inputs[0].requires_grad_()
        outputs_of(network, inputs).sum().backward()
        assert runs.count == 0

    def test_gradients_by_the_level(self, runs: Runs) -> None:
        network = told().requires_grad_(False)
        sigma = torch.tensor(0.1, requires_grad=True)
        outputs_of(network, inputs_of(network, (8, 8), 1), sigma).sum().backward()
        assert sigma.grad is not None
        assert runs.count == 0

    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
    @every_network
    def test_function_transforms_go_through_the_plain_form(self, make: Any, runs: Runs) -> None:
        network = make().requires_grad_(False)
        noisy, *rest = inputs_of(network, (6, 6), 1)

        def denoised(values: Tensor) -> Tensor:
            return outputs_of(network, [values, *rest])

        direction = torch.rand_like(noisy)
        forward = torch.func.jvp(denoised, (noisy,), (direction,))[1]
        backward = torch.func.vjp(denoised, noisy)[1]
        there = torch.rand_like(forward)
        torch.testing.assert_close((forward * there).sum(), (backward(there)[0] * direction).sum())
        both = torch.func.vmap(denoised)(torch.stack([noisy, direction]))
        assert runs.count == 0
        torch.testing.assert_close(both[1], denoised(direction), rtol=1e-4, atol=1e-5)

    def test_forward_differentiation_goes_through_the_plain_form(self, runs: Runs) -> None:
        network = blind().requires_grad_(False)
        with torch.autograd.forward_ad.dual_level():
            noisy = torch.autograd.forward_ad.make_dual(
                torch.rand(1, 1, 6, 6), torch.ones(1, 1, 6, 6)
            )
            result = torch.autograd.forward_ad.unpack_dual(network(noisy))
        assert runs.count == 0
        assert result.tangent is not None

    @every_network
    def test_other_precisions_go_through_the_plain_form(self, make: Any, runs: Runs) -> None:
        network = make().double().requires_grad_(False)
        outputs_of(network, [values.double() for values in inputs_of(network, (8, 8), 1)])
        network = make().requires_grad_(False)
        with torch.autocast("cpu", torch.float16):
            outputs_of(network, inputs_of(network, (8, 8), 1))
        assert runs.count == 0

    def test_training_goes_through_the_plain_form(self, runs: Runs) -> None:
        network = blind().train()
        with torch.no_grad():
            outputs_of(network, inputs_of(network, (8, 8), 1))
        assert runs.count == 0

    def test_inference_mode(self, runs: Runs) -> None:
        network = told()
        inputs = inputs_of(network, (9, 8), 2)
        with torch.inference_mode():
            found = outputs_of(network, inputs)
        assert runs.count == 1
        with torch.no_grad(), plain(network):
            torch.testing.assert_close(found, outputs_of(network, inputs))


class Largest(TorchDispatchMode):
    """Watches the largest array that any operation makes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


@pytest.mark.parametrize("size", [(600, 40), (40, 600), (160, 150)], ids=str)
@every_network
def test_memory_is_that_of_strips(
    make: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make(13, 8, 32).requires_grad_(False)
    inputs = inputs_of(network, size, 2)
    monkeypatch.setattr(strips, "FEATURES", 32 * 1000)
    monkeypatch.setattr(strips, "COLUMNS", 100)
    with Largest() as largest:
        outputs_of(network, inputs)
    ends = 2 * size[0] * size[1] * 5 * network.settings["channels"]
    features = 32 * 4 * (1000 + (100 + 12))  # twelve rows more at the end of the image
    assert largest.numbers <= max(ends, features)
    with Largest() as largest, plain(network):
        outputs_of(network, inputs)
    assert largest.numbers >= 2 * size[0] * size[1] * 32


def test_exact_is_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs) -> None:
    model = str(save_models(tmp_path / "models") / "gray")
    source = picture_file(tmp_path / "in.png", channels=1)
    arguments = ["denoise", source, tmp_path / "out.png", "--model", model, "--sigma", "10"]
    assert scalewise(*arguments, "--exact").code == 0
    assert runs.count == 0
    assert scalewise(*arguments, "--force").code == 0
    assert runs.count > 0


@every_network
def test_no_weights_are_drawn_before_they_are_loaded(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make()

    def refuse(*arguments: Any, **options: Any) -> None:
        pytest.fail("drawing on the meta device imports PyTorch's compiler")

    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", refuse)
    with torch.device("meta"):
        type(network)(**network.settings)


@every_network
def test_bfloat16_is_close_and_comes_out_whole(make: Any, runs: Runs) -> None:
    network = make()
    inputs = inputs_of(network, (31, 37), 2)
    with torch.no_grad():
        whole = outputs_of(network, inputs)
        network.precision = torch.bfloat16
        fast_half = outputs_of(network, inputs)
        assert runs.count == 2
        with plain(network):
            half = outputs_of(network, inputs)
    assert half.dtype == fast_half.dtype == torch.float32
    scale = whole.abs().max()
    assert 1e-6 < (half - whole).abs().max() / scale < 0.05
    assert (fast_half - whole).abs().max() / scale < 0.05
