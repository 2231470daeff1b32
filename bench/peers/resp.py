"""A connection to Redis for single commands, over TLS; nothing that is measured goes through it."""

import socket
import ssl
import time


class Error(Exception):
    """What Redis answered instead."""


class Connection:
    def __init__(self, port, certificates):
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        self._socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port)),
                                           server_hostname="localhost")
        self._replies = self._socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._replies.close()
        self._socket.close()

    def command(self, *words):
        """An int, bytes, or None; raises Error."""
        encoded = [str(word).encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(encoded)
                             + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
        line = self._replies.readline()
        if not line:
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        size = int(rest)
        return None if size < 0 else self._replies.read(size + 2)[:-2]


def wait_for_key(port, certificates, key, seconds_max):
    """Monotonic time of the first answer with the value of `key`, however often it takes asking."""
    end = time.monotonic() + seconds_max
    while time.monotonic() < end:
        try:
            with Connection(port, certificates) as connection:
                while time.monotonic() < end:
                    try:
                        if connection.command("GET", key) is not None:
                            return time.monotonic()
                    except Error as error:
                        if not str(error).startswith("LOADING"):
                            raise
                    time.sleep(0.002)
        except OSError:
            time.sleep(0.002)
    raise TimeoutError(f"Redis did not answer within {seconds_max} s")


def wait_for_rewrite(port, certificates):
    """Until no rewrite of the append-only file is under way."""
    with Connection(port, certificates) as connection:
        while b"aof_rewrite_in_progress:1" in connection.command("INFO", "persistence"):
            time.sleep(0.2)
