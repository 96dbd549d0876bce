"""The report: its folder, its pages, its shared networks, and every experiment at a tiny size."""

import base64
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_tools import scalewise
from PIL import Image

from scalewise.data import ImageSet
from scalewise.errors import ScalewiseError, UsageError
from scalewise.exact import power_law_spectrum
from scalewise.prior import MultiScalePrior
from scalewise.reproduce import Experiment, Figure, Result, Table, reproduce
from scalewise.reproduce import networks as networks_module
from scalewise.reproduce.context import Context, Images, check_images, load_faces
from scalewise.reproduce.experiment import judge, judge_against
from scalewise.reproduce.experiments import EXPERIMENTS
from scalewise.reproduce.experiments import markov as markov_module
from scalewise.reproduce.experiments import wavelets as wavelets_module
from scalewise.reproduce.experiments.score import true_score
from scalewise.reproduce.measure import operations, operations_per_pixel
from scalewise.reproduce.neighbourhoods import level_laws, pixel_errors, simulated_errors
from scalewise.reproduce.networks import Networks, gain_per_doubling
from scalewise.reproduce.page import html_page
from scalewise.reproduce.run import write_public
from scalewise.reproduce.scale import Scale
from scalewise.training import budget as budget_module
from scalewise.training.budget import Budget
from scalewise.training.files import load_state
from scalewise.training.level import LevelTrainer

TINY = Scale(
    Budget(steps=2),
    fields=(5, 9),
    width=4,
    depth=4,
    low_width=8,
    sigmas=(10, 100),
    images=2,
    samples=4,
    halves=(8,),
    fields_drawn=8,
    largest=80,
    ascent=0,
    trainings=2,
    packaged=False,
)
SECRET = b"\x89PNG a face"


