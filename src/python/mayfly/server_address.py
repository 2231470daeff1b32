"""Where the server is: host:port, as a caller says it."""

from __future__ import annotations

from mayfly.errors import InvalidArgument

PORT = 7443
_PORT_MAX = 65535
# gRPC's own ways to name a server, which are left to gRPC.
_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")


def server_address(server: str) -> str:
    """`server` with its port, which is 7443 if it is missing. InvalidArgument."""
    if server.startswith(_SCHEMES):
        return server
    if server.startswith("["):
        address, bracket, rest = server[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _error(server, "expected an IPv6 address in brackets, such as [::1]:7443")
        host, port = f"[{address}]", rest
    elif server.count(":") == 1:
        address, colon, number = server.partition(":")
        host, port = address, colon + number
    else:
        address, port = server, ""
        host = f"[{server}]" if ":" in server else server
    if not address or any(not each.isprintable() or each in " /[]" for each in address):
        raise _error(server, "expected host:port, such as mayfly.example:7443")
    if not port:
        return f"{host}:{PORT}"
    number = port[1:]
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= _PORT_MAX):
        raise _error(server, f"range of the port is 1 to {_PORT_MAX}")
    return f"{host}:{int(number)}"


def _error(server: str, expected: str) -> InvalidArgument:
    return InvalidArgument(f"server is {server}, {expected}")
