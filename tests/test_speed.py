"""Every measurement at tiny sizes, what it is compared with, and the command. Nothing is timed."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_tools import save_models, scalewise, tiny_prior
from torch import Tensor, nn
from zoo import randomised

from scalewise import speed
from scalewise.errors import ScalewiseError
from scalewise.networks import BiasFreeConditional, BiasFreeDenoiser
from scalewise.prior import MultiScalePrior
from scalewise.samplers import few_steps
from scalewise.speed import baseline, machine
from scalewise.speed.agreement import best_precision, measure_agreement
from scalewise.speed.forward import measure_forward
from scalewise.speed.machine import Setting
from scalewise.speed.memory import peak_bytes
from scalewise.speed.pixels import SMALL, measure_pixels
from scalewise.speed.sampling import counted, measure_sampling, published_prior
from scalewise.speed.start import measure_packaged, measure_start
from scalewise.speed.timing import Clock, Timing, Work, summary
from scalewise.speed.training import STEPS, PlainLoop, measure_training, trainer_of
from scalewise.training import Recipe

CPU = torch.device("cpu")
CLOCK = Clock(CPU, turns=2, least=1, patience=1.0, burst=0.0)
SETTING = Setting(CPU, CLOCK, batch=1, side=8)


class Told(Clock):
    """A clock that calls each work once, and gives the seconds that it was told."""

    def __init__(self, **seconds: float) -> None:
        super().__init__(CPU)
        object.__setattr__(self, "told", seconds)

    def compare(self, works: Mapping[str, Work], warm: bool = True) -> dict[str, Timing]:
        for work in works.values():
            work()
        told: dict[str, float] = vars(self)["told"]
        assert told.keys() == works.keys()
        return {name: Timing(told[name], 0.1, 1) for name in works}


def told(**seconds: float) -> Setting:
    return Setting(CPU, Told(**seconds), batch=1, side=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def tiny(models: Path, monkeypatch: pytest.MonkeyPatch) -> speed.Scope:
    """The full run, at tiny sizes, in place of both scopes; commands are not run."""
    monkeypatch.setattr(machine, "SHAPES", {"cpu": ((1, 8), (2, 8))})
    monkeypatch.setattr(machine, "COPIED", {"cpu": 1 << 16})
    packaged = str(models / "photos"), str(models / "faces")
    shape: dict[str, Any] = {"width": 8, "depth": 5}
    pixels = partial(measure_pixels, sides=(16, 32), model=packaged[0], pixels=32 * 32)
    parts: dict[str, Any] = {
        "forward_512": partial(measure_forward, receptive_field=5, side=16, **shape),
        "sample_320": partial(measure_sampling, size=32, levels=2, batch=2, **shape),
        "training": partial(measure_training, batch=2, crop=32, receptive_field=5, **shape),
        "per_pixel": pixels,
        "packaged": partial(measure_packaged, side=32, batch=2, models=packaged),
        "start": partial(measure_start, side=32, model=packaged[0]),
        "forward": [partial(measure_forward, receptive_field=f, side=8, **shape) for f in (3, 5)],
        "sampling": [
            partial(measure_sampling, size=32, levels=2, batch=2, channels=channels, **shape)
            for channels in (1, 3)
        ],
        "training_wider": [partial(measure_training, batch=2, crop=32, receptive_field=7, **shape)],
        "per_pixel_small": partial(measure_pixels, sides=(16,), model=SMALL, pixels=256),
    }
    scope = speed.Scope("full", parts, turns=2, least=1, patience=1.0, burst=0.0, budget=1e3)
    for name in ("QUICK", "FULL"):
        monkeypatch.setattr(speed, name, scope)
    monkeypatch.setattr("scalewise.speed.start._run", lambda command: None)
    return scope


def numbers(value: Any) -> Iterator[float]:
    """All numbers of nested JSON."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif isinstance(value, int | float):
        yield value


def assert_measured(record: Any) -> None:
    """Every number of a record is finite, and times, rates and ratios are above zero."""
    values = dataclasses.asdict(record)
    assert all(math.isfinite(value) for value in numbers(values))
    positive = ("seconds", "ratio", "gflops", "images_per_second", "share")
    for name, value in values.items():
        if name.startswith(positive) and isinstance(value, float):
            assert value > 0, name


# The published form


