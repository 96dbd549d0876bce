"""Requests to the page of `scalewise serve`, as files: each gets an answer or a sentence."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from cli_tools import save_models
from web_tools import picture_of, png_of

from scalewise import restore
from scalewise.errors import ScalewiseError
from scalewise.images import Picture
from scalewise.noise_model import NoiseModel
from scalewise.restore import Restored
from scalewise.web import Settings, application

HOME = {"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7860", "cookie": "a=b"}
VIEW = {"left": 0, "top": 0, "width": 10, "height": 10, "zoom": 2}
ASKED: dict[str, dict[str, Any]] = {
    "denoise": {"kind": "denoise", "sigma": 25, "strength": 1, "chroma": 1, "view": VIEW},
    "samples": {"kind": "denoise", "sigma": None, "samples": 2, "uncertainty": True, "seed": 0},
    "upscale": {"kind": "upscale", "factor": 2, "samples": 1, "uncertainty": False, "view": VIEW},
    "fidelity": {"kind": "denoise", "fidelity": 0.5, "model": None, "plane": 0},
}
CALLED = {
    "page": ("GET", "/", ""),
    "file": ("GET", "/page/page.js", ""),
    "facts": ("GET", "/facts", ""),
    "example": ("POST", "/example", ""),
    "before": ("GET", "/pictures/KEY/before.png", "plane=0"),
    "after": ("GET", "/pictures/KEY/OUTPUT/after.png", "plane=0&sample=0"),
    "uncertainty": ("GET", "/pictures/KEY/OUTPUT/uncertainty.png", "plane=0"),
    "download": ("GET", "/pictures/KEY/OUTPUT/download", "sample=0&as=.tif&what=denoised"),
    "forget": ("POST", "/pictures/KEY/forget", ""),
}
SIDE = 16


@cache
def requests() -> dict[str, bytes]:
    """One of each kind: method, path, query, headers and body."""

    def request(method: str, path: str, query: str = "", body: Any = "") -> dict[str, Any]:
        return {"method": method, "path": path, "query": query, "headers": HOME, "body": body}

    mask = Picture(picture_of((SIDE, SIDE), 1).pixels > 0.5, alpha=None)
    painted = base64.b64encode(png_of(mask)).decode()
    inpaint = {"kind": "inpaint", "mask": painted, "samples": 1}
    made = {name: request("POST", "/pictures/KEY/make", "", body) for name, body in ASKED.items()}
    made["inpaint"] = request("POST", "/pictures/KEY/make", "", inpaint)
    made["synthesize"] = request("POST", "/synthesize", "", {"kind": "synthesize", "count": 1})
    made |= {name: request(*called) for name, called in CALLED.items()}
    made["upload"] = request(
        "POST", "/pictures", "name=a.png", png_of(picture_of((8, 8))).decode("latin-1")
    )
    return {f"{name}.json": json.dumps(each).encode() for name, each in made.items()}


class _Server:
    """The application without a network, one picture and one output of it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        models = save_models(Path(self._folder.name) / "models")
        settings = Settings(
            models=(str(models / "photos"), str(models / "faces")),
            megapixels=0.05, megabytes=0.5, kept=1, device="cpu",
        )  # fmt: skip
        self._app, self._loop = application(settings), asyncio.new_event_loop()
        self._place: dict[str, str] = {}

    def call(self, *request: Any) -> tuple[int, bytes]:
        """Status and content of an answer to a method, path, query, headers and body."""
        return self._loop.run_until_complete(self._called(*request))

    async def _called(
        self, method: str, path: str, query: str, headers: Any, body: Any
    ) -> tuple[int, bytes]:
        found: list[Any] = []
        parts = [{"type": "http.request", "body": _bytes(body), "more_body": False}]

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            found.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
            "method": method, "path": path, "raw_path": path.encode(errors="replace"),
            "query_string": query.encode("latin-1", "replace"), "root_path": "",
            "headers": [
                (str(name).lower().encode(errors="replace"), str(value).encode(errors="replace"))
                for name, value in (headers.items() if isinstance(headers, dict) else ())
            ],
        }  # fmt: skip
        await self._app(scope, receive, send)
        return found[0]["status"], b"".join(message.get("body", b"") for message in found[1:])

    def place(self) -> dict[str, str]:
        """Names of the picture and of its output, made anew where they are gone."""
        home = {"host": "127.0.0.1:7860"}
        if "KEY" not in self._place:
            body = png_of(picture_of((SIDE, SIDE))).decode("latin-1")
            self._place["KEY"] = json.loads(self.call("POST", "/pictures", "", home, body)[1])[
                "key"
            ]
        if "OUTPUT" not in self._place:
            path = f"/pictures/{self._place['KEY']}/make"
            with _quick():
                lines = self.call("POST", path, "", home, ASKED["samples"])[1].splitlines()
            self._place["OUTPUT"] = json.loads(lines[-1])["done"]["output"]
        return self._place

    def lose(self, *, all_of_it: bool) -> None:
        """Make the output anew next time, or the picture too."""
        self._place.pop("OUTPUT", None)
        if all_of_it:
            self._place.clear()


def _bytes(body: Any) -> bytes:
    return body.encode("latin-1", "replace") if isinstance(body, str) else json.dumps(body).encode()


_server = cache(_Server)


@contextmanager
def _quick() -> Iterator[None]:
    """Restored pictures as they came: what computes is tested elsewhere, and takes long."""

    def same(picture: Picture, *_: Any, samples: int | None = None, **asked: Any) -> Restored:
        deviation = picture if asked.get("uncertainty") else None
        return Restored((picture,) * (samples or 1), deviation=deviation)

    def plane(image: Any, *_: Any, **__: Any) -> Any:
        return image, None

    made: dict[str, Any] = {
        "denoise": same,
        "upscale": same,
        "inpaint": same,
        "denoise_plane": plane,
    }
    with mock.patch.multiple(restore, noise_for=lambda *_: NoiseModel.white(0.1), **made):
        yield


def answer(file: Path) -> int:
    """Make a request; an error is raised for one that gets no sentence. One in 50 computes."""
    content = file.read_bytes()
    try:
        asked = json.loads(content)
        headers, body, *line = map(asked.get, ("headers", "body", "method", "path", "query"))
    except (ValueError, AttributeError, RecursionError):
        raise ScalewiseError("no request") from None
    server = _server()
    method, path, query = (str(each).encode(errors="replace").decode() for each in line)
    for name, key in server.place().items():
        path = path.replace(name, key)
    with _quick() if zlib.crc32(content) % 50 else nullcontext():
        status, told = server.call(method, path, query, headers, body)
    if "forget" in path or "make" in path:
        server.lose(all_of_it="forget" in path)
    if (status >= 500 and status != 503) or b"a fault in Scalewise" in told:
        raise RuntimeError(f"status {status}")
    if status >= 400 and status not in (404, 405):
        raise ScalewiseError(json.loads(told)["error"])
    return len(told)
