"""Finds out why a TLS handshake fails, of which gRPC says no more than that it did."""

from __future__ import annotations

import socket
import ssl

from mayfly.errors import CertificateInvalid
from mayfly.identity import Credentials
from mayfly.settings import Settings

_TIMEOUT_S = 1.0


def refusal_of(settings: Settings, credentials: Credentials) -> CertificateInvalid | str | None:
    """Tries one handshake. An error: one side does not accept the other's certificate, and trying
    again does not help. A text: a guess, or empty when both accept. None: it did not get so far, or
    the server said nothing in time."""
    host, port = _address_of(settings.server)
    name = settings.server_name or host
    subject = f"{credentials.certificate.subject} ({settings.cert})"
    is_shaken = False
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as plain:
            with credentials.context().wrap_socket(plain, server_hostname=name) as secure:
                is_shaken = True
                # The client has finished before the server has seen its certificate (TLS 1.3).
                if secure.recv(1):
                    return ""
    except ssl.SSLCertVerificationError as error:
        return CertificateInvalid(_of_server(settings, name, error))
    except TimeoutError:  # it has neither refused nor accepted
        return None
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return CertificateInvalid(
                f"the server refuses the certificate of {subject}: {error.reason}; its tls.ca_file "
                "must have the CA that issued it"
            )
        if not is_shaken:
            return None
    except (OSError, ValueError):
        if not is_shaken:
            return None
    return (
        f"; the server ended the connection when it saw the certificate of {subject}: its "
        "tls.ca_file must have the CA that issued it"
    )


def _of_server(settings: Settings, name: str, error: ssl.SSLCertVerificationError) -> str:
    text = error.verify_message.rstrip(".")
    if "mismatch" in text:
        advice = "set server_name to a name that it has, or connect to one of them"
    elif "expired" in text or "not yet valid" in text:
        advice = "the operator has to replace it, or this machine's clock is wrong"
    else:
        advice = f"ca ({settings.ca}) must have the CA that issued it"
    return f"the certificate of the server {name} is not accepted: {text}; {advice}"


def _address_of(server: str) -> tuple[str, int]:
    """The last two parts of any form of gRPC's that has them."""
    host, _, port = server.rpartition("/")[2].rpartition(":")
    return host.strip("[]"), int(port) if port.isdigit() else 0
