"""Where the server is, who the caller is, and how a client goes about it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tomllib
from typing import Any, Mapping

from mayfly import arguments
from mayfly.errors import InvalidArgument

_KEYS = ("server", "ca", "cert", "key")


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that a client can be told; times are in seconds, sizes in bytes."""

    server: str
    """host:port; all addresses of the host must be one server's."""
    ca: str
    """PEM file: whom to trust as a server."""
    cert: str
    """PEM file: who this client is, tenant and role."""
    key: str
    """PEM file: the key of cert."""
    server_name: str = ""
    """The name to expect in the server's certificate. Default: the host of `server`."""
    timeout: float = 30.0
    """How long a call may take with all its repetitions, beyond the wait for an output; a transfer
    of a large payload, without progress. More than 0."""
    linger: float = 0.0
    """Calls of many threads or tasks at the same time travel together. A call that finds none of
    its kind under way leaves at once, or when it has lingered this long for company: 0..0.001."""
    batch_bytes_max: int = 3 << 20
    """Requests are split, and answers asked for, in messages of about this size: 1..67108864. The
    default suits gRPC servers and proxies with stock limits."""
    data_bytes_max: int = 256 << 20
    """The largest payload that is read into memory; larger ones want to be streamed."""
    lease: float = 30.0
    """How long a claim holds without renewal; held ones are renewed. 1 up to the server's limit."""
    attempts_max: int = 100
    """How often a call is tried that could not reach the server; 1: never repeated."""
    delay_min: float = 0.05
    """The first pause between two tries. It doubles, less a random part of up to a half."""
    delay_max: float = 5.0
    """The longest pause. One that the server asks for may be longer."""
    keepalive_time: float = 20.0
    """After how long a silence to ask whether the connection is alive. 10 or more."""
    keepalive_timeout: float = 10.0
    """How long to wait for the answer to that. More than 0."""

    def __post_init__(self) -> None:
        """Takes paths and timedeltas too."""
        for field in dataclasses.fields(self):
            value = _normal(field.name, field.default, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        for name in _KEYS:
            if not getattr(self, name):
                raise InvalidArgument(
                    f"no {name}: give {name}=, MAYFLY_{name.upper()} or {name} in a config file"
                )
        self._check("timeout", 1e-3, 86400.0)
        self._check("linger", 0.0, 0.001)
        self._check("batch_bytes_max", 1, 64 << 20)
        self._check("data_bytes_max", 1, 64 << 30)
        self._check("lease", 1.0, 3600.0)
        self._check("attempts_max", 1, 1 << 30)
        self._check("delay_min", 1e-3, 3600.0)
        self._check("delay_max", self.delay_min, 3600.0)
        self._check("keepalive_time", 10.0, 86400.0)
        self._check("keepalive_timeout", 1e-3, 86400.0)

    def _check(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if not least <= value <= most:
            unit = " bytes" if "bytes" in name else "" if name == "attempts_max" else " seconds"
            raise InvalidArgument(f"{name} is {value}, limits are {least:g} and {most:.16g}{unit}")

    @classmethod
    def from_env(
        cls, environment: Mapping[str, str] | None = None, **settings: Any
    ) -> Settings:
        """From `settings`, else MAYFLY_SERVER, MAYFLY_CA, MAYFLY_CERT and MAYFLY_KEY, else the TOML
        file MAYFLY_CONFIG or ~/.config/mayfly/config.toml with server, ca, cert and key, as the
        command line tool. Relative paths in the file start from its directory.

        InvalidArgument: one is missing everywhere, or the file is not good.
        """
        if environment is None:
            environment = os.environ
        found: dict[str, Any] = {key: environment.get(f"MAYFLY_{key.upper()}", "") for key in _KEYS}
        found.update((key, value) for key, value in settings.items() if key in _KEYS and value)
        path = _config_path(environment)
        if path is not None:
            for key, value in _read_file(path).items():
                found[key] = found[key] or value
        others = {key: value for key, value in settings.items() if key not in _KEYS}
        return cls(**found, **others)


def _normal(name: str, default: Any, value: Any) -> Any:
    if name in ("ca", "cert", "key"):
        return arguments.path_from(value, name)
    if isinstance(default, float):
        return arguments.seconds_from(value, name)
    if isinstance(default, int):
        return arguments.integer_from(value, name)
    return arguments.text_from(value, name)


def _config_path(environment: Mapping[str, str]) -> pathlib.Path | None:
    named = environment.get("MAYFLY_CONFIG", "")
    if named:
        return pathlib.Path(named)
    home = environment.get("HOME", "")
    usual = pathlib.Path(home, ".config/mayfly/config.toml")
    return usual if home and usual.exists() else None


def _read_file(path: pathlib.Path) -> dict[str, str]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgument(f"config file: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidArgument(f"config file: not TOML: {error}") from None
    for key, value in document.items():
        if key not in _KEYS:
            raise InvalidArgument(f"config file: unknown key {key}, wants server, ca, cert or key")
        if not isinstance(value, str):
            raise InvalidArgument(f"config file: {key} wants a string")
    return {
        key: str(path.parent / value) if value and key != "server" else value
        for key, value in document.items()
    }
