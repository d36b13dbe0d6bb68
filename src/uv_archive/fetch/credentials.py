"""Credentials: which user name and password go with a request, found where uv finds them.

Source: uv's `uv-auth` (middleware, cache and index). Its other places (a keyring, uv's own
store) are further implementations of `CredentialSource`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from uv_archive.errors import RequestError
from uv_archive.fetch.transport import Refused
from uv_archive.settings import Index
from uv_archive.url import Url


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """What basic authentication sends. Neither part is ever printed: tokens stand in both."""

    user: str = field(repr=False)
    password: str | None = field(repr=False)


class CredentialSource(Protocol):
    """A place where credentials are kept."""

    def login(self, url: Url, *, asked: bool) -> Login | None:
        """Return what belongs to *url*.

        Before a server has *asked*, only what is certain to be meant for this very URL:
        credentials that aren't needed make some servers refuse. Raises `RequestError`.
        """


class IndexCredentials:
    """Those of the configured indexes: `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD`, or the URL's.

    They go with the first request below the index, the longest path preferred. A server that
    asks gets those of any index of the same scheme, host and port.
    """

    def __init__(self, indexes: Sequence[Index], environ: Mapping[str, str]) -> None:
        found = [(index, _index_login(index, environ)) for index in _deepest_first(indexes)]
        self._logins = [(index, login) for index, login in found if login is not None]

    def login(self, url: Url, *, asked: bool) -> Login | None:
        for index, login in self._logins:
            if _covers(index, url):
                return login
        if asked:
            for index, login in self._logins:
                if index.url.origin == url.origin:
                    return login
        return None


def _variables(name: str) -> tuple[str, str]:
    """Return the environment variables with user name and password of an index of that name."""
    stem = re.sub(r"[^A-Z0-9]", "_", name.upper())
    return (f"UV_INDEX_{stem}_USERNAME", f"UV_INDEX_{stem}_PASSWORD")


def _root(index: Index) -> str:
    """Return the path below which an index's files are expected, without a slash at its end.

    A last segment `simple` (`+simple` for devpi) is left aside, because files stand beside it.
    """
    path = urlsplit(index.url.exposed).path.rstrip("/")
    above, _, last = path.rpartition("/")
    return above if last.lower() in ("simple", "+simple") else path


def _deepest_first(indexes: Sequence[Index]) -> Sequence[Index]:
    return sorted(indexes, key=lambda index: len(_root(index)), reverse=True)


def _covers(index: Index, url: Url) -> bool:
    """Whether *url* lies below an index: same origin, and its path as whole segments."""
    path = urlsplit(url.exposed).path
    return index.url.origin == url.origin and f"{path}/".startswith(f"{_root(index)}/")


def _index_login(index: Index, environ: Mapping[str, str]) -> Login | None:
    if index.name is not None:
        user, password = (environ.get(variable) for variable in _variables(index.name))
        if user is not None or password is not None:
            return Login(user=user or "", password=password)
    return _url_login(index.url)


def _url_login(url: Url) -> Login | None:
    if url.credentials is None:
        return None
    user, password = url.credentials
    return Login(user=user, password=password if ":" in _userinfo(url) else None)


def _userinfo(url: Url) -> str:
    return urlsplit(url.exposed).netloc.rpartition("@")[0]


class NetrcCredentials:
    """Those of the file that `NETRC` names, else of `.netrc` in the home directory.

    It is read when a server first asks. What `default` says there goes to every host that asks.
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

    def login(self, url: Url, *, asked: bool) -> Login | None:
        if not asked:
            return None
        return self._hosts.get(url.host) or self._hosts.get("default")

    @cached_property
    def _hosts(self) -> Mapping[str, Login]:
        path = next((path for path in self._candidates if path is not None and _exists(path)), None)
        return {} if path is None else _read_netrc(path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # there is something; reading it tells what is wrong


def _read_netrc(path: Path) -> Mapping[str, Login]:
    hint = "repair the file, or name another one in `NETRC`"
    try:
        hosts = netrc(str(path)).hosts
    except NetrcParseError as error:
        # Its own message repeats the token that it doesn't understand: a password, maybe.
        place = f" (line {error.lineno})" if error.lineno else ""
        raise RequestError(f"`{path}` can't be understood{place}", hint=hint) from None
    except OSError as error:
        raise RequestError(f"`{path}` can't be read: {error.strerror}", hint=hint) from None
    except ValueError:
        raise RequestError(f"`{path}` isn't text in UTF-8", hint=hint) from None
    return {
        host.lower(): Login(user=user, password=word) for host, (user, _, word) in hosts.items()
    }


class Credentials:
    """The user name and password for each URL, and nothing of one origin for another."""

    def __init__(
        self,
        sources: Sequence[CredentialSource] = (),
        *,
        indexes: Sequence[Index] = (),
    ) -> None:
        self._sources = tuple(sources)
        self._indexes = _deepest_first(indexes)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], *, indexes: Sequence[Index] = ()
    ) -> Credentials:
        """Look in uv's order: the URL itself, the configured indexes, netrc."""
        return cls((IndexCredentials(indexes, environ), NetrcCredentials(environ)), indexes=indexes)

    def for_url(self, url: Url, *, asked: bool = False) -> tuple[str, str] | None:
        """Return user name and password for a request; *asked* after a 401, 403 or 404.

        An index with `authenticate = "never"` gets none; one with "always" counts as having
        asked, and raises `Refused` where there are none.
        """
        index = next((index for index in self._indexes if _covers(index, url)), None)
        when = index.authenticate if index is not None else "auto"
        if when == "never":
            return None
        login = self._look_up(url, asked=asked or when == "always")
        if login is None:
            if when == "always":
                raise Refused(f"there are no credentials for `{url}`", hint=self.hint(url))
            return None
        return (login.user, login.password or "")

    def _look_up(self, url: Url, *, asked: bool) -> Login | None:
        own = _url_login(url)
        if own is not None and own.password is not None:
            return own
        # A user name alone needs its password: look everywhere, and take no other user's.
        for source in self._sources:
            login = source.login(url, asked=asked or own is not None)
            if login is not None and (own is None or own.user == login.user):
                return login
        return own

    def hint(self, url: Url) -> str:
        """Say how to give credentials for *url*."""
        netrc = f"add `{url.host}` to your netrc file"
        near = [index for index in self._indexes if index.url.origin == url.origin]
        near.sort(key=lambda index: not _covers(index, url))
        for index in near:
            if index.name is not None:
                user, password = _variables(index.name)
                return f"set `{user}` and `{password}`, or {netrc}"
        return (
            "set `UV_INDEX_<NAME>_USERNAME` and `UV_INDEX_<NAME>_PASSWORD` of an index that is "
            f"configured by name, or {netrc}"
        )
