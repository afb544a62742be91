"""Whatever is wrong with a request -> one line of JSON."""

import contextlib
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

CLIENT_GONE = 499  # nginx's status for it; nobody receives it


def add_error_handlers(app: FastAPI) -> None:
    """Makes an application answer every error with one line."""
    app.add_exception_handler(StarletteHTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_failure)


@contextlib.contextmanager
def query_errors() -> Iterator[None]:
    """Turns what is wrong with a query into an answer."""
    try:
        yield
    except ValidationError as error:
        raise HTTPException(422, first_error(error.errors(include_url=False))) from error
    except ValueError as error:
        raise HTTPException(422, " ".join(str(error).split())) from error


def first_error(errors: Any) -> str:
    """Formats the first of pydantic's errors: where, and what."""
    if errors[0]["type"] == "json_invalid":
        return f"the body is not JSON ({errors[0]['ctx']['error']}); send the format of /api/openapi.json"
    # The first part is where it stood, URL or body, or the kind of query.
    where = ".".join(str(part) for part in errors[0]["loc"][1:])
    return f"{where or 'the body'}: {errors[0]['msg']}; send the format of /api/openapi.json"


async def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    path, detail = request.url.path[:100], error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"there is nothing at {path!r}; /api/openapi.json lists what there is"
    if error.status_code == 405:
        detail = f"{request.method} is not for {path!r}; /api/openapi.json lists what is"
    return JSONResponse({"detail": detail}, error.status_code, error.headers)


async def _answer_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": first_error(error.errors())}, 422)


async def _answer_nobody(request: Request, error: Exception) -> Response:
    """Ends the request of a client that left in its middle: not a failure, nothing is logged."""
    del request, error
    return Response(status_code=CLIENT_GONE)


async def _answer_failure(request: Request, error: Exception) -> JSONResponse:
    del request, error  # uvicorn prints it
    detail = "the server failed; its terminal says why, please report it"
    return JSONResponse({"detail": detail}, 500)
