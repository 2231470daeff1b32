"""An HTTP/2 client that sends what a well-behaved one would not (RFC 9113, RFC 7541)."""

import socket
import ssl
import time
from typing import Iterable, List, Tuple

DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16384  # the default of SETTINGS_MAX_FRAME_SIZE

Headers = Iterable[Tuple[bytes, bytes]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def hpack_length(length: int) -> bytes:
    """A string's length, without Huffman coding (RFC 7541, section 5.1)."""
    if length < 127:
        return bytes([length])
    encoded = [127]
    length -= 127
    while length >= 128:
        encoded.append(length % 128 + 128)
        length //= 128
    return bytes(encoded + [length])


def hpack_literal(name: bytes, value: bytes) -> bytes:
    """A header that no table takes up."""
    return b"\0" + hpack_length(len(name)) + name + hpack_length(len(value)) + value


def call_headers(path: bytes, extra: Headers = ()) -> bytes:
    headers: List[Tuple[bytes, bytes]] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    return b"".join(hpack_literal(name, value) for name, value in headers + list(extra))


def header_frames(block: bytes, stream: int, end_stream: bool = False, end: bool = True,
                  frame_bytes: int = FRAME_BYTES) -> bytes:
    """A header block as HEADERS and as many CONTINUATION frames as it takes."""
    parts = [block[i : i + frame_bytes] for i in range(0, len(block), frame_bytes)] or [b""]
    frames = []
    for i, part in enumerate(parts):
        flags = END_HEADERS if end and i == len(parts) - 1 else 0
        if i == 0 and end_stream:
            flags |= END_STREAM
        frames.append(frame(CONTINUATION if i else HEADERS, flags, stream, part))
    return b"".join(frames)


def call_message(message: bytes) -> bytes:
    """A gRPC message, not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class RawHttp2:
    """A connection with a client certificate, from the address `source`, on which the server's
    SETTINGS are acknowledged only when `acknowledge` is set."""

    def __init__(self, port: int, context: ssl.SSLContext, acknowledge: bool = False,
                 source: str = "127.0.0.1"):
        plain = socket.create_connection(
            ("127.0.0.1", port), timeout=30, source_address=(source, 0)
        )
        self._socket = context.wrap_socket(plain, server_hostname="localhost")
        self._acknowledge = acknowledge
        self._received = b""
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data: bytes) -> bool:
        """False when the server has ended the connection."""
        try:
            self._socket.sendall(data)
            return True
        except OSError:
            return False

    def read_frame(self) -> Tuple[int, int, int, bytes]:
        """The next frame: kind, flags, stream, payload. EOFError at the connection's end."""
        while True:
            if len(self._received) >= 9:
                length = int.from_bytes(self._received[:3], "big")
                if len(self._received) >= 9 + length:
                    head, payload = self._received[:9], self._received[9 : 9 + length]
                    self._received = self._received[9 + length :]
                    kind, flags = head[3], head[4]
                    if kind == SETTINGS and not flags & ACK and self._acknowledge:
                        self.send(frame(SETTINGS, ACK, 0))
                    return kind, flags, int.from_bytes(head[5:], "big"), payload
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                data = b""
            if not data:
                raise EOFError
            self._received += data

    def is_ended(self, timeout_s: float) -> bool:
        """Whether the server ends the connection within that time."""
        end = time.monotonic() + timeout_s
        try:
            while (left_s := end - time.monotonic()) > 0:
                self._socket.settimeout(left_s)
                self.read_frame()
        except EOFError:
            return True
        except TimeoutError:
            pass
        return False

    def close(self) -> None:
        self._socket.close()
