"""A WHIP publisher or WHEP player made of GStreamer's webrtcbin: a peer that shares no code with ours.

Run by the system's Python, which has GStreamer's bindings:

    webrtcbin.py publish http://HOST/whip HZ 0                # a tone, until its standard input is closed
    webrtcbin.py play http://HOST/whep/SESSION FOLDER SECONDS # sound.raw (s16, 48 kHz, mono), picture.raw (grey, 64x36)

A player stops when it has so many seconds of sound, and as many pictures as a quarter of them has at 25 a second.

It prints a line of JSON for each thing that happens, the last one with what came; then it deletes its resource.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from threading import Thread
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

PUBLISH = (
    "audiotestsrc is-live=true wave=sine freq={hz} volume=0.3 ! audio/x-raw,rate=48000,channels=2 ! "
    "opusenc ! rtpopuspay pt=96 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=96 ! peer."
)
SINK = "appsink name=sink emit-signals=true sync=false"
SHOW = (
    "rtpvp8depay ! vp8dec name=decoder ! videoconvert ! videoscale ! "
    f"video/x-raw,format=GRAY8,width=64,height=36 ! {SINK}"
)
HEAR = (
    f"rtpopusdepay ! opusdec ! audioconvert ! audioresample ! audio/x-raw,format=S16LE,channels=1,rate=48000 ! {SINK}"
)
VIDEO = "application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000,payload=97"
AUDIO = "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,encoding-params=(string)2,payload=96"


def tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


class Peer:
    def __init__(self, endpoint: str, seconds: float, pipeline: str, folder: Path | None = None) -> None:
        self.endpoint, self.seconds, self.folder = endpoint, seconds, folder
        self.resource = ""
        self.loop = GLib.MainLoop()
        self.got: dict[str, list[bytes]] = {"video": [], "audio": []}
        self.size: list[int] = []
        self.pipeline = Gst.Pipeline.new()
        self.parts = Gst.parse_bin_from_description(f"webrtcbin name=peer bundle-policy=max-bundle {pipeline}", False)
        self.pipeline.add(self.parts)
        self.peer = self.parts.get_by_name("peer")
        if folder is not None:
            receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
            for caps in (VIDEO, AUDIO):
                self.peer.emit("add-transceiver", receive, Gst.Caps.from_string(caps))
            self.peer.connect("pad-added", self.receive)
        self.peer.connect("on-negotiation-needed", self.negotiate)
        self.peer.connect("notify::ice-gathering-state", self.gathered)
        self.peer.connect("notify::connection-state", self.state)

    def negotiate(self, *_: Any) -> None:
        def offered(promise: Any, *_: Any) -> None:
            reply = promise.get_reply()  # kept: it owns the offer
            self.peer.emit("set-local-description", reply.get_value("offer"), Gst.Promise.new())

        self.peer.emit("create-offer", None, Gst.Promise.new_with_change_func(offered, None))

    def gathered(self, *_: Any) -> None:
        if self.peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self.post)

    def post(self) -> bool:
        offer = self.peer.get_property("local-description").sdp.as_text()
        request = urllib.request.Request(
            self.endpoint, offer.encode(), {"Content-Type": "application/sdp"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            status, answer = response.status, response.read()
            self.resource = urllib.parse.urljoin(self.endpoint, response.headers["Location"])
        tell(status=status, resource=self.resource)
        _, message = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(answer, message)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.peer.emit("set-remote-description", description, Gst.Promise.new())
        return False

    def state(self, *_: Any) -> None:
        tell(state=self.peer.get_property("connection-state").value_nick)

    def receive(self, _: Any, pad: Any) -> None:
        if pad.direction != Gst.PadDirection.SRC:
            return
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        part = Gst.parse_bin_from_description(SHOW if kind == "video" else HEAR, True)
        part.get_by_name("sink").connect("new-sample", self.take, kind)
        self.parts.add(part)
        if kind == "video":
            part.get_by_name("decoder").get_static_pad("src").connect("notify::caps", self.sized)
        part.sync_state_with_parent()
        pad.link(part.get_static_pad("sink"))

    def sized(self, pad: Any, _: Any) -> None:
        caps = pad.get_current_caps()
        if caps is not None:
            shape = caps.get_structure(0)
            self.size = [shape.get_int("width")[1], shape.get_int("height")[1]]

    def take(self, sink: Any, kind: str) -> Any:
        buffer = sink.emit("pull-sample").get_buffer()
        self.got[kind].append(buffer.extract_dup(0, buffer.get_size()))
        heard = sum(map(len, self.got["audio"])) / (2 * 48_000)
        if heard >= self.seconds and len(self.got["video"]) >= 25 * self.seconds / 4:
            self.loop.quit()
        return Gst.FlowReturn.OK

    def run(self) -> None:
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add_seconds(120, self.loop.quit)
        if self.folder is None:
            Thread(target=lambda: (sys.stdin.read(), self.loop.quit()), daemon=True).start()
        self.loop.run()
        if self.folder is not None:
            (self.folder / "sound.raw").write_bytes(b"".join(self.got["audio"]))
            (self.folder / "picture.raw").write_bytes(b"".join(self.got["video"]))
            tell(size=self.size, pictures=len(self.got["video"]))
        with urllib.request.urlopen(urllib.request.Request(self.resource, method="DELETE"), timeout=20) as response:
            tell(deleted=response.status)
        self.pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    Gst.init(None)
    what, endpoint, which, seconds = sys.argv[1:]
    if what == "publish":
        Peer(endpoint, float(seconds), PUBLISH.format(hz=which)).run()
    else:
        Peer(endpoint, float(seconds), "", Path(which)).run()
