#!/usr/bin/env python3
"""The head in an aiortc program of your own: python examples/embed_track.py, then open http://127.0.0.1:8081."""

import os

from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

import streamhead

PAGE = """<!doctype html><title>embedded</title><video id="head" autoplay playsinline muted></video>
<script type="module">
const pc = new RTCPeerConnection(), stream = new MediaStream();
pc.ontrack = ({ track }) => { stream.addTrack(track); head.srcObject = stream; };
for (const track of (await navigator.mediaDevices.getUserMedia({ audio: true })).getTracks()) pc.addTrack(track);
pc.addTransceiver('video', { direction: 'recvonly' });
await pc.setLocalDescription();
await new Promise((done) => { pc.onicecandidate = ({ candidate }) => candidate || done(); });
const answer = await fetch('/offer', { method: 'POST', body: JSON.stringify(pc.localDescription) });
await pc.setRemoteDescription(await answer.json());
</script>"""


async def page(_: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


async def offer(request: web.Request) -> web.Response:
    pc = RTCPeerConnection(RTCConfiguration([]))  # [] asks no server on the internet
    await pc.setRemoteDescription(RTCSessionDescription(**await request.json()))
    streamhead.attach(pc, head)  # hears the caller; answers with a face, and the voice in step with it
    await pc.setLocalDescription(await pc.createAnswer())
    return web.json_response({"sdp": pc.localDescription.sdp, "type": pc.localDescription.type})


head = streamhead.load()
app = web.Application()
app.add_routes([web.get("/", page), web.post("/offer", offer)])

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8081")))
