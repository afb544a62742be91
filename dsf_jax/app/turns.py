"""Requests take turns at the network; a client that has gone meanwhile loses its turn."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

Q = TypeVar("Q")
T = TypeVar("T")


class Turns:
    """Lets a few requests of one kind be answered at once; the others wait, in order."""

    def __init__(self, at_once: int) -> None:
        """Makes the queue.

        Args:
          at_once: number of requests that are answered at the same time.
        """
        self._free = asyncio.Semaphore(at_once)

    async def answer(self, request: Request, read: Callable[[], Q], answer: Callable[[Q], T]) -> T:
        """Answers a request in a thread when its turn comes, if its client still waits.

        Args:
          request: request, its body read.
          read: function that makes the query of the body.
          answer: function that computes the answer to it.

        Returns:
          What `answer` returned.

        Raises:
          ClientDisconnect: when the client has gone before either of them began.
        """
        async with self._free:
            await _check_client(request)
            query = await run_in_threadpool(read)
            await _check_client(request)
            return await run_in_threadpool(answer, query)


async def _check_client(request: Request) -> None:
    """Raises ClientDisconnect when nobody waits for the answer any more."""
    if await request.is_disconnected():
        raise ClientDisconnect
