"""The server of the page: what it gives, to whom, and what it refuses."""

import asyncio
import base64
import io
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient
from web_tools import picture_of, png_of, serving

import scalewise
from scalewise import restore
from scalewise.images import Picture, decode_image
from scalewise.networks.strips import watched
from scalewise.restore import Restored
from scalewise.web import Settings, application
from scalewise.web.application import PAGE
from scalewise.web.patches import MOST, Part, View, parts
from scalewise.web.shelf import Entry, Gone, Shelf
from scalewise.web.work import Busy, Cancelled, Job, Queue

HOME = "http://127.0.0.1:7860"
SMALL = Settings(megapixels=0.05, megabytes=0.5, kept=0.2)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(application(SMALL), base_url=HOME) as client:
        yield client


@pytest.fixture(scope="module")
def prior() -> scalewise.MultiScalePrior:
    return scalewise.load("photos")


def upload(client: TestClient, data: bytes, name: str = "a.png") -> dict[str, Any]:
    answer = client.post("/pictures", params={"name": name}, content=data)
    assert answer.status_code == 200, answer.text
    return answer.json()


def make(client: TestClient, key: str, **wanted: Any) -> list[dict[str, Any]]:
    answer = client.post(f"/pictures/{key}/make", json=wanted)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def done_of(messages: list[dict[str, Any]]) -> dict[str, Any]:
    assert "error" not in messages[-1], messages[-1]
    return messages[-1]["done"]


def fetched(client: TestClient, done: dict[str, Any], file: str, **query: Any) -> httpx2.Response:
    answer = client.get(f"/pictures/{done['key']}/{done['output']}/{file}", params=query)
    assert answer.status_code == 200, answer.text
    return answer


class TestPage:
    def test_it_loads_nothing_from_elsewhere(self, client: TestClient) -> None:
        answer = client.get("/")
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        for file in PAGE.iterdir():
            found = re.findall(
                r"(?:src|href)=\"([^\"]+)|url\(([^)]+)|from \"([^\"]+)", file.read_text()
            )
            places = [place for hit in found for place in hit if place and place != "data:,"]
            assert all(re.match(r"(page/|\./)[a-z.]+$", place) for place in places), places
        for name in ("page.css", "page.js", "viewer.js"):
            assert client.get(f"/page/{name}").status_code == 200

    @pytest.mark.parametrize("path", ["/page/../settings.py", "/page/index.html", "/etc/passwd"])
    def test_it_gives_no_other_file(self, client: TestClient, path: str) -> None:
        assert client.get(path).status_code == 404

    def test_what_it_offers(self, client: TestClient) -> None:
        facts = client.get("/facts").json()
        assert [model["name"] for model in facts["models"]] == ["photos", "faces"]
        assert facts["version"] == scalewise.__version__


