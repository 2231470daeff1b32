"""Issues certificates that last for seconds, or are not good."""

import datetime
import os
import pathlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SECOND = datetime.timedelta(seconds=1)


class Issuer:
    """A CA of a directory of deploy/make-certificates, or without one a new CA."""

    def __init__(self, directory: str = "") -> None:
        if directory:
            path = pathlib.Path(directory)
            self._key: Any = serialization.load_pem_private_key(
                (path / "ca.key").read_bytes(), None)
            self.certificate = x509.load_pem_x509_certificate((path / "ca.pem").read_bytes())
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another CA")])
        now = datetime.datetime.utcnow()
        self.certificate = (
            x509.CertificateBuilder(name, name, self._key.public_key(), 1, now - 60 * SECOND,
                                    now + 86400 * SECOND)
            .add_extension(x509.BasicConstraints(True, None), True)
            .sign(self._key, hashes.SHA256())
        )

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, role: str, begins_s: float = -60.0, ends_s: float = 3600.0) -> tuple[bytes, bytes]:
        """Certificate and key in PEM, valid between these times from now. `role` "server" is that of
        a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.utcnow()
        name: x509.GeneralName = x509.UniformResourceIdentifier(
            f"spiffe://mayfly.local/tenant/default/{role}")
        if role == "server":
            name = x509.DNSName("localhost")
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"short {role}")]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins_s * SECOND)
            .not_valid_after(now + ends_s * SECOND)
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(x509.SubjectAlternativeName([name]), False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption())


def replace(path: str, content: bytes) -> None:
    """At once, as whoever renews a certificate does."""
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.rename(path + ".new", path)
