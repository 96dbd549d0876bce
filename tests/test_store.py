"""Model folders: what goes in comes out, and what is damaged is told in one sentence."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from skimage import data
from torch import Tensor, nn

from scalewise import store
from scalewise.device import pick_device
from scalewise.errors import ScalewiseError, UsageError
from scalewise.networks import (
    BiasFreeConditional,
    BiasFreeDenoiser,
    LocalConditional,
    NoiseEstimator,
    UNet,
    probe_receptive_field,
    spread_kernels,
)
from scalewise.prior import MultiScalePrior
from scalewise.store import names

TRAINING: dict[str, Any] = {
    "data": {"name": "230 photographs", "images": 230, "license": "research use only"},
    "recipe": {"steps": 1000, "learning_rate": 1e-3, "levels": [1, 2]},
    "seconds": 12.5,
}
SCORES: dict[str, Any] = {"denoising PSNR (dB)": {"sigma 25": 27.914236}, "none": None}


def shaken(prior: MultiScalePrior) -> MultiScalePrior:
    """The prior with random weights everywhere, so that nothing is at its first value."""
    with torch.no_grad():
        for tensor in prior.state_dict().values():
            tensor.add_(0.1 * torch.rand_like(tensor))
    return prior.eval()


def small_prior(levels: int = 2) -> MultiScalePrior:
    details = [LocalConditional(3, 9, width=8, blocks=2) for _ in range(levels)]
    return shaken(MultiScalePrior(UNet(3, (8, 8), width=8), details))


def blind_prior() -> MultiScalePrior:
    low = BiasFreeDenoiser(1, [3, 3, 3], width=8, size=(8, 8))
    return shaken(MultiScalePrior(low, [BiasFreeConditional(1, [3, 1, 3], width=8)], "db2"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model."""
    store.save(small_prior(), tmp_path / "model", training=TRAINING, scores=SCORES, license="mit")
    return tmp_path / "model"


def edit_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads((folder / "config.json").read_text())
    change(fields)
    (folder / "config.json").write_text(json.dumps(fields))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = safetensors.torch.load((folder / "model.safetensors").read_bytes())
    change(tensors)
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(tensors))


def expect_refusal(folder: Path, match: str) -> None:
    """Loading fails with one sentence that names the folder."""
    with pytest.raises(ScalewiseError, match=match) as caught:
        store.load(folder, device="cpu")
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message


# There and back


@pytest.mark.parametrize("make", [small_prior, lambda: small_prior(0), blind_prior])
def test_round_trip_is_bit_equal(make: Callable[[], MultiScalePrior], tmp_path: Path) -> None:
    prior = make()
    store.save(prior, tmp_path / "model")
    loaded = store.load(tmp_path / "model", device="cpu")
    assert not any(module.training for module in loaded.modules())
    assert (loaded.levels, loaded.wavelet, loaded.size) == (prior.levels, prior.wavelet, prior.size)
    before, after = prior.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(tensor.dtype == torch.float32 for tensor in after.values())
    noisy = torch.rand(1, prior.channels, 16, 16)
    with torch.no_grad():
        expected, found = prior.denoise(noisy, 0.1), loaded.denoise(noisy, 0.1)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)  # another memory layout


def test_a_fingerprint_tells_weights_apart(folder: Path) -> None:
    first, second = (store.load(folder, device="cpu") for _ in range(2))
    assert store.fingerprint(first) == store.fingerprint(second)
    assert len(store.fingerprint(first)) == 16
    with torch.no_grad():
        next(second.parameters()).mul_(1 + 1e-6)
    assert store.fingerprint(first) != store.fingerprint(second)


