"""Many readers at a time, or one writer, who goes before readers that come later."""

import threading

import pytest

from dsf_jax.gallery.shared_lock import SharedLock

SECONDS = 20


def test_readers_share_it_and_a_writer_has_it_alone_and_first():
    lock, said = SharedLock(), []
    both, written = threading.Barrier(2, timeout=SECONDS), threading.Event()

    def read_together():
        with lock.reading():
            both.wait()  # each waits for the other within

    pair = [threading.Thread(target=read_together) for _ in range(2)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join(SECONDS)

    def write():
        with lock.writing():
            said.append("written")
            written.wait(SECONDS)
            said.append("left")

    def read():
        with lock.reading():
            said.append("read")

    with lock.reading():
        writer = threading.Thread(target=write)
        writer.start()
        while not lock._waiting:
            pass
        late = threading.Thread(target=read)
        late.start()
        late.join(0.05)
        assert said == []
    while said != ["written"]:
        pass
    late.join(0.05)
    assert said == ["written"]
    written.set()
    for thread in (writer, late):
        thread.join(SECONDS)
    assert said == ["written", "left", "read"]


def test_an_error_gives_it_back():
    lock = SharedLock()
    for having in (lock.reading, lock.writing):
        with pytest.raises(OSError, match="no"), having():
            raise OSError("no")
    with lock.writing():
        pass
