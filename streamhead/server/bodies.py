"""What callers send, read within limits and checked."""

from __future__ import annotations

import asyncio
from typing import Final, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamhead.server.refusal import Refusal

__all__ = ["Changes", "Offer", "Wishes", "read_body", "read_json", "read_query", "read_sdp"]

TEXT_LIMIT: Final = 128 * 1024
"""Bytes of an offer, many times what browsers send."""
SLOWEST: Final = 30.0
"""Seconds that a body may take to come in."""

M = TypeVar("M", bound=BaseModel)


class Wishes(BaseModel):
    """How a head is to be; what is left out is the server's choice."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    seed: int | None = Field(None, ge=0, lt=2**63)
    temperature: float | None = Field(None, ge=0, le=10)
    portrait: str | None = Field(None, max_length=64)


class Offer(Wishes):
    """The body of ``POST /offer``."""

    sdp: str = Field(max_length=TEXT_LIMIT)
    type: Literal["offer"]


class Changes(BaseModel):
    """The body of ``PATCH /session/{id}``."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    seed: int | None = Field(None, ge=0, lt=2**63)
    temperature: float | None = Field(None, ge=0, le=10)
    muted: bool | None = None


async def read_body(request: web.Request, limit: int, too_large: str) -> bytes:
    """The whole body.

    Raises:
        Refusal: 413 with ``too_large``, or 408 where it does not come.
    """
    try:
        async with asyncio.timeout(SLOWEST):
            return await request.clone(client_max_size=limit).read()
    except web.HTTPRequestEntityTooLarge:
        raise Refusal(413, too_large) from None
    except TimeoutError:
        raise Refusal(408, "the request did not come in to its end; send it again") from None


async def read_json(request: web.Request, model: type[M]) -> M:
    """A JSON body of a model's shape.

    Raises:
        Refusal: 400, 413 or 415.
    """
    if request.content_type != "application/json":
        raise Refusal(415, "send JSON, and say so: Content-Type: application/json")
    body = await read_body(request, TEXT_LIMIT, "the request is too large; an offer takes a few kilobytes")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None


async def read_sdp(request: web.Request) -> str:
    """An SDP body, as WHIP and WHEP send it.

    Raises:
        Refusal: 400, 413 or 415.
    """
    if request.content_type != "application/sdp":
        raise Refusal(415, "send an SDP offer, and say so: Content-Type: application/sdp")
    body = await read_body(request, TEXT_LIMIT, "the offer is too large; it takes a few kilobytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Refusal(400, "the offer is no text; send the SDP that createOffer made") from None


def read_query(request: web.Request, model: type[M]) -> M:
    """What stands behind the question mark.

    Raises:
        Refusal: 400.
    """
    try:
        return model.model_validate(dict(request.query))
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> Refusal:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # Names of fields are ours, unless one is unknown: then it is the caller's, and told by the message already.
    known = first["type"] != "extra_forbidden"
    where = ".".join(str(part) for part in first["loc"]) if known else ""
    text = "there is a field this request does not have" if not known else first["msg"]
    return Refusal(400, f"{where}: {text}" if where else text)