class TestDenoising:
    def test_as_the_command_does(self, client: TestClient, prior: Any) -> None:
        picture = picture_of()
        key = upload(client, png_of(picture))["key"]
        view = {"left": 0, "top": 0, "width": 56, "height": 40, "zoom": 4}
        messages = make(client, key, kind="denoise", view=view)
        assert messages[0]["noise"]["words"][0].startswith("standard deviation")
        expected = restore.denoise(picture, prior)
        assert messages[0]["noise"]["sigma"] == pytest.approx(255 * expected.sigma[0])
        shares = [message["progress"] for message in messages if "progress" in message]
        assert shares == sorted(shares)
        assert shares[-1] > 0.9
        done = done_of(messages)
        after = decode_image(fetched(client, done, "download").content, "a.png")
        torch.testing.assert_close(
            after.pixels, expected.picture.pixels.clamp(0, 1), atol=0.502 / 255, rtol=0
        )
        shown = decode_image(fetched(client, done, "after.png").content, "b.png")
        torch.testing.assert_close(shown.pixels, after.pixels)
        patch = next(message for message in messages if "patch" in message)
        seen = decode_image(base64.b64decode(patch["png"]), "patch.png").pixels
        assert (seen - after.pixels).abs().max() <= 3 / 255

    def test_settings_reach_it(self, client: TestClient, prior: Any) -> None:
        picture = picture_of()
        key = upload(client, png_of(picture))["key"]
        strength = restore.Strength(0.5, 1.5)
        expected = restore.denoise(picture, prior, sigma=20 / 255, strength=strength)
        done = done_of(make(client, key, kind="denoise", sigma=20, strength=0.5, chroma=1.5))
        after = decode_image(fetched(client, done, "download").content, "a.png").pixels
        torch.testing.assert_close(
            after, expected.picture.pixels.clamp(0, 1), atol=0.502 / 255, rtol=0
        )

    def test_samples_and_uncertainty(self, client: TestClient, prior: Any) -> None:
        picture = picture_of()
        key = upload(client, png_of(picture))["key"]
        done = done_of(make(client, key, kind="denoise", samples=2, uncertainty=True, seed=3))
        assert (done["samples"], done["uncertainty"]) == (2, True)
        expected = restore.denoise(picture, prior, samples=2, uncertainty=True, seed=3)
        for sample in range(2):
            data = fetched(client, done, "download", sample=sample).content
            torch.testing.assert_close(
                decode_image(data, "a.png").pixels,
                expected.pictures[sample].pixels.clamp(0, 1),
                atol=0.502 / 255,
                rtol=0,
            )
        layer = fetched(client, done, "uncertainty.png")
        with Image.open(io.BytesIO(layer.content)) as image:
            assert (image.size, image.mode) == ((56, 40), "RGBA")
        answer = fetched(client, done, "download", uncertainty="")
        assert "a-uncertainty.tif" in answer.headers["content-disposition"]
        assert expected.deviation is not None
        stored = decode_image(answer.content, "a.tif")
        width = stored.intensities.at(0)[1] - stored.intensities.at(0)[0]
        deviations = stored.pixels * width
        assert float(deviations.median()) == pytest.approx(
            255 * float(expected.deviation.pixels.median()), rel=0.01
        )

    def test_sixteen_bits_and_stacks_stay(self, client: TestClient) -> None:
        rng = np.random.default_rng(0)
        stack = rng.normal(20000, 900, (3, 24, 32)).astype(np.uint16)
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, stack, imagej=True, metadata={"axes": "ZYX"})
        told = upload(client, buffer.getvalue(), "cells.tif")
        assert (told["planes"], told["depth"], told["channels"]) == (3, "uint16", 1)
        done = done_of(make(client, told["key"], kind="denoise", plane=1))
        answer = fetched(client, done, "download")
        assert "cells-restored.tif" in answer.headers["content-disposition"]
        after = tifffile.imread(io.BytesIO(answer.content))
        assert after.shape == stack.shape
        assert after.dtype == np.uint16
        assert after.std() < 0.5 * stack.std()
        answer = client.get(
            f"/pictures/{done['key']}/{done['output']}/download", params={"as": ".jpg"}
        )
        assert answer.status_code == 400
        assert "write a .tif file" in answer.json()["error"]

    def test_what_another_format_cannot_hold_is_told(self, client: TestClient) -> None:
        deep = Picture(picture_of().pixels, depth="uint16")
        told = upload(client, png_of(deep))
        assert told["depth"] == "uint16"
        done = done_of(make(client, told["key"], kind="denoise", sigma=25))
        as_jpeg = fetched(client, done, "download", **{"as": ".jpg"})
        assert as_jpeg.content[:3] == b"\xff\xd8\xff"
        assert "8" in as_jpeg.headers["x-notes"]

    def test_alpha_is_shown_and_kept(self, client: TestClient) -> None:
        picture = picture_of()
        alpha = torch.ones(1, 1, 40, 56)
        alpha[..., :10] = 0
        told = upload(client, png_of(Picture(picture.pixels, alpha)))
        before = client.get(f"/pictures/{told['key']}/before.png").content
        with Image.open(io.BytesIO(before)) as image:
            assert image.mode == "RGBA"
        done = done_of(make(client, told["key"], kind="denoise"))
        kept = decode_image(fetched(client, done, "download").content, "a.png")
        assert kept.alpha is not None
        assert torch.equal(kept.alpha, alpha)


