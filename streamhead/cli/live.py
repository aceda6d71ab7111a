"""A pipeline at the terminal: its status line, its keys, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamhead.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

    from streamhead.output.delayed_audio import DelayedAudio
    from streamhead.stream.pipeline import Pipeline
    from streamhead.stream.stats import Stats

__all__ = ["run_live", "summary", "wait_for_end", "write_report"]

REFRESH: Final = 4
"""Times a second that the status line is drawn."""


async def run_live(
    pipeline: Pipeline, console: Console, duration: float | None = None, sound: DelayedAudio | None = None
) -> None:
    """Run a pipeline until its source ends, for ``duration`` seconds, or until q, Ctrl-C or SIGTERM.

    Args:
        pipeline: not run yet.
        console: where the status line goes.
        duration: in seconds.
        sound: what plays the sound beside the picture, for the status line.

    Raises:
        StreamheadError: what the pipeline raises.
    """
    stop = asyncio.Event()

    def mute() -> None:
        pipeline.muted = not pipeline.muted

    running = asyncio.create_task(pipeline.run())
    stopping = asyncio.create_task(stop.wait())
    helpers: list[asyncio.Task[Any]] = [stopping]
    try:
        with ExitStack() as stack:
            stack.enter_context(_on_signals(stop.set))
            stack.enter_context(_on_keys({"m": mute, "q": stop.set}))
            if console.is_terminal:
                helpers.append(asyncio.create_task(_show_status(pipeline, console, sound)))
            await asyncio.wait({running, stopping}, timeout=duration, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (running, *helpers):
            task.cancel()
        outcome, *_ = await asyncio.gather(running, *helpers, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome


async def wait_for_end(duration: float | None = None) -> None:
    """Wait ``duration`` seconds, or for Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    with _on_signals(stop.set), suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), duration)


@contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    # Not loop.add_signal_handler, which Windows lacks.
    def handle(*_: object) -> None:
        loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _on_keys(actions: Mapping[str, Callable[[], None]]) -> Iterator[None]:
    """Single keys, without Enter, where the terminal is one that knows how."""
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    loop, file = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        typed = os.read(file, 64).decode(errors="ignore").lower()
        if not typed:  # the terminal has gone
            loop.remove_reader(file)
        for key in typed:
            if key in actions:
                actions[key]()

    before = termios.tcgetattr(file)
    tty.setcbreak(file)
    loop.add_reader(file, read)
    try:
        yield
    finally:
        loop.remove_reader(file)
        termios.tcsetattr(file, termios.TCSADRAIN, before)


async def _show_status(pipeline: Pipeline, console: Console, sound: DelayedAudio | None) -> None:
    from rich.live import Live

    text = "starting"
    # Drawn in Live's own thread: a terminal that is held (Ctrl-S) must not hold the face.
    with Live(get_renderable=lambda: text, console=console, refresh_per_second=REFRESH, transient=True):
        while True:
            text = _status(pipeline.stats, sound, muted=pipeline.muted)
            await asyncio.sleep(1 / REFRESH)


def _status(stats: Stats, sound: DelayedAudio | None, *, muted: bool) -> str:
    return (
        f"[bold]{stats.fps:4.1f} fps[/bold]  delay {stats.delay_now_ms:3.0f} ms"
        + (f", sound {sound.figures['audio_delay_ms']:3.0f} ms" if sound is not None else "")
        + f"  drops {stats.late_frames}"
        + (f"  overruns {stats.overruns}" if stats.overruns else "")
        + (f"  underruns {sound.underruns}" if sound is not None and sound.underruns else "")
        + ("  [bold red]muted[/bold red]" if muted else "")
        + "  [dim]m mute  q quit[/dim]"
    )


def summary(stats: Stats, sound: DelayedAudio | None = None) -> str:
    """A run in one line."""
    delay = stats.delay_ms
    return (
        f"{stats.frames} frames in {stats.seconds:.1f} s ({stats.mean_fps:.2f} fps), "
        f"delay p50 {delay.p50:.0f} p95 {delay.p95:.0f} p99 {delay.p99:.0f} max {delay.max:.0f} ms, "
        f"{stats.late_frames} late frames not drawn, {stats.silence_s:.1f} s of silence fed, "
        f"{stats.late_samples} samples too late, {stats.overruns} overruns"
        + (f", sound {sound.figures['audio_delay_ms']:.0f} ms late, {sound.underruns} underruns" if sound else "")
    )


def write_report(path: Path, stats: Stats, **more: Any) -> None:
    """Write a run's figures as JSON, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps({**asdict(stats), **more}, indent=2) + "\n")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another place") from error
