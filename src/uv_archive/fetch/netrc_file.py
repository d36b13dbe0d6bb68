"""Credentials of a netrc file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from netrc import NetrcParseError, netrc
from pathlib import Path

from uv_archive.fetch.login import Login, Question, UnreadableSourceError


class NetrcFile:
    """Those of the file that `NETRC` names, else of `.netrc` in the home directory.

    What `default` says there goes to every host that asks.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._candidates = [
            Path(environ["NETRC"]).expanduser() if environ.get("NETRC") else None,
            *(
                Path(environ[home]) / name
                for home in ("HOME", "USERPROFILE")
                if environ.get(home)
                for name in (".netrc", "_netrc")
            ),
        ]

    def login(self, question: Question) -> Login | None:
        found = self._hosts.get(question.url.host) or self._hosts.get("default")
        if found is None or question.user not in (None, found.user):
            return None
        return found

    @cached_property
    def _hosts(self) -> Mapping[str, Login]:
        path = next((path for path in self._candidates if path is not None and _exists(path)), None)
        return {} if path is None else _read(path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # there is something; reading it tells what is wrong


def _read(path: Path) -> Mapping[str, Login]:
    hint = "repair the file, or name another one in `NETRC`"
    try:
        hosts = netrc(str(path)).hosts
    except NetrcParseError as error:
        # Its own message repeats the token that it doesn't understand: a password, maybe.
        place = f" (line {error.lineno})" if error.lineno else ""
        raise UnreadableSourceError(f"`{path}` can't be understood{place}", hint=hint) from None
    except OSError as error:
        reason = f"`{path}` can't be read: {error.strerror}"
        raise UnreadableSourceError(reason, hint=hint) from None
    except ValueError:
        raise UnreadableSourceError(f"`{path}` isn't text in UTF-8", hint=hint) from None
    return {
        host.lower(): Login(user=user, password=word) for host, (user, _, word) in hosts.items()
    }