class TestOthers:
    def test_enlarging_keeps_the_small_picture(self, client: TestClient) -> None:
        picture = picture_of((24, 32))
        key = upload(client, png_of(picture))["key"]
        view = {"left": 0, "top": 0, "width": 32, "height": 24, "zoom": 8}
        messages = make(client, key, kind="upscale", factor=2, view=view)
        patch = next(message for message in messages if "patch" in message)
        assert patch["patch"] == [0, 0, 64, 48]
        done = done_of(messages)
        large = decode_image(fetched(client, done, "download").content, "a.png").pixels
        reduced = torch.nn.functional.avg_pool2d(large, 2)
        torch.testing.assert_close(reduced, picture.pixels, atol=1e-6, rtol=0)

    def test_filling_leaves_the_rest(self, client: TestClient) -> None:
        picture = picture_of()
        key = upload(client, png_of(picture))["key"]
        done = done_of(make(client, key, kind="inpaint", mask=mask_of((40, 56), slice(10, 20))))
        after = decode_image(fetched(client, done, "download").content, "a.png").pixels
        known = torch.ones(40, 56, dtype=torch.bool)
        known[10:20, 10:20] = False
        assert torch.equal(after[..., known], picture.pixels[..., known])
        assert not torch.equal(after[..., ~known], picture.pixels[..., ~known])

    def test_new_pictures_come_scale_by_scale(self, client: TestClient) -> None:
        wanted = {"kind": "synthesize", "model": "faces", "count": 2, "seed": 1}
        answer = client.post("/synthesize", json=wanted)
        messages = [json.loads(line) for line in answer.text.splitlines()]
        faces = scalewise.load("faces")
        scales = [message["scale"] for message in messages if "scale" in message]
        assert scales == list(range(faces.levels, -1, -1))
        done = done_of(messages)
        shown = decode_image(fetched(client, done, "after.png").content, "a.png").pixels[0]
        first = faces.sample(2, seed=1)[0]
        torch.testing.assert_close(
            shown[:, 2:130, 2:130], first.clamp(0, 1), atol=0.51 / 255, rtol=0
        )


def mask_of(size: tuple[int, int], side: slice) -> str:
    array = np.zeros((*size, 4), np.uint8)
    array[side, side] = 255
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def bomb() -> bytes:
    """A PNG that announces 30,000 x 30,000 pixels."""
    import struct
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    files = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (head, b"IDAT" + zlib.compress(bytes(100)), b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(files)


class TestBadUploads:
    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            (b"", "a.png"),
            (b"hello, this is no picture", "a.png"),
            (png_of(picture_of())[:200], "damaged or cut short"),
            (b"GIF89a" + bytes(50), "GIF"),
            (bomb(), "more than the 0.05 million that are allowed on this page"),
            (bytes(600_000), "larger than the 0.5 MB that are allowed"),
        ],
    )
    def test_a_sentence(self, client: TestClient, data: bytes, sentence: str) -> None:
        answer = client.post("/pictures", params={"name": "a.png"}, content=data)
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]

    def test_many_planes_count(self, client: TestClient) -> None:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, np.zeros((30, 50, 50), np.uint8), compression="zlib")
        answer = client.post("/pictures", content=buffer.getvalue())
        assert answer.status_code == 400
        assert "0.05 million" in answer.json()["error"]

    def test_names_are_only_names(self, client: TestClient) -> None:
        told = upload(client, png_of(picture_of()), "../../etc/a\r\nb.png")
        assert "/" not in told["name"]
        done = done_of(make(client, told["key"], kind="denoise", sigma=25))
        disposition = fetched(client, done, "download", what="x\r\ny").headers[
            "content-disposition"
        ]
        assert re.fullmatch(r"attachment; filename\*=UTF-8''[\w%.-]+", disposition)


