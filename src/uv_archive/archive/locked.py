"""The lock's copy: the lock as it was, without the secrets that URLs can have."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit, urlunsplit

from uv_archive.errors import LockError

# The parts of TOML in which a URL can stand: strings of the four kinds, and comments.
_TOKEN = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*''',
    re.DOTALL,
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s<>]*")
# A lock without these has nothing to take out: user information, a query string, an escape.
_SUSPICIOUS = re.compile(rb"://[^/\s]*@|://[^\s]*[?]|\\")
# What uv writes into the query string of a git source. None of it is secret.
_OF_GIT = frozenset({"subdirectory", "path", "lfs", "tag", "branch", "rev"})
_KEY_GIT = re.compile(r"""(?<![\w-])git["']?\s*=\s*\Z""")


def without_secrets(content: bytes) -> bytes:
    """Take credentials and query strings out of every URL of a lock, and change nothing else.

    A git source keeps the parameters that uv itself writes (`?tag=v1`) and ssh's user `git`.
    A lock that has neither comes back byte for byte. Raises `LockError` if something would
    be left.
    """
    if not _SUSPICIOUS.search(content):
        return content
    text = content.decode()

    def cleaned(match: re.Match[str]) -> str:
        of_git = bool(_KEY_GIT.search(text, max(0, match.start() - 40), match.start()))
        return _token(match[0], of_git=of_git)

    result = _TOKEN.sub(cleaned, text)
    try:
        document = tomllib.loads(result)
    except ValueError as error:
        raise LockError(f"it isn't TOML: {str(error).splitlines()[0]}") from error
    check_without_secrets(document)
    return result.encode()


def check_without_secrets(value: object, *, of_git: bool = False, place: str = "") -> None:
    """Raise `LockError` if a string of a TOML document has what `without_secrets` takes out."""
    match value:
        case str():
            if _text(value, of_git=of_git) != value:
                raise LockError(
                    "the lock has a URL with credentials or a query string, written so that they "
                    "can't be taken out",
                    place=place,
                    hint="Lock again, with credentials in the environment or in netrc",
                )
        case Mapping():
            for key, item in value.items():
                inner = f"{place}.{key}" if place else str(key)
                check_without_secrets(item, of_git=key == "git", place=inner)
        case Sequence():
            for position, item in enumerate(value):
                check_without_secrets(item, of_git=of_git, place=f"{place}[{position}]")
        case _:
            return


def without_credentials(url: str, *, of_git: bool = False) -> str:
    """Return what of a URL may be written down; its fragment stays.

    Raises `ValueError` for a URL that can't be taken apart.
    """
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if at and (user != "git" or parts.scheme not in {"ssh", "git+ssh"}):
        parts = parts._replace(netloc=host)
    if parts.query:
        kept = [p for p in parts.query.split("&") if of_git and p.partition("=")[0] in _OF_GIT]
        parts = parts._replace(query="&".join(kept))
    if parts == urlsplit(url):
        return url
    return urlunsplit(parts)


def _token(token: str, *, of_git: bool) -> str:
    if "\\" in token and not token.startswith(("'", "#")):
        value = tomllib.loads(f"value = {token}")["value"]
        changed = _text(value, of_git=of_git)
        return token if changed == value else json.dumps(changed, ensure_ascii=False)
    quote = re.match(r"\"{3}|'{3}|[\"'#]", token)
    mark = quote[0] if quote else ""
    end = "" if mark == "#" else mark
    inner = token[len(mark) : len(token) - len(end)]
    return f"{mark}{_text(inner, of_git=of_git)}{end}"


def _text(text: str, *, of_git: bool) -> str:
    if "://" not in text:
        return text
    return _URL.sub(lambda match: _url(match[0], of_git=of_git), text)


def _url(url: str, *, of_git: bool) -> str:
    try:
        return without_credentials(url, of_git=of_git or url.startswith("git+"))
    except ValueError:
        # Not a URL that anything could use: keep what comes before the part that can be secret.
        return url.partition("://")[0] + "://"
