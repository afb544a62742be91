"""The body of a request -> the query that it holds, within limits."""

from typing import Annotated, NamedTuple

from fastapi import Depends, HTTPException, Request

from dsf_jax.app.query import (
    MAX_DRAWING_BYTES,
    MAX_PICTURE_BYTES,
    Query,
    RequestedKind,
    query_from_picture,
    query_from_strokes,
)
from dsf_jax.app.schemas import QUERY, Interpretation, PictureQuery, WordsQuery


class RequestBody(NamedTuple):
    """A request's body.

    Attributes:
      data: content of the body.
      is_picture: whether it is a picture file, by its media type, and not JSON.
    """

    data: bytes
    is_picture: bool


async def read_body(request: Request) -> RequestBody:
    """Reads a body of JSON or a picture, and no more of it than is allowed."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_picture = kind.startswith("image/")
    if kind != "application/json" and not is_picture:
        raise HTTPException(
            415,
            f"the body is {kind or 'of no type'}; send application/json, or a picture as image/*",
        )
    limit = MAX_PICTURE_BYTES if is_picture else MAX_DRAWING_BYTES
    return RequestBody(await _read_limited(request, limit), is_picture)


Body = Annotated[RequestBody, Depends(read_body)]


AnyQuery = Query | PictureQuery | WordsQuery


def parse_query(body: RequestBody, kind: RequestedKind) -> tuple[AnyQuery, Interpretation]:
    """Reads the query in a body.

    Args:
      body: body of the request.
      kind: what a picture file shows, as the client says.

    Returns:
      What is shown or said, or a picture of the gallery; and what the body was taken for.

    Raises:
      ValueError: when the body holds no query, or one beyond the limits.
    """
    if body.is_picture:
        return query_from_picture(body.data, kind)
    parsed = QUERY.validate_json(body.data)
    if isinstance(parsed, PictureQuery):
        return parsed, "picture"
    if isinstance(parsed, WordsQuery):
        return parsed, "words"
    return query_from_strokes(parsed.strokes, parsed.box), "drawing"


async def _read_limited(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "0")
    data = bytearray()
    size = int(announced) if announced.isdecimal() else 0
    if size <= limit:
        async for chunk in request.stream():
            data += chunk
            if (size := len(data)) > limit:
                break
    if size > limit:
        raise HTTPException(
            413, f"the body has {size} bytes, at most {limit} are taken; send a smaller one"
        )
    return bytes(data)
