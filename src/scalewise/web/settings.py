"""What the one who starts the server decides."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """Of a server.

    Attributes:
        models: names that a browser may choose from; the first restores photos.
        device: where networks compute.
        hosts: names under which the server may be called: a page elsewhere that makes a browser
            call it by another name (DNS rebinding) is turned away.
        token: what a browser must know to be answered; None for none.
        megabytes: largest file.
        megapixels: most pixels of a picture, and half of those of an output.
        kept: most pixels of all pictures and outputs that are kept, in megapixels.
        minutes: after so many without a request a picture is forgotten.
        waiting: most requests for work at a time; more are asked to come back.

    Examples:
        >>> from scalewise.web import Settings
        >>> Settings(megapixels=2.0).pixels
        2000000
    """

    models: tuple[str, ...] = ("photos", "faces")
    device: str = "auto"
    hosts: tuple[str, ...] = field(default=("127.0.0.1", "localhost", "[::1]"))
    token: str | None = None
    megabytes: float = 64.0
    megapixels: float = 24.0
    kept: float = 100.0
    minutes: float = 30.0
    waiting: int = 64

    @property
    def pixels(self) -> int:
        """Most pixels of a picture."""
        return int(self.megapixels * 10**6)

    @property
    def bytes(self) -> int:
        """Bytes of the largest file."""
        return int(self.megabytes * 2**20)
