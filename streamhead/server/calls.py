"""The calls that are going on, each a session of its own on one engine, from an offer to its end."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from aiortc.contrib.media import MediaRelay

from streamhead.face.compositor import View
from streamhead.output.steady_encoder import keep_steady
from streamhead.output.webrtc import TalkingHeadTrack, attach
from streamhead.server.bodies import Changes
from streamhead.server.connection import Connection, Patience
from streamhead.server.refusal import Refusal
from streamhead.server.shared import ViewerTrack
from streamhead.server.totals import Totals
from streamhead.stream.session import Session
from streamhead.stream.talking_head import TalkingHead

__all__ = ["Call", "Calls", "Look"]

GONE = "there is no such session, it may have ended; make a new offer"


@dataclass(frozen=True, slots=True)
class Look:
    """How a caller's head is to be.

    Attributes:
        head: the portrait.
        seed: the take.
        temperature: scale of the sampling noise.
    """

    head: TalkingHead
    seed: int
    temperature: float


@dataclass(slots=True, eq=False)
class Call:
    """One caller's session.

    Attributes:
        id: hard to guess; who knows it may change, see and end the session.
        track: the head, its sound, its figures.
        connection: to the caller, whose sound is heard.
        answers: whether the head is sent back there; else only viewers see it.
        viewers: others who see it, by their ids.
        tasks: that see the connections to their ends.
    """

    id: str
    track: TalkingHeadTrack
    connection: Connection
    answers: bool
    viewers: dict[str, Connection] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    relay: MediaRelay = field(default_factory=MediaRelay)

    @property
    def dropped(self) -> int:
        """Frames that a sender did not take in time."""
        return self.track.dropped if self.answers else 0  # with no sender nothing is late

    def change(self, changes: Changes) -> None:
        """Do what a caller asks for while the session runs."""
        session = self.track.session
        if changes.seed is not None:
            session.noise = replace(session.noise, seed=changes.seed)
        if changes.temperature is not None:
            session.temperature = changes.temperature
        if changes.muted is not None:
            self.track.pipeline.muted = changes.muted

    def shared(self, kinds: Collection[str]) -> list[ViewerTrack]:
        """The head's tracks of these kinds for one more viewer; the caller, too, gets shared ones from then on."""
        for sender in self.connection.pc.getSenders():
            if sender.track in (self.track, self.track.audio):
                sender.replaceTrack(ViewerTrack(self.relay, sender.track))
        return [ViewerTrack(self.relay, track) for track in (self.track, self.track.audio) if track.kind in kinds]


