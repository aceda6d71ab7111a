"""Who may ask the server, for what, from where and how often."""

from __future__ import annotations

import pytest
from calls import RATE
from servers import new_caller, offer, serve
from sounds import speech

from streamhead.errors import StreamheadError
from streamhead.server.access import LOOPBACK, Access, Rates, access_for, is_loopback
from streamhead.server.refusal import Refusal

TOKEN = "correct-horse-battery"
GUARDED = (
    ("POST", "/offer"),
    ("PATCH", "/session/x"),
    ("GET", "/session/x/stats"),
    ("POST", "/session/x/interrupt"),
    ("DELETE", "/session/x"),
    ("POST", "/portrait"),
    ("DELETE", "/portrait/x"),
    ("POST", "/whip"),
    ("DELETE", "/whip/x"),
    ("POST", "/whep/x"),
    ("GET", "/metrics"),
    ("GET", "/nowhere"),
    ("POST", "/"),
)


async def test_the_page_is_for_everybody_and_all_else_wants_the_token() -> None:
    async with serve(access=Access(TOKEN, None)) as server:
        for path in ("/", "/page/app.js", "/page/style.css", "/healthz"):
            assert (await server.ask("GET", path)).status == 200
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Basic x"}):
            for method, path in GUARDED:
                response = await server.ask(method, path, headers=given)
                assert response.status == 401
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
        for method, path in GUARDED:
            response = await server.ask(method, path, headers={"Authorization": f"Bearer {TOKEN}"})
            assert response.status != 401
        caller = new_caller(speech(1.0, RATE))
        body = {"sdp": await offer(caller.pc), "type": "offer"}
        with_token = {"Authorization": f"bearer {TOKEN}"}
        assert (await server.ask("POST", "/offer", json=body, headers=with_token)).status == 200
        await caller.close()


async def test_a_token_of_strange_bytes_is_refused_like_any_other() -> None:
    async with serve(access=Access(TOKEN, None)) as server:
        for given in ("Bearer \u00e9\u00e9", "Bearer", "Bearer  ", f"Bearer {TOKEN}x"):
            assert (await server.ask("GET", "/metrics", headers={"Authorization": given})).status == 401


async def test_other_pages_may_not_ask() -> None:
    async with serve() as server:
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1", server.address.replace("http", "https")):
            status, text = await server.refused("POST", "/offer", headers={"Origin": origin}, json={})
            assert status == 403
            assert "--origin" in text
            response = await server.ask("GET", "/metrics", headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in response.headers
        for given in ({"Origin": server.address}, {}):
            assert (await server.ask("POST", "/offer", headers=given, json={})).status == 400


async def test_pages_that_are_allowed_may_ask() -> None:
    origin = "https://meet.example"
    async with serve(access=Access(TOKEN, None, frozenset({origin}))) as server:
        response = await server.ask("OPTIONS", "/whip", headers={"Origin": origin})
        assert response.status == 204
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        given = {"Origin": origin, "Authorization": f"Bearer {TOKEN}"}
        response = await server.ask("GET", "/metrics", headers=given)
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == origin
        assert "Location" in response.headers["Access-Control-Expose-Headers"]
        assert (await server.ask("OPTIONS", "/whip", headers={"Origin": "https://evil.example"})).status == 403


async def test_names_that_point_here_by_a_trick_are_refused() -> None:
    async with serve() as server:
        port = server.address.rsplit(":", 1)[1]
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""):
            for path in ("/", "/metrics"):
                assert (await server.refused("GET", path, headers={"Host": host}))[0] == 403
        for host in (f"localhost:{port}", "LOCALHOST", f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert (await server.ask("GET", "/", headers={"Host": host})).status == 200


async def test_every_answer_is_guarded() -> None:
    async with serve() as server:
        for path in ("/", "/page/app.js", "/healthz", "/nowhere", "/session/x/stats"):
            headers = (await server.ask("GET", path)).headers
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "microphone=(self)" in headers["Permissions-Policy"]
            assert headers["Cache-Control"] == ("no-store" if path in ("/nowhere", "/session/x/stats") else "no-cache")
        script = await server.ask("GET", "/page/app.js")
        assert script.content_type in ("text/javascript", "application/javascript")
        again = await server.ask("GET", "/page/app.js", headers={"If-None-Match": script.headers["ETag"]})
        assert again.status == 304
        for path in ("/page/", "/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py"):
            assert (await server.ask("GET", path)).status in (403, 404)


async def test_too_many_requests_are_refused_and_wrong_tokens_cost_more() -> None:
    async with serve(rates=Rates(30, 0.5)) as server:
        statuses = [(await server.ask("POST", "/offer", json={})).status for _ in range(5)]
        assert statuses == [400, 400, 400, 429, 429]
        response = await server.ask("POST", "/offer", json={})
        assert int(response.headers["Retry-After"]) >= 1
    async with serve(rates=Rates(100, 0.01), access=Access(TOKEN, None)) as server:
        statuses = [(await server.ask("GET", "/metrics")).status for _ in range(12)]
        assert statuses == [401] * 9 + [429] * 3


def test_rates_recover_and_forget() -> None:
    clock = [0.0]
    rates = Rates(10, 2, lambda: clock[0])
    rates.take("a", 10)
    with pytest.raises(Refusal):
        rates.take("a", 1)
    rates.take("b", 1)
    clock[0] = 1.0
    rates.take("a", 2)
    with pytest.raises(Refusal):
        rates.take("a", 1)
    for number in range(3000):
        rates.take(str(number), 1)
    assert len(rates._buckets) == Rates.REMEMBERED


def test_rules_for_a_server() -> None:
    assert access_for("127.0.0.1", loopback=True, token=None) == Access(None, LOOPBACK, frozenset())
    with pytest.raises(StreamheadError, match="--token auto"):
        access_for("0.0.0.0", loopback=False, token=None)
    made = [access_for("0.0.0.0", loopback=False, token="auto").token for _ in range(2)]
    assert made[0] != made[1] and all(token is not None and len(token) > 20 for token in made)
    for bad in ("", "short", "with space in it", "umläutchen"):
        with pytest.raises(StreamheadError, match="token"):
            access_for("127.0.0.1", loopback=True, token=bad)
    for origin in ("example.org", "https://example.org/", "ftp://example.org", "https://", "*", "null"):
        with pytest.raises(StreamheadError, match="--origin"):
            access_for("127.0.0.1", loopback=True, token=None, origins=[origin])
    hosts = access_for("127.0.0.1", loopback=True, token=TOKEN, origins=["https://head.example:8443"]).hosts
    assert hosts is not None and "head.example" in hosts  # a proxy on this machine passes its own name on
    assert access_for("10.1.2.3", loopback=False, token=TOKEN).hosts is None


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("fe80::1%eth0", False),
    ],
)
def test_what_only_this_machine_can_reach(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
