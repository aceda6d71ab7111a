"""Calls as the page makes them: a real server, real aiortc peers; what is refused, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import io
import time

import numpy as np
import pillow_heif
import pytest
from calls import RATE
from heads import square
from PIL import Image
from servers import Caller, call, comes_back, hears, new_caller, offer, serve, tone, until, vanish
from sounds import speech

from streamhead.face.portrait import Portrait
from streamhead.server.connection import Connection, Patience
from streamhead.server.refusal import Refusal
from streamhead.stream.stats import STAGES

VOICE = speech(2.0, RATE)


async def closed(*callers: Caller) -> None:
    await asyncio.gather(*(caller.close() for caller in callers))


async def test_a_call_from_offer_to_hanging_up() -> None:
    before = len(asyncio.all_tasks())
    async with serve() as server:
        caller = await call(server, VOICE, seed=7, temperature=0.5)
        await until(lambda: len(caller.received.video) > 20 and len(caller.received.audio) > 50)
        answer = await server.ask("GET", f"/session/{caller.session}/stats")
        assert answer.headers["Cache-Control"] == "no-store"
        stats = await answer.json()
        assert stats["state"] == "connected"
        assert (stats["seed"], stats["temperature"], stats["muted"], stats["viewers"]) == (7, 0.5, False, 0)
        assert 0 < stats["delay_ms"]["now"] < 10_000
        assert stats["delay_ms"]["p50"] <= stats["delay_ms"]["p95"] <= stats["delay_ms"]["max"]
        assert set(stats["stages_ms"]) == set(STAGES)
        assert sum(stage["mean"] for stage in stats["stages_ms"].values()) == pytest.approx(
            stats["delay_ms"]["mean"], abs=0.1
        )
        assert {"late_frames", "dropped", "av_offset_ms", "speech", "frames", "fps", "silence_s"} <= set(stats)
        assert len(server.calls) == 1
        assert (await server.ask("DELETE", f"/session/{caller.session}")).status == 200
        assert len(server.calls) == 0
        assert (await server.ask("DELETE", f"/session/{caller.session}")).status == 200  # as good as done
        assert (await server.refused("GET", f"/session/{caller.session}/stats"))[0] == 404
        await until(lambda: caller.pc.connectionState == "closed")
        await closed(caller)
        assert dict(server.calls.ended) == {"hung up": 1}
    await until(lambda: len(asyncio.all_tasks()) == before)


async def test_settings_change_while_it_runs() -> None:
    async with serve() as server:
        caller = await call(server, VOICE)
        path = f"/session/{caller.session}"
        track = next(iter(server.calls)).track
        await until(lambda: track.speech)
        assert (await server.ask("PATCH", path, json={"seed": 3, "temperature": 0, "muted": True})).status == 200
        assert (track.session.noise.seed, track.session.temperature, track.pipeline.muted) == (3, 0, True)
        await until(lambda: not track.speech)
        assert (await server.ask("PATCH", path, json={"muted": False, "seed": None})).status == 200
        assert (track.session.noise.seed, track.pipeline.muted) == (3, False)
        await until(lambda: track.speech)
        assert (await server.ask("POST", f"{path}/interrupt")).status == 200
        for wrong in ({"seed": -1}, {"temperature": 1e9}, {"muted": "perhaps"}, {"colour": 1}, [1], {"seed": 2**80}):
            assert (await server.refused("PATCH", path, json=wrong))[0] == 400
        await closed(caller)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'{"type": "offer"}', "sdp"),
        (b'{"type": "answer", "sdp": "v=0"}', "type"),
        (b'{"type": "offer", "sdp": "v=0", "temprature": 1}', "field"),
        (b'{"type": "offer", "sdp": "v=0", "temperature": NaN}', "finite"),
        (b'{"type": "offer", "sdp": ""}', "createOffer"),
        (b'{"type": "offer", "sdp": "v=0\\r\\nm=audio"}', "createOffer"),
        (b'{"type": "offer", "sdp": "hello\\nm=video 9 UDP/TLS/RTP/SAVPF 96\\r\\n"}', "createOffer"),
        (b'{"type": "offer", "sdp": "' + b"\\nm=audio" * 500 + b'"}', "sections"),
        (b"\xff\xfe", "JSON"),
    ],
)
async def test_offers_that_are_none(body: bytes, words: str) -> None:
    async with serve() as server:
        status, text = await server.refused("POST", "/offer", data=body, headers={"Content-Type": "application/json"})
        assert status == 400
        assert words in text
        assert len(server.calls) == 0


async def test_offers_that_lack_something_or_are_huge() -> None:
    before = len(asyncio.all_tasks())
    async with serve() as server:

        async def refused(caller: Caller) -> str:
            status, text = await server.refused("POST", "/offer", json={"sdp": await offer(caller.pc), "type": "offer"})
            assert status == 400
            await caller.close()
            return text

        assert "no audio" in await refused(new_caller(None, audio=True))
        assert "no audio" in await refused(new_caller(None))
        assert "no picture" in await refused(new_caller(VOICE, video=False))
        huge = {"sdp": "v=0\r\n" + "a=x\r\n" * 100_000, "type": "offer"}
        assert (await server.refused("POST", "/offer", json=huge))[0] == 413
        assert (await server.refused("POST", "/offer", data="v=0"))[0] == 415
        assert (await server.refused("GET", "/offer"))[0] == 405
        assert (await server.refused("GET", "/nowhere"))[0] == 404
        assert len(server.calls) == 0
    await until(lambda: len(asyncio.all_tasks()) == before)


async def test_damaged_offers_never_break_the_server() -> None:
    caller = new_caller(VOICE)
    sdp = await offer(caller.pc)
    lines = sdp.splitlines(keepends=True)
    rng = np.random.default_rng(0)
    async with serve(sessions=1000, patience=Patience(to_connect=0.5)) as server:
        for _ in range(60):
            kept = [line for line in lines if rng.random() > 0.15]
            place = int(rng.integers(len(kept)))
            kept[place] = kept[place][: int(rng.integers(len(kept[place]) + 1))] + "\r\n"
            response = await server.ask("POST", "/offer", json={"sdp": "".join(kept), "type": "offer"})
            assert response.status in (200, 400), await response.text()
        await until(lambda: not len(server.calls))
        assert (await server.ask("GET", "/healthz")).status == 200
    await caller.close()


async def test_callers_each_get_their_own_face_and_voice() -> None:
    async with serve() as server:
        heads = {}
        for name, level in (("dark", 30), ("light", 220)):
            portrait = Portrait.from_square(np.full((128, 128, 3), level, np.uint8))
            heads[name] = server.portraits._default.with_portrait(portrait)
            server.portraits._heads[name] = heads[name]
        callers = await asyncio.gather(
            call(server, tone(440), portrait="dark", seed=1), call(server, tone(880), portrait="light", seed=2)
        )
        assert len({caller.session for caller in callers}) == 2
        assert len({id(one.track.session._studio) for one in server.calls}) == 1
        await until(lambda: all(caller.sees for caller in callers))
        dark, light = callers
        assert dark.colour < 90 < 150 < light.colour
        await until(lambda: hears(dark, 440) and hears(light, 880))
        await closed(dark)
        await until(lambda: len(server.calls) == 1)
        seen = len(light.received.video)
        await until(lambda: len(light.received.video) > seen + 5)  # the other goes on
        await closed(light)


async def test_no_more_callers_than_there_is_room_for() -> None:
    async with serve(sessions=1) as server:
        caller = await call(server, VOICE)
        await until(lambda: caller.sees)
        other = new_caller(VOICE)
        body = {"sdp": await offer(other.pc), "type": "offer"}
        status, text = await server.refused("POST", "/offer", json=body)
        assert status == 503
        assert "try again" in text
        await closed(caller)
        await until(lambda: not len(server.calls))
        assert (await server.ask("POST", "/offer", json=body)).status == 200
        await closed(other)


async def test_a_caller_who_never_connects_is_forgotten() -> None:
    async with serve(patience=Patience(to_connect=0.5)) as server:
        other = new_caller(VOICE)
        await server.ask("POST", "/offer", json={"sdp": await offer(other.pc), "type": "offer"})
        await closed(other)
        await until(lambda: server.calls.ended["never connected"] == 1)


async def test_a_caller_who_vanishes_is_forgotten_and_one_who_comes_back_is_not() -> None:
    async with serve(patience=Patience(silence=8.0)) as server:
        lost, passing = await asyncio.gather(call(server, VOICE), call(server, VOICE))
        await until(lambda: lost.sees and passing.sees)
        vanish(lost.pc)
        vanish(passing.pc)
        await asyncio.sleep(1.5)
        comes_back(passing.pc)
        await until(lambda: server.calls.ended["vanished"] == 1)
        assert [one.id for one in server.calls] == [passing.session]
        seen = len(passing.received.video)
        await until(lambda: len(passing.received.video) > seen + 5)
        await closed(lost, passing)


def test_a_network_may_be_gone_for_five_seconds() -> None:
    assert Patience().silence > 5 + 7.5  # a receiver's reports are that far apart at most


@pytest.mark.slow
async def test_fifty_calls_leave_nothing_behind() -> None:
    async with serve(sessions=20, patience=Patience(to_connect=5.0)) as server:
        await closed(await call(server, VOICE))
        await until(lambda: not len(server.calls))
        before = len(asyncio.all_tasks())
        for number in range(50):
            caller = await call(server, VOICE)
            if number % 3:
                await until(lambda: caller.sees)  # noqa: B023
            if number % 2:
                await server.ask("DELETE", f"/session/{caller.session}")
            else:
                await until(lambda: caller.pc.iceConnectionState == "completed")  # noqa: B023
            await closed(caller)
            await until(lambda: len(server.calls) < 8)  # some closed before they were connected, and are waited for
        await until(lambda: not len(server.calls) and len(asyncio.all_tasks()) <= before)
        assert server.calls.opened == 51
        assert sum(server.calls.ended.values()) == 51


async def test_the_end_of_the_server_ends_the_calls_at_once() -> None:
    before = len(asyncio.all_tasks())
    async with serve() as server:
        caller = await call(server, VOICE)
        await until(lambda: caller.sees)
        began = time.monotonic()
    assert time.monotonic() - began < 5.0  # a second, usually; whoever waited for the callers would wait longer
    await until(lambda: caller.pc.connectionState == "closed")
    await closed(caller)
    await until(lambda: len(asyncio.all_tasks()) == before)


async def test_figures_for_prometheus() -> None:
    async with serve() as server:
        caller = await call(server, VOICE)
        await until(lambda: len(caller.received.video) > 10)

        async def figures() -> dict[str, float]:
            answer = await server.ask("GET", "/metrics")
            assert answer.content_type == "text/plain"
            lines = (await answer.text()).splitlines()
            return {key: float(value) for key, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

        seen = await figures()
        assert seen["streamhead_sessions"] == 1
        assert seen["streamhead_frames_total"] >= 10
        assert seen['streamhead_delay_seconds_bucket{le="+Inf"}'] == seen["streamhead_delay_seconds_count"]
        assert seen['streamhead_delay_seconds_bucket{le="0.01"}'] == 0
        assert seen["streamhead_delay_seconds_sum"] == pytest.approx(
            sum(seen[f'streamhead_stage_seconds_sum{{stage="{stage}"}}'] for stage in STAGES), rel=1e-3
        )
        assert seen["streamhead_event_loop_lag_seconds_count"] > 0
        await closed(caller)
        await until(lambda: not len(server.calls))
        after = await figures()
        assert after["streamhead_sessions"] == 0
        assert after["streamhead_frames_total"] >= seen["streamhead_frames_total"]
        assert after['streamhead_sessions_ended_total{reason="closed"}'] == 1


def picture(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


async def test_portraits_come_and_go() -> None:
    face = Portrait.default().image[::2, ::2]
    async with serve(portraits=2) as server:
        names = []
        for kind in ("PNG", "JPEG", "WEBP"):
            answer = await server.ask("POST", "/portrait", data=picture(face, kind))
            assert answer.status == 200, await answer.text()
            names.append((await answer.json())["portrait"])
        assert len(set(names)) == 3
        assert len(server.portraits) == 2
        other = new_caller(VOICE)
        body = {"sdp": await offer(other.pc), "type": "offer"}
        status, text = await server.refused("POST", "/offer", json={**body, "portrait": names[0]})
        assert status == 404
        assert "again" in text
        await other.close()
        caller = await call(server, VOICE, portrait=names[1])
        assert (await server.ask("DELETE", f"/portrait/{names[1]}")).status == 200
        with pytest.raises(Refusal):
            server.portraits.find(names[1])
        await until(lambda: caller.sees)  # a call that shows it goes on
        # The one used last is the one that is kept.
        server.portraits.find(names[2])
        assert len(server.portraits) == 1
        await closed(caller)


async def test_a_phones_picture_becomes_a_portrait() -> None:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(Portrait.default().image)).save(file)
    async with serve() as server:
        answer = await server.ask("POST", "/portrait", data=file.getvalue())
        assert answer.status == 200
        portrait = server.portraits.find((await answer.json())["portrait"]).portrait
        assert portrait.image.shape == (720, 1280, 3)


async def test_pictures_that_are_none() -> None:
    two = np.hstack([Portrait.default().image[:, 280:1000]] * 2)
    async with serve() as server:
        for data, words in (
            (b"", "no picture"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
            (picture(square(0))[:900], "damaged"),
            (picture(np.full((300, 300, 3), 90, np.uint8)), "no face"),
            (picture(np.zeros((9000, 9000), np.uint8)), "pixels"),
            (picture(two, "JPEG"), "pick 1..2"),
        ):
            status, text = await server.refused("POST", "/portrait", data=data)
            assert status == 422
            assert words in text, text
            assert "--" not in text
        assert (await server.ask("POST", "/portrait?pick=2", data=picture(two, "JPEG"))).status == 200
        assert (await server.refused("POST", "/portrait?pick=0", data=picture(two, "JPEG")))[0] == 400
        status, text = await server.refused("POST", "/portrait", data=b"x" * (10 * 2**20 + 1))
        assert status == 413
        assert "10 MB" in text


async def test_the_event_loop_goes_on_while_calls_and_portraits_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long must not run in the loop's thread."""
    import threading

    from streamhead.face.compositor import Compositor

    where = set()
    make, find = Compositor.__init__, Portrait.from_bytes.__func__  # type: ignore[attr-defined]

    def noted_make(self: Compositor, *given: object) -> None:
        where.add(threading.current_thread())
        make(self, *given)  # type: ignore[arg-type]

    def noted_find(cls: type[Portrait], *given: object, **more: object) -> Portrait:
        where.add(threading.current_thread())
        return find(cls, *given, **more)  # type: ignore[no-any-return]

    async with serve() as server:
        monkeypatch.setattr(Compositor, "__init__", noted_make)
        monkeypatch.setattr(Portrait, "from_bytes", classmethod(noted_find))
        caller = await call(server, VOICE)
        assert (await server.ask("POST", "/portrait", data=picture(Portrait.default().image))).status == 200
        await closed(caller)
    assert where and threading.main_thread() not in where


async def test_no_server_on_the_internet_is_asked() -> None:
    connection = Connection(Patience())
    assert connection.pc._RTCPeerConnection__configuration.iceServers == []  # type: ignore[attr-defined]
    await connection.close()


async def test_nothing_a_caller_sends_is_kept(tmp_path: object, caplog: pytest.LogCaptureFixture) -> None:
    """Neither logged, though the request breaks the server, nor answered back."""
    words = "my secret words"
    async with serve() as server:

        async def broken(*_: object) -> None:
            raise RuntimeError(words)

        server.portraits.add = broken  # type: ignore[method-assign, assignment]
        status, text = await server.refused("POST", "/portrait", data=words)
        assert status == 500
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.address.rsplit(":", 1)[1]))
        writer.write(b"POST / HTTP/1.1\r\nmy secret words\r\n\r\n")
        await reader.read()
        writer.close()
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text + text
