"""The API: what answers a query, and what shows the gallery.

Queries are answered in threads, a few of each kind at once: searches do not wait for votes, and what a
client has given up is dropped. An id is looked up in the gallery; nothing that a client sends becomes a
path.
"""

import base64
import io
import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi import Query as Parameter
from fastapi.responses import Response
from PIL import Image
from starlette.concurrency import run_in_threadpool

from dsf_jax.app.errors import query_errors
from dsf_jax.app.match_map import MatchMap
from dsf_jax.app.query import DECODING, Query, RequestedKind
from dsf_jax.app.request_body import AnyQuery, Body, RequestBody, parse_query
from dsf_jax.app.schemas import (
    MAX_WORDS,
    ClassGuessSchema,
    DrawingQuery,
    ErrorResponse,
    FoundPictureSchema,
    GuessesResponse,
    HealthResponse,
    Interpretation,
    MatchMapSchema,
    PictureQuery,
    PictureSchema,
    SearchResponse,
    SearchResultSchema,
    WhyResponse,
    WordsQuery,
)
from dsf_jax.app.searcher import (
    FIRST_RESULTS,
    ClassGuess,
    EmbeddedQuery,
    Searcher,
    SearchResult,
)
from dsf_jax.app.turns import Turns
from dsf_jax.data.pictures import read_picture
from dsf_jax.gallery.listing import Picture
from dsf_jax.retrieval.features import WORDS_SHARE

Q = TypeVar("Q")
T = TypeVar("T")

MAX_RESULTS, MAX_MARKS = 200, 50
AT_ONCE = {"search": 4, "guesses": 2, "why": 2, "picture": 2}  # more would only share the processor
MAX_SHOWN_SIDE = 2048  # pixels of the longer side of a picture opened large

_JSON_BODY = {
    "oneOf": [query.model_json_schema() for query in (DrawingQuery, PictureQuery, WordsQuery)]
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The query: strokes, the id of a picture or words as JSON, or a picture file.",
        "content": {
            "application/json": {"schema": _JSON_BODY},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text}
    for status, text in {
        404: "The gallery has no such picture.",
        413: "The body is larger than the limit.",
        415: "The body is neither JSON nor a picture.",
        422: "The query cannot be answered.",
    }.items()
}
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "The picture."},
    404: _ERRORS[404],
}


async def _searcher(request: Request) -> Searcher:
    return request.app.state.searcher


def make_turns() -> dict[str, Turns]:
    """Makes the queues of one application."""
    return {kind: Turns(at_once) for kind, at_once in AT_ONCE.items()}


Searching = Annotated[Searcher, Depends(_searcher)]
Marks = Annotated[list[str], Parameter(max_length=MAX_MARKS)]
ShownKind = Annotated[
    RequestedKind, Parameter(alias="as", description="What a picture file shows.")
]

router = APIRouter(prefix="/api")


@router.post("/search", responses=_ERRORS, openapi_extra=_BODY)
async def search(
    request: Request,
    searcher: Searching,
    body: Body,
    count: Annotated[int, Parameter(ge=1, le=MAX_RESULTS)] = FIRST_RESULTS,
    label: Marks = [],  # noqa: B006 (never changed)
    like: Marks = [],  # noqa: B006
    unlike: Marks = [],  # noqa: B006
    shown: ShownKind = "auto",
    words: Annotated[str, Parameter(max_length=MAX_WORDS)] = "",
    words_share: Annotated[float, Parameter(ge=0, le=1)] = WORDS_SHARE,
) -> SearchResponse:
    """Finds the nearest pictures of strokes, of a picture file, of a picture of the gallery or of words;
    `like` and `unlike` are ids of pictures that were right and wrong, `words` are joined to what is shown
    with a weight of `words_share`.
    """
    started = time.perf_counter()

    def read() -> tuple[AnyQuery, Interpretation]:
        for id in (*like, *unlike):
            _picture(searcher, id)
        return _parse(searcher, body, shown)

    def answer(parsed: tuple[AnyQuery, Interpretation]) -> SearchResponse:
        query, taken = parsed
        embedded = _embedded(searcher, query)
        if words:
            embedded = searcher.with_words(embedded, words, words_share)
        results = searcher.search(embedded, count, labels=label, liked=like, disliked=unlike)
        probabilities = embedded.probabilities
        guesses = [] if probabilities is None else searcher.top_classes(probabilities)
        return SearchResponse(
            results=[_result_schema(result) for result in results],
            nothing_near=searcher.nothing_near(results),
            guesses=_guess_schemas(guesses),
            taken=taken,
            pictures=len(searcher.gallery),
            milliseconds=_milliseconds(started),
        )

    return await _in_turn(request, "search", read, answer)


@router.post("/guesses", responses=_ERRORS, openapi_extra=_BODY)
async def guesses(
    request: Request, searcher: Searching, body: Body, shown: ShownKind = "auto"
) -> GuessesResponse:
    """Guesses what a drawing or a photo shows, by the vote of its 18 views."""
    started = time.perf_counter()

    def read() -> Query:
        query, taken = _parse(searcher, body, shown)
        if not isinstance(query, Query):
            what = "a picture of the gallery is" if taken == "picture" else "words are"
            raise ValueError(f"{what} not voted on; send strokes or a picture file")
        return query

    def answer(query: Query) -> GuessesResponse:
        voted = _guess_schemas(searcher.vote(query))
        return GuessesResponse(guesses=voted, milliseconds=_milliseconds(started))

    return await _in_turn(request, "guesses", read, answer)


