"""The published networks, imported: the first proof that wavelets, networks and prior are right."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scalewise import published
from scalewise.errors import ScalewiseError
from scalewise.networks import ConditionalDenoiser, Denoiser, probe_receptive_field
from scalewise.prior import MultiScalePrior
from scalewise.published import import_reference
from scalewise.store import load, read_config, save
from scalewise.wavelets import decompose

FIELDS = (5, 9, 13, 23, 43)
NAMES = [
    *(f"faces160-rf{field}" for field in FIELDS),
    "faces320-rf13",
    *(f"flat160-rf{field}" for field in FIELDS),
]
FLAT, SMALL, LARGE = (
    "flat/celebA_160x160_gray",
    "multi_scale/celebA_160x160_gray",
    "multi_scale/celebA_320x320_gray",
)
LARGE_LOW = f"{LARGE}/noise_range_0to255_RF_40x40_low/model.pt"

Golden = dict[str, Tensor]
Edit = Callable[[dict[str, Tensor]], None]


@pytest.fixture(scope="session")
def checkpoints(shared: Path) -> Path:
    return shared / "reference" / "checkpoints"


@pytest.fixture(scope="session")
def golden(shared: Path) -> Golden:
    with np.load(shared / "reference" / "golden.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="session")
def models(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All published models, imported once."""
    out = tmp_path_factory.mktemp("reference") / "models"
    assert [folder.name for folder in import_reference(checkpoints, out)] == NAMES
    return out


def largest_difference(found: Tensor, expected: Tensor) -> float:
    assert found.numel() == expected.numel()
    return float((found.flatten() - expected.flatten()).abs().max())


def psnr(found: Tensor, clean: Tensor) -> float:
    return float(-10 * (found.flatten() - clean.flatten()).square().mean().log10())


def detail_network(prior: MultiScalePrior, level: int) -> ConditionalDenoiser:
    network = prior.details[level - 1]
    assert isinstance(network, ConditionalDenoiser)
    return network


# Parity with the authors' code


def test_coefficients_equal_the_published_normalisation(golden: Golden) -> None:
    image = golden["clean_160"][None, None]
    for j in (0, 1):
        low, details = decompose(image, j + 1)
        bands = torch.cat([low, details[j]], dim=1)
        assert largest_difference(bands, golden[f"coeffs_160_j{j}"]) < 1e-5


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_network_outputs(name: str, models: Path, golden: Golden) -> None:
    prior = load(models / name, device="cpu")
    family, _, field = name.partition("-rf")
    side = family[-3:]
    expected = f"net_out_low_{side}" if prior.levels else f"net_out_flat_rf{field}"
    image = golden["net_in_low"]
    assert largest_difference(image - prior.low(image), golden[expected]) < 1e-4
    low, noisy = golden["net_in_detail"][:, :1], golden["net_in_detail"][:, 1:]
    for j in range(prior.levels):
        noise = noisy - detail_network(prior, j + 1)(noisy, low).details
        assert largest_difference(noise, golden[f"net_out_detail_{side}_rf{field}_j{j}"]) < 1e-4


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("kind", "family"), [("multi_scale", "faces"), ("flat", "flat")])
@torch.no_grad()
def test_denoising(
    kind: str, family: str, field: int, models: Path, golden: Golden, shared: Path
) -> None:
    scores = json.loads((shared / "reference" / "golden_psnr.json").read_text())
    prior = load(models / f"{family}160-rf{field}", device="cpu")
    clean = golden["clean_160"]
    for level in (10, 30, 100):
        noisy = clean + level / 255 * golden["unit_noise_160"]
        denoised = prior.denoise(noisy[None, None])
        expected = golden.get(f"{kind}_s{level}_rf{field}")
        if expected is not None:
            assert largest_difference(denoised, expected) < 1e-4
        assert abs(psnr(denoised, clean) - scores[f"sigma{level}_rf{field}"][kind]) < 0.01


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name.endswith(("23", "43")) else name
        for name in NAMES
    ],
)
def test_declared_receptive_fields_are_true(name: str, models: Path) -> None:
    prior = load(models / name, device="cpu")
    field = int(name.rpartition("rf")[2])
    if prior.levels == 0:
        assert isinstance(prior.low, Denoiser)
        assert prior.low.receptive_field == probe_receptive_field(prior.low) == field
    for level in range(1, prior.levels + 1):
        network = detail_network(prior, level)
        assert network.receptive_field == probe_receptive_field(network) == field


