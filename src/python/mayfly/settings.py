"""Where the server is, who the caller is, and how a client goes about it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tomllib
from typing import Any, Mapping

from mayfly import arguments
from mayfly.errors import InvalidArgument
from mayfly.server_address import server_address

_KEYS = ("server", "ca", "cert", "key")
TRANSPORTS = ("auto", "grpcio", "native")


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that a client can be told; times are in seconds or a timedelta, sizes in bytes.

      server: host:port, or the host for port 7443; all addresses of the host must be one
        server's. Required, as the next three.
      ca: PEM file: whom to trust as a server.
      cert: PEM file: who this client is, tenant and role.
      key: PEM file: the key of cert.
      server_name: The name to expect in the server's certificate. Default: the host of
        `server`.
      timeout: How long a call may take with all its repetitions, beyond the wait for an
        output; how long such a wait goes on while the server cannot be reached; how long a
        transfer of a large payload may make no progress. More than 0. Default: 30.
      linger: Calls of many threads or tasks at the same time travel together. A call that
        finds none of its kind under way leaves at once, or when it has lingered this long
        for company: 0..0.001. Default: 0.
      batch_bytes_max: Requests are split, and answers asked for, in messages of about this
        size: 1..67108864. Default: 3 MiB, which suits gRPC servers and proxies with stock
        limits.
      data_bytes_max: The largest payload that is read into memory; larger ones want to be
        streamed. Default: 256 MiB.
      lease: How long a claim holds without renewal; held ones are renewed. 1 up to the
        server's limit. Default: 30.
      attempts_max: How often a call is tried that could not reach the server; 1: never
        repeated. Default: 100.
      delay_min: The first pause between two tries. It doubles, less a random part of up to
        a half. Default: 0.05.
      delay_max: The longest pause. One that the server asks for may be longer. Default: 5.
      keepalive_time: After how long a silence to ask whether the connection is alive. 10 or
        more. Default: 20.
      keepalive_timeout: How long to wait for the answer to that. More than 0. Default: 10.
      transport: How requests travel. "native": by the module mayfly._native, many on one stream;
        large ones and streams by gRPC for Python. "grpcio": all by that. "auto": native where there
        is the module, but for asyncio, where it gains nothing, grpcio. MAYFLY_PYTHON_TRANSPORT is in
        place of "auto". Default: "auto".
    """

    server: str
    ca: str
    cert: str
    key: str
    server_name: str = ""
    timeout: float = 30.0
    linger: float = 0.0
    batch_bytes_max: int = 3 << 20
    data_bytes_max: int = 256 << 20
    lease: float = 30.0
    attempts_max: int = 100
    delay_min: float = 0.05
    delay_max: float = 5.0
    keepalive_time: float = 20.0
    keepalive_timeout: float = 10.0
    transport: str = "auto"

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
        object.__setattr__(self, "server", server_address(self.server))
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
        if self.transport not in TRANSPORTS:
            raise InvalidArgument(
                f"transport is {self.transport!r}, expected {', '.join(TRANSPORTS)}"
            )

    def _check(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if not least <= value <= most:
            unit = " bytes" if "bytes" in name else "" if name == "attempts_max" else " seconds"
            raise InvalidArgument(f"{name} is {value}, limits are {least:g} and {most:.16g}{unit}")

    @classmethod
    def from_env(
        cls, environment: Mapping[str, str] | None = None, *, profile: str = "", **settings: Any
    ) -> Settings:
        """Each of server, ca, cert and key comes from the first of these that has it: `settings`, the
        table [profiles.PROFILE] of the TOML file if a profile is named, MAYFLY_SERVER, MAYFLY_CA,
        MAYFLY_CERT and MAYFLY_KEY, and the file itself. The file is MAYFLY_CONFIG or
        ~/.config/mayfly/config.toml, as for the command line tool. Relative paths in it start from
        its directory.

        InvalidArgument: one is missing everywhere, or the file is not good, or lacks the profile.
        """
        if environment is None:
            environment = os.environ
        file = _SettingsFile.read(_config_path(environment))
        sources = [
            {key: value for key, value in settings.items() if key in _KEYS},
            file.profile(profile) if profile else {},
            {key: environment.get(f"MAYFLY_{key.upper()}", "") for key in _KEYS},
            file.values,
        ]
        found: dict[str, Any] = {}
        for key in _KEYS:
            found[key] = next((source[key] for source in sources if source.get(key)), "")
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


@dataclasses.dataclass
class _SettingsFile:
    name: str
    values: dict[str, str] = dataclasses.field(default_factory=dict)
    profiles: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, path: pathlib.Path | None) -> _SettingsFile:
        if path is None:
            return cls("")
        file = cls(f"config file {path}")
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidArgument(f"{file.name}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise InvalidArgument(f"{file.name}: not TOML: {error}") from None
        profiles = document.pop("profiles", {})
        file.values = file._checked(document, path.parent)
        if not isinstance(profiles, dict):
            raise InvalidArgument(f"{file.name}: profiles must be a table of tables")
        for name, table in profiles.items():
            if not isinstance(table, dict):
                raise InvalidArgument(f"{file.name}: the profile {name} must be a table")
            file.profiles[name] = file._checked(table, path.parent)
        return file

    def profile(self, name: str) -> dict[str, str]:
        if not self.name:
            raise InvalidArgument(
                f"the profile {name} is looked for in a config file, and there is none: "
                "set MAYFLY_CONFIG"
            )
        if name not in self.profiles:
            known = ", ".join(sorted(self.profiles)) or "none"
            raise InvalidArgument(f"{self.name}: has no profile {name}; its profiles: {known}")
        return self.profiles[name]

    def _checked(self, table: dict[str, Any], directory: pathlib.Path) -> dict[str, str]:
        for key, value in table.items():
            if key not in _KEYS:
                raise InvalidArgument(
                    f"{self.name}: unknown key {key}, expected server, ca, cert, key or profiles"
                )
            if not isinstance(value, str):
                raise InvalidArgument(f"{self.name}: {key} must be a string")
        return {
            key: str(directory / value) if value and key != "server" else value
            for key, value in table.items()
        }
