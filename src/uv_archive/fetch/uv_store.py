"""Credentials that `uv auth login` keeps.

By default that is a text file, which is read here: `uv auth token` starts a process for each
question, has to be told the user name, and gives out no bearer tokens. The keychain of the
system (uv's preview feature `native-auth`) is read through `uv auth token`.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from uv_archive.fetch.login import Credential, Login, Question, Token, UnreadableSourceError
from uv_archive.url import Url
from uv_archive.uv import Uv

_LOCAL = ("localhost", "127.0.0.1")
_HINT = "log in again with `uv auth login`, or name another directory in `UV_CREDENTIALS_DIR`"

# A service, and the user whose credentials they are.
_Entries = Mapping[tuple[Url, str | None], Credential]


class UvTextStore:
    """Those of `credentials.toml` in the directory that uv keeps it in.

    Of the services whose URL *the* URL lies below, the one with the longest path counts. Where
    it has several users, and none is asked for, none is taken.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._path = _directory(environ) / "credentials.toml"

    def login(self, question: Question) -> Credential | None:
        fitting = {
            key: credential
            for key, credential in self._entries.items()
            if _covers(key[0], question.url) and question.user in (None, key[1])
        }
        longest = max((_depth(service) for service, _ in fitting), default=0)
        best = [found for (service, _), found in fitting.items() if _depth(service) == longest]
        if len(best) > 1:
            # uv looks for the very URL without a user first: that is a token.
            path = _path(question.url)
            best = [
                found
                for (service, user), found in fitting.items()
                if user is None and _path(service) == path
            ]
        return best[0] if len(best) == 1 else None

    @cached_property
    def _entries(self) -> _Entries:
        try:
            tables = tomllib.loads(self._path.read_text("utf-8")).get("credential", [])
            return dict(map(_entry, tables))
        except FileNotFoundError:
            return {}
        except OSError as error:
            reason = f"`{self._path}` can't be read: {error.strerror}"
        except (ValueError, TypeError, AttributeError, KeyError):
            # What they say repeats what stands there.
            reason = f"`{self._path}` isn't what uv writes"
        raise UnreadableSourceError(reason, hint=_HINT)


def _entry(table: Mapping[str, object]) -> tuple[tuple[Url, str | None], Credential]:
    service, user = _service(_text(table["service"])), table.get("username")
    match table.get("scheme", "basic"):
        case "basic":
            password = table.get("password")
            login = Login(user=_text(user), password=None if password is None else _text(password))
            return (service, login.user), login
        case "bearer":
            return (service, None), Token(_text(table["token"]))
        case _:
            raise ValueError("a scheme that isn't known")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected a string")
    return value


def _service(text: str) -> Url:
    """Read the URL of a service as uv does: over https, but for this machine."""
    url = Url.parse(text if "://" in text else f"https://{text}")
    if url.scheme != "https" and not (url.scheme == "http" and url.host in _LOCAL):
        raise ValueError("not a service that uv logs in to")
    return url


def _covers(service: Url, url: Url) -> bool:
    prefix, path = _path(service), _path(url)
    return service.origin == url.origin and (
        path == prefix or path.startswith(prefix if prefix.endswith("/") else f"{prefix}/")
    )


def _depth(service: Url) -> int:
    return len(_path(service))


def _path(url: Url) -> str:
    return urlsplit(url.exposed).path or "/"


def _directory(environ: Mapping[str, str]) -> Path:
    """Return uv's directory for credentials: that of `UV_CREDENTIALS_DIR`, or below its data."""
    if named := environ.get("UV_CREDENTIALS_DIR"):
        return Path(named)
    places = list(_data_directories(environ))
    # uv stays with a directory of its older versions, where there is one.
    found = next((place for place in places[:-1] if place.is_dir()), places[-1])
    return found / "credentials"


def _data_directories(environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or os.sep)
    if os.name == "nt":
        roaming = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
        yield roaming / "uv" / "data"
        yield roaming / "uv"
        return
    if sys.platform == "darwin":
        yield home / "Library" / "Application Support" / "uv"
    data = Path(environ.get("XDG_DATA_HOME", ""))
    yield (data if data.is_absolute() else home / ".local" / "share") / "uv"


class UvNativeStore:
    """Those of the system's keychain, as uv reads it. It needs to know the user."""

    def __init__(self, uv: Uv, environ: Mapping[str, str]) -> None:
        self._uv = uv
        features = environ.get("UV_PREVIEW_FEATURES", "")
        self._environ = {
            **environ,
            "UV_PREVIEW_FEATURES": f"{features},native-auth".removeprefix(","),
        }

    def login(self, question: Question) -> Login | None:
        if question.user is None:
            return None
        said = self._uv.run(
            ["auth", "token", "--username", question.user, "--", service_name(question.place)],
            environment=self._environ,
        )
        password = said.stdout.removesuffix("\n")
        return Login(user=question.user, password=password) if said.status == 0 else None


def service_name(url: Url) -> str:
    """Return a URL in the form in which it is a key: as the `url` crate writes it.

    User name, password, query string and fragment are left out: others see the command line.
    """
    parts = urlsplit(url.exposed)
    host = f"[{url.host}]" if ":" in url.host else url.host
    default = {"http": 80, "https": 443}.get(url.scheme)
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{url.scheme}://{host}{port}{parts.path or '/'}"
