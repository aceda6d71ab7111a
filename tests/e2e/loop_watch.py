"""``python loop_watch.py OUT ARGUMENTS``: streamhead, with every turn of its event loop timed.

OUT, a JSON file, is renewed each second: for the turns since the last SIGUSR1, the longest by the clock and the longest
by the loop thread's own processor time (what a busy machine does to it left out), each with what ran.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from streamhead.cli.app import main

OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
seen: dict[str, Any] = {}


def forget(*_: Any) -> None:
    seen.update(turns=0, over_10_ms=0, wall_ms=0.0, wall="", cpu_ms=0.0, cpu="", written=time.monotonic())


def watch() -> None:
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        run(handle)
        wall, cpu = 1000 * (time.perf_counter() - wall), 1000 * (time.thread_time() - cpu)
        seen["turns"] += 1
        seen["over_10_ms"] += wall > 10
        for name, took in (("wall", wall), ("cpu", cpu)):
            if took > seen[f"{name}_ms"]:
                seen[f"{name}_ms"], seen[name] = took, repr(handle)[:300]
        if time.monotonic() - seen["written"] > 1:
            seen["written"] = time.monotonic()
            fresh = OUT.with_suffix(".new")
            fresh.write_text(json.dumps(seen))
            os.replace(fresh, OUT)

    asyncio.Handle._run = timed  # type: ignore[method-assign]


if __name__ == "__main__":  # the engine's process imports this file
    forget()
    signal.signal(signal.SIGUSR1, forget)
    watch()
    sys.argv = ["streamhead", *sys.argv[2:]]
    main()
