"""A port is taken at once, and its address is one that a browser takes."""

import socket

import pytest

from dsf_jax.app.listening import browser_address, host_names, listen


def test_who_connects_before_the_server_runs_waits():
    with (
        listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname(), timeout=5) as client,
    ):
        client.sendall(b"early")
        server, _ = listening.accept()
        with server:
            assert server.recv(5) == b"early"


def test_a_port_is_taken_once():
    with listen("127.0.0.1", 0) as listening:
        host, port = listening.getsockname()
        with pytest.raises(OSError, match=f"{host}, port {port}, cannot be listened on .*--port"):
            listen(host, port)


def test_no_such_address():
    with pytest.raises(OSError, match=r"203\.0\.113\.1, port 0, cannot be listened on"):
        listen("203.0.113.1", 0)  # of a block that documents use: no machine has it


@pytest.mark.parametrize("host", ["a..b", f"{'x' * 64}.org"])
def test_no_host_name(host):
    with pytest.raises(
        OSError, match=r"port 0, cannot be listened on \(that is no host name\); choose"
    ):
        listen(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_address(host):
    try:
        listening = listen(host, 0)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with listening:
        port = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        assert browser_address(listening) == f"http://{shown}:{port}"


def test_the_address_of_all_interfaces_names_the_machine():
    with listen("0.0.0.0", 0) as listening:
        port = listening.getsockname()[1]
        assert browser_address(listening) == f"http://{socket.gethostname()}:{port}"


def test_the_names_of_a_server(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Desk.lan")
    assert host_names("0.0.0.0") == {"localhost", "0.0.0.0", "desk.lan", "desk.local"}
    assert host_names("Gallery.example") == {
        "localhost",
        "gallery.example",
        "desk.lan",
        "desk.local",
    }


def test_the_names_of_a_proxy_in_front():
    names = host_names("127.0.0.1", ["Photos.Example.org", " bücher.example ", "desk.", "a_b"])
    assert {"photos.example.org", "xn--bcher-kva.example", "desk", "a_b"} <= names


@pytest.mark.parametrize(
    "name", ["https://photos.example.org", "photos.example.org:443", "photos/x", "", "*", "a..b"]
)
def test_what_is_no_host_name(name):
    with pytest.raises(ValueError, match=r"is not a host name; write it without scheme"):
        host_names("127.0.0.1", [name])