@pytest.fixture(scope="session")
def faces() -> Images:
    """Forty-eight smooth gray images of 32x32 pixels."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(48, 1, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(rough, size=(32, 32), mode="bicubic").clamp(0, 1)
    images = [(image * 255).to(torch.uint8) for image in smooth]
    return check_images(ImageSet(images[:32], "train"), ImageSet(images[32:], "validation"))


def toy(name: str, run: Callable[[Context], Result]) -> Experiment:
    return Experiment(name, name.title(), "A claim.", "A rule.", run)


def finding(_: Context) -> Result:
    curve = Figure("curve", "A <curve>.", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg")
    private = Figure("face", "A face.", SECRET, "png", private=True)
    table = Table("PSNR", ["σ", "dB"], [[1, 2.5], ["a|b", None]])
    return Result("holds", "2.5 dB.", [table], [curve, private], {"psnr": float("nan")}, ["Note."])


def test_an_interrupted_report_goes_on_where_it_was(tmp_path: Path) -> None:
    calls: list[str] = []

    def first(context: Context) -> Result:
        calls.append("first")
        return finding(context)

    def second(context: Context) -> Result:
        calls.append("second")
        if calls.count("second") == 1:
            raise KeyboardInterrupt
        return finding(context)

    both = [toy("first", first), toy("second", second)]
    out = tmp_path / "report"
    with pytest.raises(KeyboardInterrupt):
        reproduce(out, TINY, experiments=both)
    assert "Second" not in (out / "index.html").read_text()
    entries = reproduce(out, TINY, experiments=both)
    assert calls == ["first", "second", "second"]
    assert [about["name"] for about, _ in entries] == ["first", "second"]
    assert [figure.data for figure in entries[0][1].figures][1] == SECRET
    assert not list(out.rglob("*.part"))
    assert json.loads((out / "results" / "first.json").read_text())["numbers"] == {"psnr": None}


def test_a_folder_of_other_things_or_of_another_run_is_refused(tmp_path: Path) -> None:
    experiments = [toy("first", finding)]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(ScalewiseError, match=r"no report's \(thesis.txt\); give another folder"):
        reproduce(foreign, TINY, experiments=experiments)
    reproduce(foreign, TINY, experiments=experiments, force=True)
    assert (foreign / "thesis.txt").read_text() == "mine"
    out = tmp_path / "report"
    reproduce(out, TINY, seed=1, experiments=experiments)
    with pytest.raises(UsageError, match="seed: 1 there, 2 here"):
        reproduce(out, TINY, seed=2, experiments=experiments)
    (out / "networks").mkdir()
    (out / "networks" / "old.pt").write_bytes(b"")
    reproduce(out, TINY, seed=2, experiments=experiments, force=True)
    assert not (out / "networks").exists()
    (out / "report.json").write_text("{")
    with pytest.raises(ScalewiseError, match="damaged"):
        reproduce(out, TINY, seed=2, experiments=experiments)
    with pytest.raises(UsageError, match="is a file"):
        reproduce(foreign / "thesis.txt", TINY, experiments=experiments)
    with pytest.raises(ScalewiseError, match="does not exist; create it first"):
        reproduce(tmp_path / "no" / "where", TINY, experiments=experiments)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.pop("figures"), "'figures'"),
        (lambda r: r.pop("title"), "title: *Field required"),
        (lambda r: r.update(verdict="perhaps"), "verdict: *Input should be 'holds'"),
        (lambda r: r.update(figures=[3]), "not iterable"),
        (lambda r: r["figures"][0].pop("caption"), "figures.0.caption: *Field required"),
        (lambda r: r.update(tables=[{"title": "a"}]), "tables.0.columns: *Field required"),
        (lambda r: r["figures"][0].update(name="gone"), "No such file"),
    ],
)
def test_damaged_results_are_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    out, experiments = tmp_path / "report", [toy("first", finding)]
    reproduce(out, TINY, experiments=experiments)
    file = out / "results" / "first.json"
    stored = json.loads(file.read_text())
    change(stored)
    file.write_text(json.dumps(stored))
    with pytest.raises(ScalewiseError, match=f"first.json: damaged .*{reason}.*remove it"):
        reproduce(out, TINY, experiments=experiments)
    file.unlink()
    assert len(reproduce(out, TINY, experiments=experiments)) == 1


def test_only_runs_what_is_named(tmp_path: Path) -> None:
    both = [toy("first", finding), toy("second", finding)]
    entries = reproduce(tmp_path / "report", TINY, only=["second"], experiments=both)
    assert [about["name"] for about, _ in entries] == ["second"]
    with pytest.raises(UsageError, match="'third'; there are first, second"):
        reproduce(tmp_path / "report", TINY, only=["third"], experiments=both)


def test_the_page_needs_nothing_beside_it(tmp_path: Path) -> None:
    reproduce(tmp_path / "report", TINY, experiments=[toy("first", finding)])
    page = (tmp_path / "report" / "index.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 3
    assert all(source.startswith("data:") for source in sources)
    assert base64.b64encode(SECRET).decode() in page
    assert "A &lt;curve&gt;." in page
    assert "2.5 dB." in page


def test_the_public_report_has_no_private_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = tmp_path / "public"
    experiments = [toy("first", finding)]
    reproduce(tmp_path / "report", TINY, public=public, experiments=experiments)
    names = sorted(str(p.relative_to(public)) for p in public.rglob("*") if p.is_file())
    assert names == ["README.md", "data/first.json", "figures/first-curve.svg", "index.html"]
    for name in names:
        text = (public / name).read_text()
        assert base64.b64encode(SECRET).decode() not in text
        assert "A face." not in text
    assert "| a\\|b | – |" in (public / "README.md").read_text()
    assert (
        "1 figures of face data are in the local report only" in (public / "index.html").read_text()
    )
    monkeypatch.setattr("scalewise.reproduce.run.PUBLIC_BYTES", 10)
    entries = reproduce(tmp_path / "report", TINY, experiments=experiments)
    with pytest.raises(ScalewiseError, match=r"weigh 0\.0 MB together"):
        write_public(public, entries, {}, None)


def test_experiments_without_their_data_are_not_tested(tmp_path: Path) -> None:
    needy = [replace(toy("first", finding), needs=("faces", "textures"))]
    (_, result), *_ = reproduce(tmp_path / "report", TINY, experiments=needy)
    assert result.verdict == "not tested"
    assert "--faces, --textures" in result.sentence


def test_verdicts() -> None:
    assert judge({"a": True, "b": True}) == "holds"
    assert judge({"a": True, "b": False}) == "partly"
    assert judge({"a": False}) == "does not hold"
    assert judge({}) == "not tested"
    assert judge_against({"a": True}, ahead=0.1, tolerance=0.1) == ("holds", "")
    verdict, doubt = judge_against({"a": True}, ahead=0.2, tolerance=0.1)
    assert verdict == "not tested"
    assert "learnt too little" in doubt


def test_names_are_words_and_pages_are_whole() -> None:
    names = [experiment.name for experiment in EXPERIMENTS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z-]+", name) for name in names)
    assert html_page([], {}, None).endswith("</html>\n")


def make_networks(folder: Path, faces: Images, scale: Scale = TINY) -> Networks:
    device = torch.device("cpu")
    options: dict[str, Any] = {"seed": 0, "device": device, "say": lambda _: None}
    return Networks(folder, faces.training, faces.validation, scale, **options)


def saved_record(path: Path) -> dict[str, Any]:
    """What the network of a saved file cost and reached."""
    record: dict[str, Any] = load_state(path)["record"]
    assert record["name"] == path.stem
    return record


def test_trained_again_from_other_weights_with_the_same_low_pass_network(
    tmp_path: Path, faces: Images
) -> None:
    context = Context(
        TINY, 0, tmp_path, device=torch.device("cpu"), say=lambda _: None, images=faces
    )
    first = context.networks.multi_scale(9)
    (again,) = context.retrained
    second = again.multi_scale(9)
    for one, other in zip(first.low.parameters(), second.low.parameters(), strict=True):
        assert one.equal(other)
    pairs = zip(first.details[0].parameters(), second.details[0].parameters(), strict=True)
    assert not all(one.equal(other) for one, other in pairs)
    files = {path.name for path in (tmp_path / "networks").glob("*.pt")}
    assert "again1-details1-of2-rf9.pt" in files
    assert "again1-low4.pt" not in files


def test_what_the_last_doubling_gained() -> None:
    looks = [(256, 20.0), (512, 24.0), (1024, 25.0), (1100, 25.1), (2048, 27.0)]
    history = [{"step": step, "psnr": psnr, "loss": 1.0} for step, psnr in looks]
    assert gain_per_doubling(history) == pytest.approx(1.9 / math.log2(2048 / 1100))
    assert gain_per_doubling(history[:4]) == pytest.approx(1.1 / math.log2(1100 / 512))
    assert gain_per_doubling(history[:1]) is None


def test_networks_are_looked_at_where_their_steps_are_powers_of_two(
    tmp_path: Path, faces: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks_module, "FIRST_LOOK", 2)
    validate, found = LevelTrainer.validate, []

    def watched(trainer: LevelTrainer) -> dict[str, float]:
        found.append(validate(trainer))
        return found[-1]

    monkeypatch.setattr(LevelTrainer, "validate", watched)
    make_networks(tmp_path, faces, replace(TINY, budget=Budget(steps=6))).flat(5)
    assert [record["step"] for record in found] == [2, 4, 6]
    gained = found[2]["psnr"] - found[1]["psnr"]
    assert saved_record(tmp_path / "flat-rf5.pt")["gain"] == gained / math.log2(1.5)


def test_priors_share_their_low_pass_network_and_come_back(tmp_path: Path, faces: Images) -> None:
    first = make_networks(tmp_path, faces)
    five, nine = first.multi_scale(5), first.multi_scale(9)
    for one, other in zip(five.low.parameters(), nine.low.parameters(), strict=True):
        assert torch.equal(one, other)
    assert nine.details[0].receptive_field == 9
    assert first.flat(9).low.receptive_field == 9
    again = make_networks(tmp_path, faces).multi_scale(9)
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, nine.state_dict()[name]), name
    steps = {path.stem: saved_record(path)["steps"] for path in tmp_path.glob("*.pt")}
    assert steps == dict.fromkeys(
        ["low4", "flat-rf9", *(f"details{j}-of2-rf{r}" for j in (1, 2) for r in (5, 9))],
        2,
    )
    assert not list(tmp_path.glob("*.state*"))


@pytest.mark.parametrize("stop", [2, 5])
def test_a_training_that_was_killed_ends_as_one_that_was_not(
    tmp_path: Path, faces: Images, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    scale = replace(TINY, budget=Budget(steps=6))
    whole = make_networks(tmp_path / "whole", faces, scale).flat(5)
    monkeypatch.setattr(budget_module, "SAVE_SECONDS", -1.0)
    descend, taken = LevelTrainer._descend, 0

    def killed(*args: Any) -> float:
        nonlocal taken
        taken += 1
        if taken == stop:
            raise KeyboardInterrupt
        return descend(*args)

    with monkeypatch.context() as patch:
        patch.setattr(LevelTrainer, "_descend", killed)
        with pytest.raises(KeyboardInterrupt):
            make_networks(tmp_path / "killed", faces, scale).flat(5)
    resumed = make_networks(tmp_path / "killed", faces, scale).flat(5)
    for name, weight in resumed.state_dict().items():
        assert torch.equal(weight, whole.state_dict()[name]), name


def test_a_budget_of_minutes_is_kept(tmp_path: Path, faces: Images) -> None:
    scale = replace(TINY, budget=Budget(minutes=0.01))
    make_networks(tmp_path, faces, scale).flat(5)
    (path,) = tmp_path.glob("*")
    record = saved_record(path)
    assert (path.name, record["budget"]) == ("flat-rf5.pt", str(scale.budget))
    assert record["steps"] > 10
    assert 0.4 < record["seconds"] < 3


def test_images_that_will_not_do(tmp_path: Path) -> None:
    def made(*sizes: tuple[int, int]) -> ImageSet:
        return ImageSet([torch.zeros(1, *size) for size in sizes], "mine")

    with pytest.raises(ScalewiseError, match="must all have one size, found mixed sizes"):
        check_images(made((32, 32), (40, 40)), made((32, 32)))
    with pytest.raises(ScalewiseError, match="are 16x16; the report needs square images"):
        check_images(made((16, 16)), made((16, 16)))
    with pytest.raises(ScalewiseError, match="holds no training or faces_train"):
        load_faces(tmp_path)


def test_the_true_score_is_that_of_dense_algebra() -> None:
    from zoo import dense_covariance

    spectrum = 0.04 * power_law_spectrum((6, 6), 1 / 8)
    noisy = torch.rand(2, 1, 6, 6, dtype=torch.float64)
    covariance = dense_covariance(spectrum) + 0.3**2 * torch.eye(36)
    expected = -torch.linalg.solve(covariance, (noisy - 0.5).flatten(1).T).T.view_as(noisy)
    torch.testing.assert_close(true_score(spectrum, noisy, 0.3), expected)


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_a_neighbourhood_that_sees_everything_lacks_nothing(wavelet: str) -> None:
    law = level_laws(power_law_spectrum((10, 10), 1 / 8), 1, wavelet)[0]
    for sigma in (0.3 * law.deviation, float("inf")):
        errors = [law.local_error(field, sigma) for field in (1, 3, 5)]
        assert errors[0] > errors[1] > errors[2] * (1 - 1e-9)
        assert errors[2] == pytest.approx(law.full_error(sigma), rel=1e-6)
    full, local = pixel_errors(power_law_spectrum((5, 5), 1 / 8), (1, 5), 0.5)
    assert local[5] == pytest.approx(full, rel=1e-6)
    assert local[1] > full


def test_regression_finds_the_error_of_theory() -> None:
    from scalewise.exact import StationaryGaussian

    spectrum = power_law_spectrum((16, 16), 1 / 8)
    law = StationaryGaussian(
        spectrum[..., None, None].to(torch.complex128), torch.zeros(1, 16, 16).double()
    )
    images = law.draw(200, torch.Generator().manual_seed(0))
    bands = level_laws(spectrum, 1)[0]
    found = simulated_errors(images, 1, (1, 3), bands.deviation, 0, "haar")
    for field, (error, spread) in found.items():
        assert abs(error - bands.local_error(field, bands.deviation)) < 4 * spread
        assert spread < 0.03 * error


def test_operations_of_a_convolution() -> None:
    from scalewise.networks import BiasFreeConditional, BiasFreeDenoiser

    network = BiasFreeDenoiser(1, [3, 1, 3], width=8)
    assert operations(network, 20) == 2 * 400 * (9 * 8 + 8 * 8 + 9 * 8)
    details = BiasFreeConditional(1, [3, 1, 3], width=8)
    per_place = 2 * (4 * 9 * 8 + 8 * 8 + 3 * 9 * 8)
    prior = MultiScalePrior(network, [details])
    whole = operations(network, 10) + 100 * per_place
    assert operations_per_pixel(prior, 20) == whole / 400


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose networks all experiments of the tests share."""
    return tmp_path_factory.mktemp("report")


