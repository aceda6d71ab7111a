"""The server of ``streamhead serve --webrtc`` from its options to its end: address, token, TLS."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from rich.console import Console

from streamhead.errors import StreamheadError
from streamhead.face.compositor import View
from streamhead.server.access import AUTO, Access, access_for, is_loopback
from streamhead.server.app import PORTRAITS, Settings, make_app, make_runner
from streamhead.stream.talking_head import TalkingHead

__all__ = ["Door", "open_door", "serving"]


@dataclass(frozen=True, slots=True)
class Door:
    """Where the server listens, and whom it lets in.

    Attributes:
        socket: bound.
        access: who may ask.
        tls: None for plain http.
        link: what to open in a browser.
    """

    socket: socket.socket
    access: Access
    tls: ssl.SSLContext | None
    link: str


@contextmanager
def open_door(
    host: str, port: int, *, token: str | None, origins: Sequence[str], tls_cert: Path | None, tls_key: Path | None
) -> Iterator[Door]:
    """Check the options and take the port.

    Raises:
        StreamheadError: the port or the address cannot be had, a token is missing, or the TLS files do not fit.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise StreamheadError(f"--host {host} is no address of this machine; use 127.0.0.1 or 0.0.0.0") from error
    access = access_for(host, loopback=is_loopback(str(address[0])), token=token, origins=origins)
    tls = _tls(tls_cert, tls_key)
    try:
        listening = socket.create_server(address, family=family)
    except OSError as error:
        raise StreamheadError(_refused(error, host, port)) from error
    with listening:
        yield Door(listening, access, tls, _link(host, listening, access, secret=token != AUTO, tls=tls is not None))


def _refused(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; stop what uses it, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} is not for everybody; choose one from 1024 up with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is no address of this machine; use 127.0.0.1 or 0.0.0.0"
    return f"cannot listen at {host} port {port}: {error.strerror}; choose others with --host and --port"


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None:
        if key is not None:
            raise StreamheadError("--tls-key was given without its certificate; add --tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # A key that wants a password is refused: a server that is started anew has nobody to ask.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise StreamheadError(
            f"{cert} and its key cannot be used ({error.strerror if isinstance(error, OSError) else error}); give PEM "
            "files that belong together as --tls-cert and --tls-key, the key without a password"
        ) from error
    return context


def _link(host: str, listening: socket.socket, access: Access, *, secret: bool, tls: bool) -> str:
    port = listening.getsockname()[1]
    name = socket.gethostname() if host in ("", "0.0.0.0", "::") else host
    token = "" if access.token is None else f"#token={'...' if secret else access.token}"
    return f"{'https' if tls else 'http'}://{f'[{name}]' if ':' in name else name}:{port}/{token}"


@asynccontextmanager
async def serving(
    door: Door,
    head: TalkingHead,
    console: Console,
    *,
    sessions: int,
    temperature: float,
    view: View,
    size: tuple[int, int],
    badge: bool,
    still: bool,
) -> AsyncIterator[None]:
    """A server, within a running event loop; leaving the context ends all calls and waits until they are over."""
    settings = Settings(
        door.access, sessions=sessions, temperature=temperature, view=view, size=size, badge=badge, still=still
    )
    app = make_app(head, settings)
    runner = make_runner(app)
    try:
        await runner.setup()
        await app[PORTRAITS].warm_up()
        await web.SockSite(runner, door.socket, ssl_context=door.tls).start()
        console.print(f"Ready: open {door.link}", markup=False)
        if door.access.hosts is None and door.tls is None:
            console.print("Browsers elsewhere give a microphone only over https: see --tls-cert", markup=False)
        yield
    finally:
        await runner.cleanup()
