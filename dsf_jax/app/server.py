"""The search page and its API as one application: `create_app` makes what uvicorn serves."""

import asyncio
import contextlib
import logging
import pathlib
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from dsf_jax.app.errors import DESCRIPTION, add_error_handlers
from dsf_jax.app.middleware import SecurityMiddleware, SubPathMiddleware, check_base_path
from dsf_jax.app.routes import make_turns, router
from dsf_jax.app.searcher import Searcher

STATIC = pathlib.Path(__file__).with_name("static")
LOCAL = ("localhost",)  # the names of a server that only this machine reaches
ASK_AGAIN = {"Cache-Control": "no-cache"}
REFRESH_SECONDS = 10.0  # between looks for what other processes have added to the gallery


def create_app(
    searcher: Searcher, *, hosts: Collection[str] = LOCAL, base_path: str = ""
) -> FastAPI:
    """Makes the application.

    Args:
      searcher: searcher that answers the queries.
      hosts: names that the server may be called by, see `SecurityMiddleware`.
      base_path: path that all lies under, "/draw" or the like, where a proxy passes it on; "" for none.

    Returns:
      The application.

    Raises:
      ValueError: for another kind of path.
    """
    app = FastAPI(
        title="dsf_jax",
        description="Draw, and find pictures.",
        version="1",
        docs_url=None,  # both pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=DESCRIPTION,
        redirect_slashes=False,  # a proxy's scheme and port would be lost
        lifespan=_refreshing(searcher),
    )
    app.state.searcher, app.state.turns = searcher, make_turns()
    check_base_path(base_path)
    if base_path:
        app.add_middleware(SubPathMiddleware, base_path=base_path)
    app.add_middleware(SecurityMiddleware, hosts=hosts)
    add_error_handlers(app)
    app.include_router(router)
    # Installers may make links of a package's files.
    app.mount("/static", _PageFiles(directory=STATIC, follow_symlink=True), name="static")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=ASK_AGAIN)

    return app


class _PageFiles(StaticFiles):
    """The page's files. A browser that took some of them from an earlier version's visit would have a page
    of two versions: it asks each time whether they are still the same.
    """

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers.update(ASK_AGAIN)
        return response


def _refreshing(
    searcher: Searcher,
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    """Makes what runs next to the server: a look at the gallery now and then."""

    async def refresh() -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await run_in_threadpool(searcher.gallery.refresh)
            # Whatever it is: what was read stays, and the next look comes.
            except Exception as error:
                logging.getLogger("uvicorn.error").warning(
                    "the gallery cannot be refreshed: %s", error
                )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(refresh())
        yield
        task.cancel()

    return lifespan