def test_loading_leaves_the_random_numbers_alone(folder: Path) -> None:
    state = torch.get_rng_state()
    store.load(folder, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_loaded_networks_can_be_trained_on(folder: Path) -> None:
    prior = store.load(folder, device="cpu").train()
    assert not any(parameter.requires_grad for parameter in prior.parameters())
    noisy = torch.rand(1, 3, 16, 16, requires_grad=True)
    prior.denoise(noisy, 0.1).sum().backward()
    assert noisy.grad is not None
    prior.requires_grad_().denoise(torch.rand(1, 3, 16, 16), 0.1).sum().backward()
    assert all(parameter.grad is not None for parameter in prior.details[0].parameters())


def test_config_keeps_what_it_was_told(folder: Path) -> None:
    config = store.read_config(folder)
    assert (config.format_version, config.name, config.channels, config.levels) == (
        1,
        "model",
        3,
        2,
    )
    assert (config.wavelet, config.color_space, config.license) == ("haar", "sRGB", "mit")
    assert (config.training, config.scores) == (TRAINING, SCORES)
    assert config.low.kind == "unet"
    assert config.details[0].settings["receptive_field"] == 9


def test_saving_again_gives_the_same_bytes(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    prior = store.load(folder, device="cpu")
    store.save(prior, folder, training=TRAINING, scores=SCORES, license="mit", force=True)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_half_precision_takes_half_the_space(folder: Path, tmp_path: Path) -> None:
    prior = store.load(folder, device="cpu")
    store.save(prior, tmp_path / "half", dtype="float16")
    whole, half = (
        (path / "model.safetensors").stat().st_size for path in (folder, tmp_path / "half")
    )
    assert half < 0.65 * whole
    loaded = store.load(tmp_path / "half", device="cpu").state_dict()
    for name, tensor in prior.state_dict().items():
        assert loaded[name].dtype == torch.float32
        torch.testing.assert_close(loaded[name], tensor, rtol=1e-3, atol=1e-6)


def test_what_standardises_is_stored_in_full(tmp_path: Path) -> None:
    prior = small_prior()
    estimator = NoiseEstimator(channels=1)
    assert estimator.spectrum is not None
    estimator.spectrum.mean.fill_(100 / 3)  # a float16 has three digits of it
    estimator.spectrum.scale.fill_(1e-5)
    prior.estimator = estimator
    store.save(prior, tmp_path / "half", dtype="float16")
    loaded = store.load(tmp_path / "half", device="cpu").estimator
    assert loaded is not None
    assert loaded.spectrum is not None
    assert torch.equal(loaded.spectrum.mean, estimator.spectrum.mean)
    assert torch.equal(loaded.spectrum.scale, estimator.spectrum.scale)


def test_channels_last_weights_are_stored_plainly(tmp_path: Path) -> None:
    prior = small_prior().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    store.save(prior, tmp_path / "model")
    loaded = store.load(tmp_path / "model", device="cpu").state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in prior.state_dict().items())


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    config = store.save(small_prior(), tmp_path / "model", scores={"psnr": float("inf")})
    assert json.loads(config.to_json())["scores"] == {"psnr": None}
    store.load(tmp_path / "model", device="cpu")


# Writing


def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(ScalewiseError, match="model: a model is there already; give --force"):
        store.save(small_prior(), folder)
    assert (folder / "model.safetensors").read_bytes() == before
    (folder / "log.txt").write_text("mine")
    store.save(small_prior(), folder, force=True)
    assert (folder / "model.safetensors").read_bytes() != before
    assert (folder / "log.txt").read_text() == "mine"


@pytest.mark.parametrize("content", [{"notes.txt": "mine"}, {"config.json": '{"model_type": "x"}'}])
def test_other_folders_are_never_overwritten(content: dict[str, str], tmp_path: Path) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ScalewiseError, match="something other than a Scalewise model"):
        store.save(small_prior(), tmp_path, force=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == content


def test_a_folder_of_hidden_entries_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "model" / ".state").mkdir(parents=True)
    store.save(small_prior(), tmp_path / "model")
    assert (tmp_path / "model" / ".state").is_dir()
    store.load(tmp_path / "model", device="cpu")


def test_places_where_no_model_can_stand(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ScalewiseError, match="file: is a file"):
        store.save(small_prior(), tmp_path / "file", force=True)
    with pytest.raises(ScalewiseError, match="none does not exist; create it first"):
        store.save(small_prior(), tmp_path / "none" / "model")


def test_a_read_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ScalewiseError, match="model: cannot be written there"):
        store.check_folder(tmp_path / "model")


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_nothing_behind(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        store.save(small_prior(), tmp_path / "model")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ScalewiseError, match="model: cannot be written: No space left on device"):
        store.save(small_prior(), tmp_path / "model", force=True)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(list(tmp_path.iterdir())) == there


