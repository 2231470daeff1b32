"""The certificate, key and CA of a client, as the files have them now."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import os
import ssl
import time
from typing import Any

from mayfly import call_id
from mayfly.certificates import Certificate, load_identity
from mayfly.errors import CertificateInvalid, InvalidArgument
from mayfly.settings import Settings

logger = logging.getLogger(__name__)

# How often the files are looked at.
_LOOK_INTERVAL_S = 1.0
# A certificate may be so new that this machine's clock, which is behind, has not reached it; then the
# server decides.
_CLOCK_TOLERANCE = datetime.timedelta(hours=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Credentials:
    """Contents of the files, which belong to each other."""

    ca: bytes
    key: bytes
    cert: bytes
    certificate: Certificate

    def context(self) -> ssl.SSLContext:
        """For a connection without gRPC."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.ca.decode("ascii"))
        load_identity(context, self.cert, self.key)
        context.set_alpn_protocols(["h2"])
        return context


class Identity:
    """Reads the files again when they have changed. New ones that do not belong to each other, for
    instance because one is still being replaced, are not used, and looked at again. Not thread-safe.
    """

    def __init__(self, settings: Settings) -> None:
        """InvalidArgument: a file cannot be read."""
        self._settings = settings
        self._credentials: Credentials | None = None
        self._stamp: Any = None  # of the files that were looked at last
        self._refused: Any = None  # of those that were not good
        self._looked = -_LOOK_INTERVAL_S
        for name in ("ca", "cert", "key"):
            self._read(name)

    def current(self) -> Credentials:
        """CertificateInvalid: a file is not good, or the certificate is expired or not valid yet."""
        now = time.monotonic()
        if self._credentials is None or now - self._looked >= _LOOK_INTERVAL_S:
            self._looked = now
            self._look()
        assert self._credentials is not None
        self._check_time(self._credentials.certificate)
        return self._credentials

    def _look(self) -> None:
        stamp: Any = None
        try:
            stamp = [self._stamp_of(name) for name in ("ca", "cert", "key")]
            if self._credentials is not None and stamp == self._stamp:
                return
            credentials = self._load()
        except (CertificateInvalid, InvalidArgument) as error:
            if self._credentials is None:
                raise
            if stamp != self._refused:
                logger.warning("the old certificate stays in use, the new one is not: %s", error)
            self._refused = stamp
            return
        except OSError:  # it is being replaced
            if self._credentials is None:
                raise
            return
        self._stamp, self._credentials = stamp, credentials

    def _stamp_of(self, name: str) -> Any:
        found = os.stat(getattr(self._settings, name))
        return found.st_mtime_ns, found.st_ino, found.st_dev, found.st_size

    def _load(self) -> Credentials:
        ca, cert, key = (self._read(name) for name in ("ca", "cert", "key"))
        certificate = self._certificate_of("cert", cert)
        if certificate.is_ca:
            raise CertificateInvalid(
                f"cert: {self._settings.cert} is the certificate of a CA ({certificate.subject}): "
                "give the one that it issued for this client"
            )
        self._certificate_of("ca", ca)
        credentials = Credentials(ca, key, cert, certificate)
        try:
            credentials.context()
        except (ssl.SSLError, ValueError) as error:
            raise CertificateInvalid(
                f"key: {self._settings.key} is not the key of the certificate in "
                f"{self._settings.cert} ({certificate.subject}), or is no key in PEM without a "
                f"passphrase: {getattr(error, 'reason', None) or error}"
            ) from None
        return credentials

    def _certificate_of(self, name: str, pem: bytes) -> Certificate:
        try:
            return Certificate.of_pem(pem)
        except ValueError as error:
            raise CertificateInvalid(f"{name}: {getattr(self._settings, name)}: {error}") from None

    def _check_time(self, certificate: Certificate) -> None:
        now = datetime.datetime.fromtimestamp(call_id.server_time(), datetime.timezone.utc)
        what = f"cert: {self._settings.cert}: the certificate of {certificate.subject}"
        if now >= certificate.not_after:
            raise CertificateInvalid(
                f"{what} has expired at {certificate.not_after:%Y-%m-%d %H:%M:%S} UTC, it is "
                f"{now:%Y-%m-%d %H:%M:%S} UTC: replace the files, they are read again"
            )
        if now + _CLOCK_TOLERANCE < certificate.not_before:
            raise CertificateInvalid(
                f"{what} is not valid before {certificate.not_before:%Y-%m-%d %H:%M:%S} UTC, it is "
                f"{now:%Y-%m-%d %H:%M:%S} UTC: wait until then, or correct this machine's clock"
            )

    def _read(self, name: str) -> bytes:
        path = getattr(self._settings, name)
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise InvalidArgument(f"{name}: {path} cannot be read: {error.strerror}") from None
