"""Credentials: which user name and password go with a request, found where uv finds them.

Source: uv's `uv-auth` (middleware, cache and index).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from uv_archive.fetch.keyring import AskedOnce, Keyring, keyring_provider
from uv_archive.fetch.login import (
    Credential,
    CredentialSource,
    Login,
    Question,
    Token,
    UnreadableSourceError,
)
from uv_archive.fetch.netrc_file import NetrcFile
from uv_archive.fetch.transport import Refused
from uv_archive.fetch.uv_store import UvNativeStore, UvTextStore
from uv_archive.settings import Index, Settings
from uv_archive.url import Url
from uv_archive.uv import Uv

_HUGGING_FACE = ("https", "huggingface.co", 443)
_NOTHING: Mapping[str, str] = {}


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
        if user or password is not None:
            return Login(user=user or "", password=password)
    return _url_login(index.url)


def _url_login(url: Url) -> Login | None:
    if url.credentials is None:
        return None
    user, password = url.credentials
    return Login(user=user, password=password if ":" in _userinfo(url) else None)


def _userinfo(url: Url) -> str:
    return urlsplit(url.exposed).netloc.rpartition("@")[0]


class HuggingFaceToken:
    """That of `HF_TOKEN`, for the host that it is of."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        token = None if "UV_NO_HF_TOKEN" in environ else environ.get("HF_TOKEN")
        self._token = Token(token) if token else None

    def login(self, question: Question) -> Token | None:
        return self._token if question.url.origin == _HUGGING_FACE else None


class Credentials:
    """The user name and password for each URL, and nothing of one origin for another.

    *indexes* have theirs from their URLs and *environ*; *sources* are asked in their order, and
    only once a server has asked.
    """

    def __init__(
        self,
        sources: Sequence[CredentialSource] = (),
        *,
        indexes: Sequence[Index] = (),
        environ: Mapping[str, str] = _NOTHING,
        remark: str = "",
    ) -> None:
        self._sources = tuple(sources)
        self._indexes = _deepest_first(indexes)
        self._known = IndexCredentials(indexes, environ)
        self._remark = remark
        self._unreadable: dict[str, None] = {}

    @classmethod
    def of(cls, settings: Settings, *, uv: Uv) -> Credentials:
        """Look where uv looks with these settings. Raises `RequestError` for unknown ones."""
        environ, provider = settings.environment, keyring_provider(settings)
        sources: list[CredentialSource] = [*_files(environ)]
        native = AskedOnce(UvNativeStore(uv, environ))
        if _has_native_store(settings):
            sources.append(native)
        if provider == "subprocess":
            sources.append(AskedOnce(Keyring(environ)))
        elif provider == "native":
            sources.append(native)
        without = provider == "subprocess" and not shutil.which("keyring", path=environ.get("PATH"))
        remark = "; the command `keyring`, which is to be asked, isn't there" if without else ""
        return cls(sources, indexes=settings.indexes, environ=environ, remark=remark)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], *, indexes: Sequence[Index] = ()
    ) -> Credentials:
        """Look only in what needs no other program: indexes, netrc, uv's text store."""
        return cls(_files(environ), indexes=indexes, environ=environ)

    def for_url(self, url: Url, *, asked: bool = False) -> Credential | None:
        """Return what goes with a request; *asked* after a 401, 403 or 404.

        An index with `authenticate = "never"` gets none; one with "always" counts as having
        asked, and raises `Refused` where there are none.
        """
        index = next((index for index in self._indexes if _covers(index, url)), None)
        when = index.authenticate if index is not None else "auto"
        if when == "never":
            return None
        found = self._look_up(url, index, asked=asked or when == "always")
        if when == "always" and (found is None or not found.is_complete):
            raise Refused(f"there are no credentials for `{url}`", hint=self.hint(url))
        return found

    def _look_up(self, url: Url, index: Index | None, *, asked: bool) -> Credential | None:
        own = _url_login(url)
        # A user name alone needs its password: look everywhere, and take no other user's.
        asked = asked or own is not None
        known = own
        if own is None or not own.is_complete:
            login = self._known.login(url, asked=asked)
            if login is not None and (own is None or own.user == login.user):
                known = login
        if not asked or (known is not None and known.is_complete):
            return known
        question = Question(url=url, index=index, user=known.user if known else None)
        return next(self._answers(question), known)

    def _answers(self, question: Question) -> Iterator[Credential]:
        """Yield what the sources know. As in uv one that can't be read knows nothing."""
        for source in self._sources:
            try:
                answer = source.login(question)
            except UnreadableSourceError as error:
                self._unreadable[f"{error.message}: {error.hint}"] = None
                continue
            if answer is not None:
                yield answer

    def hint(self, url: Url) -> str:
        """Say how to give credentials for *url*, and where none could be read."""
        return "; ".join([*self._unreadable, self._how(url)])

    def _how(self, url: Url) -> str:
        netrc = f"add `{url.host}` to your netrc file{self._remark}"
        near = [index for index in self._indexes if index.url.origin == url.origin]
        near.sort(key=lambda index: not _covers(index, url))
        for index in near:
            if index.name is not None:
                user, password = _variables(index.name)
                return f"set `{user}` and `{password}`, log in with `uv auth login`, or {netrc}"
        return (
            "set `UV_INDEX_<NAME>_USERNAME` and `UV_INDEX_<NAME>_PASSWORD` of an index that is "
            f"configured by name, log in with `uv auth login`, or {netrc}"
        )


def _files(environ: Mapping[str, str]) -> tuple[CredentialSource, ...]:
    return (HuggingFaceToken(environ), NetrcFile(environ), UvTextStore(environ))


def _has_native_store(settings: Settings) -> bool:
    """Whether uv's preview feature is on that keeps credentials in the system's keychain."""
    named = settings.environment.get("UV_PREVIEW_FEATURES", "").split(",")
    configured = settings.options.get("preview-features", [])
    return (
        settings.is_set("preview")
        or "native-auth" in map(str.strip, named)
        or (isinstance(configured, list) and "native-auth" in configured)
    )
