"""What a client has to know of X.509 certificates (RFC 5280) before it shows its own to a server."""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
import ssl
from typing import Iterator

_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)
# DER tags.
_UTC_TIME = 0x17
_VERSION = 0xA0
_EXTENSIONS = 0xA3
# Object identifiers, encoded.
_COMMON_NAME = bytes((0x55, 0x04, 0x03))
_BASIC_CONSTRAINTS = bytes((0x55, 0x1D, 0x13))
_IS_CA = bytes((0x01, 0x01, 0xFF))


@dataclasses.dataclass(frozen=True)
class Certificate:
    """The first of a file, which is the owner's."""

    subject: str
    not_before: datetime.datetime
    not_after: datetime.datetime
    is_ca: bool

    @classmethod
    def of_pem(cls, pem: bytes) -> Certificate:
        """ValueError: there is none, or it cannot be read."""
        found = _PEM.search(pem)
        if found is None:
            raise ValueError("no certificate in PEM")
        try:
            return _parse(ssl.PEM_cert_to_DER_cert(found[0].decode("ascii")))
        except (IndexError, StopIteration, UnicodeDecodeError) as error:
            raise ValueError("the certificate cannot be read") from error


def load_identity(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    """Into `context`, from memory. ssl.SSLError: the key is not the certificate's, or is no key."""
    descriptor = os.memfd_create("mayfly-identity")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(key + b"\n" + cert)
        # Without the callback OpenSSL would ask for a passphrase on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: b"")
    finally:
        os.close(descriptor)


def _parse(der: bytes) -> Certificate:
    to_be_signed = _contents(next(_contents(der))[1])
    fields = [content for content in _contents(next(to_be_signed)[1])]
    if fields[0][0] == _VERSION:
        del fields[0]
    _, _, _, validity, subject, _ = (content for _, content in fields[:6])
    not_before, not_after = (_time(tag, content) for tag, content in _contents(validity))
    return Certificate(
        _name(subject), not_before, not_after, any(_is_ca(field) for field in fields[6:])
    )


def _contents(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise ValueError("the certificate is cut short")
        yield tag, data[at : at + length]
        at += length


def _time(tag: int, content: bytes) -> datetime.datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # with two digits of the year, 1950 to 2049
        text = ("19" if text >= "50" else "20") + text
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.timezone.utc)


def _name(subject: bytes) -> str:
    for _, names in _contents(subject):
        for _, name in _contents(names):
            (_, kind), (_, text) = _contents(name)
            if kind == _COMMON_NAME:
                return text.decode("utf-8", "replace")
    return "without a common name"


def _is_ca(field: tuple[int, bytes]) -> bool:
    if field[0] != _EXTENSIONS:
        return False
    for _, extension in _contents(next(_contents(field[1]))[1]):
        parts = [content for _, content in _contents(extension)]
        if parts[0] == _BASIC_CONSTRAINTS:
            return _IS_CA in parts[-1]
    return False
