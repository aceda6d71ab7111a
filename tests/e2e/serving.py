"""``streamhead serve --webrtc`` as a process of its own."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Served", "free_port", "serve"]


@dataclass(frozen=True)
class Served:
    """A server that answers.

    Attributes:
        address: with a slash at its end.
        pid: of the process.
        log: what it prints.
    """

    address: str
    pid: int
    log: Path

    @property
    def processor_seconds(self) -> float:
        """Processor time used so far."""
        return _processor_seconds(self.pid)

    @property
    def engine_processor_seconds(self) -> float:
        """The same of the processes it has started: the engine's."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(map(_processor_seconds, children))

    @property
    def resident_mb(self) -> float:
        """Memory in use."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def metrics(self) -> dict[str, float]:
        """The figures of /metrics, by their names with labels."""
        with urllib.request.urlopen(f"{self.address}metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def account(self) -> str:
        """What it said, and how many calls there were and why they ended: for whoever has to explain a failure."""
        said = self.log.read_text()
        with suppress(OSError):  # it may be gone
            calls = {name: value for name, value in self.metrics().items() if name.startswith("streamhead_sessions")}
            said += f"{calls}\n"
        return said

    def assert_no_head_stopped(self) -> None:
        """A call that ends because its head fails is a fault, even where the page mends it by calling again."""
        assert "the talking head stopped" not in self.log.read_text(), self.account()

    def stages_ms(self) -> dict[str, float]:
        """Mean delay of all frames so far, and its parts."""
        figures, means = self.metrics(), {}
        for name, total in figures.items():
            if name.startswith(("streamhead_delay_seconds_sum", "streamhead_stage_seconds_sum")):
                stage = name.split('"')[1] if '"' in name else "delay"
                means[stage] = round(1000 * total / max(1, figures[name.replace("_sum", "_count")]), 1)
        return means


def _processor_seconds(pid: int | str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nothing listens at, and that no connection gets by chance until it is used."""
    while True:
        port = random.randrange(20_000, 32_000)  # what the kernel hands out lies above
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def serve(
    log: Path, port: int, *options: str, inside: tuple[str, ...] = (), program: tuple[str, ...] = ("-m", "streamhead")
) -> Iterator[Served]:
    """Run it until the context is left; what it said is printed, and no head may have stopped.

    Args:
        log: what it prints is added there.
        port: of 127.0.0.1.
        options: more of them.
        inside: a command that runs it, such as ``ip netns exec NAME``; its answer is then not waited for.
        program: what Python is to run.
    """
    command = [*inside, sys.executable, *program, "serve", "--webrtc", "--port", str(port), *options]
    address = f"http://127.0.0.1:{port}/"
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            end = time.monotonic() + 120
            while b"Ready" not in log.read_bytes() if inside else not _answers(address):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, f"not ready in 120 s: {log.read_text()}"
                time.sleep(0.1)
            served = Served(address, process.pid, log)
            try:
                yield served
            finally:
                print(served.account())  # which pytest shows of a test that failed
            served.assert_no_head_stopped()
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}healthz", timeout=5).close()
    except OSError:
        return False
    return True
