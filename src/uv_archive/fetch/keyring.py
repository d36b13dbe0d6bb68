"""Credentials of a keyring, by the command of that name, as uv asks it.

Source: uv's `crates/uv-auth/src/keyring.rs`, which follows pip.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from typing import Literal, cast, get_args

from uv_archive.errors import RequestError
from uv_archive.fetch.login import Credential, CredentialSource, Login, Question
from uv_archive.fetch.uv_store import service_name
from uv_archive.settings import Settings
from uv_archive.url import Url

KeyringProvider = Literal["disabled", "subprocess", "native"]

# Seconds. A keyring may be waiting for somebody to unlock it.
_PATIENCE = 300.0


def keyring_provider(settings: Settings) -> KeyringProvider:
    """Return what `UV_KEYRING_PROVIDER`, else the setting `keyring-provider`, says.

    Raises `RequestError` for what uv doesn't know either.
    """
    chosen = settings.environment.get("UV_KEYRING_PROVIDER") or settings.options.get(
        "keyring-provider", "disabled"
    )
    provider = next((known for known in get_args(KeyringProvider) if known == chosen), None)
    if provider is not None:
        return cast("KeyringProvider", provider)
    raise RequestError(
        f"uv has no keyring provider `{chosen}`",
        hint="`keyring-provider` is `subprocess` or `disabled`",
    )


class Keyring:
    """Those that `keyring get` gives out.

    It is slow to start, so it is asked only for a user who is named, and for the indexes that
    are configured with `authenticate = "always"`: first for the URL, then for its host. What it
    says to standard error, nobody sees.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def login(self, question: Question) -> Login | None:
        if question.user is None and not question.is_demanded:
            return None
        command = shutil.which("keyring", path=self._environ.get("PATH"))
        if command is None:
            return None
        answers = (self._get(command, name, question.user) for name in _names(question.place))
        return next((answer for answer in answers if answer is not None), None)

    def _get(self, command: str, service: str, user: str | None) -> Login | None:
        who = ["--mode", "creds"] if user is None else [user]
        try:
            finished = subprocess.run(  # noqa: S603 - an argument vector, no shell
                [command, "get", service, *who],
                env=dict(self._environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_PATIENCE,
            )
            lines = finished.stdout.decode().splitlines()
        except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired):
            return None
        if finished.returncode:
            return None
        return _answer(lines, user)


def _answer(lines: list[str], user: str | None) -> Login | None:
    if user is not None:
        return Login(user=user, password="\n".join(lines).rstrip())
    return Login(user=lines[0], password=lines[1]) if len(lines) > 1 else None


def _names(url: Url) -> Iterator[str]:
    """Yield the names under which a keyring may know a URL, in uv's order."""
    name = service_name(url)
    host = name.partition("://")[2].partition("/")[0]
    yield name
    yield host
    if url.scheme != "https":
        yield f"{url.scheme}://{host}"


class AskedOnce:
    """Ask another place only once for each index, or for each origin outside of all of them."""

    def __init__(self, source: CredentialSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._answers: dict[tuple[object, str | None], Credential | None] = {}

    def login(self, question: Question) -> Credential | None:
        place = question.url.origin if question.index is None else question.index.url
        key = (place, question.user)
        with self._lock:
            if key not in self._answers:
                self._answers[key] = self._source.login(question)
            return self._answers[key]