@pytest.mark.slow
def test_the_low_pass_network_sees_the_whole_image(models: Path) -> None:
    low = load(models / "faces160-rf5", device="cpu").low
    assert low.receptive_field == probe_receptive_field(low) == 41


# The model folders


@pytest.mark.parametrize("name", NAMES)
def test_models_are_ordinary_folders(name: str, models: Path) -> None:
    config = read_config(models / name)
    assert (config.name, config.channels, config.color_space) == (name, 1, "gray")
    assert sorted(path.name for path in (models / name).iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    side = 320 if "320" in name else 160
    assert load(models / name, device="cpu").size == (side, side)


def test_the_card_names_data_licence_and_origin(models: Path) -> None:
    card = (models / "faces160-rf9" / "README.md").read_text()
    assert 'license: "mit"' in card
    for fact in ("CelebA", "non-commercial", "ICLR 2023", "9×9", "published checkpoints"):
        assert fact in card


# Layouts


def copy(checkpoints: Path, to: Path, family: str) -> Path:
    shutil.copytree(checkpoints / family, to / family)
    return to


def read(file: Path) -> dict[str, Tensor]:
    return dict(torch.load(file, map_location="cpu", weights_only=True))


@pytest.fixture
def large(checkpoints: Path, tmp_path: Path) -> Path:
    """A writable copy of the smallest family."""
    return copy(checkpoints, tmp_path / "large", LARGE)


def test_an_absent_family_is_skipped(large: Path, tmp_path: Path) -> None:
    written = import_reference(large, tmp_path / "out")
    assert written == [tmp_path / "out" / "faces320-rf13"]


def test_the_folder_around_the_checkpoints_will_do(large: Path, tmp_path: Path) -> None:
    (tmp_path / "reference").mkdir()
    large.rename(tmp_path / "reference" / "checkpoints")
    assert len(import_reference(tmp_path / "reference", tmp_path / "out")) == 1


def test_an_incomplete_family_is_named(large: Path, tmp_path: Path) -> None:
    shutil.rmtree(large / LARGE / "noise_range_0to255_RF_13x13_scale_1")
    expect_refusal(large, tmp_path / "out", "incomplete, .*13x13_scale_1.* missing")


def test_another_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    expect_refusal(tmp_path, tmp_path / "out", "not the published checkpoints.*found weights")
    expect_refusal(tmp_path / "none", tmp_path / "out", "found no such folder")


def test_models_are_not_overwritten_without_force(large: Path, tmp_path: Path) -> None:
    """Those with other weights, be they imported or trained."""
    (folder,) = import_reference(large, tmp_path / "out")
    file = large / LARGE_LOW
    state = read(file)
    state[FIRST][0, 0, 0] += 0.5
    torch.save(state, file)
    with pytest.raises(ScalewiseError, match=r"faces320-rf13: a model is there already.*--force"):
        import_reference(large, tmp_path / "out")
    assert import_reference(large, tmp_path / "out", force=True) == [folder]
    assert torch.equal(load(folder, device="cpu").state_dict()["low.trunk.0.weight"], state[FIRST])
    save(load(folder, device="cpu"), folder, force=True)
    with pytest.raises(ScalewiseError, match=r"faces320-rf13: a model is there already.*--force"):
        import_reference(large, tmp_path / "out")


def test_an_import_that_was_cut_short_goes_on(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --force; what is there is not written again."""
    source = copy(checkpoints, copy(checkpoints, tmp_path / "two", LARGE), FLAT)
    saved: list[str] = []

    def counted(prior: MultiScalePrior, folder: Path, **options: Any) -> None:
        if len(saved) == 2:
            raise KeyboardInterrupt
        save(prior, folder, **options)
        saved.append(folder.name)

    with monkeypatch.context() as patch:
        patch.setattr(published, "save", counted)
        with pytest.raises(KeyboardInterrupt):
            import_reference(source, tmp_path / "out")
    before = {name: (tmp_path / "out" / name / "config.json").stat().st_mtime_ns for name in saved}
    assert len(import_reference(source, tmp_path / "out")) == 6
    assert len(list((tmp_path / "out").iterdir())) == 6
    for name, time in before.items():
        assert (tmp_path / "out" / name / "config.json").stat().st_mtime_ns == time


def test_nothing_is_written_where_something_else_stands(large: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "faces320-rf13").mkdir(parents=True)
    (tmp_path / "out" / "faces320-rf13" / "notes.txt").write_text("mine")
    with pytest.raises(ScalewiseError, match="something other than a Scalewise model"):
        import_reference(large, tmp_path / "out", force=True)
    assert (tmp_path / "out" / "faces320-rf13" / "notes.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ScalewiseError, match="file: cannot be made"):
        import_reference(large, file)


# Damaged and hostile checkpoints


def expect_refusal(source: Path, out: Path, match: str) -> None:
    """Importing fails with this message and leaves nothing behind."""
    with pytest.raises(ScalewiseError, match=match):
        import_reference(source, out)
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 1, 1000, -1000, -1])
def test_a_truncated_checkpoint(kept: int, large: Path, tmp_path: Path) -> None:
    file = large / LARGE_LOW
    file.write_bytes(file.read_bytes()[:kept])
    expect_refusal(large, tmp_path / "out", "RF_40x40_low.*damaged")


def test_a_file_that_is_no_checkpoint(large: Path, tmp_path: Path) -> None:
    (large / LARGE_LOW).write_text("<html>not found</html>")
    expect_refusal(large, tmp_path / "out", "damaged, or holds code")


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(zipped: bool, large: Path, tmp_path: Path) -> None:
    file, mark = large / LARGE_LOW, tmp_path / "code-was-run"
    state = read(file) | {"more": Hostile(mark)}
    if zipped:
        torch.save(state, file)
    else:
        file.write_bytes(pickle.dumps(state))
    expect_refusal(
        large, tmp_path / "out", "holds code or objects .none was run. where only weights"
    )
    assert not mark.exists()
    pickle.loads(pickle.dumps(Hostile(mark)))
    assert mark.exists(), "this test would have noticed"


FIRST, SD = "module.conv_layers.0.weight", "module.BN_layers.3.running_sd"


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda state: state.pop(FIRST), f"missing weights '{FIRST}'"),
        (lambda state: state.pop(SD), f"missing weights '{SD}'"),
        (lambda state: state.update(more=torch.ones(1)), "unexpected weights 'more'"),
        (
            lambda state: state.update({FIRST: torch.ones(64, 3, 3, 3)}),
            r"'module.conv_layers.0.weight' should have shape \(64, 1, 3, 3\).*\(64, 3, 3, 3\)",
        ),
        (
            lambda state: state.update({SD: torch.ones(64)}),
            r"running_sd' should have shape \(1, 64, 1, 1\).*found \(64,\)",
        ),
        (
            lambda state: state.update({FIRST: state[FIRST].long()}),
            "hold floats, found .* of torch.int64",
        ),
        (lambda state: state[FIRST][0, 0, 0].fill_(float("nan")), "NaN or infinite"),
        (lambda state: state[SD].fill_(float("inf")), "NaN or infinite"),
        (lambda state: state[SD].zero_(), "standard deviations above 0, found 0"),
        (
            lambda state: state.update({FIRST: state[FIRST][..., 1:2, 1:2].clone()}),
            "expected a receptive field of 41x41, found 39x39",
        ),
        (lambda state: state.update({FIRST: "weights"}), "expected named weights"),
    ],
)
def test_a_tampered_checkpoint(edit: Edit, match: str, large: Path, tmp_path: Path) -> None:
    file = large / LARGE_LOW
    state = read(file)
    edit(state)
    torch.save(state, file)
    expect_refusal(large, tmp_path / "out", match)


def test_a_checkpoint_that_is_one_tensor(large: Path, tmp_path: Path) -> None:
    torch.save(torch.ones(3), large / LARGE_LOW)
    expect_refusal(large, tmp_path / "out", "expected named weights, found Tensor")
