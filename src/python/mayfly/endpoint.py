"""How clients and workers are made, blocking or not."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from mayfly.arguments import Path
from mayfly.settings import Settings

_SelfT = TypeVar("_SelfT", bound="Endpoint")


class Endpoint:
    _settings: Settings

    def __init__(self, server: str, *, ca: Path, cert: Path, key: Path, **settings: Any) -> None:
        """`server` is host:port, or a host for port 7443; `ca`, `cert` and `key` are PEM files;
        `settings` are those of Settings, times in seconds or as a timedelta. Connects with the first
        call.

        InvalidArgument: a file cannot be read, or a setting is out of its range.
        """
        files: Any = {"ca": ca, "cert": cert, "key": key}  # Settings makes them text
        self._begin(Settings(server, **files, **settings))

    @classmethod
    def from_env(cls: type[_SelfT], **settings: Any) -> _SelfT:
        """From the environment or a file, as the command line tool: see Settings.from_env."""
        self = cls.__new__(cls)
        self._begin(Settings.from_env(**settings))
        return self

    def _begin(self, settings: Settings) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._settings.server}>"

    def __reduce__(self) -> NoReturn:
        raise not_to_pickle(self)


def not_to_pickle(endpoint: object) -> TypeError:
    """Of what has connections or claims."""
    return TypeError(
        f"{type(endpoint).__name__} belongs to its process and cannot be pickled or copied: make one "
        "in each process; ids, payloads, errors and Settings can be pickled"
    )
