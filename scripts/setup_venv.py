"""What ./scripts/demo and ./scripts/test share: a virtual environment with everything in it. Standard library only."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

# Debian's names: sound capture, and the system libraries mediapipe and OpenCV load.
RUN_PACKAGES = ("libportaudio2", "libegl1", "libgles2", "libgl1", "libglib2.0-0")
# A microphone without hardware, speech to feed it, a compiler for the pretend camera, a browser for the page, and
# GStreamer, a peer for calls that shares no code with ours.
TEST_PACKAGES = (
    *("pulseaudio", "pulseaudio-utils", "libasound2-plugins", "espeak-ng", "gcc", "libc6-dev", "chromium"),
    *(f"gstreamer1.0-{part}" for part in ("plugins-base", "plugins-good", "plugins-bad", "nice")),
    *("python3-gi", "gir1.2-gst-plugins-base-1.0", "gir1.2-gst-plugins-bad-1.0", "iproute2"),
)


def _succeeds(*command: str) -> bool:
    """Whether a command exists and ends with 0."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _fit_python() -> str:
    """A Python from 3.11 on that can make virtual environments; 3.11 first, which constraints.txt was made with."""
    probe = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    for name in ("python3.11", sys.executable, "python3.12", "python3.13", "python3.14", "python3"):
        path = shutil.which(name)
        if path and _succeeds(path, "-c", probe):
            return path
    raise SystemExit(
        "streamhead needs Python 3.11 or newer with its venv module; install it (Debian, Ubuntu: sudo apt-get install "
        "python3 python3-venv; elsewhere: python.org), then run this again"
    )


def _installed(package: str) -> bool:
    # Ubuntu 24.04 renamed some libraries: libglib2.0-0t64.
    command = ["dpkg-query", "-W", "-f=${Status}\n", package, f"{package}t64"]
    out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return "install ok installed" in out


def system_packages(packages: tuple[str, ...]) -> None:
    """Install the missing ones where that is allowed; elsewhere say what to install by hand."""
    if not sys.platform.startswith("linux"):
        return  # the wheels for macOS and Windows bring these libraries with them
    if shutil.which("dpkg-query") is None or shutil.which("apt-get") is None:
        print(f"This is no Debian: see to it that your system has the like of {' '.join(packages)}")
        return
    missing = [name for name in packages if not _installed(name)]
    if not missing:
        return
    by_hand = f"please run by hand:  sudo apt-get install {' '.join(missing)}"
    root = os.geteuid() == 0
    if not root and not _succeeds("sudo", "-n", "true"):
        print(f"System packages are missing; {by_hand}", flush=True)
        return
    print(f"Installing system packages: {' '.join(missing)}", flush=True)
    apt = [*([] if root else ["sudo", "-n"]), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"]
    subprocess.run([*apt, "update"], stdout=subprocess.DEVNULL, check=False)
    # --no-remove: on a desktop with another sound server, rather nothing than that one thrown out.
    install = [*apt, "install", "--no-install-recommends", "--no-remove", *missing]
    if subprocess.run(install, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        print(f"That failed; {by_hand}", flush=True)


def environment(extras: str = "") -> dict[str, str]:
    """Make .venv complete for the extras, if it is not yet; returns the environment to run programs in."""
    wanted = hashlib.sha256(
        b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    ).hexdigest()
    stamp = VENV / f"streamhead-{extras or 'base'}.stamp"
    enough = [stamp] if extras else VENV.glob("streamhead-*.stamp")  # whatever the extras, the base is there
    if not any(one.is_file() and one.read_text() == wanted for one in enough):
        began = time.perf_counter()
        if _succeeds(str(PYTHON), "-m", "pip", "--version"):
            print("Bringing .venv up to date", flush=True)
        else:
            print("Installing Python packages into .venv: 1.6 GB, some minutes", flush=True)
            subprocess.run([_fit_python(), "-m", "venv", "--clear", str(VENV)], check=True)
        pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
        if not sys.stdout.isatty():
            pip.append("--quiet")
        target = f"{ROOT}[{extras}]" if extras else str(ROOT)
        if subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), "-e", target], check=False).returncode != 0:
            raise SystemExit("The packages could not be installed, see above; mend that, then run this again")
        stamp.write_text(wanted)
        print(f"Installed in {time.perf_counter() - began:.0f} s", flush=True)
    path = f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "VIRTUAL_ENV": str(VENV)}
