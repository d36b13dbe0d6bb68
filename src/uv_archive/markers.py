"""Environment markers, parsed and judged the way uv judges them in a lock.

`packaging.markers` judges a marker for one whole environment. A lock asks for
more: conflicting extras and groups stand in its markers as pseudo-extras, of
which several can be active (`extra == 'extra-7-project-cpu'`); with
`--all-platforms` the environment is unknown while the extras are known; and the
Python versions that a marker names decide which patch releases differ.

Specification: dependency specifiers (PEP 508), "Environment markers".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

from packaging.specifiers import InvalidSpecifier, Specifier
from packaging.version import InvalidVersion, Version

#: The variables whose values are compared as versions; all others are compared as strings.
VERSION_VARIABLES = frozenset({"python_version", "python_full_version", "implementation_version"})

_VARIABLES = VERSION_VARIABLES | {
    "os_name", "sys_platform", "platform_machine", "platform_python_implementation",
    "platform_release", "platform_system", "platform_version", "implementation_name", "extra",
}  # fmt: skip
# Spellings from before PEP 508, which uv and packaging still read.
_OLD_VARIABLES = {
    "os.name": "os_name",
    "sys.platform": "sys_platform",
    "platform.version": "platform_version",
    "platform.machine": "platform_machine",
    "platform.python_implementation": "platform_python_implementation",
    "python_implementation": "platform_python_implementation",
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>'[^']*'|"[^"]*")
      | (?P<operator>===|==|!=|~=|<=|>=|<|>|not\s+in\b|in\b)
      | (?P<punctuation>[()])
      | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    )""",
    re.VERBOSE,
)
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
# Deeper nesting than this is an attack on the stack, not a marker.
_DEEPEST = 100


class InvalidMarker(ValueError):
    """A text that isn't a marker."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`variable operator value`; with *reversed*, `value operator variable` (for `in`)."""

    variable: str
    operator: str
    value: str
    reversed: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """Every one of *terms* holds."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of *terms* holds."""

    terms: tuple[Expression, ...]


