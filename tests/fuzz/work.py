"""What an input costs, as counts and not as seconds: steps of Python, bytes of memory; and an end for what has none."""

import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Final

ENDLESS: Final = 30.0
"""Seconds of the processor for one input: of those that fit through the doors the slowest takes a third of it. What is
quadratic inside a library's C code, where no step of Python is counted, does not end within it."""


class Endless(Exception):
    """An input took more of the processor than anything may."""


@contextmanager
def ending(seconds: float = ENDLESS) -> Iterator[None]:
    """Let nothing inside take more of the processor. For the main thread.

    Raises:
        Endless: it did.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Endless

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def steps(run: Callable[[], object]) -> int:
    """How many bytecodes of Python it takes."""
    return _monitored(run) if sys.version_info >= (3, 12) else _traced(run)


def _monitored(run: Callable[[], object]) -> int:
    # Since 3.12 tracing of single bytecodes begins in the second run of a function only.
    count = 0

    def step(_code: CodeType, _offset: int) -> None:
        nonlocal count
        count += 1

    watch: Any = vars(sys)["monitoring"]
    watch.use_tool_id(watch.PROFILER_ID, __name__)
    watch.register_callback(watch.PROFILER_ID, watch.events.INSTRUCTION, step)
    watch.set_events(watch.PROFILER_ID, watch.events.INSTRUCTION)
    try:
        run()
    finally:
        watch.set_events(watch.PROFILER_ID, watch.events.NO_EVENTS)
        watch.free_tool_id(watch.PROFILER_ID)
    return count


def _traced(run: Callable[[], object]) -> int:
    count = 0

    def inside(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += 1
        return inside

    before = sys.gettrace()
    sys.settrace(inside)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def memory(run: Callable[[], object]) -> int:
    """The most in bytes that it holds at once."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