class TestBadRequests:
    @pytest.mark.parametrize(
        ("wanted", "sentence"),
        [
            ({"kind": "paint"}, "kind"),
            ({}, "kind"),
            ({"kind": "denoise", "sigma": -1}, "sigma"),
            ({"kind": "denoise", "sigma": 1e9}, "sigma"),
            ({"kind": "denoise", "samples": 1000}, "samples"),
            ({"kind": "denoise", "seed": -1}, "seed"),
            ({"kind": "denoise", "surprise": 1}, "surprise"),
            ({"kind": "upscale", "factor": 3}, "factor"),
            ({"kind": "upscale", "factor": 8, "samples": 8}, "smaller factor or fewer samples"),
            (
                {
                    "kind": "denoise",
                    "view": {"left": 0, "top": 0, "width": 1, "height": 1, "zoom": 0},
                },
                "zoom",
            ),
            ({"kind": "synthesize"}, "asked for elsewhere"),
        ],
    )
    def test_refused_at_once(self, client: TestClient, wanted: Any, sentence: str) -> None:
        key = upload(client, png_of(picture_of()))["key"]
        answer = client.post(f"/pictures/{key}/make", json=wanted)
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"kind": NaN}', b"\xff\xfe"])
    def test_no_json(self, client: TestClient, body: bytes) -> None:
        key = upload(client, png_of(picture_of()))["key"]
        assert client.post(f"/pictures/{key}/make", content=body).status_code == 400

    @pytest.mark.parametrize(
        ("wanted", "sentence"),
        [
            ({"kind": "denoise", "model": "../photos"}, "no model of that name is offered"),
            ({"kind": "denoise", "plane": 5}, "has 1 planes"),
            ({"kind": "denoise", "samples": 1, "strength": 0.5}, "leave out strength"),
            ({"kind": "denoise", "samples": 1, "fidelity": 0.5}, "give one"),
            ({"kind": "inpaint", "mask": "!!"}, "paint it again"),
            ({"kind": "inpaint", "mask": base64.b64encode(b"PNG?").decode()}, "paint it again"),
            ({"kind": "inpaint", "mask": mask_of((8, 8), slice(2, 4))}, "of the same size"),
            ({"kind": "inpaint", "mask": mask_of((40, 56), slice(0, 0))}, "paint over"),
        ],
    )
    def test_said_in_the_stream(self, client: TestClient, wanted: Any, sentence: str) -> None:
        key = upload(client, png_of(picture_of()))["key"]
        assert sentence in make(client, key, **wanted)[-1]["error"]

    @given(
        body=st.one_of(
            st.binary(max_size=200),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(
                            ["kind", "view", "sigma", "samples", "mask", "seed", "model"]
                        )
                        | st.text(max_size=5),
                        inner | st.sampled_from(["denoise", "upscale", "inpaint", "synthesize"]),
                        max_size=5,
                    )
                ),
                max_leaves=12,
            ).map(lambda value: json.dumps(value).encode()),
        )
    )
    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_whatever_is_sent_gets_a_sentence(self, client: TestClient, body: bytes) -> None:
        key = upload(client, png_of(picture_of((8, 8))))["key"]
        answer = client.post(f"/pictures/{key}/make", content=body)
        assert answer.status_code in (200, 400)
        if answer.status_code == 400:
            assert len(answer.json()["error"]) > 5
        else:
            assert "fault" not in answer.text

    @given(
        path=st.text(max_size=30), query=st.dictionaries(st.text(max_size=5), st.text(max_size=9))
    )
    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_whatever_is_called_is_answered(
        self, client: TestClient, path: str, query: dict[str, str]
    ) -> None:
        for before in ("/", "/page/", "/pictures/", "/pictures/x/"):
            address = before + urllib.parse.quote(path)
            assert client.get(address, params=query).status_code in (200, 404, 405)

    def test_numbers_of_the_query(self, client: TestClient) -> None:
        key = upload(client, png_of(picture_of()))["key"]
        for plane in ("1", "-1", "x", "9" * 30):
            assert client.get(f"/pictures/{key}/before.png?plane={plane}").status_code == 400


