"""What every request passes: a check of the name that the server is called by, headers that leave a page no
source other than this server, and the path that a proxy has put before all others.
"""

import ipaddress
import re
from collections.abc import Collection

from fastapi.responses import JSONResponse, RedirectResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BASE_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class SecurityMiddleware:
    """ASGI middleware that refuses foreign host names and sets security headers."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str]) -> None:
        """Wraps an application.

        Args:
          app: application to wrap.
          hosts: names, in lower case, that the server may be called by, besides IP addresses. A foreign
            page whose name someone made to point here (DNS rebinding) calls it by another.
        """
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        name = _host_name(Headers(scope=scope).get("host", ""))
        if name not in self._hosts and not _is_address(name):
            detail = (
                f"the server is not called {name[:100]!r} but {', '.join(sorted(self._hosts))}; use one "
                f"of these names or its IP address, or start it with --allowed_hosts={name[:100] or 'NAME'}"
            )
            refusal = JSONResponse({"detail": detail}, 421)
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


class SubPathMiddleware:
    """ASGI middleware that puts all under a path; what lies elsewhere is not there."""

    def __init__(self, app: ASGIApp, *, base_path: str) -> None:
        """Wraps an application.

        Args:
          app: application to wrap.
          base_path: "/draw" or the like.
        """
        self._app, self._base = app, base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on with the path as its root, or sends who asks for the path itself into it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        answer: ASGIApp = JSONResponse(
            {"detail": f"nothing is at {path[:100]!r}; the page is at {self._base}/"}, 404
        )
        if path == self._base:
            answer = RedirectResponse(f"{self._base}/")
        elif path.startswith(f"{self._base}/"):
            scope = {**scope, "root_path": self._base}
            answer = self._app
        await answer(scope, receive, send)


def check_base_path(base_path: str) -> None:
    """Raises ValueError for a path that is not like "/draw"; "" is none."""
    if base_path and not BASE_PATH.fullmatch(base_path):
        raise ValueError(
            f"{base_path!r} is no path to lie under; write it as /draw or /tools/draw, without a slash behind"
        )


def _is_address(name: str) -> bool:
    """Returns whether a name is an IP address: nobody can make it point elsewhere."""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _host_name(host: str) -> str:
    """Removes the port, and the dot that may end a full name."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower().removesuffix(".")