QUICK = ("levels", "upscaling")
"""Whose networks are few; what each experiment measures and decides is tested apart."""


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(e, id=e.name, marks=[pytest.mark.slow] * (e.name not in QUICK))
        for e in EXPERIMENTS
    ],
)
def test_experiments(
    experiment: Experiment,
    report: Path,
    faces: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every experiment runs to a verdict, with tables whose rows fit, and real figures."""
    monkeypatch.setattr(markov_module, "FIELDS", (1, 3, 9))
    monkeypatch.setattr(wavelets_module, "WAVELETS", ("haar", "db2"))
    monkeypatch.setattr(wavelets_module, "FIELDS", (9, 13))
    monkeypatch.setattr(wavelets_module, "GAUSSIAN_FIELDS", (3, 9))
    textures = tmp_path / "textures"
    textures.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (160, 96), dtype=np.uint8)
    Image.fromarray(pixels).save(textures / "noise.png")
    cpu = torch.device("cpu")
    given: dict[str, Any] = {"images": faces, "textures": textures}
    context = Context(TINY, 0, report, device=cpu, say=lambda _: None, **given)
    result = experiment.run(context)
    undecided = result.verdict == "not tested"
    assert undecided == ("learnt too little" in result.sentence)
    assert re.search(r"\d", result.sentence)
    assert result.figures
    assert result.tables
    for table in result.tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
    for figure in result.figures:
        start = b"\x89PNG" if figure.suffix == "png" else b"<?xml"
        assert figure.data.startswith(start)
        if figure.name.startswith(("face", "nearest")):
            assert figure.private
    json.dumps(result.numbers)


def test_the_command(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (8, 32, 32), dtype=np.uint8)
    for part in ("train", "validation"):
        np.savez(tmp_path / f"faces_{part}.npz", images=images)
    words = ("reproduce", "--out", tmp_path / "report", "--faces", tmp_path, "--quick")
    done = scalewise(*words, "--only", "filters", "--steps-per-network", "2")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("filters: ")
    assert "training low4: 2 steps" in done.stderr
    assert (tmp_path / "report" / "index.html").stat().st_size > 10_000
    refused = scalewise(*words, "--seed", "7", "--only", "filters")
    assert refused.code == 2
    assert "holds the results of another run" in refused.sentence
    both = ("--steps-per-network", "2", "--minutes-per-network", "1")
    assert "two ways to say one thing" in scalewise(*words, *both).sentence
    missing = scalewise("reproduce", "--out", tmp_path / "x", "--faces", tmp_path / "report")
    assert missing.code == 1
    assert "holds no training or faces_train" in missing.sentence


@pytest.mark.parametrize("kind", ["folders", "lists"])
def test_the_command_takes_folders_and_lists_of_faces(kind: str, tmp_path: Path) -> None:
    """The report is that of the same images in arrays."""
    faces, arrays = tmp_path / "faces", tmp_path / "arrays"
    for where in (faces, arrays, tmp_path / "pictures"):
        where.mkdir()
    images = np.random.default_rng(0).integers(0, 255, (8, 32, 32), dtype=np.uint8)
    for part, some in (("training", images[:5]), ("validation", images[5:])):
        np.savez(arrays / f"{part}.npz", images=some)
        there = (faces if kind == "folders" else tmp_path / "pictures") / part
        there.mkdir()
        names = [there / f"{number}.png" for number in range(len(some))]
        for name, image in zip(names, some, strict=True):
            Image.fromarray(image).save(name)
        if kind == "lists":
            listed = "".join(f"../pictures/{part}/{name.name}\n" for name in names)
            (faces / f"{part}.txt").write_text(f"# of {part}\n{listed}")
    told = []
    for source in (faces, arrays):
        out = tmp_path / f"report of {source.name}"
        words = ("reproduce", "--out", out, "--faces", source, "--quick", "--only", "filters")
        done = scalewise(*words, "--steps-per-network", "2")
        assert done.code == 0, done.stderr
        told.append(json.loads((out / "results" / "filters.json").read_text())["numbers"])
    assert told[0] == told[1]
    (faces / f"training{'.txt' if kind == 'lists' else ''}").rename(faces / "others")
    refused = scalewise("reproduce", "--out", tmp_path / "x", "--faces", faces, "--quick")
    assert refused.code == 1
    assert "holds no training or faces_train" in refused.sentence
