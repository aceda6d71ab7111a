"""What the page asks for: calls, their settings and figures, portraits."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from streamhead.server.bodies import Changes, Offer, Wishes, read_body, read_json, read_query
from streamhead.server.calls import Call, Calls, Look
from streamhead.server.portraits import Portraits

__all__ = ["Api", "look_for"]

PICTURE_LIMIT: Final = 10 * 1024 * 1024
"""Bytes of a portrait; the page says the same."""


class _Which(BaseModel):
    """The query of ``POST /portrait``."""

    model_config = ConfigDict(extra="forbid")

    pick: int | None = Field(None, ge=1, le=64)


def look_for(wishes: Wishes, portraits: Portraits, temperature: float) -> Look:
    """How the head of a caller with these wishes is to be; without a seed, no two takes are alike.

    Raises:
        Refusal: 404, an unknown portrait.
    """
    return Look(
        portraits.find(wishes.portrait),
        secrets.randbelow(1_000_000) if wishes.seed is None else wishes.seed,
        temperature if wishes.temperature is None else wishes.temperature,
    )


def _figures(call: Call) -> dict[str, Any]:
    track = call.track
    stats = track.pipeline.stats
    return {
        "state": call.connection.pc.connectionState,
        "seconds": stats.seconds,
        "frames": stats.frames,
        "fps": stats.fps,
        "delay_ms": {"now": stats.delay_now_ms if stats.frames else None, **asdict(stats.delay_ms)},
        "stages_ms": {name: asdict(spread) for name, spread in stats.stages_ms.items()},
        "late_frames": stats.late_frames,
        "dropped": call.dropped,
        "silence_s": stats.silence_s,
        "av_offset_ms": round(track.delay_line.offset_ms, 2) if stats.frames else None,
        "speech": track.speech,
        "muted": track.pipeline.muted,
        "seed": track.session.noise.seed,
        "temperature": track.session.temperature,
        "viewers": len(call.viewers),
    }


class Api:
    """The page's requests.

    Args:
        calls: of the server.
        portraits: of the server.
        temperature: of callers who do not say.
    """

    def __init__(self, calls: Calls, portraits: Portraits, temperature: float) -> None:
        self._calls = calls
        self._portraits = portraits
        self._temperature = temperature

    def routes(self) -> list[web.RouteDef]:
        """Where they go."""
        return [
            web.post("/offer", self._offer),
            web.patch("/session/{session}", self._change),
            web.delete("/session/{session}", self._end),
            web.post("/session/{session}/interrupt", self._interrupt),
            web.get("/session/{session}/stats", self._stats),
            web.post("/portrait", self._add_portrait),
            web.delete("/portrait/{portrait}", self._remove_portrait),
        ]

    def _call(self, request: web.Request) -> Call:
        return self._calls.find(request.match_info["session"])

    async def _offer(self, request: web.Request) -> web.Response:
        offer = await read_json(request, Offer)
        call, answer = await self._calls.open(offer.sdp, look_for(offer, self._portraits, self._temperature))
        return web.json_response({"sdp": answer, "type": "answer", "session": call.id})

    async def _change(self, request: web.Request) -> web.Response:
        call = self._call(request)
        call.change(await read_json(request, Changes))
        return web.json_response({})

    async def _interrupt(self, request: web.Request) -> web.Response:
        self._call(request).track.interrupt()
        return web.json_response({})

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(_figures(self._call(request)))

    async def _end(self, request: web.Request) -> web.Response:
        # A browser's farewell over the connection itself is often quicker: an ended session is no error.
        await self._calls.end(request.match_info["session"])
        return web.json_response({})

    async def _add_portrait(self, request: web.Request) -> web.Response:
        which = read_query(request, _Which)
        picture = await read_body(request, PICTURE_LIMIT, "the picture is larger than 10 MB; send a smaller one")
        return web.json_response({"portrait": await self._portraits.add(picture, which.pick)})

    async def _remove_portrait(self, request: web.Request) -> web.Response:
        self._portraits.remove(request.match_info["portrait"])
        return web.json_response({})