class TestSecrets:
    def test_what_was_forgotten_is_gone(self, client: TestClient) -> None:
        key = upload(client, png_of(picture_of()))["key"]
        assert client.get(f"/pictures/{key}/before.png").status_code == 200
        assert client.post(f"/pictures/{key}/forget").status_code == 204
        answer = client.get(f"/pictures/{key}/before.png")
        assert answer.status_code == 404
        assert "open it again" in answer.json()["error"]

    def test_an_output_needs_its_own_name(self, client: TestClient) -> None:
        key = upload(client, png_of(picture_of()))["key"]
        first = done_of(make(client, key, kind="denoise", sigma=25))
        second = done_of(make(client, key, kind="denoise", sigma=10))
        assert first["output"] != second["output"]
        assert client.get(f"/pictures/{key}/{first['output']}/after.png").status_code == 404
        assert client.get(f"/pictures/{key}/{second['output']}/after.png").status_code == 200

    def test_other_names_and_pages_are_turned_away(self, client: TestClient) -> None:
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
        evil = {"Origin": "http://evil.example"}
        answer = client.post("/pictures", content=png_of(picture_of()), headers=evil)
        assert answer.status_code == 403
        assert client.post("/example", headers={"Origin": "http://["}).status_code == 403
        ours = {"Origin": HOME}
        assert client.post("/example", headers=ours).status_code in (200, 400)

    def test_the_token(self) -> None:
        app = application(Settings(token="secret-1", hosts=("*",)))
        with TestClient(app, base_url="http://192.0.2.1", follow_redirects=True) as client:
            answer = client.get("/facts")
            assert answer.status_code == 401
            assert "token" in answer.json()["error"]
            assert client.get("/", params={"token": "secret-2"}).status_code == 401
            assert client.get("/page/page.js").status_code == 401
            assert "Scalewise" in client.get("/", params={"token": "secret-1"}).text
            assert client.get("/facts").status_code == 200


class TestShelf:
    def entry(self, pixels: int) -> Entry:
        return Entry("a", Picture(torch.zeros(1, 3, 1, pixels)))

    def test_the_oldest_go_first(self) -> None:
        now = iter(range(100))
        shelf = Shelf(1000, 50, clock=lambda: next(now))
        first, second = shelf.add(self.entry(400)), shelf.add(self.entry(400))
        shelf.get(first)
        third = shelf.add(self.entry(400))
        assert shelf.get(first)
        assert shelf.get(third)
        with pytest.raises(Gone):
            shelf.get(second)

    def test_what_was_made_counts(self) -> None:
        now = iter(range(100))
        shelf = Shelf(1000, 50, clock=lambda: next(now))
        first, entry = shelf.add(self.entry(300)), self.entry(300)
        second = shelf.add(entry)
        shelf.finish(entry, Restored((Picture(torch.zeros(1, 3, 1, 500)),)))
        assert shelf.get(second)
        with pytest.raises(Gone):
            shelf.get(first)

    def test_time_passes(self) -> None:
        now = [0.0]
        shelf = Shelf(1000, 50, clock=lambda: now[0])
        key = shelf.add(self.entry(1))
        now[0] = 40
        assert shelf.get(key)
        now[0] = 89
        assert shelf.get(key)
        now[0] = 140
        with pytest.raises(Gone):
            shelf.get(key)


class TestQueue:
    def test_nobody_waits_for_what_was_cancelled(self) -> None:
        steps: list[str] = []

        async def run() -> None:
            queue, gate = Queue(4), threading.Event()

            def quick(job: Job) -> None:
                steps.append("quick")
                job.say(quick=True)
                gate.wait(10)
                job.check()
                steps.append("never")

            job = queue.submit(quick=quick, whole=lambda job: steps.append("whole"))
            messages = job.messages()
            assert await anext(messages) == {"quick": True}
            await messages.aclose()
            gate.set()
            assert await queue.result(lambda job: 7) == 7

        asyncio.run(run())
        assert steps == ["quick"]

    def test_only_those_who_still_wait_are_counted(self) -> None:
        async def run() -> None:
            queue, gate = Queue(4), threading.Event()

            def wait(job: Job) -> None:
                gate.wait(10)

            cancelled = queue.submit(quick=wait, whole=None)
            cancelled.cancel()
            seen = []
            for _ in range(2):
                job = queue.submit(quick=lambda job: job.say(mine=True), whole=None)
                seen.append(job.messages())
            gate.set()
            assert await anext(seen[0]) == {"mine": True}
            assert await anext(seen[1]) == {"ahead": 1}

        asyncio.run(run())

    def test_too_many_are_asked_to_come_back(self) -> None:
        async def run() -> None:
            queue, gate = Queue(2), threading.Event()

            def wait(job: Job) -> None:
                gate.wait(10)

            for _ in range(2):
                queue.submit(quick=wait, whole=None)
            with pytest.raises(Busy, match="try again"):
                queue.submit(quick=None, whole=None)
            gate.set()

        asyncio.run(run())

    def test_a_fault_of_ours_is_told_as_such(self, caplog: pytest.LogCaptureFixture) -> None:
        async def run() -> list[dict[str, Any]]:
            def bad(job: Job) -> None:
                raise ZeroDivisionError("a bug")

            job = Queue(2).submit(quick=bad, whole=None)
            return [message async for message in job.messages()]

        (message,) = asyncio.run(run())
        assert "fault in Scalewise" in message["error"]
        assert "a bug" in caplog.text