def test_broken_weights_are_not_saved(tmp_path: Path) -> None:
    prior = small_prior()
    with torch.no_grad():
        prior.low.get_parameter("enter.weight")[0] = 1e6
        store.save(prior, tmp_path / "whole")
        with pytest.raises(ScalewiseError, match=r"'low.enter.weight' hold .* too large for .*16"):
            store.save(prior, tmp_path / "half", dtype="float16")
        prior.low.get_parameter("enter.weight")[0] = float("nan")
        with pytest.raises(ScalewiseError, match=r"'low.enter.weight' hold values that are NaN"):
            store.save(prior, tmp_path / "nan")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_networks_without_a_name_are_not_saved(tmp_path: Path) -> None:
    class Mine(UNet):
        pass

    with pytest.raises(ScalewiseError, match="type Mine cannot be saved; expected one of UNet"):
        store.save(MultiScalePrior(Mine(1, (8, 8), width=8)), tmp_path / "model")


def test_facts_that_are_not_json(tmp_path: Path) -> None:
    with pytest.raises(ScalewiseError, match=r"field 'training.made' is wrong"):
        store.save(small_prior(), tmp_path / "model", training={"made": object()})  # type: ignore[dict-item]


# Damaged folders


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    expect_refusal(folder, "model.safetensors is missing; a model folder holds config.json and")
    (folder / "config.json").unlink()
    expect_refusal(folder, "config.json is missing")
    (folder / "config.json").mkdir()
    expect_refusal(folder, "config.json: cannot be read")


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe\x00", b"", b"[" * 100_000])
def test_config_that_is_not_json(text: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(text)
    expect_refusal(folder, "config.json: not valid JSON")


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"format_version": "1"}'])
def test_config_of_something_else(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text)
    expect_refusal(folder, "not the config of a Scalewise model: expected format_version 1, found")


CONFIG_FAULTS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda c: c.update(format_version=2, novel=1), "made by a newer Scalewise .*2.*upgrade"),
    (lambda c: c.update(more=1), "unknown field 'more'; remove it, or upgrade"),
    (lambda c: c.pop("low"), "field 'low' is missing"),
    (lambda c: c.update(name=3), "field 'name' is wrong: .*string, found 3"),
    (lambda c: c.update(color_space="CMYK"), "'color_space' is wrong: .*'sRGB'.*, found 'CMYK'"),
    (
        lambda c: c.update(value_range=[0, 255]),
        r"value_range must be \[0, 1\], found \[0.0, 255.0\]",
    ),
    (lambda c: c.update(levels=3), "levels is 3, but details lists 2 networks"),
    (lambda c: c.update(channels=1), "channels is 1, but the network of low-pass image has 3"),
    (lambda c: c.update(channels=0), "field 'channels' is wrong: .*greater than 0, found 0"),
    (lambda c: c["details"][1]["settings"].update(channels=1), "details of level 2 has 1"),
    (lambda c: c.update(wavelet="db99"), "'db99' is not known"),
    (lambda c: c.update(wavelet="bior2.2"), "'bior2.2' is not orthogonal"),
    (lambda c: c["low"].update(kind="vae"), "'low.kind' is wrong: expected one of unet, .*'vae'"),
    (lambda c: c["low"].update(more=1), "unknown field 'low.more'"),
    (
        lambda c: c["low"].update(kind="local-conditional"),
        "low: a network of kind 'local-conditional' cannot stand here; expected one of unet",
    ),
    (
        lambda c: c["details"][0].update(kind="unet"),
        "details of level 1: a network of kind 'unet' cannot stand here",
    ),
    (lambda c: c["low"]["settings"].update(depth=3), "low: settings: unknown field 'depth'"),
    (lambda c: c["low"]["settings"].pop("size"), "low: settings: field 'size' is missing"),
    (lambda c: c["low"]["settings"].update(width="wide"), "'width' is wrong: .*, found 'wide'"),
    (lambda c: c["low"]["settings"].update(width=-8), "low: settings .* do not make a unet"),
    (
        lambda c: c["details"][0]["settings"].update(receptive_field=4),
        "details of level 1: settings .* do not make .* receptive_field must be odd",
    ),
    *(
        (
            lambda c, value=value: c["details"][0]["settings"].update(sigma_data=value),
            rf"level 1: .* sigma_data must be from 1e-08 to 1e\+08, found {value:g}",
        )
        for value in (0, -1, 1e-30)
    ),
    *(
        (
            lambda c, value=value: c["low"]["settings"].update(dropout=value),
            f"low: .* (dropout must be 0 or more and below 1, found {value})",
        )
        for value in (-1, 1, 1.5)
    ),
]


@pytest.mark.parametrize(("change", "match"), CONFIG_FAULTS)
def test_wrong_configs(
    change: Callable[[dict[str, Any]], object], match: str, folder: Path
) -> None:
    edit_config(folder, change)
    expect_refusal(folder, match)


