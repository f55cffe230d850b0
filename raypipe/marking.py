"""Marking films as made by machines, in a way that machines can read: a C2PA manifest, signed by the installation.

The manifest says by which models a film was made and of which digital source type it is (https://spec.c2pa.org,
https://cv.iptc.org/newscodes/digitalsourcetype). What the EU AI Act asks of outputs in Article 50(2) is that.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from raypipe.config import Settings
from raypipe.errors import InternalError, SecretsExposed
from raypipe.signing import own_file

#: what a film is that models were trained for, and what one is that was only computed
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMPUTED = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"
#: models that were trained on nothing: they draw and play by rules
_UNTRAINED = ("local", "simulated")
#: file of the key that signs, its certificate and that of who issued it, in the installation's own folder
CREDENTIAL = "c2pa.pem"
_YEARS = timedelta(days=3_650)
_CURVE, _HALF = ec.SECP256R1(), 32
_BEGIN = b"-----BEGIN CERTIFICATE-----"


def mark(settings: Settings, source: Path, out: Path, models: Iterable[str]) -> None:
    """Write an MP4 anew with a manifest; pictures and sound are copied as they are.

    Args:
        settings: Where the installation's own key is, which is made when it is first needed.
        source: The film.
        out: Where to write it.
        models: Who has made its pictures, clips and music.

    Raises:
        SecretsExposed: The key cannot be read or made, or others may read it.
        DiskFull: There is no room for the key.
        InternalError: The film cannot be marked.
    """
    import c2pa  # it takes long to load, and what makes no films does not need it

    names = sorted(set(models))
    key, chain = _credential(own_file(settings, CREDENTIAL, _new_credential))

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")

    try:
        signer = c2pa.Signer.from_callback(sign, c2pa.C2paSigningAlg.ES256, chain.decode())
        builder = c2pa.Builder(json.dumps(_manifest(names)))
        with source.open("rb") as film, out.open("w+b") as marked:
            builder.sign(signer, "video/mp4", film, marked)
    except c2pa.C2paError as error:
        raise InternalError(f"the film cannot be marked as made by machines: {error}") from error


def _manifest(models: list[str]) -> dict[str, object]:
    trained = any(name.partition("/")[0] not in _UNTRAINED for name in models)
    created = {
        "action": "c2pa.created",
        "digitalSourceType": TRAINED if trained else COMPUTED,
        "softwareAgent": {"name": "raypipe", "version": version("raypipe")},
        "parameters": {"org.raypipe.models": models},
    }
    return {
        "claim_generator_info": [{"name": "raypipe", "version": version("raypipe")}],
        "title": "film",
        "format": "video/mp4",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }


def _credential(pem: bytes) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    text, separator, chain = pem.partition(_BEGIN)
    try:
        key = load_pem_private_key(text, None)
    except ValueError as error:
        raise SecretsExposed(f"signing/{CREDENTIAL} holds no key: remove it, and another is made") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SecretsExposed(f"signing/{CREDENTIAL} holds a key of another kind than P-256")
    return key, separator + chain


def _new_credential() -> bytes:
    """Make a key, its certificate, and the certificate of an authority that signs this one and is then forgotten."""
    authority, key = ec.generate_private_key(_CURVE), ec.generate_private_key(_CURVE)
    issuer, subject = _name("raypipe authority"), _name("raypipe installation")
    issued = _certificate(issuer, issuer, authority, authority, is_authority=True)
    own = _certificate(subject, issuer, key, authority, is_authority=False)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + own.public_bytes(Encoding.PEM) + issued.public_bytes(Encoding.PEM)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "raypipe"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signed_by: ec.EllipticCurvePrivateKey,
    is_authority: bool,
) -> x509.Certificate:
    """Make a certificate as C2PA wants those of claim signers (section 14.5 of its specification)."""
    now, public = datetime.now(UTC), key.public_key()
    builder = (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _YEARS)
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
        .add_extension(_usage(is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if not is_authority:
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key())
        builder = builder.add_extension(by, critical=False)
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(signed_by, hashes.SHA256())


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
