"""WHIP publishes a voice, WHEP plays the head that speaks with it."""

from __future__ import annotations

import asyncio

from servers import Caller, call, exchange, hears, new_caller, offer, serve, tone, until, vanish

from streamhead.server.access import Access
from streamhead.server.connection import Patience

SDP = {"Content-Type": "application/sdp"}


async def test_published_here_and_played_there() -> None:
    before = len(asyncio.all_tasks())
    async with serve() as server:
        publisher = await exchange(server, new_caller(tone(660), video=False), "/whip", params={"seed": "5"})
        assert publisher.location == f"/whip/{publisher.session}"
        assert [one.direction for one in publisher.pc.getTransceivers()] == ["sendrecv"]
        assert [one.currentDirection for one in publisher.pc.getTransceivers()] == ["sendonly"]
        (one,) = server.calls
        assert one.track.session.noise.seed == 5
        viewers = [await exchange(server, new_caller(None, audio=True), f"/whep/{publisher.session}") for _ in range(2)]
        await until(lambda: all(hears(viewer, 660) and viewer.sees for viewer in viewers))
        assert all(viewer.received.video[0][2].shape == (45, 80) for viewer in viewers)
        assert len({viewer.location for viewer in viewers}) == 2
        stats = await (await server.ask("GET", f"/session/{publisher.session}/stats")).json()
        assert stats["viewers"] == 2
        # One leaves, the other goes on.
        assert (await server.ask("DELETE", viewers[0].location)).status == 200
        await until(lambda: len(one.viewers) == 1)
        seen = len(viewers[1].received.video)
        await until(lambda: len(viewers[1].received.video) > seen + 5)
        # The voice leaves, and with it the head.
        assert (await server.ask("DELETE", publisher.location)).status == 200
        assert len(server.calls) == 0
        await until(lambda: viewers[1].pc.connectionState == "closed")
        await asyncio.gather(*(caller.close() for caller in (publisher, *viewers)))
    await until(lambda: len(asyncio.all_tasks()) == before)


async def test_a_caller_of_the_page_can_be_watched() -> None:
    async with serve() as server:
        caller = await call(server, tone(330))
        await until(lambda: caller.sees)
        viewer = await exchange(server, new_caller(None, audio=True), f"/whep/{caller.session}")
        await until(lambda: viewer.sees and len(viewer.received.audio) > 20)
        seen, heard = len(caller.received.video), len(caller.received.audio)
        await until(lambda: len(caller.received.video) > seen + 10 and len(caller.received.audio) > heard + 60)
        await until(lambda: hears(caller, 330) and hears(viewer, 330))
        vanish(viewer.pc)
        await viewer.close()
        seen = len(caller.received.video)
        await until(lambda: len(caller.received.video) > seen + 5)
        await caller.close()
        await until(lambda: not len(server.calls))  # its viewer does not keep it


async def test_a_viewer_may_take_the_picture_alone() -> None:
    async with serve() as server:
        publisher = await exchange(server, new_caller(tone(500), video=False), "/whip")
        viewer = await exchange(server, new_caller(None), f"/whep/{publisher.session}")
        await until(lambda: viewer.sees)
        assert viewer.received.audio == []
        await asyncio.gather(publisher.close(), viewer.close())


async def test_viewers_who_vanish_are_forgotten() -> None:
    async with serve(patience=Patience(silence=6.0)) as server:
        publisher = await exchange(server, new_caller(tone(500), video=False), "/whip")
        viewer = await exchange(server, new_caller(None, audio=True), f"/whep/{publisher.session}")
        await until(lambda: viewer.sees)
        (one,) = server.calls
        vanish(viewer.pc)
        await until(lambda: not one.viewers)
        assert len(server.calls) == 1
        await asyncio.gather(publisher.close(), viewer.close())


async def test_a_publisher_who_also_offers_a_camera_is_only_heard() -> None:
    """OBS offers both."""
    async with serve() as server:
        publisher = new_caller(tone(500), video=False)
        publisher.pc.addTransceiver("video", direction="sendonly")
        await exchange(server, publisher, "/whip")
        (one,) = server.calls
        directions = {t.kind: t.currentDirection for t in one.connection.pc.getTransceivers()}
        assert directions == {"audio": "recvonly", "video": "inactive"}
        await until(lambda: one.track.delay_line.offset_ms or one.track.pipeline.stats.frames > 5)
        await publisher.close()


async def test_refusals() -> None:
    async with serve() as server:

        async def refused(caller: Caller, path: str, **headers: str) -> tuple[int, str]:
            answer = await server.refused("POST", path, data=await offer(caller.pc), headers={**SDP, **headers})
            await caller.close()
            return answer

        assert (await refused(new_caller(None, audio=True), "/whip"))[1].startswith("the offer sends no audio")
        assert (await refused(new_caller(tone(500)), "/whip?seed=-1"))[0] == 400
        assert (await refused(new_caller(tone(500)), "/whip?portrait=nobody"))[0] == 404
        assert (await refused(new_caller(None), "/whep/nobody"))[0] == 404
        assert (await refused(new_caller(tone(500)), "/whip", **{"Content-Type": "text/plain"}))[0] == 415
        assert (await server.refused("POST", "/whip", data=b"\xff", headers=SDP))[0] == 400
        assert (await server.refused("POST", "/whip", data=b"v=0", headers=SDP))[0] == 400
        assert (await server.refused("POST", "/whip", data=b"v" * 200_000, headers=SDP))[0] == 413
        # Nothing is trickled: whoever tries is told that the method is not there.
        publisher = await exchange(server, new_caller(tone(500), video=False), "/whip")
        viewer = await exchange(server, new_caller(None), f"/whep/{publisher.session}")
        for location in (publisher.location, viewer.location):
            response = await server.ask("PATCH", location, data="a=end-of-candidates")
            assert response.status == 405
            assert "DELETE" in response.headers["Allow"]
        assert (await server.ask("OPTIONS", "/whip")).headers["Accept-Post"] == "application/sdp"
        await asyncio.gather(publisher.close(), viewer.close())


async def test_the_token_is_wanted_here_too() -> None:
    async with serve(access=Access("correct-horse", None)) as server:
        caller = new_caller(tone(500), video=False)
        body = await offer(caller.pc)
        assert (await server.refused("POST", "/whip", data=body, headers=SDP))[0] == 401
        given = {**SDP, "Authorization": "Bearer correct-horse"}
        assert (await server.ask("POST", "/whip", data=body, headers=given)).status == 201
        await caller.close()
