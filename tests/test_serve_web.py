"""``streamhead serve --webrtc`` from its options on: what it refuses, in one line; how it ends."""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from e2e.serving import free_port
from heads import weights
from typer.testing import CliRunner

from streamhead.cli.app import app


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMHEAD_TOKEN", raising=False)


def refused(*arguments: str) -> str:
    """The one line that is said."""
    result = CliRunner().invoke(app, ["serve", "--webrtc", *arguments])
    assert result.exit_code == 2
    lines = [line for line in result.output.splitlines() if line.strip()]
    assert len(lines) == 1, result.output
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    paths[0].write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return paths


def test_other_machines_need_a_token() -> None:
    for host in ("0.0.0.0", "::"):
        assert "--token auto" in refused("--host", host)


def test_tokens_that_are_none() -> None:
    assert "easily guessed" in refused("--token", "1234")
    assert "no spaces" in refused("--token", "a token of words")


def test_addresses_that_are_none() -> None:
    assert "no address of this machine" in refused("--host", "no such host.invalid")
    assert "no address of this machine" in refused("--host", "203.0.113.7", "--token", "auto")
    assert "https://example.org" in refused("--origin", "example.org")


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refused("--port", port)
    assert port in line
    assert "--port" in line


def test_tls_files_that_do_not_fit(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = map(str, certificate)
    assert "--tls-cert" in refused("--tls-key", key)
    assert "PEM" in refused("--tls-cert", cert)
    assert "PEM" in refused("--tls-cert", str(tmp_path / "nothing.pem"), "--tls-key", key)
    assert "PEM" in refused("--tls-cert", key, "--tls-key", key)


def test_options_that_make_no_sense_together() -> None:
    result = CliRunner().invoke(app, ["serve", "--webrtc", "--mic", "me"])
    assert result.exit_code == 2
    assert "--virtual-cam" in result.output


def test_without_the_extra_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['aiohttp'] = None; sys.argv = ['streamhead', 'serve', '--webrtc']\n"
        "from streamhead.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["error: this needs aiohttp; pip install 'streamhead[webrtc]'"]


class Running:
    """The command in a process of its own."""

    def __init__(self, *options: str, **environment: str) -> None:
        command = [sys.executable, "-m", "streamhead", "serve", "--webrtc", "--weights", str(weights("call")), *options]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env={**os.environ, **environment}
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        found = re.search(r"(https?)://[^/]+?:(\d+)/(?:#token=(\S+))?", self.said)
        assert found is not None, self.said + self.process.stderr.read()
        self.scheme, self.port, self.token = found[1], int(found[2]), found[3]

    def get(self, path: str, token: str | None = None, context: ssl.SSLContext | None = None) -> bytes:
        request = urllib.request.Request(f"{self.scheme}://localhost:{self.port}/{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=10, context=context) as response:
            body: bytes = response.read()
        return body

    def end(self, how: signal.Signals = signal.SIGINT) -> float:
        """Seconds that its end took."""
        began = time.monotonic()
        self.process.send_signal(how)
        assert self.process.wait(60) == 0
        return time.monotonic() - began


@pytest.fixture
def port() -> str:
    return str(free_port())


@pytest.mark.slow
def test_it_serves_until_it_is_told_to_end(port: str) -> None:
    for how in (signal.SIGINT, signal.SIGTERM):
        running = Running("--port", port)
        assert json.loads(running.get("healthz")) == {"status": "ok"}
        assert b"streamhead_sessions 0.0" in running.get("metrics")
        running.end(how)
        assert running.process.stderr is not None
        assert running.process.stderr.read() == ""


@pytest.mark.slow
def test_a_token_made_up_over_tls(port: str, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    running = Running(
        *("--host", "0.0.0.0", "--port", port, "--token", "auto", "--tls-cert", str(cert), "--tls-key", str(key))
    )
    context = ssl.create_default_context(cafile=str(cert))
    assert running.scheme == "https"
    assert b"<!doctype html>" in running.get("", context=context)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        running.get("metrics", context=context)
    assert b"streamhead_sessions" in running.get("metrics", running.token, context)
    running.end()


@pytest.mark.slow
def test_a_token_of_the_environment_is_not_shown(port: str) -> None:
    running = Running("--port", port, STREAMHEAD_TOKEN="correct-horse")
    assert "correct-horse" not in running.said
    with pytest.raises(urllib.error.HTTPError, match="401"):
        running.get("metrics")
    assert b"streamhead_sessions" in running.get("metrics", "correct-horse")
    running.end()
