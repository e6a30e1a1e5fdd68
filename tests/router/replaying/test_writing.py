"""All of a piece of text is written, whatever the other end takes at a time."""

import io
import os
import threading
from io import FileIO

from auditline.workers.router.replaying.writing import write_all


class ShortOut(io.BytesIO):
    """Takes three bytes at a time, as a pipe does when a signal comes."""

    def write(self, text):
        return super().write(bytes(text[:3]))


def test_a_write_that_is_cut_short_goes_on():
    out = ShortOut()

    write_all(out, b"0123456789")

    assert out.getvalue() == b"0123456789"


def write_and_close(descriptor, text):
    with FileIO(descriptor, "wb") as out:
        write_all(out, text)


def test_a_pipe_that_others_made_non_blocking_is_waited_for():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    text = os.urandom(300_000)
    writer = threading.Thread(target=write_and_close, args=(writing, text))
    with FileIO(reading) as end:
        writer.start()

        read = b"".join(iter(lambda: end.read(50_000), b""))

    writer.join()
    assert read == text