def test_sizes_beyond_the_memory_are_refused_before_they_are_made(folder: Path) -> None:
    edit_config(folder, lambda config: config["low"]["settings"].update(width=1 << 20))
    expect_refusal(folder, "tensor 'low.* should have shape")


WEIGHT = "details.0.enter.weight"
WEIGHT_FAULTS: list[tuple[Callable[[dict[str, Tensor]], object], str]] = [
    (lambda w: w.pop(WEIGHT), f"lacks tensor '{WEIGHT}'; it does not belong"),
    (dict.clear, "lacks tensor '.*' and .* more"),
    (lambda w: w.update(more=torch.ones(1)), "holds the unexpected tensor 'more'"),
    (
        lambda w: w.update({WEIGHT: torch.ones(8, 3, 3, 3)}),
        rf"tensor '{WEIGHT}' should have shape \(8, 15, 3, 3\).*found \(8, 3, 3, 3\)",
    ),
    (lambda w: w.update({WEIGHT: w[WEIGHT].int()}), "hold floats, found .* of torch.int32"),
    (lambda w: w[WEIGHT][0].fill_(float("nan")), f"tensor '{WEIGHT}' holds NaN or infinite"),
    (lambda w: w[WEIGHT][0].fill_(float("-inf")), f"tensor '{WEIGHT}' holds NaN or infinite"),
]


@pytest.mark.parametrize(("change", "match"), WEIGHT_FAULTS)
def test_wrong_weights(
    change: Callable[[dict[str, Tensor]], object], match: str, folder: Path
) -> None:
    edit_weights(folder, change)
    expect_refusal(folder, match)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_truncated_weights(kept: int, folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    expect_refusal(folder, r"model.safetensors: damaged or truncated")


def test_a_pickle_is_not_read(folder: Path) -> None:
    torch.save({WEIGHT: torch.ones(1)}, folder / "model.safetensors")
    expect_refusal(folder, r"model.safetensors: damaged or truncated")


# Names


def test_packaged_models_are_those_with_a_config(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "PACKAGED", tmp_path / "weights")
    assert store.packaged() == []
    (tmp_path / "weights" / "empty").mkdir(parents=True)
    assert store.packaged() == []
    folder.rename(tmp_path / "weights" / "photos")
    assert store.packaged() == ["photos"]
    assert store.resolve("photos") == tmp_path / "weights" / "photos"
    with pytest.raises(UsageError, match=r"no model is called 'photo'; .*\(photos\)"):
        store.resolve("photo")


def test_a_folder_without_a_model_does_not_hide_a_packaged_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    folder.rename(tmp_path / "weights" / "photos")
    monkeypatch.setattr(names, "PACKAGED", tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert store.resolve("photos") == tmp_path / "weights" / "photos"
    store.save(small_prior(), "photos")
    assert store.resolve("photos") == Path("photos")


def test_names_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: is a file; give the folder"):
        store.load("file")
    with pytest.raises(UsageError, match="no model is called 'a/b/c'"):
        store.load("a/b/c")


def test_hub_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, allow_patterns: list[str]) -> str:
        assert allow_patterns == ["config.json", "model.safetensors", "README.md"]
        if name != "someone/faces":
            raise ConnectionError("offline\nand more")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert store.load("someone/faces", device="cpu").levels == 2
    with pytest.raises(ScalewiseError, match=r"someone/else: .* hub .* \(offline\); check"):
        store.load("someone/else")


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in ("cpu", "cuda", "mps")
    for name in ("gpu", "meta", ""):
        with pytest.raises(UsageError, match=f"must be auto, cpu, cuda or mps, found '{name}'"):
            pick_device(name)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="device cuda is not there: PyTorch sees 0"):
            pick_device("cuda")


@pytest.mark.gpu
def test_loading_to_a_gpu(folder: Path) -> None:
    assert next(store.load(folder).parameters()).is_cuda


# Card and summary


