"""A web server of these tests: sends parts of files, and misbehaves on demand."""

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, whole or from a byte on; what misbehaves is said in `faults`."""

    asked: list[str]
    ranges: list[str]
    faults: dict[str, int]  # {path: bytes of each answer before the connection breaks}

    def do_GET(self):
        self.asked.append(self.path)
        asked = self.headers.get("Range", "")
        self.ranges.append(asked)
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content, tag = path.read_bytes(), f'"{path.stat().st_mtime_ns}"'
        first, last = 0, len(content)
        if asked and self.headers.get("If-Range", tag) == tag:
            start, end = re.fullmatch(r"bytes=(\d+)-(\d*)", asked).groups()
            first, last = int(start), min(last, int(end or last) + 1)
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if (first, last) != (0, len(content)) else 200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(last - first))
        self.end_headers()
        self.wfile.write(content[first:last][: self.faults.get(self.path)])

    def log_message(self, *arguments):
        pass


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, type[Handler]]]:
    """Serves a folder; yields its address and the handler, which records and misbehaves."""
    kind = type("Own", (Handler,), {"asked": [], "ranges": [], "faults": {}})
    handler = functools.partial(kind, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", kind
        server.shutdown()
