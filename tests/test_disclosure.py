"""Files say that they are synthetic: in words, in XMP, and signed where a certificate is given."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import av
import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from streamhead.errors import OutputError
from streamhead.evaluation.figures import save, strip
from streamhead.output.credentials import Credentials
from streamhead.output.disclosure import COMMENT, DIGITAL_SOURCE_TYPE
from streamhead.output.frame import Frame
from streamhead.output.video_file import VideoWriter, side_by_side
from streamhead.timebase import HOP

IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def _video(path: Path, credentials: Credentials | None = None, frames: int = 10) -> Path:
    rng = np.random.default_rng(0)
    with VideoWriter(path, credentials) as writer:
        for t in range(frames):
            image = rng.integers(0, 256, (64, 96, 3), np.uint8)
            writer.write(Frame(image, HOP * t, np.zeros(640, np.float32), 16000, False))
    return path


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of the boxes at an MP4 file's top level."""
    boxes, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        assert size >= 8
        boxes.append((data[at + 4 : at + 8], data[at + 8 : at + size]))
        at += size
    assert at == len(data)
    return boxes


def _source_type(xmp: str | bytes) -> str:
    text = xmp.decode() if isinstance(xmp, bytes) else xmp
    (found,) = ElementTree.fromstring(text.strip().removeprefix("\ufeff")).iter(f"{IPTC}DigitalSourceType")
    return found.text or ""


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_an_mp4_carries_xmp_where_readers_look_for_it(tmp_path: Path, suffix: str) -> None:
    path = _video(tmp_path / f"out{suffix}")
    (packet,) = [box[16:] for kind, box in _boxes(path.read_bytes()) if kind == b"uuid" and box[:16] == XMP_BOX]
    assert _source_type(packet) == DIGITAL_SOURCE_TYPE
    with av.open(str(path), options={"export_xmp": "1"}) as container:
        assert container.metadata["comment"] == COMMENT
        assert _source_type(container.metadata["xmp"]) == DIGITAL_SOURCE_TYPE
        assert len(list(container.decode(video=0))) == 10


def test_matroska_says_so_in_its_tags(tmp_path: Path) -> None:
    with av.open(str(_video(tmp_path / "out.mkv"))) as container:
        tags = {name.lower(): value for name, value in container.metadata.items()}
    assert tags["comment"] == COMMENT
    assert tags["digital_source_type"] == DIGITAL_SOURCE_TYPE


def test_takes_side_by_side_say_so_too(tmp_path: Path) -> None:
    take = _video(tmp_path / "take.mp4")
    side_by_side([take, take], tmp_path / "both.mp4")
    with av.open(str(tmp_path / "both.mp4"), options={"export_xmp": "1"}) as container:
        assert _source_type(container.metadata["xmp"]) == DIGITAL_SOURCE_TYPE


def test_a_strip_of_drawn_frames_says_so(tmp_path: Path) -> None:
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    save(tmp_path / "strip.png", strip({"drawn": frames}, [0, 2]))
    with Image.open(tmp_path / "strip.png") as picture:
        assert _source_type(picture.info["xmp"]) == DIGITAL_SOURCE_TYPE
        assert picture.info["Comment"] == COMMENT


def _name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


def _pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _certified(folder: Path, kind: str = "es256") -> tuple[Path, Path]:
    """A certificate of the kind C2PA asks for, from an authority of our own, and its key."""
    now = datetime.now(UTC)
    root = ec.generate_private_key(ec.SECP256R1())
    key = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"),
        False,
    )
    leaf = (
        x509.CertificateBuilder()
        .subject_name(_name("signer"))
        .issuer_name(_name("root"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, encipher_only=False, decipher_only=False, **usage), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(root, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(_pem(key))
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("kind", ["es256", "ed25519"])
def test_content_credentials_are_signed_and_broken_by_a_change(tmp_path: Path, kind: str) -> None:
    path = _video(tmp_path / "out.mp4", Credentials(*_certified(tmp_path, kind)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cert.pem", "key.pem", "out.mp4"]

    def read() -> tuple[dict[str, object], set[str]]:
        with c2pa.Reader(str(path)) as reader:
            store = json.loads(reader.json())
        failures = store["validation_results"]["activeManifest"].get("failure", [])
        return store["manifests"][store["active_manifest"]], {one["code"] for one in failures}

    manifest, failures = read()
    (actions,) = [one for one in manifest["assertions"] if one["label"].startswith("c2pa.actions")]
    (action,) = actions["data"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert failures == {"signingCredential.untrusted"}  # nobody knows our authority; the signature itself holds
    with av.open(str(path), options={"export_xmp": "1"}) as container:
        assert _source_type(container.metadata["xmp"]) == DIGITAL_SOURCE_TYPE
        assert len(list(container.decode(video=0))) == 10
    data = bytearray(path.read_bytes())
    data[data.rfind(b"mdat") + 200] ^= 1
    path.write_bytes(data)
    assert read()[1] - failures  # the hash no longer fits


def test_what_cannot_sign_is_one_line(tmp_path: Path) -> None:
    cert, key = _certified(tmp_path)
    assert Credentials.of(None, None) is None
    with pytest.raises(OutputError, match="belong together"):
        Credentials.of(cert, None)
    for pair in ((cert, tmp_path / "absent.pem"), (tmp_path, key), (key, cert), (cert, cert)):
        with pytest.raises(OutputError, match="cannot sign") as caught:
            Credentials(*pair)
        assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match=r"call it out\.mp4"):
        _video(tmp_path / "out.mkv", Credentials(cert, key))
    other = tmp_path / "other"
    other.mkdir()
    stranger = Credentials(cert, _certified(other)[1])
    with pytest.raises(OutputError, match="cannot be signed"):
        _video(tmp_path / "out.mp4", stranger)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cert.pem", "key.pem", "other"]