class TestParts:
    @given(
        size=st.tuples(st.integers(8, 3000), st.integers(8, 3000)),
        corner=st.tuples(st.floats(-500, 3000), st.floats(-500, 3000)),
        extent=st.tuples(st.floats(1, 1500), st.floats(1, 1500)),
        zoom=st.floats(0.05, 8),
    )
    @settings(max_examples=200, deadline=None)
    def test_they_cover_the_view(self, size: Any, corner: Any, extent: Any, zoom: float) -> None:
        view = View(left=corner[1], top=corner[0], width=extent[1], height=extent[0], zoom=zoom)
        found = list(parts(view, size))
        seen = torch.zeros(size, dtype=torch.bool)
        for part in found:
            assert 0 <= part.left < part.left + part.width <= size[1]
            assert 0 <= part.top < part.top + part.height <= size[0]
            seen[part.top : part.top + part.height, part.left : part.left + part.width] = True
        top, left = max(0, int(corner[0])), max(0, int(corner[1]))
        bottom, right = int(corner[0] + extent[0]), int(corner[1] + extent[1])
        if len(found) < MOST and bottom > top and right > left:
            assert bool(seen[top:bottom, left:right].all())

    def test_a_part_is_what_it_says(self) -> None:
        image = torch.arange(100 * 90, dtype=torch.float32).view(1, 100, 90)
        for levels in (0, 1, 2):
            step = 1 << levels
            part = Part(16 * step, 4 * step, 5 * step, 3 * step, levels)
            cut, inner = part.cut(image)
            whole = torch.nn.functional.avg_pool2d(image, step)
            expected = whole[:, 4:7, 16:21]
            torch.testing.assert_close(cut[:, *inner], expected)
            around = part.around((100, 90))
            assert torch.equal(
                cut,
                torch.nn.functional.avg_pool2d(
                    image[around.place], step, ceil_mode=True, count_include_pad=False
                ),
            )


def test_noise_of_a_reduced_image() -> None:
    noise = scalewise.NoiseModel(scales=((0.1,), (0.2,), (0.3,)))
    assert noise.coarser(1).scales == ((0.1,), (0.15,))
    assert noise.coarser(5).scales == ((0.3 / 32,),)
    assert scalewise.NoiseModel.white(0.4).coarser(2) == scalewise.NoiseModel.white(0.1)


def test_strips_are_told_of_and_stopped(prior: Any) -> None:
    picture = picture_of((64, 64))
    counts: list[int] = []
    with watched(counts.append):
        restore.denoise(picture, prior, sigma=0.1)
    assert sum(counts) == sum((64 >> level) ** 2 for level in (1, 2, 3))

    def stop(pixels: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled), watched(stop):
        restore.denoise(picture, prior, sigma=0.1)
    with watched(counts.append):
        pass
    before = len(counts)
    restore.denoise(picture, prior, sigma=0.1)
    assert len(counts) == before


@pytest.mark.slow
def test_fifty_at_once_each_get_their_own() -> None:
    def one(number: int) -> int:
        picture = picture_of((32, 40), seed=number)
        with httpx2.Client(base_url=address, timeout=300) as client:
            told = client.post("/pictures", content=png_of(picture)).json()
            wanted = {"kind": "denoise", "sigma": 25}
            answer = client.post(f"/pictures/{told['key']}/make", json=wanted)
            done = json.loads(answer.text.splitlines()[-1])["done"]
            data = client.get(f"/pictures/{done['key']}/{done['output']}/download").content
            after = decode_image(data, "a.png").pixels
            return number if (after - picture.pixels).std() < 30 / 255 else -1

    with serving(Settings()) as address, ThreadPoolExecutor(50) as pool:
        assert sorted(pool.map(one, range(50))) == list(range(50))


def test_a_folder_holds_the_page() -> None:
    assert {file.name for file in Path(PAGE).iterdir()} == {
        "index.html",
        "page.css",
        "page.js",
        "viewer.js",
    }
