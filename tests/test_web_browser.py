"""The page in a real Chromium: upload, divider, keyboard, cancel, errors, phone, layout."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from web_tools import picture_of, png_of, serving

from scalewise.web import Settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
]
LONG = 120_000  # milliseconds: machines may be busy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Settings(megapixels=2, megabytes=4)) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page at the size of a desk; nothing may go wrong in it, or be asked of elsewhere."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(LONG)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if far(request.url) else None)

    def far(url: str) -> bool:
        return not url.startswith((address, "blob:", "data:"))

    page.goto(address)
    yield page
    assert not wrong
    page.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    file.write_bytes(png_of(picture_of((150, 200))))
    return file


def opened(page: Page, file: Path, number: int = 1) -> None:
    page.set_input_files("#file", file)
    done(page, number)


def done(page: Page, number: int) -> None:
    """Wait for the so-manieth output."""
    page.wait_for_selector(f"body[data-done='{number}']", timeout=LONG)


def shot(page: Page) -> np.ndarray:
    """The stage as it is seen."""
    data = page.locator("#stage").screenshot()
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)


def roughness(area: np.ndarray) -> float:
    """How noisy an area looks."""
    return float(np.abs(np.diff(area, axis=0)).mean())


class TestUse:
    def test_open_compare_download(self, page: Page, photo: Path) -> None:
        opened(page, photo)
        expect(page.locator("#status")).to_contain_text("Done in")
        expect(page.locator("#noise figcaption")).to_contain_text("Noise: standard deviation")
        page.click("#full")
        seen = shot(page)
        middle, row = seen.shape[1] // 2, seen.shape[0] // 2
        before = seen[row - 60 : row - 25, middle - 90 : middle - 20]
        after = seen[row - 60 : row - 25, middle + 20 : middle + 90]
        assert roughness(after) < 0.3 * roughness(before)
        with page.expect_download() as download:
            page.click("#save")
        assert download.value.suggested_filename == "photo-denoised.png"
        with Image.open(download.value.path()) as image:
            assert image.size == (200, 150)

    def test_the_divider_is_dragged_and_moved_by_keys(self, page: Page, photo: Path) -> None:
        opened(page, photo)
        page.click("#full")
        divider, stage = page.locator("#divider"), page.locator("#stage").bounding_box()
        assert stage is not None
        start = shot(page)
        x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y, steps=4)
        page.mouse.up()
        expect(divider).to_have_attribute("aria-valuenow", str(round(50 + 6000 / stage["width"])))
        row, middle = start.shape[0] // 2, start.shape[1] // 2
        there = (slice(row - 60, row - 25), slice(middle + 5, middle + 45))
        assert roughness(shot(page)[there]) > 2 * roughness(start[there])
        divider.focus()
        page.keyboard.press("Home")
        expect(divider).to_have_attribute("aria-valuenow", "0")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("PageUp")
        expect(divider).to_have_attribute("aria-valuenow", "12")

    def test_zoom_and_pan_by_wheel_and_keys(self, page: Page, photo: Path) -> None:
        opened(page, photo)
        page.locator("#canvas").focus()
        page.keyboard.press("1")
        expect(page.locator("#zoom")).to_have_text("100 %")
        page.keyboard.press("+")
        expect(page.locator("#zoom")).to_have_text("150 %")
        before = shot(page)
        page.keyboard.press("ArrowRight")
        after = shot(page)
        row, left = before.shape[0] // 2 - 60, before.shape[1] // 2 - 100
        now = after[row, left - 40 : left]
        assert np.abs(now - before[row, left : left + 40]).mean() < 2
        assert np.abs(now - before[row, left - 40 : left]).mean() > 4
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 100, box["y"] + 100)
        page.mouse.wheel(0, -400)
        expect(page.locator("#zoom")).to_have_text("300 %")
        page.keyboard.press("0")
        expect(page.locator("#zoom")).to_have_text("400 %")

    def test_a_slider_renews_what_is_seen(self, page: Page, photo: Path) -> None:
        opened(page, photo)
        page.click("#full")
        seen = shot(page)
        there = (slice(None), slice(seen.shape[1] // 2 + 20, seen.shape[1] // 2 + 90))
        page.locator("[name=strength]").fill("0")
        page.locator("[name=chroma]").fill("0")
        done(page, 2)
        now = shot(page)
        assert roughness(now[there]) > 1.5 * roughness(seen[there])

    @pytest.mark.parametrize("kind", ["upscale", "synthesize"])
    def test_what_to_do_is_chosen_before_the_models_are_known(self, page: Page, kind: str) -> None:
        waiting: list[Route] = []
        page.route("**/facts", lambda route: waiting.append(route))
        page.reload()
        page.check(f"[value={kind}]", force=True)
        expect(page.locator("[name=model]")).to_have_value("")
        waiting[0].continue_()
        expect(page.locator("[name=model]")).not_to_have_value("")

    def test_enlarge(self, page: Page, photo: Path) -> None:
        page.check("[value=upscale]", force=True)
        opened(page, photo)
        expect(page.locator("#status")).to_contain_text("400×300")
        with page.expect_download() as download:
            page.click("#save")
        with Image.open(download.value.path()) as image:
            assert image.size == (400, 300)

    def test_paint_by_keyboard_and_fill(self, page: Page, photo: Path) -> None:
        opened(page, photo)
        page.check("[value=inpaint]", force=True)
        page.click("#fill")
        expect(page.locator("#error")).to_contain_text("paint over")
        page.locator("#canvas").focus()
        for key in ("Space", "ArrowRight", "Space"):
            page.keyboard.press(key)
        page.click("#fill")
        done(page, 2)
        with page.expect_download() as download:
            page.click("#save")
        filled = np.asarray(Image.open(download.value.path()).convert("RGB")).astype(int)
        original = np.asarray(Image.open(photo).convert("RGB")).astype(int)
        changed = np.abs(filled - original).max(-1) > 0
        assert 100 < changed.sum() < 700
        rows, columns = np.nonzero(changed)
        assert 60 < rows.min() < rows.max() < 90
        assert 85 < columns.min() < columns.max() < 120

    def test_new_faces(self, page: Page) -> None:
        page.check("[value=synthesize]", force=True)
        page.locator("[name=count]").fill("1")
        page.click("#draw")
        done(page, 1)
        with page.expect_download() as download:
            page.click("#save")
        assert download.value.suggested_filename == "new-drawn.png"

    def test_samples_flicker_and_what_is_uncertain(self, page: Page, photo: Path) -> None:
        opened(page, photo)
        page.locator("[name=samples]").fill("2")
        page.check("[name=uncertainty]")
        done(page, 2)
        expect(page.locator("[name=strength]")).to_be_disabled()
        expect(page.locator("#opaque")).to_contain_text("opaque from a deviation of")
        expect(page.locator("#save-uncertainty")).to_be_visible()
        page.check("[name=flicker]")
        expect(page.locator("#samples output").first).to_have_text("2")
        expect(page.locator("#samples output").first).to_have_text("1")


class TestTrouble:
    def test_work_is_cancelled(self, page: Page, tmp_path: Path) -> None:
        file = tmp_path / "large.png"
        file.write_bytes(png_of(picture_of((900, 1200))))
        page.set_input_files("#file", file)
        page.wait_for_selector("body[data-shown]")
        page.click("#cancel")
        expect(page.locator("#status")).to_contain_text("Stopped")
        expect(page.locator("#progress")).to_be_hidden()
        page.locator("[name=strength]").fill("0.5")
        done(page, 1)

    @pytest.mark.parametrize(
        ("name", "data", "sentence"),
        [
            ("words.png", b"these are words", "words.png"),
            ("cut.png", png_of(picture_of())[:300], "damaged or cut short"),
            ("large.png", bytes(5_000_000), "larger than the 4 MB"),
        ],
    )
    def test_a_bad_file_gets_a_sentence(
        self, page: Page, tmp_path: Path, photo: Path, name: str, data: bytes, sentence: str
    ) -> None:
        opened(page, photo)
        (tmp_path / name).write_bytes(data)
        page.set_input_files("#file", tmp_path / name)
        expect(page.locator("#error")).to_contain_text(sentence)
        page.locator("[name=strength]").fill("0.5")
        done(page, 2)
        expect(page.locator("#error")).to_be_hidden()


class TestLooks:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [360, 1280])
    def test_anybody_can_use_it(
        self, browser: Browser, address: str, photo: Path, width: int, scheme: str
    ) -> None:
        """Axe finds nothing; nothing is wider than the screen, and parts do not overlap."""
        page = browser.new_page(
            viewport={"width": width, "height": 740},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        page.set_default_timeout(LONG)
        page.goto(address, wait_until="networkidle")
        axe = Axe()
        found = []
        for _ in range(2):
            result = axe.run(page, options={"resultTypes": ["violations"]})
            found += [(v["id"], v["nodes"][0]["html"]) for v in result.response["violations"]]
            if page.locator("#empty").is_visible():
                opened(page, photo)
        assert not found
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        boxes = {part: page.locator(part).bounding_box() for part in ("header", "#stage", "#panel")}
        header, stage, panel = boxes.values()
        assert header
        assert stage
        assert panel
        assert header["y"] + header["height"] <= stage["y"] + 1
        if width == 360:
            assert stage["y"] + stage["height"] <= panel["y"] + 1
            assert stage["width"] == panel["width"] == width
        else:
            assert stage["x"] + stage["width"] <= panel["x"] + 1
            assert stage["height"] == pytest.approx(740 - header["height"], abs=2)
        page.close()

    def test_by_keyboard_alone(self, page: Page, photo: Path) -> None:
        """Every control is reached by Tab, in the order of the page, with a ring around it."""
        opened(page, photo)
        page.evaluate("() => document.activeElement.blur()")
        seen = []
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.append(
                page.evaluate("() => document.activeElement.id || document.activeElement.name")
            )
            if len(seen) > 1 and seen[-1] in ("", None):
                break
        wanted = ["kind", "theme", "canvas", "divider", "out", "in", "fit", "full", "file", "save"]
        wanted += ["format", "strength", "chroma", "own", "fidelity", "samples", "uncertainty"]
        places = [seen.index(name) for name in [*wanted, "model", "seed"]]
        assert places == sorted(places)
