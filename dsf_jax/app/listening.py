"""The socket of a server: bound before any work is done, and its address."""

import re
import socket
from collections.abc import Iterable

HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def listen(host: str, port: int) -> socket.socket:
    """Binds a port; who connects before the server runs waits for it instead of being refused.

    Args:
      host: name or address to listen on.
      port: number of the port; 0 takes a free one.

    Raises:
      OSError: when it is taken, or there is no such address.
    """
    listening = None
    try:
        family, kind, proto, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, proto)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen()
    except (OSError, UnicodeError) as error:
        if listening is not None:
            listening.close()
        reason = error.strerror if isinstance(error, OSError) else "that is no host name"
        raise OSError(
            f"{host}, port {port}, cannot be listened on ({reason}); choose another --port or --host"
        ) from error
    return listening


def host_names(host: str, allowed: Iterable[str] = ()) -> set[str]:
    """Returns the names, in lower case, that a server on this host may be called by.

    Args:
      host: name or address that `listen` was given.
      allowed: further names, as those of a reverse proxy in front of the server.

    Raises:
      ValueError: when one of the further names is not a host name.
    """
    own = socket.gethostname().lower()
    names = {"localhost", host.lower(), own, f"{own.partition('.')[0]}.local"}
    return names | {_checked_name(name) for name in allowed}


def _checked_name(name: str) -> str:
    """Returns a host name as browsers send it: in lower case, other scripts as Punycode."""
    try:
        sent = name.strip().lower().removesuffix(".").encode("idna").decode()
    except UnicodeError:
        sent = ""
    if not HOST_NAME.fullmatch(sent):
        raise ValueError(
            f"{name!r} is not a host name; write it without scheme, port and path, as photos.example.org"
        )
    return sent


def browser_address(listening: socket.socket) -> str:
    """Returns the address that a browser finds the page at."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
