"""Mirrors: `--mirror FROM=TO` fetches the URLs that begin with FROM from TO instead."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from uv_archive.errors import RequestError
from uv_archive.url import Url

# FROM may itself contain `=`.
_SETTING = re.compile(r"(?P<origin>.+?)=(?P<mirror>https?://.+)", flags=re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Prefixes of URLs and what stands in for them, the longest prefix first."""

    rules: tuple[tuple[Url, Url], ...] = field(default=())

    @classmethod
    def parse(cls, settings: Iterable[str]) -> Mirrors:
        """Read `FROM=TO` settings. Raises `RequestError`, which never repeats credentials."""
        rules = [_rule(setting) for setting in settings]
        prefixes = [(source.origin, _path(source)) for source, _ in rules]
        for (source, _), prefix in zip(rules, prefixes, strict=True):
            if prefixes.count(prefix) > 1:
                raise RequestError(f"`--mirror` is given twice for `{source}`")
        return cls(tuple(sorted(rules, key=lambda rule: len(_path(rule[0])), reverse=True)))

    def apply(self, url: Url) -> Url:
        """Return where to fetch *url* from: the longest prefix that ends with a segment decides.

        What follows the prefix stays as it is, the query string included. User name and
        password of *url* belong to its own host and are left behind.
        """
        path = urlsplit(url.exposed).path or "/"
        for source, mirror in self.rules:
            prefix = _path(source)
            if url.origin == source.origin and (path == prefix or path.startswith(f"{prefix}/")):
                return _moved(url, path[len(prefix) :], mirror)
        return url


def _rule(setting: str) -> tuple[Url, Url]:
    match = _SETTING.fullmatch(setting)
    if match is None:
        raise RequestError(
            "`--mirror` takes `FROM=TO`, two URLs that begin with http:// or https://"
        )
    return _prefix(match["origin"]), _prefix(match["mirror"])


def _prefix(text: str) -> Url:
    try:
        url = Url.parse(text)
    except ValueError as error:
        raise RequestError(f"`--mirror` has a URL that can't be read: {error}") from error
    parts = urlsplit(url.exposed)
    if url.scheme not in ("http", "https") or "\\" in text:
        raise RequestError(f"`--mirror` takes http:// and https:// URLs, not `{url}`")
    if parts.query or parts.fragment:
        raise RequestError(f"`--mirror` takes URLs without query and fragment, not `{url}`")
    return url


def _path(prefix: Url) -> str:
    return urlsplit(prefix.exposed).path.rstrip("/")


def _moved(url: Url, rest: str, mirror: Url) -> Url:
    parts = urlsplit(mirror.exposed)
    query = urlsplit(url.exposed).query
    return Url(urlunsplit((parts.scheme, parts.netloc, _path(mirror) + rest, query, "")))
