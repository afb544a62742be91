"""What every request passes: a check of the name that the server is called by, and headers that leave
a page no source other than this server.
"""

import ipaddress
from collections.abc import Collection

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
