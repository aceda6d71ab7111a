"""Content Credentials (C2PA): a signed statement in a video of how it was made. Needs the extra ``c2pa``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self

from streamhead.errors import OutputError
from streamhead.output.disclosure import DIGITAL_SOURCE_TYPE, TOOL

__all__ = ["Credentials"]

_SIGNED: Final = (".mp4", ".mov")


def _algorithm(key: bytes) -> str:
    """C2PA's name for what a private key (PEM) signs with."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(key, None)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    sizes = {256: "es256", 384: "es384", 521: "es512"}
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.key_size in sizes:
        return sizes[private.key_size]
    raise ValueError("neither Ed25519, RSA nor P-256, P-384 or P-521")


class Credentials:
    """Signs videos with a certificate of the user's; nothing is asked of the network, so there is no time stamp.

    Args:
        certificate: PEM, the signer's own first, then those that vouch for it, without the root.
        key: PEM, its private key without a password.

    Raises:
        OutputError: they cannot be read or do not fit.
        ModuleNotFoundError: the extra ``c2pa`` is not installed.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        import c2pa

        try:
            secret, chain = key.read_bytes(), certificate.read_bytes()
            self._info: Any = c2pa.C2paSignerInfo(_algorithm(secret), chain, secret, None)
            c2pa.Signer.from_info(self._info).close()
        except (OSError, ValueError, TypeError, c2pa.C2paError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise OutputError(
                f"{certificate} and {key} cannot sign ({reason}); give a PEM certificate chain and its PEM key "
                "without a password as --c2pa-cert and --c2pa-key"
            ) from error

    @classmethod
    def of(cls, certificate: Path | None, key: Path | None) -> Self | None:
        """From the two options of a command; None where neither was given.

        Raises:
            OutputError: only one was given, or they cannot sign.
        """
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            raise OutputError("--c2pa-cert and --c2pa-key belong together; give both")
        return cls(certificate, key)

    @staticmethod
    def check_format(path: Path) -> None:
        """Refuse a format that cannot be signed.

        Raises:
            OutputError: it is neither mp4 nor mov.
        """
        if path.suffix not in _SIGNED:
            raise OutputError(f"{path.name} cannot carry Content Credentials; call it {path.with_suffix('.mp4').name}")

    def sign(self, source: Path, target: Path) -> None:
        """Write a signed copy of a video.

        Raises:
            OutputError: it cannot be signed; most often because the certificate is not of the kind that C2PA asks for.
        """
        import c2pa

        manifest = {
            "claim_generator_info": [{"name": "streamhead", "version": TOOL.rpartition(" ")[2]}],
            "title": "Synthetic talking head",
            "assertions": [
                {
                    "label": "c2pa.actions.v2",
                    "data": {
                        "actions": [
                            {
                                "action": "c2pa.created",
                                "digitalSourceType": DIGITAL_SOURCE_TYPE,
                                "softwareAgent": {"name": TOOL},
                            }
                        ]
                    },
                }
            ],
        }
        try:
            with c2pa.Builder(manifest) as builder, c2pa.Signer.from_info(self._info) as signer:
                builder.sign_file(source, target, signer)
        except (c2pa.C2paError, OSError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise OutputError(
                f"the video cannot be signed ({reason}); docs/guides/disclosure.md says what certificate C2PA asks for"
            ) from error
