"""One TLS connection that speaks just enough HTTP/2 to call gRPC methods, and reads when it is told.

Its windows are as large as HTTP/2 has them, so a server writes until the kernel takes no more; its
own receive buffer is small.
"""

import socket
import ssl
import struct
from typing import Dict, List, Optional, Tuple

from raw_http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    call_headers,
    call_message,
    frame,
)

WINDOW_MAX = 2**31 - 1
WINDOW_DEFAULT = 65535
WINDOW_UPDATE = 8
SETTINGS_INITIAL_WINDOW_SIZE = 4
RECEIVE_BUFFER_BYTES = 64 << 10
TIMEOUT_S = 60


class UnreadHttp2:
    def __init__(self, port: int, context: ssl.SSLContext):
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        plain.settimeout(TIMEOUT_S)
        plain.connect(("127.0.0.1", port))
        self._socket = context.wrap_socket(plain, server_hostname="localhost")
        self._next_stream = 1
        self._received = b""
        settings = struct.pack(">HI", SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_MAX)
        self._socket.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, settings)
            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_MAX - WINDOW_DEFAULT))
        )
        # The server's settings; from here on its window is known to be ours.
        kind, flags, _, _ = self.read_frame()
        assert kind == SETTINGS and flags == 0, (kind, flags)
        self._socket.sendall(frame(SETTINGS, ACK, 0, b""))
        while self.read_frame()[:2] != (SETTINGS, ACK):
            pass

    def close(self) -> None:
        self._socket.close()

    def call(self, path: str, message: bytes, ends: bool = True) -> int:
        """Begins an RPC with its first message. Returns its stream."""
        stream = self._next_stream
        self._next_stream += 2
        flags = END_STREAM if ends else 0
        self._socket.sendall(
            frame(HEADERS, END_HEADERS, stream, call_headers(path.encode()))
            + frame(DATA, flags, stream, call_message(message))
        )
        return stream

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            more = self._socket.recv(1 << 20)
            if not more:
                raise EOFError
            self._received += more
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def read_frame(self) -> Tuple[int, int, int, bytes]:
        """Kind, flags, stream and payload of the next. EOFError at the connection's end."""
        head = self._read(9)
        size = int.from_bytes(head[:3], "big")
        stream = int.from_bytes(head[5:9], "big") & WINDOW_MAX
        return head[3], head[4], stream, self._read(size)

    def read_to_end(self, streams: List[int]) -> Tuple[Dict[int, int], Optional[str]]:
        """Bytes of data that come for each of the streams until they have all ended, and how the
        connection ended if it did before."""
        data = {stream: 0 for stream in streams}
        open_streams = set(streams)
        while open_streams:
            try:
                kind, flags, stream, payload = self.read_frame()
            except (EOFError, ssl.SSLError, ConnectionError) as error:
                return data, type(error).__name__
            if kind == DATA:
                data[stream] += len(payload)
            if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                open_streams.discard(stream)
            if kind == PING and not flags & ACK:
                self._socket.sendall(frame(PING, ACK, 0, payload))
        return data, None
