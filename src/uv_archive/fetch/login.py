"""What is sent to a server that asks who is there, and the places where it may be kept."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from uv_archive.errors import RequestError
from uv_archive.settings import Index
from uv_archive.url import Url


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """What basic authentication sends. Neither part is ever printed: tokens stand in both."""

    user: str = field(repr=False)
    password: str | None = field(repr=False)

    @property
    def is_complete(self) -> bool:
        """Whether there is a password, be it an empty one."""
        return self.password is not None

    @property
    def authorization(self) -> str:
        """The header `Authorization` (RFC 7617)."""
        both = f"{self.user}:{self.password or ''}"
        return f"Basic {b64encode(both.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class Token:
    """What bearer authentication sends."""

    value: str = field(repr=False)

    @property
    def user(self) -> None:
        """A token stands for its user."""
        return

    @property
    def is_complete(self) -> bool:
        return True

    @property
    def authorization(self) -> str:
        """The header `Authorization` (RFC 6750)."""
        return f"Bearer {self.value}"


Credential: TypeAlias = Login | Token


class UnreadableSourceError(RequestError):
    """A place where credentials may be kept can't be read. The hint is a clause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a place is asked for: the credentials of *url*, of *user* alone if there is one.

    *index* is the configured index that the URL lies below.
    """

    url: Url
    index: Index | None = None
    user: str | None = None

    @property
    def place(self) -> Url:
        """The index, or the URL itself where it lies below none."""
        return self.url if self.index is None else self.index.url

    @property
    def is_demanded(self) -> bool:
        """Whether the index is configured with `authenticate = "always"`."""
        return self.index is not None and self.index.authenticate == "always"


class CredentialSource(Protocol):
    """A place beside the project where credentials are kept. It is asked by many threads at once.

    It is asked only once a server has asked: credentials that aren't needed make some servers
    refuse, and some places are slow.
    """

    def login(self, question: Question) -> Credential | None:
        """Return what belongs to the URL, and to the user if one is named.

        Raises `RequestError` for a place that can't be read.
        """
