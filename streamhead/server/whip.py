"""WHIP (RFC 9725) and WHEP: any program that speaks WebRTC can be the caller, or see the head, without the page.

Sound is published to ``/whip``; the head of a session, whoever speaks in it, is played from ``/whep/{session}``. All
addresses are in the answers at once: nothing is trickled.
"""

from __future__ import annotations

from aiohttp import web

from streamhead.server.api import look_for
from streamhead.server.bodies import Wishes, read_query, read_sdp
from streamhead.server.calls import Calls
from streamhead.server.portraits import Portraits

__all__ = ["Whip"]


def _created(sdp: str, location: str) -> web.Response:
    return web.Response(text=sdp, content_type="application/sdp", status=201, headers={"Location": location})


async def _options(request: web.Request) -> web.Response:
    return web.Response(status=204, headers={"Accept-Post": "application/sdp"})


class Whip:
    """Requests of publishers and players.

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
            web.post("/whip", self._publish),
            web.options("/whip", _options),
            web.delete("/whip/{session}", self._end),
            web.post("/whep/{session}", self._play),
            web.options("/whep/{session}", _options),
            web.delete("/whep/{session}/{viewer}", self._leave),
        ]

    async def _publish(self, request: web.Request) -> web.Response:
        look = look_for(read_query(request, Wishes), self._portraits, self._temperature)
        call, answer = await self._calls.open(await read_sdp(request), look, answers=False)
        return _created(answer, f"/whip/{call.id}")

    async def _end(self, request: web.Request) -> web.Response:
        await self._calls.end(request.match_info["session"])
        return web.Response()

    async def _play(self, request: web.Request) -> web.Response:
        call = self._calls.find(request.match_info["session"])
        viewer, answer = await self._calls.view(call, await read_sdp(request))
        return _created(answer, f"/whep/{call.id}/{viewer}")

    async def _leave(self, request: web.Request) -> web.Response:
        await self._calls.leave(request.match_info["session"], request.match_info["viewer"])
        return web.Response()
