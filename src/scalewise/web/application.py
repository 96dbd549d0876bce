"""The server: what a browser may call, and who may."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import scalewise
from scalewise import store
from scalewise.data.photos import sample_photo
from scalewise.device import use_threads
from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import (
    IMAGE_SUFFIXES,
    Picture,
    decode_image,
    encode_image,
    fill_hidden,
    pixel_limit,
)
from scalewise.prior import MultiScalePrior
from scalewise.restore import Restored
from scalewise.web import views
from scalewise.web.making import AnyAsked, Synthesize, Upscale, asked, picture_of
from scalewise.web.security import Guard
from scalewise.web.settings import Settings
from scalewise.web.shelf import Entry, Gone, Shelf
from scalewise.web.work import Busy, Job, Queue

PAGE = Path(__file__).parent / "page"
FILES = {"page.css": "text/css", "page.js": "text/javascript", "viewer.js": "text/javascript"}

BODIES = 4
"""Files and encoded pictures that are held at a time; others wait."""

LONGEST_BODY = 32 * 2**20
"""Bytes of a request in JSON, which may hold a mask."""

EXAMPLE_NOISE = 25 / 255

Endpoint = Callable[[Request], Awaitable[Response]]


def application(settings: Settings | None = None) -> Starlette:
    """The server of the page (ASGI), which computes in threads of its own.

    Args:
        settings: limits and models.

    Examples:
        >>> from scalewise.web import Settings, application
        >>> app = application(Settings(models=("photos",), token="a secret"))  # for uvicorn.run
        >>> [route.path for route in app.routes][:2]
        ['/', '/page/{file}']
    """
    settings = settings or Settings()
    server = _Server(settings)
    routes = [
        Route("/", server.page),
        Route("/page/{file}", server.file),
        Route("/facts", server.facts),
        Route("/pictures", server.upload, methods=["POST"]),
        Route("/example", server.example, methods=["POST"]),
        Route("/pictures/{key}/before.png", server.before),
        Route("/pictures/{key}/make", server.make, methods=["POST"]),
        Route("/pictures/{key}/forget", server.forget, methods=["POST"]),
        Route("/pictures/{key}/{output}/after.png", server.after),
        Route("/pictures/{key}/{output}/uncertainty.png", server.uncertainty),
        Route("/pictures/{key}/{output}/download", server.download),
        Route("/synthesize", server.synthesize, methods=["POST"]),
    ]
    return Starlette(routes=[*map(_told, routes)], middleware=[Guard.of(settings)])


def _told(route: Route) -> Route:
    """The route, with errors as sentences."""
    inner: Endpoint = route.endpoint

    async def endpoint(request: Request) -> Response:
        try:
            return await inner(request)
        except Gone as error:
            return _refused(404, str(error))
        except Busy as error:
            return _refused(503, str(error))
        except ScalewiseError as error:
            return _refused(400, str(error))
        except ClientDisconnect:
            return Response(status_code=400)

    return Route(route.path, endpoint, methods=route.methods and [*route.methods - {"HEAD"}])


def _refused(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


class _Server:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shelf = Shelf(int(settings.kept * 10**6), 60 * settings.minutes)
        threads = torch.get_num_threads()
        self.queue = Queue(settings.waiting, lambda: use_threads(threads))
        self.bodies = asyncio.Semaphore(BODIES)
        self.loaded = lru_cache(maxsize=4)(lambda name: store.load(name, device=settings.device))

    def prior(self, name: str | None) -> MultiScalePrior:
        """One of the models that are offered."""
        name = name or self.settings.models[0]
        if name not in self.settings.models:
            known = ", ".join(self.settings.models)
            raise UsageError(f"no model of that name is offered here; known are {known}")
        return self.loaded(name)

    async def page(self, request: Request) -> Response:
        return Response((PAGE / "index.html").read_bytes(), media_type="text/html")

    async def file(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name not in FILES:
            return _refused(404, "there is no such file")
        return Response((PAGE / name).read_bytes(), media_type=FILES[name])

    async def facts(self, request: Request) -> Response:
        """Models, limits and formats."""
        configs = {name: store.read_config(store.resolve(name)) for name in self.settings.models}
        models = [
            {
                "name": name,
                "description": config.description,
                "size": bool(config.low.settings.get("size")),
            }
            for name, config in configs.items()
        ]
        limits = {"megabytes": self.settings.megabytes, "megapixels": self.settings.megapixels}
        return JSONResponse({"version": scalewise.__version__, "models": models, "limits": limits})

    async def upload(self, request: Request) -> Response:
        """A file as the body, its name in the query."""
        name = Path(request.query_params.get("name", "picture")[:200]).name or "picture"
        async with self.bodies:
            data = await self._body(request, self.settings.bytes, "the file")
            entry = await self.queue.result(lambda job: self._read(data, name))
        return self._kept(entry)

    async def example(self, request: Request) -> Response:
        """A photo of scikit-image with noise that is made here."""
        clean = sample_photo("astronaut")
        generator = torch.Generator().manual_seed(0)
        noisy = clean + EXAMPLE_NOISE * torch.randn(clean.shape, generator=generator)
        picture = Picture((noisy.clamp(0, 1) * 255).round() / 255)
        return self._kept(_entry("example.png", picture))

    def _read(self, data: bytes, name: str) -> Entry:
        with pixel_limit(self.settings.pixels):
            try:
                picture = decode_image(data, name)
            except ScalewiseError as error:
                if "million that are allowed" not in str(error):
                    raise
                raise UsageError(
                    f"{error} on this page; the commands of Scalewise take larger ones, or start "
                    "the page with --max-megapixels"
                ) from None
        return _entry(name, picture)

    def _kept(self, entry: Entry) -> Response:
        picture = picture_of(entry)
        planes, channels, height, width = picture.pixels.shape
        return JSONResponse(
            {
                "key": self.shelf.add(entry),
                "name": entry.name,
                "width": width,
                "height": height,
                "planes": planes,
                "channels": channels,
                "depth": picture.depth,
                "notes": picture.notes,
            }
        )

    async def before(self, request: Request) -> Response:
        """A plane of the picture, as it is."""
        picture = picture_of(self._entry(request))
        return await self._png(lambda: _shown(picture, _number(request, "plane")))

    async def make(self, request: Request) -> Response:
        """Restore a picture: messages, one JSON a line, as the work goes on."""
        return await self._stream(request, self._entry(request), picture=True)

    async def synthesize(self, request: Request) -> Response:
        """Draw new pictures: likewise; they are kept as a picture of their own."""
        return await self._stream(request, Entry("new.png"), picture=False)

    async def _stream(self, request: Request, entry: Entry, *, picture: bool) -> Response:
        body = await self._body(request, LONGEST_BODY, "the request")
        try:
            wanted = asked.validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"][1:])) or "the request"
            raise UsageError(" ".join(f"{place}: {first['msg']}".split())) from None
        if isinstance(wanted, Synthesize) is picture:
            raise UsageError("this is asked for elsewhere")
        self._check_output(entry, wanted)
        key = request.path_params.get("key")

        def whole(job: Job) -> None:
            made = wanted.whole(entry, self.prior, job)
            job.check()
            place = key or self.shelf.add(entry)
            job.say(done=_told_of(place, self.shelf.finish(entry, made), made))

        def quick(job: Job) -> None:
            wanted.quick(entry, self.prior, job)

        job = self.queue.submit(quick=quick, whole=whole)
        return StreamingResponse(_lines(job), media_type="application/x-ndjson")

    def _check_output(self, entry: Entry, wanted: AnyAsked) -> None:
        """Refuse before the work what would be too large."""
        if entry.picture is None:
            return
        planes, _, height, width = entry.picture.pixels.shape
        factor = wanted.factor if isinstance(wanted, Upscale) else 1
        count = max(1, getattr(wanted, "samples", 1))
        pixels = planes * height * width * factor**2 * count
        if pixels > 2 * self.settings.pixels:
            what = f"{count} outputs" if count > 1 else "the output"
            raise UsageError(
                f"{what} would have {pixels / 10**6:.0f} million pixels, more than the "
                f"{2 * self.settings.megapixels:g} million that are allowed on this page; choose a "
                "smaller factor or fewer samples, or use the commands of Scalewise"
            )

    async def forget(self, request: Request) -> Response:
        """Keep a picture no longer."""
        self.shelf.forget(request.path_params["key"])
        return Response(status_code=204)

    async def after(self, request: Request) -> Response:
        """A plane of a sample of the output."""
        picture = self._sample(request)
        return await self._png(lambda: _shown(picture, _number(request, "plane")))

    async def uncertainty(self, request: Request) -> Response:
        """Deviations of a plane as a layer of colour; a header says which is opaque."""
        deviation = self._output(request).deviation
        if deviation is None:
            raise UsageError("no uncertainty was asked for")
        plane = _number(request, "plane", len(deviation.pixels))
        async with self.bodies:
            data, most = await run_in_threadpool(views.overlay, deviation.pixels[plane])
        return Response(data, media_type="image/png", headers={"X-Most": f"{255 * most:.3g}"})

    async def download(self, request: Request) -> Response:
        """A sample, or the deviations, as a file, by default of the kind that came."""
        entry = self._entry(request)
        made = self._output(request)
        if "uncertainty" in request.query_params:
            if made.deviation is None:
                raise UsageError("no uncertainty was asked for")
            picture, what, suffix = made.deviation, "uncertainty", ".tif"
        else:
            picture, what = self._sample(request), request.query_params.get("what", "restored")
            suffix = request.query_params.get("as", Path(entry.name).suffix).lower()
        if suffix not in IMAGE_SUFFIXES:
            suffix = ".png" if picture.depth in ("uint8", "uint16") else ".tif"
        what = what if what.isidentifier() and len(what) < 40 else "restored"
        name = f"{Path(entry.name).stem}-{what}{suffix}"
        async with self.bodies:
            data, notes = await run_in_threadpool(encode_image, picture, name)
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        if notes:
            headers["X-Notes"] = quote("; ".join(notes))
        return Response(data, media_type="application/octet-stream", headers=headers)

    def _entry(self, request: Request) -> Entry:
        return self.shelf.get(request.path_params["key"])

    def _output(self, request: Request) -> Restored:
        output = self._entry(request).output
        if output is None or not secrets.compare_digest(
            output[0].encode(), request.path_params["output"].encode()
        ):
            raise Gone("this output was replaced by a newer one")
        return output[1]

    def _sample(self, request: Request) -> Picture:
        pictures = self._output(request).pictures
        return pictures[_number(request, "sample", len(pictures))]

    async def _png(self, make: Callable[[], bytes]) -> Response:
        async with self.bodies:
            return Response(await run_in_threadpool(make), media_type="image/png")

    async def _body(self, request: Request, most: int, what: str) -> bytes:
        """The body of a request, of which no more is read than is allowed."""
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise UsageError(
                    f"{what} is larger than the {most / 2**20:.3g} MB that are allowed"
                )
            parts.append(part)
        return b"".join(parts)


def _entry(name: str, picture: Picture) -> Entry:
    return Entry(name, picture, fill_hidden(picture).pixels)


def _shown(picture: Picture, plane: int) -> bytes:
    if plane >= len(picture.pixels):
        raise UsageError(f"the picture has {len(picture.pixels)} planes, found plane {plane + 1}")
    return views.png(picture.pixels[plane], None if picture.alpha is None else picture.alpha[plane])


def _number(request: Request, name: str, count: int | None = None) -> int:
    """A number of the query, from 0."""
    text = request.query_params.get(name, "0")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(f"{name} must be a whole number, found {text!r:.40}")
    if count is not None and int(text) >= count:
        raise UsageError(f"{name} must be below {count}, found {text}")
    return int(text)


def _told_of(key: str, output: str, made: Restored) -> dict[str, Any]:
    """What a browser is told of an output."""
    planes, _, height, width = made.picture.pixels.shape
    return {
        "key": key,
        "output": output,
        "samples": len(made.pictures),
        "uncertainty": made.deviation is not None,
        "planes": planes,
        "width": width,
        "height": height,
        "notes": made.notes,
    }


async def _lines(job: Job) -> AsyncGenerator[bytes]:
    async with aclosing(job.messages()) as messages:
        async for message in messages:
            yield json.dumps(message).encode() + b"\n"
