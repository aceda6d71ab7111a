"""Who may ask: the token, the addresses a page may come from, and how often."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from streamhead.errors import StreamheadError
from streamhead.server.refusal import Refusal

__all__ = ["Access", "Rates", "access_for", "guarded", "is_loopback", "protect"]

AUTO: Final = "auto"
"""The token that stands for one made up by the server."""
SHORTEST: Final = 8
"""Characters of a token."""
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
METHODS: Final = "GET, POST, PATCH, DELETE, OPTIONS"

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), fullscreen=(self), camera=(), display-capture=(), geolocation=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "Server": "streamhead",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Access:
    """What a request needs to be let in.

    Attributes:
        token: that it must carry; None where only this machine can ask.
        hosts: names under which the server may be asked, lower case, without port; None for any.
        origins: pages elsewhere that may ask, such as ``https://example.org``.
    """

    token: str | None = None
    hosts: frozenset[str] | None = LOOPBACK
    origins: frozenset[str] = frozenset()


def is_loopback(address: str) -> bool:
    """Whether an IP address can only be reached from this machine."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def access_for(host: str, *, loopback: bool, token: str | None, origins: Collection[str] = ()) -> Access:
    """The rules for a server.

    Args:
        host: the name or address it listens at.
        loopback: whether only this machine can reach that.
        token: that is asked for; ``auto`` makes one up, None asks for none, which only a loopback server may.
        origins: of pages elsewhere.

    Raises:
        StreamheadError: no token where one is needed, one that is easily guessed, or an origin that is none.
    """
    if token is None and not loopback:
        raise StreamheadError(
            f"with --host {host} other machines can call, and anybody on them: add --token auto, or a token of your own"
        )
    if token == AUTO:
        token = secrets.token_urlsafe(18)
    elif token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise StreamheadError("a token may hold letters, digits and signs, no spaces; --token auto makes one")
    elif token is not None and len(token) < SHORTEST:
        raise StreamheadError(f"the token is easily guessed; take {SHORTEST} characters or more, or --token auto")
    names = set(LOOPBACK)
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}" or not parts.hostname:
            raise StreamheadError(f"--origin {origin}: write it as https://example.org, with no path")
        names.add(_name(parts.netloc))
    return Access(token, frozenset(names | {host.lower()}) if loopback else None, frozenset(origins))


def _name(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


class Rates:
    """How much an address may ask for: a bucket that fills again.

    Args:
        capacity: units at once.
        refill: units a second.
        now: the clock.
    """

    REMEMBERED: Final = 1024

    def __init__(self, capacity: float = 200, refill: float = 50, now: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._refill = refill
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> units left, when

    def take(self, address: str, units: float) -> None:
        """Take some.

        Raises:
            Refusal: 429, there is not enough.
        """
        now = self._now()
        left, since = self._buckets.pop(address, (self._capacity, now))
        left = min(self._capacity, left + (now - since) * self._refill)
        enough = left >= units
        self._buckets[address] = (left - units if enough else left, now)
        if len(self._buckets) > self.REMEMBERED:
            self._buckets.popitem(last=False)
        if not enough:
            wait = max(1, round((units - left) / self._refill))
            raise Refusal(429, "too many requests; wait a moment, then try again", {"Retry-After": str(wait)})


COSTLY: Final = 10
"""Units that a new call, a picture or a wrong token takes; all else takes one."""


def _is_public(request: web.Request) -> bool:
    """Whether anybody may have it: the page, which has no secrets, and the sign of life."""
    return request.method in ("GET", "HEAD") and (
        request.path in ("/", "/healthz") or request.path.startswith("/page/")
    )


def _check_token(request: web.Request, token: str, rates: Rates) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
        return
    rates.take(request.remote or "", COSTLY)
    raise Refusal(
        401,
        "this server wants its token: send it as Authorization: Bearer TOKEN",
        {"WWW-Authenticate": 'Bearer realm="streamhead"'},
    )


def guarded(access: Access, rates: Rates) -> Middleware:
    """A middleware that lets in what the rules allow."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        # A page elsewhere may point a name of its own at this machine (DNS rebinding): it is told by that name.
        if access.hosts is not None and _name(request.host) not in access.hosts:
            raise Refusal(403, "this server answers only under the address it printed; open that one")
        origin = request.headers.get("Origin")
        elsewhere = origin in access.origins
        if origin is not None and origin != f"{request.scheme}://{request.host}" and not elsewhere:
            raise Refusal(403, "pages of another address may not ask this server; allow them with --origin")
        if request.method == "OPTIONS" and elsewhere:
            response: web.StreamResponse = web.Response(status=204)
        else:
            rates.take(request.remote or "", COSTLY if request.method == "POST" else 1)
            if access.token is not None and not _is_public(request):
                _check_token(request, access.token, rates)
            response = await handler(request)
        return response

    return guard


def protect(access: Access) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """What every answer says to browsers, errors included; for ``on_response_prepare``."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "no-cache" if _is_public(request) else "no-store")
        origin = request.headers.get("Origin")
        if origin in access.origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Methods"] = METHODS
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            response.headers["Access-Control-Expose-Headers"] = "Location"
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            response.headers["Vary"] = "Origin"

    return add