@pytest.mark.parametrize("training", [False, True])
def test_published_details_network_is_ours(training: bool) -> None:
    network: Any = randomised(BiasFreeConditional(2, [3, 1, 3, 1], width=6)).train(training)
    with torch.no_grad():
        network.trunk[2].gain[0] = -0.7
    plain: Any = baseline.published_form(network)
    assert plain.training == training
    low, noisy = torch.randn(3, 2, 9, 7), torch.randn(3, 6, 9, 7)
    expected = network(noisy, low).details
    found = noisy - plain(torch.cat([low, noisy], dim=1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    if training:
        for result in (found, expected):
            result.square().sum().backward()
        ours = [weight.grad.flatten() for weight in network.parameters()]
        theirs = [weight.grad.flatten() for weight in _in_order(plain)]
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def _in_order(plain: Any) -> list[Any]:
    """Weights in the order in which ours come: a convolution, its gain, and so on."""
    first, *middle, last = plain.convolutions
    pairs = zip(middle, plain.norms, strict=True)
    inner = [weight for layer, norm in pairs for weight in (layer.weight, norm.gammas)]
    return [first.weight, *inner, last.weight]


def test_published_low_network_is_ours() -> None:
    network = randomised(BiasFreeDenoiser(1, [3, 3, 3], width=6))
    noisy = torch.randn(2, 1, 8, 8)
    plain = baseline.published_form(network)
    torch.testing.assert_close(noisy - plain(noisy), network(noisy), rtol=1e-5, atol=1e-5)


def test_published_normalisation_divides_by_the_deviation_and_remembers_it() -> None:
    norm = baseline.PublishedNorm(2, momentum=0.25, epsilon=0.0)
    features = torch.randn(4, 2, 16, 16) * torch.tensor([2.0, 5.0]).view(1, 2, 1, 1)
    sd = features.transpose(0, 1).flatten(1).std(dim=1, unbiased=False)
    result = norm(features)
    deviations = result.transpose(0, 1).flatten(1).std(dim=1, unbiased=False)
    torch.testing.assert_close(deviations, torch.ones(2))
    torch.testing.assert_close(norm.running_sd.flatten(), 0.75 + 0.25 * sd)
    torch.testing.assert_close(norm.eval()(features), features / norm.running_sd)


def test_published_shapes() -> None:
    details = baseline.published_form(baseline.details_network(1, 13))
    low = baseline.published_form(baseline.low_network(1, (40, 40)))
    kernels = [layer.kernel_size[0] for layer in details.convolutions]  # type: ignore[index]
    assert (len(kernels), kernels.count(3), kernels[0]) == (21, 6, 3)
    assert [layer.kernel_size for layer in low.convolutions] == [(3, 3)] * 20
    assert (len(details.norms), len(low.norms)) == (19, 18)
    assert not any(name.endswith("bias") for name in details.state_dict())
    assert baseline.flops_per_position(low) == 2 * 9 * (64 + 18 * 64 * 64 + 64)


# Timing


def test_works_take_turns() -> None:
    called: list[str] = []
    works: dict[str, Work] = {name: lambda name=name: called.append(name) for name in "ab"}  # type: ignore[misc]
    times = Clock(CPU, turns=3, least=1, burst=0.0).compare(works)
    assert "".join(called) == "ab" * 4  # once before
    assert {timing.turns for timing in times.values()} == {3}


def test_patience_ends_the_turns_but_not_before_the_least() -> None:
    def work() -> None:
        time.sleep(0.01)

    clock = Clock(CPU, turns=9, least=2, patience=0.009, burst=0.0)
    assert clock.compare({"a": work}, warm=False)["a"].turns == 2


def test_after_the_deadline_there_is_one_turn() -> None:
    clock = Clock(CPU, turns=9, least=2, burst=0.0, deadline=time.perf_counter())
    assert clock.compare({"a": lambda: None})["a"].turns == 1


def test_short_works_are_repeated() -> None:
    calls: list[int] = []
    timing = Clock(CPU, turns=1, burst=0.01).compare({"a": lambda: calls.append(1)})["a"]
    assert len(calls) > 100
    assert 0 < timing.seconds < 0.01


def test_summary_is_median_and_quartiles() -> None:
    timing = summary([4.0, 1.0, 2.0, 3.0, 100.0])
    assert (timing.seconds, timing.turns) == (3.0, 5)
    assert timing.spread == pytest.approx(2 / 3)


# Measurements


def test_forward_counts_operations_and_agrees() -> None:
    found = measure_forward(SETTING, 5, 16, width=8, depth=5)
    assert_measured(found)
    assert found.error < 1e-5
    weights = 9 * 4 * 8 + 8 * 8 + 9 * 8 * 8 + 8 * 8 + 8 * 3  # 3x3, 1x1, 3x3, 1x1, 1x1
    assert found.gflops * found.seconds == pytest.approx(2e-9 * weights * 16**2)
    assert found.ratio_to_published == pytest.approx(found.seconds_published / found.seconds)


def test_forward_refuses_to_time_another_function(monkeypatch: pytest.MonkeyPatch) -> None:
    right = baseline.published_form

    def wrong(network: Any) -> nn.Module:
        plain = right(network)
        nn.init.constant_(plain.norms[0].gammas, 1.1)  # type: ignore[arg-type]
        return plain

    monkeypatch.setattr(baseline, "published_form", wrong)
    with pytest.raises(ScalewiseError, match="differs from the published one"):
        measure_forward(SETTING, 5, 16, width=8, depth=5)


def test_sampling_counts_calls_and_adds_up_the_published() -> None:
    found = measure_sampling(SETTING, 32, levels=2, batch=2, width=8, depth=5)
    assert_measured(found)
    prior = published_prior(32, 2, width=8, depth=5)
    steps = {"low": prior.low, "level 2": prior.conditionals[1], "level 1": prior.conditionals[0]}
    assert found.calls == {name: few_steps(net).steps for name, net in steps.items()}  # type: ignore[attr-defined]
    assert found.calls_published == {"low": 5359, "level 2": 73, "level 1": 92}
    each = found.seconds_per_call_published
    total = sum(found.calls_published[name] * each[name] for name in each)
    assert found.seconds_published == pytest.approx(total)
    assert found.ratio_to_published == pytest.approx(total / found.seconds)


def test_calls_are_counted_per_network() -> None:
    prior = published_prior(16, 2, width=4, depth=3)
    noisy, low = torch.rand(1, 3, 4, 4), torch.rand(1, 1, 4, 4)
    with counted(prior) as calls:
        prior.conditionals[1](noisy, low)
        prior.denoise(torch.rand(1, 1, 16, 16))
    prior.denoise(torch.rand(1, 1, 16, 16))
    assert calls == {"low": 1, "level 2": 2, "level 1": 1}


def test_training_counts_operations() -> None:
    found = measure_training(SETTING, 2, 32, 5, width=8, depth=5)
    assert_measured(found)
    weights = 9 * 4 * 8 + 8 * 8 + 9 * 8 * 8 + 8 * 8 + 8 * 3
    flops = 3 * 2 * weights * 2 * 16**2
    assert found.gflops / found.images_per_second * 2 == pytest.approx(1e-9 * flops)


def test_plain_loop_learns() -> None:
    recipe = Recipe(
        levels=1, form="bias-free", receptive_field=5, width=8, depth=3, crop=16, steps=1
    )
    trainer = trainer_of(recipe, CPU)
    loop = PlainLoop(trainer)
    assert loop.network.training
    before = [weight.clone() for weight in loop.network.parameters()]
    own = [weight.clone() for weight in trainer.network.parameters()]
    loop.step()
    assert all((a != b).any() for a, b in zip(before, loop.network.parameters(), strict=True))
    assert all((a == b).all() for a, b in zip(own, trainer.network.parameters(), strict=True))


def test_pixels_in_equal_batches() -> None:
    found = measure_pixels(SETTING, (16, 32), SMALL, 32 * 32)
    assert_measured(found)
    for task in (found.denoise, found.upscale):
        assert [(size.side, size.batch) for size in task.sizes] == [(16, 4), (32, 1)]
        seconds = [size.seconds for size in task.sizes]
        assert task.spread == pytest.approx(max(seconds) / min(seconds) - 1)
        assert task.sizes[1].seconds_alone == task.sizes[1].seconds
    assert found.spread == max(found.denoise.spread, found.upscale.spread)


def test_peak_of_another_process() -> None:
    peak = peak_bytes(hold, 64)
    if peak is None:
        pytest.skip("needs /proc")
    assert 63 << 20 < peak < 72 << 20


def hold(megabytes: int) -> tuple[Work, Work]:
    """Works that hold one number, and so many megabytes."""
    return lambda: torch.ones(1), lambda: torch.ones(megabytes << 18)


def die() -> tuple[Work, Work]:
    raise SystemExit(3)


def test_death_of_another_process_is_told() -> None:
    with pytest.raises(ScalewiseError, match="ended early, with code 3"):
        peak_bytes(die)


def test_packaged_per_photo_and_face(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, sample = [], MultiScalePrior.sample

    def noted(prior: MultiScalePrior, count: int, **options: Any) -> Tensor:
        images = sample(prior, count, **options)
        drawn.append(len(images))
        return images

    monkeypatch.setattr(MultiScalePrior, "sample", noted)
    places = str(models / "photos"), str(models / "faces")
    found = measure_packaged(told(denoise=3.0, sample=8.0), 32, 2, places)
    assert drawn == [2]
    assert (found.denoise, found.sample) == (3.0, 4.0)


def test_ratios_are_of_the_published_over_ours() -> None:
    """By a clock of known seconds, work by work."""
    forward = measure_forward(told(dense=1.0, ours=0.5, published=4.0), 5, 16, width=8, depth=5)
    assert (forward.seconds, forward.seconds_published) == (0.5, 4.0)
    assert forward.ratio_to_published == 8
    dense = 2 * 9 * 64 * 64 * 8 * 8 / 1.0
    assert forward.convolution_gflops == pytest.approx(1e-9 * dense)
    share = forward.gflops / forward.convolution_gflops
    assert forward.share_of_convolution_rate == pytest.approx(share)
    steps = {"ours": 2.0, "automatic": 1.0, "published": 3.0, "loader": 0.25, "dense": 1.0}
    training = measure_training(told(**steps), 2, 32, 5, width=8, depth=5)
    assert (training.ratio_to_published, training.ratio_automatic) == (1.5, 3.0)
    assert training.images_per_second == pytest.approx(2 * STEPS / 2.0)
    assert training.images_per_second_published == pytest.approx(2 * STEPS / 3.0)
    assert training.loader_share == pytest.approx(0.25 / (2.0 / STEPS))
    calls = {"low": 0.5, "level 1": 2.0, "ours": 8.0}
    sampling = measure_sampling(told(**calls), 32, levels=1, batch=4, width=8, depth=5)
    published = baseline.CALLS[0] * 0.5 + baseline.CALLS[1] * 2.0
    assert (sampling.seconds, sampling.seconds_published) == (2.0, published)
    assert sampling.ratio_to_published == published / 2.0


@pytest.mark.slow
def test_start_runs_commands(models: Path) -> None:
    found = measure_start(SETTING, 32, str(models / "photos"))
    assert_measured(found)


@pytest.mark.slow
def test_start_tells_a_command_that_fails() -> None:
    with pytest.raises(ScalewiseError, match=r"denoise failed while it was timed: Error: .*nope"):
        measure_start(SETTING, 32, "nope")


def test_agreement_of_precisions() -> None:
    clean = torch.rand(1, 3, 32, 32)
    prior = tiny_prior(3, (8, 8), 2)
    found = {agreement.precision: agreement for agreement in measure_agreement(prior, clean, CPU)}
    assert abs(found["float32"].psnr_change) < 1e-3
    assert found["float32"].error < 1e-4 < found["bfloat16"].error
    assert prior.low.mean.dtype == torch.float32
    for agreement in found.values():
        assert agreement.holds == (abs(agreement.psnr_change) <= 0.02)


def test_precision_that_holds_is_chosen() -> None:
    found = measure_agreement(tiny_prior(3, (8, 8), 1), torch.rand(1, 3, 16, 16), CPU)
    bad = [dataclasses.replace(agreement, holds=False) for agreement in found]
    good = [dataclasses.replace(agreement, holds=True) for agreement in found]
    assert best_precision(good) == torch.bfloat16
    assert best_precision([good[0], bad[1], good[2]]) == torch.float16
    assert best_precision(bad) == torch.float32


def test_lower_precision_runs() -> None:
    setting = dataclasses.replace(SETTING, dtype=torch.bfloat16)
    found = measure_forward(setting, 5, 16, width=8, depth=5)
    assert 1e-4 < found.error < 0.1


@pytest.mark.gpu
def test_cuda_run(tiny: speed.Scope) -> None:
    content = speed.run(tiny, "cuda", ["forward_512", "sample_320", "training", "per_pixel"])
    assert content["agreement"][0]["holds"]
    assert content["forward_512"]["seconds_replayed"] > 0


# The command


def test_command_writes_what_it_prints(tiny: speed.Scope, tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    outcome = scalewise("benchmark", "--quick", "--device", "cpu", "--json", file)
    assert outcome.code == 0, outcome.stderr
    content = json.loads(file.read_text())
    assert content["machine"]["cores"] >= 1
    assert content["versions"]["torch"] == torch.__version__
    assert "commit" in content
    forward, sampled = content["forward_512"], content["sample_320"]
    ratio = forward["seconds_published"] / forward["seconds"]
    assert forward["ratio_to_published"] == pytest.approx(ratio, rel=1e-4)
    assert sampled["calls"].keys() == {"low", "level 1", "level 2"}
    assert content["start"].keys() == {"side", "help", "denoise", "import_torch"}
    assert len(content["forward"]) == 2
    assert len(content["sampling"]) == 2
    assert len(content["per_pixel_small"]["upscale"]["sizes"]) == 1
    assert [record["receptive_field"] for record in content["training_wider"]] == [7]
    assert all(math.isfinite(value) for value in numbers(content))
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["measured", "Scalewise", "baseline", "ratio"]
    rows = speed.rows(content)
    assert len(lines) == 2 + len(rows)
    for line, row in zip(lines[2:], rows, strict=True):
        assert re.split(r"  +", line.strip()) == [cell.strip() for cell in row if cell]


def test_command_checks_its_output_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "run", lambda *_, **__: pytest.fail("measured for nothing"))
    there = tmp_path / "there.json"
    there.write_text("{}")
    for place, told in (
        (there, "exists; give --force to overwrite"),
        (tmp_path, "expected the name of a file"),
        (tmp_path / "no" / "speed.json", "in a folder that exists"),
    ):
        outcome = scalewise("benchmark", "--quick", "--json", place)
        assert outcome.code == 1
        assert told in outcome.sentence
    monkeypatch.setattr("os.access", lambda *_: False)
    outcome = scalewise("benchmark", "--quick", "--json", tmp_path / "new.json")
    assert "choose a writable folder" in outcome.sentence
    assert there.read_text() == "{}"


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_command_refuses_a_device(device: str) -> None:
    outcome = scalewise("benchmark", "--quick", "--device", device)
    assert outcome.code == 2
    assert "device" in outcome.sentence


def test_rows_of_a_gpu() -> None:
    agreement = {"precision": "float16", "psnr_change": -0.5, "error": 1.0, "holds": False}
    ((name, change, *_),) = speed.rows({"agreement": [agreement]})
    assert "FAILS" in name
    assert change == "-0.5000 dB"


def test_script_measures_parts_into_one_file(
    tiny: speed.Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    speed = importlib.import_module("benchmarks.speed")
    monkeypatch.setattr(speed, "SCOPES", {"full": tiny})
    file, picture = tmp_path / "speed.json", tmp_path / "cost.svg"
    places = ["--json", str(file), "--plot", str(picture)]
    speed.main(["--parts", "forward_512", *places])
    speed.main(["--parts", "per_pixel", *places])
    content = json.loads(file.read_text())
    assert set(content["parts"]) == {"forward_512", "per_pixel"}
    text = picture.read_text(encoding="utf-8")
    for task in ("none; stroke: #1f77b4", "stroke-dashoffset: 0; stroke: #ff7f0e"):
        curves = re.findall(rf'clip-path="[^"]*" style="[^"]*{task}', text)
        assert len(curves) == 2  # seconds and bytes
    tables = importlib.import_module("benchmarks.tables")
    assert "| forward pass, receptive field 5, 16×16 |" in tables.speed(content)


def test_commit_is_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "__init__.py").touch()
    monkeypatch.setattr("scalewise.__file__", str(tmp_path / "__init__.py"))
    assert machine.commit() is None


def test_nothing_is_learnt_by_measuring() -> None:
    """Networks of the published shape are the same in every run."""
    first, second = (baseline.details_network(1, 5, 8, 5) for _ in range(2))
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(equal(a, b) for a, b in pairs)


def equal(a: Tensor, b: Tensor) -> bool:
    return bool((a == b).all())