def test_card_tells_what_the_hub_and_people_need(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert (front["library_name"], front["license"]) == ("scalewise", "mit")
    assert front["pipeline_tag"] == "image-to-image"
    assert "denoising" in front["tags"]
    headings = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert headings == [
        "Use",
        "Networks",
        "Data",
        "Training",
        "Measured",
        "Intended use",
        "Limits",
    ]
    for row in (
        "| name | 230 photographs |",
        "| license | research use only |",
        "| recipe / levels | 1, 2 |",
        "| seconds | 12.5 |",
        "| denoising PSNR (dB) / sigma 25 | 27.9142 |",
        "| low-pass image | unet | global |",
        "| details of level 2 | local-conditional | 9×9 |",
    ):
        assert row in text


def test_card_of_a_model_of_which_little_is_known() -> None:
    config = store.ModelConfig(
        name="bare",
        channels=1,
        levels=0,
        color_space="gray",
        low=store.NetworkConfig(
            kind="bias-free-denoiser", settings={"channels": 1, "kernels": [3, 3]}
        ),
        details=[],
        training={"data": "one | two", "levels": [{"steps": 7}]},
        license="Research Only",
    )
    text = store.card(config)
    front = yaml.safe_load(text.split("---")[1])
    assert (front["license"], front["license_name"]) == ("other", "Research Only")
    assert "Nothing was measured yet." in text
    assert "one | two" in text
    assert "| levels / 1 / steps | 7 |" in text
    assert "upscale" not in text
    assert "| image | bias-free-denoiser | 5×5 |" in text


def test_summary_probes_receptive_fields(folder: Path) -> None:
    prior, config = store.load(folder, device="cpu"), store.read_config(folder)
    summary = store.summary(prior, config)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["parameters"] == sum(part["parameters"] for part in summary["networks"])
    fields = [(part["receptive_field"], part["probed"]) for part in summary["networks"]]
    assert fields == [(None, None), (9, 9), (9, 9)]
    assert (summary["levels"], summary["size"]) == (2, [32, 32])
    assert summary["training"] == TRAINING


@pytest.mark.parametrize("field", [5, 7, 9, 13])
def test_probe_finds_every_declared_field(field: int) -> None:
    kernels = spread_kernels(field, 7)
    for network in (
        LocalConditional(1, field, width=8, blocks=4),
        BiasFreeDenoiser(2, kernels, width=8),
        BiasFreeConditional(1, kernels, width=8),
    ):
        assert probe_receptive_field(network) == network.receptive_field == field


def test_probe_sees_through_a_false_declaration() -> None:
    network = BiasFreeDenoiser(1, [3] * 9, width=8)
    before = [tensor.clone() for tensor in network.state_dict().values()]
    network.receptive_field = 5
    assert probe_receptive_field(network) == 19
    network.receptive_field = 25
    assert probe_receptive_field(network) == 19
    assert probe_receptive_field(network, largest=17) is None
    after = network.state_dict().values()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


class Same(nn.Module):
    def forward(self, features: Tensor, *, exact: bool) -> Tensor:
        return features


def test_probe_calls_what_sees_nothing_zero() -> None:
    network = BiasFreeDenoiser(1, [1, 1], width=8)
    network.trunk = Same()  # type: ignore[assignment]
    assert probe_receptive_field(network) == 0


def test_precision_is_of_all_networks_or_refused(folder: Path) -> None:
    loaded = store.load(folder, device="cpu", precision="bfloat16")
    assert {n.precision for n in (loaded.low, *loaded.conditionals)} == {torch.bfloat16}
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    plain = store.load(folder, device="cpu")
    assert {n.precision for n in (plain.low, *plain.conditionals)} == {None}
    with pytest.raises(UsageError, match="bfloat16, float16, found 'int8'"):
        store.load(folder, device="cpu", precision="int8")


def test_half_precision_keeps_the_quality_of_packaged_photos() -> None:
    """Within 0.02 dB, as is asked of a GPU."""
    clean = torch.from_numpy(data.astronaut()[100:228, 150:278]).permute(2, 0, 1)[None] / 255
    generator = torch.Generator().manual_seed(0)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=generator)
    levels = []
    for precision in ("float32", "bfloat16"):
        error = store.load("photos", device="cpu", precision=precision).denoise(noisy, 0.1) - clean
        levels.append(10 * float(error.square().mean().log10()))
    assert levels[0] != levels[1]
    assert levels[1] == pytest.approx(levels[0], abs=0.02)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("blocks", 1_000_000, "blocks is 1000000, more than 1024"),
        ("width", 10**9, "width is 1000000000, more than 1048576"),
        ("kernels", [3] * 5000, "kernels has 5000 entries, more than 1024"),
        ("sigma_data", 1e300, r"sigma_data is 1e\+300"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(
    folder: Path, name: str, value: Any, words: str
) -> None:
    fields = json.loads((folder / "config.json").read_text())
    fields["low"]["settings"][name] = value
    (folder / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ScalewiseError, match=words):
        store.load(folder, device="cpu")
