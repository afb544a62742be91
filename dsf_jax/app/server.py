"""The search page and its API: `create_app` makes the application that uvicorn serves."""

import asyncio
import base64
import contextlib
import io
import logging
import pathlib
import time
from collections.abc import AsyncIterator, Collection
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from PIL import Image
from pydantic import Discriminator, Tag, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

from dsf_jax.app.middleware import Guard
from dsf_jax.app.query import (
    LIMITS,
    ONE_AT_A_TIME,
    Kind,
    Limits,
    Seen,
    seen_picture,
    seen_strokes,
)
from dsf_jax.app.schemas import (
    Drawing,
    Found,
    GuessAnswer,
    Guessed,
    Health,
    Listed,
    Refusal,
    SearchAnswer,
    Side,
    Stored,
    Taken,
    WhyAnswer,
)
from dsf_jax.app.searcher import Guess, Match, Result, Searcher
from dsf_jax.app.searcher import Query as SearchQuery
from dsf_jax.data.pictures import read_picture
from dsf_jax.gallery.gallery import Picture

STATIC = pathlib.Path(__file__).with_name("static")
LOCAL = ("localhost",)  # the names of a server that only this machine reaches
MOST_RESULTS, MOST_MARKS = 200, 50
LARGEST_SHOWN = 2048  # pixels of the longer side of a picture opened large
REFRESH = 10.0  # seconds between looks for what other processes have added to the gallery

_CONTENT = {
    "application/json": {
        "schema": {"oneOf": [Drawing.model_json_schema(), Stored.model_json_schema()]}
    },
    "image/*": {"schema": {"type": "string", "format": "binary"}},
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The query: strokes or the id of a picture as JSON, or a picture file.",
        "content": _CONTENT,
    }
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": text}
    for status, text in {
        404: "The gallery has no such picture.",
        413: "The body is larger than the limit.",
        415: "The body is neither JSON nor a picture.",
        422: "The query cannot be answered.",
    }.items()
}
_QUERIES: TypeAdapter[Drawing | Stored] = TypeAdapter(
    Annotated[
        Annotated[Drawing, Tag("strokes")] | Annotated[Stored, Tag("picture")],
        Discriminator(
            lambda query: "picture" if isinstance(query, dict) and "picture" in query else "strokes"
        ),
    ]
)

Marks = Annotated[list[str], Query(max_length=MOST_MARKS)]
Shown = Annotated[Kind, Query(alias="as", description="What a picture file shows.")]


class Posted(NamedTuple):
    """A request's body."""

    data: bytes
    is_picture: bool


def create_app(
    searcher: Searcher, *, limits: Limits = LIMITS, hosts: Collection[str] = LOCAL
) -> FastAPI:
    """Makes the application.

    Args:
      searcher: answers the queries.
      limits: on what is sent.
      hosts: names that the server may be called by, see `Guard`.

    Returns:
      The application.
    """
    app = FastAPI(
        title="dsf_jax",
        description="Draw, and find pictures.",
        version="1",
        docs_url=None,  # both pages load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=_refreshing(searcher),
    )
    app.add_middleware(Guard, hosts=hosts)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)
    _add_queries(app, searcher, limits)
    _add_pictures(app, searcher)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    return app


def _add_queries(app: FastAPI, searcher: Searcher, limits: Limits) -> None:
    """Adds what answers a query; the work is done in threads, so that none waits for another."""

    async def posted(request: Request) -> Posted:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.startswith("image/"):
            raise HTTPException(
                415,
                f"the body is {kind or 'of no type'}; send application/json, or a picture as image/*",
            )
        most = limits.picture_bytes if kind.startswith("image/") else limits.drawing_bytes
        return Posted(await _body(request, most), kind.startswith("image/"))

    Body = Annotated[Posted, Depends(posted)]

    def understood(body: Posted, kind: Kind) -> tuple[Seen | str, Taken]:
        """What is shown, or the id of a picture."""
        if body.is_picture:
            return seen_picture(body.data, kind)
        asked = _QUERIES.validate_json(body.data)
        if isinstance(asked, Stored):
            _known(searcher, asked.picture)
            return asked.picture, "picture"
        return seen_strokes(asked.strokes, asked.box, limits=limits), "drawing"

    @app.post("/api/search", responses=_REFUSALS, openapi_extra=_BODY)
    def search(
        body: Body,
        count: Annotated[int, Query(ge=1, le=MOST_RESULTS)] = 24,
        label: Marks = [],  # noqa: B006 (never changed)
        like: Marks = [],  # noqa: B006
        unlike: Marks = [],  # noqa: B006
        shown: Shown = "auto",
    ) -> SearchAnswer:
        """Finds the nearest pictures of strokes, of a picture file or of a picture of the gallery;
        `like` and `unlike` are ids of pictures that were right and wrong.
        """
        started = time.perf_counter()
        with _one_line():
            asked, taken = understood(body, shown)
            for identity in (*like, *unlike):
                _known(searcher, identity)
            query: SearchQuery = (
                searcher.stored(asked) if isinstance(asked, str) else searcher.query(asked)
            )
            results = searcher.find(query, count, labels=label, liked=like, disliked=unlike)
        guesses = [] if query.probabilities is None else searcher.likeliest(query.probabilities)
        return SearchAnswer(
            results=[_found(result) for result in results],
            guesses=_guessed(guesses),
            taken=taken,
            pictures=len(searcher.gallery),
            milliseconds=_since(started),
        )

    @app.post("/api/guesses", responses=_REFUSALS, openapi_extra=_BODY)
    def guesses(body: Body, shown: Shown = "auto") -> GuessAnswer:
        """Says what a drawing or a photo shows, by the vote of its 18 views."""
        started = time.perf_counter()
        with _one_line():
            asked, _ = understood(body, shown)
            if isinstance(asked, str):
                raise ValueError(
                    "a picture of the gallery is not voted on; send strokes or a picture file"
                )
            found = searcher.guesses(asked)
        return GuessAnswer(guesses=_guessed(found), milliseconds=_since(started))

    @app.post("/api/why", responses=_REFUSALS, openapi_extra=_BODY)
    def why(
        body: Body,
        result: Annotated[str, Query(description="Id of the picture that was found.")],
        shown: Shown = "auto",
    ) -> WhyAnswer:
        """Shows where query and result agree, by the maps of conv5."""
        started = time.perf_counter()
        with _one_line():
            asked, _ = understood(body, shown)
            _known(searcher, result)
            sides = searcher.why(asked, result)
        return WhyAnswer(
            query=_side(sides[0]), result=_side(sides[1]), milliseconds=_since(started)
        )


