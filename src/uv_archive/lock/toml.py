"""Typed access to a TOML document, with errors that name the place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from json.encoder import encode_basestring
from typing import Any, TypeVar

import tomli_w

from uv_archive.errors import LockError

T = TypeVar("T")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Table:
    """A TOML table and the key path that leads to it.

    Every method raises `LockError` with the place, such as `package[3].wheels[0].hash`,
    for a value that is missing or of another type.
    """

    def __init__(self, value: Mapping[str, Any], place: str = "") -> None:
        self.value = value
        self.place = place

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def place_of(self, key: str) -> str:
        """Return the key path of *key* in this table."""
        return f"{self.place}.{key}" if self.place else key

    def fail(self, key: str, message: str) -> LockError:
        """Make the error for *key*; the caller raises it."""
        return LockError(message, place=self.place_of(key))

    def text(self, key: str) -> str:
        """Return a required string."""
        if key not in self.value:
            raise self.fail(key, "the lock lacks a key")
        return self._typed(key, str, "a string")

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self.value else None

    def integer(self, key: str) -> int:
        """Return a required integer that isn't negative and has 64 bits, as TOML's have."""
        if key not in self.value:
            raise self.fail(key, "the lock lacks a key")
        number = self._typed(key, int, "an integer")
        if isinstance(number, bool) or not 0 <= number < 2**63:
            raise self.fail(key, "expected an integer of 64 bits that isn't negative")
        return number

    def optional_integer(self, key: str) -> int | None:
        return self.integer(key) if key in self.value else None

    def table(self, key: str) -> Table:
        """Return a table; one that is missing is empty."""
        value: dict[str, Any] = self._typed(key, dict, "a table") if key in self.value else {}
        return Table(value, self.place_of(key))

    def tables(self, key: str) -> tuple[Table, ...]:
        """Return an array of tables; one that is missing is empty."""
        return tuple(self._array_of(key, dict, "a table", Table))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of strings; one that is missing is empty."""
        return tuple(self._array_of(key, str, "a string", lambda value, _: value))

    def keys(self) -> tuple[str, ...]:
        return tuple(self.value)

    def parsed(self, key: str, parse: Callable[[str], T]) -> T:
        """Return a required string as *parse* reads it; its `ValueError` becomes a `LockError`."""
        text = self.text(key)
        try:
            return parse(text)
        except ValueError as error:
            raise self.fail(key, f"the lock has a value that can't be read: {error}") from error

    def optional_parsed(self, key: str, parse: Callable[[str], T]) -> T | None:
        return self.parsed(key, parse) if key in self.value else None

    def parsed_texts(self, key: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        """Return an array of strings as *parse* reads them."""
        found = []
        for position, text in enumerate(self.texts(key)):
            try:
                found.append(parse(text))
            except ValueError as error:
                message = f"the lock has a value that can't be read: {error}"
                raise self.fail(f"{key}[{position}]", message) from error
        return tuple(found)

    def _array_of(
        self, key: str, kind: type[Any], name: str, make: Callable[[Any, str], T]
    ) -> Iterator[T]:
        if key not in self.value:
            return
        values: list[Any] = self._typed(key, list, "an array")
        for position, value in enumerate(values):
            place = f"{key}[{position}]"
            if not isinstance(value, kind):
                raise self.fail(place, f"expected {name}")
            yield make(value, self.place_of(place))

    def _typed(self, key: str, kind: type[T], name: str) -> T:
        value = self.value[key]
        if not isinstance(value, kind):
            raise self.fail(key, f"expected {name}")
        return value


def array_entry(name: str, table: Mapping[str, Any]) -> str:
    """Write *table* as an entry of an array of tables, each of its values on a line.

    A lock has thousands, for which `tomli_w`, whose lines are prettier, takes several times as
    long.
    """
    lines = (f"{_written_key(key)} = {_written(value)}\n" for key, value in table.items())
    return f"[[{_written_key(name)}]]\n{''.join(lines)}"


def _written(value: Any) -> str:  # noqa: ANN401 - TOML
    match value:
        case str():
            # Of what TOML wants escaped, JSON leaves only this as it is.
            return encode_basestring(value).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(_written(inner) for inner in value)}]"
        case dict():
            inner = (f"{_written_key(key)} = {_written(inner)}" for key, inner in value.items())
            return f"{{ {', '.join(inner)} }}" if value else "{}"
        case _:
            # Numbers, truth and times.
            return tomli_w.dumps({"value": value}).removeprefix("value = ").removesuffix("\n")


def _written_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _written(key)


def with_shared_strings(document: dict[str, Any], *, deepest: int) -> dict[str, Any]:
    """Keep equal strings once: keys, indexes and dates are half of a lock's memory.

    Raises `LockError` for what is nested deeper than *deepest*: it would exhaust the stack of
    whoever walks or writes the document.
    """
    shared: dict[str, Any] = _shared(document, {}, deepest)
    return shared


def _shared(value: Any, known: dict[str, str], deepest: int) -> Any:  # noqa: ANN401 - TOML
    kind = type(value)
    if kind is str:
        return known.setdefault(value, value)
    if kind is not dict and kind is not list:
        return value
    if not deepest:
        raise LockError("it is nested too deeply")
    if kind is list:
        # In place: what is replaced goes at once, and there are never two whole documents.
        for position, inner in enumerate(value):
            value[position] = _shared(inner, known, deepest - 1)
        return value
    return {
        known.setdefault(key, key): _shared(inner, known, deepest - 1)
        for key, inner in value.items()
    }
