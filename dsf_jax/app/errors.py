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

from dsf_jax.app.middleware import SECURITY_HEADERS
from dsf_jax.app.schemas import ErrorResponse
from dsf_jax.gallery.listing import UnknownLabelError

MAX_NAME = 100  # characters of a client's name for something that a message repeats
DESCRIPTION = "/api/openapi.json"
CLIENT_GONE = 499  # nginx's status for it; nobody receives it


def add_error_handlers(app: FastAPI) -> None:
    """Makes an application answer every error with one line."""
    app.add_exception_handler(StarletteHTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(UnknownLabelError, _answer_unknown_label)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_failure)


@contextlib.contextmanager
def query_errors(request: Request) -> Iterator[None]:
    """Turns what is wrong with the query of a request into an answer."""
    try:
        yield
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise HTTPException(422, first_error(errors, _description(request))) from error
    except UnknownLabelError:
        raise  # has an answer of its own
    except ValueError as error:
        raise HTTPException(422, _one_line(str(error))) from error


def first_error(errors: Any, description: str = DESCRIPTION) -> str:
    """Formats the first of pydantic's errors: where, what, and the path that describes the format."""
    if errors[0]["type"] == "json_invalid":
        return (
            f"the body is not JSON ({errors[0]['ctx']['error']}); send the format of {description}"
        )
    # The first part is where it stood, URL or body, or the kind of query.
    where = ".".join(_one_line(str(part)[:MAX_NAME]) for part in errors[0]["loc"][1:])
    return f"{where or 'the body'}: {errors[0]['msg']}; send the format of {description}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _description(request: Request) -> str:
    """Returns the path of the API's description, as who called has to write it."""
    # The root is that of a mounted part, where one was asked.
    base: str = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    return f"{base}{DESCRIPTION}"


async def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    path, detail = request.scope["path"][:MAX_NAME], error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"there is nothing at {path!r}; {_description(request)} lists what there is"
    if error.status_code == 405:
        detail = f"{request.method} is not for {path!r}; {_description(request)} lists what is"
    return JSONResponse({"detail": detail}, error.status_code, error.headers)


async def _answer_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": first_error(error.errors(), _description(request))}, 422)


async def _answer_unknown_label(request: Request, error: Exception) -> JSONResponse:
    """Marks it by a code: a client may go on without the label."""
    del request
    answer = ErrorResponse(detail=_one_line(str(error)), code="unknown_label")
    return JSONResponse(answer.model_dump(), 422)


async def _answer_nobody(request: Request, error: Exception) -> Response:
    """Ends the request of a client that left in its middle: not a failure, nothing is logged."""
    del request, error
    return Response(status_code=CLIENT_GONE)


async def _answer_failure(request: Request, error: Exception) -> JSONResponse:
    del request, error  # uvicorn prints it
    detail = "the server failed; its terminal says why, please report it"
    # What answers here stands in front of all middleware.
    return JSONResponse({"detail": detail}, 500, SECURITY_HEADERS)