def _add_pictures(app: FastAPI, searcher: Searcher) -> None:
    """Adds what shows the gallery. An id is looked up there; nothing that a client sends becomes a
    path.
    """

    @app.get(
        "/api/pictures/{identity}",
        response_class=Response,
        responses={
            200: {"content": {"image/jpeg": {}}, "description": "The picture."},
            404: _REFUSALS[404],
        },
    )
    def picture(identity: str, full: bool = False) -> Response:
        """Shows a picture: its thumbnail, or with `full` the file, at most 2048 pixels a side."""
        found = _known(searcher, identity)
        if not full:
            headers = {"Cache-Control": "private, max-age=31536000, immutable"}
            return Response(searcher.gallery.thumbnail(identity), 200, headers, "image/jpeg")
        try:
            with ONE_AT_A_TIME:
                shown = _jpeg(read_picture(found.path))
        except (OSError, ValueError) as error:
            raise HTTPException(
                404, f"{found.path} can no longer be read; run launch.index again"
            ) from error
        headers = {"Cache-Control": "private, no-cache"}
        return Response(shown, 200, headers, "image/jpeg")

    @app.get("/api/health")
    async def health() -> Health:
        """Tells that the server is up, and what it serves."""
        return Health(
            pictures=len(searcher.gallery),
            labels=len(searcher.gallery.labels()),
            classes=len(searcher.card.class_names),
            layer=searcher.layer,
        )


async def _body(request: Request, most: int) -> bytes:
    """Reads a body, and no more of it than is allowed."""
    announced = request.headers.get("content-length", "0")
    data = bytearray()
    size = int(announced) if announced.isdecimal() else 0
    if size <= most:
        async for part in request.stream():
            data += part
            if (size := len(data)) > most:
                break
    if size > most:
        raise HTTPException(
            413, f"the body has {size} bytes, at most {most} are taken; send a smaller one"
        )
    return bytes(data)


def _known(searcher: Searcher, identity: str) -> Picture:
    try:
        return searcher.gallery.get(identity)
    except (KeyError, ValueError) as error:
        raise HTTPException(
            404, f"the gallery has no picture {identity[:80]!r}; search again"
        ) from error


@contextlib.contextmanager
def _one_line() -> Any:
    """Turns what is wrong with a query into an answer."""
    try:
        yield
    except ValidationError as error:
        raise HTTPException(422, _first(error.errors(include_url=False))) from error
    except ValueError as error:
        raise HTTPException(422, " ".join(str(error).split())) from error


def _first(errors: Any) -> str:
    """Words the first of pydantic's errors: where, and what."""
    if errors[0]["type"] == "json_invalid":
        return f"the body is not JSON ({errors[0]['ctx']['error']}); send the format of /api/openapi.json"
    # The first part says where it stood, in the URL or the body, or which kind of query it is.
    where = ".".join(str(part) for part in errors[0]["loc"][1:])
    return f"{where or 'the body'}: {errors[0]['msg']}; send the format of /api/openapi.json"


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = (
            f"there is nothing at {request.url.path[:100]!r}; /api/openapi.json lists what there is"
        )
    if error.status_code == 405:
        detail = f"{request.method} is not for {request.url.path[:100]!r}; /api/openapi.json tells what is"
    return JSONResponse({"detail": detail}, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": _first(error.errors())}, 422)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    del request, error  # uvicorn prints it
    return JSONResponse(
        {"detail": "the server failed; its terminal says why, please report it"}, 500
    )


def _refreshing(searcher: Searcher) -> Any:
    """Makes what runs beside the server: a look at the gallery now and then."""

    async def look() -> None:
        while True:
            await asyncio.sleep(REFRESH)
            try:
                await run_in_threadpool(searcher.gallery.refresh)
            # Whatever it is: what was read stays, and the next look comes.
            except Exception as error:
                logging.getLogger("uvicorn.error").warning(
                    "the gallery cannot be read anew: %s", error
                )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(look())
        yield
        task.cancel()

    return lifespan


def _found(result: Result) -> Found:
    listed = {name: getattr(result.picture, name) for name in Listed.model_fields}
    own = {name: getattr(result, name) for name in ("distance", "closer_than", "steps")}
    return Found(**listed, **own)


def _guessed(guesses: list[Guess]) -> list[Guessed]:
    return [Guessed(**guess._asdict()) for guess in guesses]


def _side(match: Match) -> Side:
    buffer = io.BytesIO()
    Image.fromarray(match.view).save(buffer, "PNG")
    view = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Side(view=view, strength=np.rint(255 * match.strength).astype(int).tolist())


def _jpeg(pixels: np.ndarray) -> bytes:
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((LARGEST_SHOWN, LARGEST_SHOWN))
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _since(started: float) -> float:
    return round(1000 * (time.perf_counter() - started), 1)
