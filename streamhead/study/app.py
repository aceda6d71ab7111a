"""The study's server: the page, the next video of a rater, and the ratings. It never says which system drew what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from streamhead.server.access import Access, Rates, guarded, protect
from streamhead.server.bodies import read_json, read_query
from streamhead.server.refusal import Refusal, tell_errors
from streamhead.study.plan import Study
from streamhead.study.store import Rating, Store

__all__ = ["make_app"]

PAGE: Final = Path(str(files("streamhead") / "study" / "page"))

_Rater = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{4,32}$")]
_Grade = Annotated[int, Field(ge=1, le=10, strict=True)]


class _Who(BaseModel):
    """The query of ``GET /next``."""

    model_config = ConfigDict(extra="forbid")

    rater: _Rater


class _Sent(BaseModel):
    """The body of ``POST /rating``."""

    model_config = ConfigDict(extra="forbid")

    rater: _Rater
    item: Annotated[str, Field(max_length=32)]
    realism: _Grade
    sync: _Grade


def make_app(study: Study, access: Access) -> web.Application:
    """The aiohttp application.

    Args:
        study: its videos must be there.
        access: who may ask.

    Raises:
        OutputError: ratings cannot be kept in the study's folder.
    """
    store = Store(study.folder / "ratings.sqlite")
    items = {item.id: item for item in study.items}
    app = web.Application(middlewares=[tell_errors, guarded(access, Rates())])
    app.on_response_prepare.append(protect(access))

    async def page(request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE / "index.html")

    async def healthz(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def status(rater: str) -> web.Response:
        rated = await asyncio.to_thread(store.rated, rater)
        left = [item.id for item in study.order(rater) if item.id not in rated]
        done = len(items) - len(left)
        return web.json_response({"done": done, "total": len(items), "item": left[0] if left else None})

    async def following(request: web.Request) -> web.Response:
        return await status(read_query(request, _Who).rater)

    async def rate(request: web.Request) -> web.Response:
        sent = await read_json(request, _Sent)
        if sent.item not in items:
            raise Refusal(404, "this video is not of this study; load the page again")
        await asyncio.to_thread(store.put, Rating(sent.rater, sent.item, sent.realism, sent.sync))
        return await status(sent.rater)

    async def video(request: web.Request) -> web.FileResponse:
        item = items.get(request.match_info["id"])
        if item is None:
            raise Refusal(404, "this video is not of this study; load the page again")
        return web.FileResponse(study.video(item))

    async def keeping(app: web.Application) -> AsyncIterator[None]:
        yield
        store.close()

    app.add_routes(
        [
            web.get("/", page),
            web.get("/healthz", healthz),
            web.get("/next", following),
            web.post("/rating", rate),
            web.get("/video/{id}", video),
        ]
    )
    app.router.add_static("/page", PAGE)
    app.cleanup_ctx.append(keeping)
    return app
