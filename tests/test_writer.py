"""The stream behind the log: nobody who stops reading it stops anything else."""

import io
import threading

from webhook.writer import Writer


class Stuck(io.StringIO):
    """Takes nothing until it is let go, as a pipe whose reader has stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.go.wait()
        return super().write(text)


class Broken(io.StringIO):
    """A disk that is full."""

    def write(self, text: str) -> int:
        raise OSError("no space left on device")


def test_texts_are_written_in_order_and_all_of_them_by_the_end() -> None:
    stream = io.StringIO()
    writer = Writer(stream)
    for number in range(100):
        writer.write(f"{number}\n")
    writer.close()
    assert stream.getvalue() == "".join(f"{number}\n" for number in range(100))
    assert writer.lost == 0


def test_a_stream_that_hangs_holds_nobody_up_and_what_finds_no_room_is_counted() -> None:
    stream = Stuck()
    writer = Writer(stream, room=30)
    writer.write("one\n")
    stream.reached.wait()
    writer.write("two\n")
    writer.write("three\nfour\n" + "x" * 30 + "\n")
    assert writer.lost == 3
    writer.write("five\n")
    stream.go.set()
    writer.close()
    assert stream.getvalue() == "one\ntwo\nfive\n"


def test_an_end_does_not_wait_for_a_stream_that_hangs() -> None:
    stream = Stuck()
    writer = Writer(stream)
    writer.write("one\n")
    writer.close(within=0.01)
    stream.go.set()


def test_a_stream_that_cannot_be_written_is_counted_and_tried_again() -> None:
    writer = Writer(Broken())
    writer.write("one\ntwo\n")
    writer.close()
    assert writer.lost == 2
    writer.write("three\n")
    writer.close()
    assert writer.lost == 3


def test_one_that_was_never_used_has_nothing_to_close() -> None:
    Writer(io.StringIO()).close()
