"""What a caller is told who cannot have what was asked for: a status and one line that says what to do."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["QUIET", "Refusal", "tell_errors"]

_WORDS: Final = {
    404: "there is nothing at this address",
    405: "this address does not take that method",
    413: "that is larger than the server takes; send less",
}
_log = logging.getLogger(__name__)

QUIET: Final = logging.getLogger("streamhead.server.http")
"""For aiohttp's own notes: they would quote what callers send."""
QUIET.disabled = True


class Refusal(Exception):
    """Ends a request with a 4xx or 5xx.

    Args:
        status: HTTP status.
        text: one line, shown to the caller as it is.
        headers: more headers of the answer.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = dict(headers or {})


def _answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=headers)


@web.middleware
async def tell_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error becomes ``{"error": one line}``; what nobody expected is logged without a word of the caller's."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _answer(refusal.status, str(refusal), refusal.headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        kept = {name: value for name, value in error.headers.items() if name == "Allow"}
        return _answer(error.status, _WORDS.get(error.status, error.reason.lower()), kept)
    except Exception as error:
        where = "".join(traceback.format_tb(error.__traceback__))
        _log.error("a request failed with %s\n%s", type(error).__name__, where)
        return _answer(500, "the server made a mistake; its own window says where")
