"""Pictures that callers sent, as heads ready to speak; in memory only, the least recently used forgotten first."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from typing import Final

from streamhead.errors import CheckpointError, PortraitError
from streamhead.face.landmarks import stored_landmark_model
from streamhead.face.portrait import Portrait
from streamhead.server.refusal import Refusal
from streamhead.stream.talking_head import TalkingHead

__all__ = ["Portraits"]

NAME: Final = "the picture"
"""What a caller's picture is called in errors."""
MOST_PIXELS: Final = 64_000_000
"""Fewer than of files on this machine: a caller's picture must not fill its memory."""


class Portraits:
    """The portraits of a server.

    Args:
        default: the head of callers who sent no picture.
        most: portraits kept.
    """

    def __init__(self, default: TalkingHead, most: int = 32) -> None:
        self._default = default
        self._most = most
        self._heads: OrderedDict[str, TalkingHead] = OrderedDict()
        # One at a time: faces are found on all processors already, and calls are going on.
        self._finding = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._heads)

    async def add(self, picture: bytes, pick: int | None = None) -> str:
        """Find the face in a picture and keep it.

        Args:
            picture: JPEG, PNG, WebP or the like.
            pick: which face of several, from 1, left to right.

        Returns:
            An id, hard to guess.

        Raises:
            Refusal: 422, it cannot serve as a portrait; 503, faces cannot be found here.
        """
        async with self._finding:
            try:
                head = await asyncio.to_thread(self._head, picture, pick)
            except PortraitError as error:
                raise Refusal(422, str(error).replace("--pick", "pick")) from None
            except CheckpointError:
                raise Refusal(
                    503, "this server cannot find faces; on its machine, streamhead doctor says why"
                ) from None
        name = secrets.token_urlsafe(16)
        self._heads[name] = head
        if len(self._heads) > self._most:
            self._heads.popitem(last=False)
        return name

    def _head(self, picture: bytes, pick: int | None) -> TalkingHead:
        return self._default.with_portrait(Portrait.from_bytes(picture, NAME, pick, most_pixels=MOST_PIXELS))

    def find(self, name: str | None) -> TalkingHead:
        """The head of a portrait's id; of None, the default one.

        Raises:
            Refusal: 404.
        """
        if name is None:
            return self._default
        if name not in self._heads:
            raise Refusal(404, "this portrait is not known, or was forgotten; send the picture again")
        self._heads.move_to_end(name)
        return self._heads[name]

    def remove(self, name: str) -> None:
        """Forget a portrait, if it is known; calls that show it go on."""
        self._heads.pop(name, None)

    async def warm_up(self) -> None:
        """Load what finds faces, where it is on this machine: in a running call it would hold up frames."""
        if await asyncio.to_thread(stored_landmark_model) is not None:
            await asyncio.to_thread(Portrait.from_image, self._default.portrait.image)
