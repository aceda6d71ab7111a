"""A running ``streamhead serve --virtual-cam``, with a keyboard."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from heads import weights

from streamhead.errors import CheckpointError
from streamhead.model.checkpoint import shipped_weights

__all__ = ["AT_ONCE", "Served", "serve", "shipped_or_untrained"]

AT_ONCE = 1.0 if float(os.environ.get("STREAMHEAD_E2E_SECONDS", "0")) >= 60 else 4.0
"""Seconds that the end may take: one on a machine to itself; on a busy one fewer than any part of it is waited for."""


def shipped_or_untrained() -> str:
    """The weights that are shipped; an untrained network is as good for what is tested here."""
    try:
        return str(shipped_weights("call"))
    except CheckpointError:
        return str(weights("call"))


class Served:
    """A running ``streamhead serve`` with a keyboard."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int, log: Path) -> None:
        self.process = process
        self._keyboard = keyboard
        self._log = log

    def press(self, key: str) -> None:
        os.write(self._keyboard, key.encode())

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended before {what}: {self.said}"
            assert time.monotonic() < end, f"no {what} in {seconds} s: {self.said}"
            time.sleep(0.05)

    def read_until(self, condition: Callable[[str], bool], seconds: float = 60) -> str:
        """What the screen shows from now on, once it fulfils the condition."""
        end, text = time.monotonic() + seconds, ""
        while not condition(text):
            assert time.monotonic() < end, text
            text += self.read(0.2)
        return text

    def read(self, seconds: float) -> str:
        """What the screen shows in the next seconds."""
        end, text = time.monotonic() + seconds, b""
        while (left := end - time.monotonic()) > 0:
            if select.select([self._keyboard], [], [], left)[0]:
                text += os.read(self._keyboard, 4096)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode(errors="replace"))

    def end(self, signal_number: int | None = None, key: str = "", *, reading: bool = False) -> float:
        """Ask it to end; returns how many seconds it took."""
        began = time.monotonic()
        if signal_number is not None:
            self.process.send_signal(signal_number)
        else:
            self.press(key)
        while reading and self.process.poll() is None:
            self.read(0.05)
        assert self.process.wait(60) == 0, self.said
        return time.monotonic() - began


@contextmanager
def serve(
    folder: Path,
    environment: dict[str, str],
    *arguments: str,
    on_screen: bool = False,
    program: Sequence[str] = ("-m", "streamhead"),
) -> Iterator[Served]:
    """``streamhead serve --virtual-cam``, or another ``program`` of Python's that takes the same arguments."""
    controller, terminal = pty.openpty()
    log = folder / "serve.log"
    command = [sys.executable, *program, "serve", "--virtual-cam", "--weights", shipped_or_untrained()]
    try:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, *arguments],
                env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment},
                stdin=terminal,
                stdout=out,
                stderr=terminal if on_screen else out,
                start_new_session=True,
            )
        try:
            yield Served(process, controller, log)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    finally:
        os.close(controller)
        os.close(terminal)