Expression = Comparison | All | AnyOf
_ALWAYS = All(())
_NO_SETS: Mapping[str, Callable[[str], str]] = {}


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker of a lock. Equal texts are equal markers."""

    text: str
    expression: Expression

    @classmethod
    def parse(cls, text: str) -> Marker:
        """Read *text*. Raises `InvalidMarker`."""
        return _parse(text)

    @classmethod
    def parse_pylock(cls, text: str, *, sets: Mapping[str, Callable[[str], str]]) -> Marker:
        """Read a marker of a pylock file. Raises `InvalidMarker`.

        There extras and groups are sets: `'x' in extras`. For each such variable, *sets* gives
        the pseudo-extra that stands for a member. PEP 751, "packages.marker".
        """
        parser = _Parser(text, sets)
        expression = parser.expression(depth=0)
        parser.end()
        return cls(text, _ALWAYS if expression is None else expression)

    def resolved(self, extras: Collection[str]) -> Expression | bool:
        """Decide what the pseudo-extras *extras* decide; what is left compares the environment."""
        return _resolved(self.expression, extras)

    def holds(self, environment: Mapping[str, str], extras: Collection[str] = ()) -> bool:
        """Whether the marker is true in *environment* with the pseudo-extras *extras* active."""
        return is_active(self.given(environment), extras)

    def given(
        self,
        environment: Mapping[str, str] | None,
        undecided: Collection[str] = (),
        *,
        unknown: bool = True,
    ) -> Expression | bool:
        """Decide what *environment* decides; what is left compares pseudo-extras only.

        For the pseudo-extras *undecided* every comparison is taken for true, and without an
        environment every comparison for *unknown*. As a marker has no negation, the answer is
        then an upper bound, which holds wherever the marker can, or with `unknown=False` a
        lower one.
        """
        return _given(self.expression, unknown if environment is None else environment, undecided)

    @property
    def negated(self) -> frozenset[str]:
        """The pseudo-extras that the marker asks not to be active."""
        return frozenset(
            comparison.value
            for comparison in _comparisons(self.expression)
            if comparison.variable == "extra" and comparison.operator == "!="
        )

    def versions(self, variable: str) -> frozenset[str]:
        """The values that the marker compares *variable* with, as written."""
        return frozenset(
            value
            for comparison in _comparisons(self.expression)
            if comparison.variable == variable
            for value in _listed(comparison.value)
        )


@lru_cache(maxsize=16384)
def _parse(text: str) -> Marker:
    parser = _Parser(text)
    expression = parser.expression(depth=0)
    parser.end()
    return Marker(text, _ALWAYS if expression is None else expression)


class _Parser:
    """Recursive descent over the grammar of PEP 508: `or` binds less than `and`.

    As in uv a comparison that means nothing (`os_name ~= 'x'`) is left out: it is `None`.
    """

    def __init__(self, text: str, sets: Mapping[str, Callable[[str], str]] = _NO_SETS) -> None:
        self._text = text
        self._sets = sets
        self._tokens = list(_tokens(text))
        self._next = 0

    def expression(self, depth: int) -> Expression | None:
        if depth > _DEEPEST:
            raise InvalidMarker("the marker is nested too deeply")
        terms = [self._conjunction(depth)]
        while self._accept("word", "or"):
            terms.append(self._conjunction(depth))
        return _of_those(AnyOf, terms)

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise InvalidMarker(f"unexpected `{self._tokens[self._next][1]}`")

    def _conjunction(self, depth: int) -> Expression | None:
        terms = [self._term(depth)]
        while self._accept("word", "and"):
            terms.append(self._term(depth))
        return _of_those(All, terms)

    def _term(self, depth: int) -> Expression | None:
        if self._accept("punctuation", "("):
            inner = self.expression(depth + 1)
            if not self._accept("punctuation", ")"):
                raise InvalidMarker("expected `)`")
            return inner
        left_kind, left = self._take("string", "word")
        _, written = self._take("operator")
        right_kind, right = self._take("string", "word")
        operator = " ".join(written.split())
        if left_kind == right_kind:
            raise InvalidMarker("expected a variable on one side and a string on the other")
        if self._sets and "extra" in (left, right):
            raise InvalidMarker("`extra` has no value in a pylock file")
        if right in self._sets and operator in ("in", "not in"):
            member = self._sets[right](left[1:-1])
            return Comparison("extra", "==" if operator == "in" else "!=", member)
        if left_kind == "word":
            return _meaningful(Comparison(_variable(left), operator, right[1:-1]))
        if operator in ("in", "not in"):
            return _meaningful(Comparison(_variable(right), operator, left[1:-1], reversed=True))
        mirrored = _MIRRORED.get(operator, operator)
        return _meaningful(Comparison(_variable(right), mirrored, left[1:-1]))

    def _accept(self, kind: str, text: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next] == (kind, text):
            self._next += 1
            return True
        return False

    def _take(self, *kinds: str) -> tuple[str, str]:
        if self._next == len(self._tokens) or self._tokens[self._next][0] not in kinds:
            raise InvalidMarker(f"expected a {' or a '.join(kinds)}")
        self._next += 1
        return self._tokens[self._next - 1]


def _of_those(kind: type[All | AnyOf], terms: Sequence[Expression | None]) -> Expression | None:
    meaningful = tuple(term for term in terms if term is not None)
    match meaningful:
        case ():
            return None
        case (term,):
            return term
        case _:
            return kind(meaningful)


def _meaningful(comparison: Comparison) -> Comparison | None:
    if comparison.variable == "extra":
        means_something = comparison.operator in ("==", "!=")
    elif comparison.variable in VERSION_VARIABLES:
        means_something = _is_version_comparison(comparison)
    else:
        means_something = comparison.operator != "~="
    return comparison if means_something else None


def _is_version_comparison(comparison: Comparison) -> bool:
    operator, value = comparison.operator, comparison.value
    try:
        if operator in ("in", "not in"):
            return not comparison.reversed and all(map(Version, _listed(value)))
        _specifier(operator, value)
    except (InvalidSpecifier, InvalidVersion):
        return False
    return True


def _listed(value: str) -> list[str]:
    return re.split(r"[\s,|]+", value.strip(" ,|")) if value.strip(" ,|") else []


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise InvalidMarker("expected a variable, an operator or a string")
        yield match.lastgroup, match[match.lastgroup]
        position = match.end()


def _variable(written: str) -> str:
    name = _OLD_VARIABLES.get(written, written)
    if name not in _VARIABLES:
        raise InvalidMarker(f"`{written}` is no environment variable of a marker")
    return name


def _comparisons(expression: Expression) -> Iterator[Comparison]:
    match expression:
        case Comparison():
            yield expression
        case All(terms) | AnyOf(terms):
            for term in terms:
                yield from _comparisons(term)
        case _:
            assert_never(expression)


def is_active(expression: Expression | bool, extras: Collection[str]) -> bool:
    """Whether what `Marker.given` left holds with the pseudo-extras *extras* active."""
    match expression:
        case bool():
            return expression
        case Comparison(operator=operator, value=value):
            return (value in extras) is (operator != "!=")
        case All(terms):
            return all(is_active(term, extras) for term in terms)
        case AnyOf(terms):
            return any(is_active(term, extras) for term in terms)
        case _:
            assert_never(expression)


def _given(
    expression: Expression, environment: Mapping[str, str] | bool, undecided: Collection[str]
) -> Expression | bool:
    match expression:
        case Comparison(variable="extra", value=value):
            return True if value in undecided else expression
        case Comparison():
            if isinstance(environment, bool):
                return environment
            return _compare(expression, environment)
        case All(terms):
            left = [_given(term, environment, undecided) for term in terms]
            return False if False in left else _joined(All, left)
        case AnyOf(terms):
            left = [_given(term, environment, undecided) for term in terms]
            return True if True in left else _joined(AnyOf, left)
        case _:
            assert_never(expression)


def _resolved(expression: Expression, extras: Collection[str]) -> Expression | bool:
    match expression:
        case Comparison(variable="extra"):
            return is_active(expression, extras)
        case Comparison():
            return expression
        case All(terms):
            left = [_resolved(term, extras) for term in terms]
            return False if False in left else _joined(All, left)
        case AnyOf(terms):
            left = [_resolved(term, extras) for term in terms]
            return True if True in left else _joined(AnyOf, left)
        case _:
            assert_never(expression)


def marker_text(expression: Expression) -> str:
    """Write an expression as a marker (PEP 508)."""
    match expression:
        case Comparison(variable=variable, operator=operator, value=value):
            quoted = f'"{value}"' if "'" in value else f"'{value}'"
            sides = (quoted, variable) if expression.reversed else (variable, quoted)
            return f"{sides[0]} {operator} {sides[1]}"
        case All(terms):
            return " and ".join(
                f"({marker_text(term)})" if isinstance(term, AnyOf) else marker_text(term)
                for term in terms
            )
        case AnyOf(terms):
            return " or ".join(marker_text(term) for term in terms)
        case _:
            assert_never(expression)


def _joined(kind: type[All | AnyOf], terms: Sequence[Expression | bool]) -> Expression | bool:
    """Join what is undecided; the decided terms are the neutral ones of *kind*."""
    open_terms = tuple(dict.fromkeys(term for term in terms if not isinstance(term, bool)))
    match open_terms:
        case ():
            return kind is All
        case (term,):
            return term
        case _:
            return kind(open_terms)


def _compare(comparison: Comparison, environment: Mapping[str, str]) -> bool:
    actual = environment[comparison.variable]
    if comparison.variable in VERSION_VARIABLES:
        return _compare_versions(actual, comparison.operator, comparison.value)
    return _compare_strings(actual, comparison)


@lru_cache(maxsize=65536)
def _compare_versions(actual: str, operator: str, value: str) -> bool:
    if operator in ("in", "not in"):
        found = any(_compare_versions(actual, "==", part) for part in _listed(value))
        return found is (operator == "in")
    return _specifier(operator, value).contains(actual, prereleases=True)


def _specifier(operator: str, value: str) -> Specifier:
    # `===` compares texts (PEP 440), uv compares versions.
    return Specifier(("==" if operator == "===" else operator) + value)


def _compare_strings(actual: str, comparison: Comparison) -> bool:
    value = comparison.value
    match comparison.operator:
        case "==" | "===":
            return actual == value
        case "!=":
            return actual != value
        case "<":
            return actual < value
        case "<=":
            return actual <= value
        case ">":
            return actual > value
        case ">=":
            return actual >= value
        case "in":
            return value in actual if comparison.reversed else actual in value
        case _:
            return value not in actual if comparison.reversed else actual not in value
