"""The server put together: the page, the calls, who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final

from aiohttp import web

from streamhead.face.compositor import View
from streamhead.server.access import Access, Rates, guarded, protect
from streamhead.server.api import Api
from streamhead.server.calls import Calls
from streamhead.server.connection import Patience
from streamhead.server.metrics import Metrics
from streamhead.server.portraits import Portraits
from streamhead.server.refusal import QUIET, tell_errors
from streamhead.server.whip import Whip
from streamhead.stream.talking_head import TalkingHead

__all__ = ["CALLS", "PORTRAITS", "Settings", "make_app", "make_runner"]

CALLS: Final = web.AppKey("CALLS", Calls)
PORTRAITS: Final = web.AppKey("PORTRAITS", Portraits)
FAREWELL: Final = 0.5
"""Seconds that requests under way may still take when the server ends."""
PAGE: Final = Path(str(files("streamhead") / "server" / "page"))


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server may be told.

    Attributes:
        access: who may ask.
        sessions: calls at once.
        portraits: pictures kept.
        temperature: of callers who do not say.
        view: ``call`` or ``face``.
        size: width and height of the picture in the ``call`` view.
        badge: mark each frame as made by an AI.
        still: whether heads neither sway nor blink.
        patience: with peers that keep silent.
        rates: how often an address may ask; None for the usual.
    """

    access: Access = field(default_factory=Access)
    sessions: int = 8
    portraits: int = 32
    temperature: float = 1.0
    view: View = "call"
    size: tuple[int, int] = (1280, 720)
    badge: bool = False
    still: bool = False
    patience: Patience = field(default_factory=Patience)
    rates: Rates | None = None


def make_app(head: TalkingHead, settings: Settings) -> web.Application:
    """The aiohttp application; every caller gets a session of its own on the head's engine.

    Args:
        head: of callers who send no portrait.
        settings: the rest.
    """
    rates = settings.rates or Rates()
    app = web.Application(middlewares=[tell_errors, guarded(settings.access, rates)])
    app.on_response_prepare.append(protect(settings.access))
    calls = app[CALLS] = Calls(
        most=settings.sessions,
        patience=settings.patience,
        view=settings.view,
        size=settings.size,
        badge=settings.badge,
        still=settings.still,
    )
    portraits = app[PORTRAITS] = Portraits(head, settings.portraits)
    metrics = Metrics(calls, portraits)

    async def page(request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE / "index.html")

    async def healthz(request: web.Request) -> web.Response:
        if not head.engine.alive:
            return web.json_response({"status": "the engine's process has ended"}, status=503)
        return web.json_response({"status": "ok"})

    async def figures(request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": metrics.content_type})

    async def end_calls(app: web.Application) -> None:
        await calls.close()

    async def watching_the_loop(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(metrics.watch_loop())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    app.add_routes([web.get("/", page), web.get("/healthz", healthz), web.get("/metrics", figures)])
    app.add_routes(Api(calls, portraits, settings.temperature).routes())
    app.add_routes(Whip(calls, portraits, settings.temperature).routes())
    app.router.add_static("/page", PAGE)
    app.on_shutdown.append(end_calls)
    app.cleanup_ctx.append(watching_the_loop)
    return app


def make_runner(app: web.Application) -> web.AppRunner:
    """What runs the application: it keeps no log of requests, and ends quickly."""
    return web.AppRunner(app, access_log=None, logger=QUIET, shutdown_timeout=FAREWELL)
