"""`scalewise serve`."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from typing import Annotated

import typer

from scalewise.cli import options
from scalewise.errors import ScalewiseError, UsageError

Models = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="Models to choose from, by commas; the first restores photos.",
    ),
]


def serve(
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in, with a token."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 7860,
    models: Models = "photos,faces",
    megapixels: Annotated[
        float,
        typer.Option("--max-megapixels", min=0.01, callback=options.finite, help="Of a picture."),
    ] = 24.0,
    megabytes: Annotated[
        float, typer.Option("--max-megabytes", min=0.01, callback=options.finite, help="Of a file.")
    ] = 64.0,
    device: options.Device = "auto",
    browse: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Try it on a page: drop in a photo, see it restored, compare, download.

    The page is served on this machine, to this machine. Pictures stay in memory until the page is
    closed. Ctrl-C ends it. Needs the extra web: pip install 'scalewise[web]'.

    Examples:
      scalewise serve
      scalewise serve --port 8080 --open
      scalewise serve --host 0.0.0.0
    """
    try:
        import uvicorn

        from scalewise.web import Settings, application
    except ImportError as error:
        raise UsageError(
            f"the page needs an extra: pip install 'scalewise[web]' ({error})"
        ) from None
    from scalewise import store
    from scalewise.device import pick_device

    names = tuple(name.strip() for name in models.split(",") if name.strip())
    if not names:
        raise UsageError("--models must name at least one model, such as photos,faces")
    for name in names:
        store.read_config(store.resolve(name))
    pick_device(device)
    here = _is_loopback(host)
    settings = Settings(
        models=names,
        device=device,
        hosts=Settings.hosts if here else ("*",),
        token=None if here else secrets.token_urlsafe(16),
        megapixels=megapixels,
        megabytes=megabytes,
        kept=4 * megapixels,
    )
    listening = _listen(host, port)
    shown = "localhost" if host == "::1" else "127.0.0.1" if here else socket.gethostname()
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    if settings.token is not None:
        address += f"?token={settings.token}"
    typer.echo(f"Open {address} in a browser; Ctrl-C ends it.")
    if browse:
        typer.launch(address)
    config = uvicorn.Config(
        application(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises:
        ScalewiseError: it is taken, or there is none such.
    """
    listening = None
    try:
        kind, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)  # who calls at once waits until the server has started
        return listening
    except OSError as error:
        if listening is not None:
            listening.close()
        reason = error.strerror or str(error)
        raise ScalewiseError(
            f"cannot listen at {host}, port {port}: {reason}; --port 0 takes one that is free"
        ) from error
