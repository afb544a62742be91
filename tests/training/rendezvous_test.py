"""Processes of a run meet: all are counted, and who is missing or was started otherwise is named."""

import concurrent.futures
import json
import socket
import time

import pytest

from dsf_jax.training import rendezvous

pytestmark = pytest.mark.slow


@pytest.fixture
def address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def together(address, *members, seconds=20):
    """Starts threads as (processes, process); returns what each raised, None for nothing."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        calls = [
            pool.submit(rendezvous.meet, address, processes, process, seconds)
            for processes, process in members
        ]
        return [call.exception() for call in calls]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_meet_in_any_order_and_the_port_is_free_afterwards(address, order):
    assert together(address, *((3, i) for i in order)) == [None] * 3
    assert together(address, *((3, i) for i in order)) == [None] * 3


def test_one_process_needs_no_other(address):
    assert together(address, (1, 0)) == [None]


def test_who_is_missing_is_named_by_those_who_came(address, capsys):
    errors = together(address, (3, 0), (3, 2), seconds=4)
    for error in errors:
        assert isinstance(error, ConnectionError)
        assert "after 4 s 2 of 3 processes are here, missing 1; start" in str(error)
    assert "waiting up to 4 s for the others: 2 of 3 processes are here" in capsys.readouterr().err


def test_process_0_that_never_comes_is_named(address, capsys):
    (error,) = together(address, (2, 1), seconds=3)
    assert f"process 0 has not answered at {address}; start it" in str(error)
    assert f"waiting up to 3 s for process 0 at {address}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (((2, 0), (3, 1)), "process 1 was started with --processes=3, process 0 with --processes=2"),
        (((3, 0), (3, 1), (3, 1)), "two processes were started with --process=1"),
    ],
)  # fmt: skip
def test_processes_that_were_started_otherwise_are_told(address, members, said):
    errors = [str(error) for error in together(address, *members)]
    assert all(said in error for error in errors)


def test_strangers_are_ignored_and_a_process_may_be_started_again(address):
    host, port = address.split(":")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(rendezvous.meet, address, 3, 0, 30)
        for line in (
            b"GET / HTTP/1.1\r\n\r\n",
            json.dumps({"process": 1, "processes": 3}).encode() + b"\n",
        ):
            end = time.monotonic() + 10
            while True:
                try:
                    with socket.create_connection((host, int(port)), timeout=1) as one:
                        one.sendall(line)
                    break
                except OSError:
                    assert time.monotonic() < end
                    time.sleep(0.1)
        time.sleep(1)
        others = [pool.submit(rendezvous.meet, address, 3, i, 30) for i in (1, 2)]
        assert [call.exception() for call in (first, *others)] == [None] * 3


@pytest.mark.parametrize("wrong", ["host", "host:", "host:port", ":7777"])
def test_an_address_without_a_port_is_refused(wrong):
    with pytest.raises(ValueError, match="must be HOST:PORT; add the port"):
        rendezvous.meet(wrong, 2, 0, 1)


def test_a_port_in_use_is_named(address):
    with socket.create_server(("", int(address.split(":")[1]))):
        (error,) = together(address, (2, 0))
    assert "cannot be listened on" in str(error) and "choose another" in str(error)