@router.post("/why", responses=_ERRORS, openapi_extra=_BODY)
async def why(
    request: Request,
    searcher: Searching,
    body: Body,
    result: Annotated[str, Parameter(description="Id of the picture that was found.")],
    shown: ShownKind = "auto",
) -> WhyResponse:
    """Shows where query and result agree, by the maps of the last convolution."""
    started = time.perf_counter()

    def read() -> Query | str:
        _picture(searcher, result)
        query = _parse(searcher, body, shown)[0]
        if isinstance(query, WordsQuery):
            raise ValueError("words have no places to compare; send strokes or a picture")
        return query.picture if isinstance(query, PictureQuery) else query

    def answer(query: Query | str) -> WhyResponse:
        of_query, of_result = map(_map_schema, searcher.explain(query, result))
        return WhyResponse(query=of_query, result=of_result, milliseconds=_milliseconds(started))

    return await _in_turn(request, "why", read, answer)


@router.head("/pictures/{identity}", include_in_schema=False)
@router.get("/pictures/{identity}", response_class=Response, responses=_JPEG)
async def picture(
    request: Request, searcher: Searching, identity: str, full: bool = False
) -> Response:
    """Shows a picture: its thumbnail, or with `full` the file, its longer side at most 2048 pixels."""
    if not full:
        return await run_in_threadpool(_thumbnail, searcher, identity)
    return await _in_turn(request, "picture", lambda: _paths(searcher, identity), _full_picture)


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health(searcher: Searching) -> HealthResponse:
    """Reports that the server is up, and what it serves."""
    return HealthResponse(
        pictures=len(searcher.gallery),
        labels=len(searcher.gallery.labels()),
        classes=len(searcher.model.class_names),
        layer=searcher.layer,
        query_views=searcher.query_views,
        words=searcher.words is not None,
        expectation=searcher.expectation,
    )


async def _in_turn(
    request: Request, kind: str, read: Callable[[], Q], answer: Callable[[Q], T]
) -> T:
    """Answers a request in a thread when its turn comes: see `Turns.answer`."""
    turns: dict[str, Turns] = request.app.state.turns
    with query_errors(request):
        return await turns[kind].answer(request, read, answer)


def _thumbnail(searcher: Searcher, id: str) -> Response:
    _picture(searcher, id)
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return Response(searcher.gallery.thumbnail(id), 200, headers, "image/jpeg")


def _full_picture(paths: list[str]) -> Response:
    """Shows the first of a picture's files that can be read: a folder may have been moved since."""
    for path in paths:
        try:
            with DECODING:
                jpeg = _jpeg(read_picture(path))
        except (OSError, ValueError):
            continue
        return Response(jpeg, 200, {"Cache-Control": "private, no-cache"}, "image/jpeg")
    raise HTTPException(404, f"{paths[0]} can no longer be read; run launch.index again")


def _parse(
    searcher: Searcher, body: RequestBody, kind: RequestedKind
) -> tuple[AnyQuery, Interpretation]:
    """Reads the query in a body; an unknown id of a picture is answered with 404."""
    query, taken = parse_query(body, kind)
    if isinstance(query, PictureQuery):
        _picture(searcher, query.picture)
    return query, taken


def _embedded(searcher: Searcher, query: AnyQuery) -> EmbeddedQuery:
    if isinstance(query, PictureQuery):
        return searcher.embed_stored(query.picture)
    if isinstance(query, WordsQuery):
        return searcher.embed_words(query.words)
    return searcher.embed(query)


def _picture(searcher: Searcher, id: str) -> Picture:
    """Looks up a picture; an unknown id is answered with 404."""
    try:
        return searcher.gallery.get(id)
    except (KeyError, ValueError) as error:
        raise HTTPException(404, f"the gallery has no picture {id[:80]!r}; search again") from error


def _paths(searcher: Searcher, id: str) -> list[str]:
    """Looks up a picture's files; an unknown id is answered with 404."""
    _picture(searcher, id)
    return searcher.gallery.paths(id)


def _result_schema(result: SearchResult) -> SearchResultSchema:
    duplicates = [FoundPictureSchema(**_found_fields(one)) for one in result.duplicates]
    return SearchResultSchema(**_found_fields(result), duplicates=duplicates)


def _found_fields(result: SearchResult) -> dict[str, Any]:
    picture = {name: getattr(result.picture, name) for name in PictureSchema.model_fields}
    return picture | {
        "distance": result.distance,
        "closer_than": result.percentile,
        "steps": result.steps,
    }


def _guess_schemas(guesses: list[ClassGuess]) -> list[ClassGuessSchema]:
    return [ClassGuessSchema(**guess._asdict()) for guess in guesses]


def _map_schema(match: MatchMap) -> MatchMapSchema:
    buffer = io.BytesIO()
    Image.fromarray(match.view).save(buffer, "PNG")
    view = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return MatchMapSchema(view=view, strength=np.rint(255 * match.strength).astype(int).tolist())


def _jpeg(pixels: np.ndarray) -> bytes:
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((MAX_SHOWN_SIDE, MAX_SHOWN_SIDE))
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _milliseconds(started: float) -> float:
    return round(1000 * (time.perf_counter() - started), 1)