class Calls:
    """All calls of a server.

    Args:
        most: calls at once.
        most_viewers: of one call.
        patience: with peers that keep silent.
        view: ``call`` or ``face``.
        size: width and height of the picture in the ``call`` view.
        badge: mark each frame as made by an AI.
        still: whether heads neither sway nor blink.
    """

    def __init__(
        self,
        *,
        most: int = 8,
        most_viewers: int = 8,
        patience: Patience | None = None,
        view: View = "call",
        size: tuple[int, int] = (1280, 720),
        badge: bool = False,
        still: bool = False,
    ) -> None:
        self.most = most
        self.opened = 0
        """Calls since the server began."""
        self.ended: Counter[str] = Counter()
        """Calls that are over, by why."""
        self._most_viewers = most_viewers
        self._patience = patience or Patience()
        self._view: View = view
        self._size = size
        self._badge = badge
        self._still = still
        self._calls: dict[str, Call] = {}
        self._opening = 0
        self._past = Totals()
        self._closing = False

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls.values()))

    @property
    def totals(self) -> Totals:
        """What all calls did, past and present."""
        return sum((Totals.of(call.track.pipeline, call.dropped) for call in self), self._past)

    def find(self, session: str) -> Call:
        """The call of a session's id.

        Raises:
            Refusal: 404.
        """
        call = self._calls.get(session)
        if call is None:
            raise Refusal(404, GONE)
        return call

    async def open(self, offer: str, look: Look, *, answers: bool = True) -> tuple[Call, str]:
        """Take a call.

        Args:
            offer: SDP that sends sound.
            look: the head.
            answers: whether the head is sent back on the same connection; else it is there for viewers.

        Returns:
            The call, and the SDP to answer with.

        Raises:
            Refusal: 400, 503.
        """
        if self._closing or len(self._calls) + self._opening >= self.most:
            raise Refusal(503, "the server has as many callers as it can serve; try again in a minute")
        self._opening += 1
        try:
            connection = Connection(self._patience)
            try:
                await connection.take(offer)
                connection.require("audio", *(["video"] if answers else []))
                track = attach(connection.pc, await asyncio.to_thread(self._session, look), send=answers)
                answer = await connection.answer(hears=True)
            except BaseException:
                await connection.close()  # and with it the track
                raise
            if not answers:
                track.start()  # its sound must be taken even if nobody looks
            call = Call(secrets.token_urlsafe(16), track, connection, answers)
            self._calls[call.id] = call
            self.opened += 1
        finally:
            self._opening -= 1

        @track.on("ended")
        def tell() -> None:
            if connection.pc.signalingState != "closed":  # which ends the track, too
                connection.end("head ended")

        call.tasks.add(asyncio.create_task(self._see_through(call)))
        if self._closing:
            connection.end("server ends")
        return call, answer

    def _session(self, look: Look) -> Session:
        return look.head.session(
            look.seed,
            temperature=look.temperature,
            view=self._view,
            size=self._size,
            badge=self._badge,
            still=self._still,
        )

    async def _see_through(self, call: Call) -> None:
        reason = await call.connection.outlast()
        for viewer in call.viewers.values():
            viewer.end("session ended")
        try:
            await asyncio.gather(call.connection.close(), call.track.close(), *(call.tasks - {asyncio.current_task()}))
        finally:
            self._past += Totals.of(call.track.pipeline, call.dropped)
            self.ended[reason] += 1
            del self._calls[call.id]
            if not self._calls:
                # A connection's parts hold on to each other; while nobody calls, going through them holds up no frame.
                asyncio.get_running_loop().call_soon(gc.collect)

    async def view(self, call: Call, offer: str) -> tuple[str, str]:
        """Let one more peer see and hear a call's head.

        Args:
            call: whose.
            offer: SDP that takes picture or sound, or both.

        Returns:
            The viewer's id, and the SDP to answer with.

        Raises:
            Refusal: 400, 503.
        """
        if len(call.viewers) >= self._most_viewers:
            raise Refusal(503, "this session has as many viewers as it can serve; try again in a minute")
        viewer = Connection(self._patience)
        name = secrets.token_urlsafe(16)
        call.viewers[name] = viewer
        try:
            await viewer.take(offer)
            if not viewer.kinds:
                raise Refusal(400, "the offer takes neither picture nor sound; add transceivers to it, recvonly")
            for track in call.shared(viewer.kinds):
                sender = viewer.pc.addTrack(track)
                if track.kind == "video":
                    keep_steady(sender)
            answer = await viewer.answer(hears=False)
        except BaseException:
            del call.viewers[name]
            await viewer.close()
            raise

        if call.connection.reason:  # it ended meanwhile
            viewer.end("session ended")

        async def see_through() -> None:
            await viewer.outlast()
            await viewer.close()
            del call.viewers[name]

        task = asyncio.create_task(see_through())
        call.tasks.add(task)
        task.add_done_callback(call.tasks.discard)
        return name, answer

    async def end(self, session: str, reason: str = "hung up") -> None:
        """End a call, if it still goes on, and wait until all of it is gone."""
        call = self._calls.get(session)
        if call is not None:
            call.connection.end(reason)
            await asyncio.wait(call.tasks)

    async def leave(self, session: str, name: str) -> None:
        """End a viewer's connection, if there is one."""
        call = self._calls.get(session)
        viewer = call.viewers.get(name) if call else None
        if viewer is not None:
            viewer.end("hung up")
            await viewer.close()

    async def close(self) -> None:
        """End all calls; no new one is taken."""
        self._closing = True
        await asyncio.gather(*(self.end(session, "server ends") for session in list(self._calls)))
