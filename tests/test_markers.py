"""Markers hold where `packaging` says so, and can be judged in parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker as ReferenceMarker

from uv_archive.markers import InvalidMarker, Marker, is_active

LINUX = {
    "implementation_name": "cpython",
    "implementation_version": "3.12.3",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "6.1.0-13-amd64",
    "platform_system": "Linux",
    "platform_version": "#1 SMP",
    "python_full_version": "3.12.3",
    "python_version": "3.12",
    "sys_platform": "linux",
}
VERSIONS = [
    "2.7",
    "3",
    "3.8",
    "3.9.0",
    "3.9.1",
    "3.11",
    "3.11.9",
    "3.12",
    "3.12.0",
    "3.12.3",
    "3.13",
]
# `platform_release` and `platform_version` are left out: where both sides look like versions,
# `packaging` compares them as such and uv doesn't.
STRINGS = {
    "os_name": ["posix", "nt", "java"],
    "sys_platform": ["linux", "win32", "darwin", "cygwin"],
    "platform_machine": ["x86_64", "AMD64", "arm64", "aarch64"],
    "platform_system": ["Linux", "Windows", "Darwin"],
    "implementation_name": ["cpython", "pypy"],
    "platform_python_implementation": ["CPython", "PyPy", "GraalVM"],
}
PSEUDO_EXTRAS = ["extra-1-p-a", "extra-1-p-b", "group-1-p-a", "project-1-p"]


@st.composite
def environments(draw: st.DrawFn) -> dict[str, str]:
    minor, micro = draw(st.integers(8, 14)), draw(st.integers(0, 12))
    found = {name: draw(st.sampled_from(values)) for name, values in STRINGS.items()}
    return {
        **LINUX,
        **found,
        "python_version": f"3.{minor}",
        "python_full_version": f"3.{minor}.{micro}",
        "implementation_version": f"3.{minor}.{micro}",
    }


def quoted(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from([f"'{text}'", f'"{text}"'])


@st.composite
def version_comparisons(draw: st.DrawFn) -> str:
    variable = draw(st.sampled_from(["python_version", "python_full_version"]))
    operator = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "~="]))
    value = draw(st.sampled_from(VERSIONS))
    if operator in ("==", "!="):
        value += draw(st.sampled_from(["", ".*"]))
    if operator == "~=" and "." not in value:
        value += ".0"
    mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
    if operator != "~=" and not value.endswith("*") and draw(st.booleans()):
        return f"{draw(quoted(value))} {mirrored[operator]} {variable}"
    return f"{variable} {operator} {draw(quoted(value))}"


@st.composite
def string_comparisons(draw: st.DrawFn) -> str:
    variable = draw(st.sampled_from(sorted(STRINGS)))
    value = draw(st.sampled_from(STRINGS[variable]))
    operator = draw(st.sampled_from(["==", "!=", "in", "not in", "not  in"]))
    if draw(st.booleans()):
        part = value[: draw(st.integers(1, len(value)))]
        return f"'{part}' {operator} {variable}"
    if "in" in operator:
        value = " ".join(draw(st.lists(st.sampled_from(STRINGS[variable]), max_size=3)))
    return f"{variable} {operator} {draw(quoted(value))}"


@st.composite
def extra_comparisons(draw: st.DrawFn) -> str:
    operator = draw(st.sampled_from(["==", "!="]))
    return f"extra {operator} '{draw(st.sampled_from(PSEUDO_EXTRAS))}'"


def joined(terms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        several = st.lists(inner, min_size=2, max_size=4)
        return st.one_of(
            several.map(lambda texts: "(" + " and ".join(texts) + ")"),
            several.map(lambda texts: "(" + " or ".join(texts) + ")"),
            st.tuples(inner, inner, inner).map(lambda texts: "({} or {} and {})".format(*texts)),
        )

    return st.recursive(terms, combined, max_leaves=8)


PLAIN = joined(st.one_of(version_comparisons(), string_comparisons()))
ANY = joined(st.one_of(version_comparisons(), string_comparisons(), extra_comparisons()))


def reference(text: str, environment: dict[str, str]) -> bool:
    return ReferenceMarker(text).evaluate({**environment, "extra": ""})


@given(text=PLAIN, environment=environments())
def test_a_marker_holds_where_packaging_says_so(text: str, environment: dict[str, str]) -> None:
    assert Marker.parse(text).holds(environment) is reference(text, environment)


@given(text=ANY, environment=environments(), extra=st.sampled_from(PSEUDO_EXTRAS))
def test_with_one_extra_packaging_agrees_too(
    text: str, environment: dict[str, str], extra: str
) -> None:
    expected = ReferenceMarker(text).evaluate({**environment, "extra": extra})
    assert Marker.parse(text).holds(environment, (extra,)) is expected


@given(text=ANY, environment=environments(), extras=st.sets(st.sampled_from(PSEUDO_EXTRAS)))
def test_judging_in_parts_is_judging(
    text: str, environment: dict[str, str], extras: set[str]
) -> None:
    marker = Marker.parse(text)
    left = marker.given(environment)
    assert is_active(left, extras) is marker.holds(environment, extras)


@given(
    text=ANY,
    environment=environments(),
    extras=st.sets(st.sampled_from(PSEUDO_EXTRAS)),
    undecided=st.sets(st.sampled_from(PSEUDO_EXTRAS)),
)
def test_leaving_things_undecided_gives_an_upper_bound(
    text: str, environment: dict[str, str], extras: set[str], undecided: set[str]
) -> None:
    marker = Marker.parse(text)
    if marker.holds(environment, extras):
        assert is_active(marker.given(environment, undecided), extras - undecided)
        assert is_active(marker.given(None, undecided), extras - undecided)
        assert is_active(marker.given(None), extras)


@given(text=PLAIN)
def test_without_an_environment_and_extras_everything_holds(text: str) -> None:
    assert Marker.parse(text).given(None) is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("python_version in '3.11 3.12'", True, id="listed"),
        pytest.param("python_version in '3.11, 3.12'", True, id="listed-with-commas"),
        pytest.param("python_version in '3.1 3.120'", False, id="not-a-substring"),
        pytest.param("python_version not in '3.11 3.13'", True, id="not-listed"),
        pytest.param("python_version not in '3.11 3.12'", False, id="listed-negated"),
        pytest.param("python_full_version === '3.12.3.0'", True, id="identity-compares-versions"),
        pytest.param("platform_release >= '6.10'", False, id="release-is-a-string"),
        pytest.param("platform_release < '6.10'", True, id="and-is-compared-as-one"),
        pytest.param("platform_version == '#1 SMP'", True, id="any-string"),
        pytest.param(
            "sys_platform > 'lin' and sys_platform <= 'linux'", True, id="order-of-strings"
        ),
        pytest.param("os.name == 'posix' and sys.platform == 'linux'", True, id="old-spellings"),
        pytest.param("python_implementation == 'CPython'", True, id="old-implementation"),
        pytest.param("'lin' in sys_platform", True, id="substring"),
        pytest.param("'win' not in sys_platform", True, id="no-substring"),
        pytest.param('os_name == "po\'six"', False, id="quote-in-a-string"),
        pytest.param("os_name=='posix'and sys_platform=='linux'", True, id="no-spaces"),
        pytest.param(" \t os_name == 'posix' \n", True, id="spaces-around"),
    ],
)
def test_what_packaging_says_otherwise_or_not_at_all(text: str, expected: bool) -> None:
    assert Marker.parse(text).holds(LINUX) is expected


@pytest.mark.parametrize(
    "nothing",
    [
        "os_name ~= 'posix'",
        "python_version >= 'three'",
        "python_version ~= '3'",
        "python_version >= '3.*'",
        "python_version in '3.11 x'",
        "'3' in python_version",
        "extra in 'a b'",
        "extra < 'a'",
    ],
)
def test_a_comparison_that_means_nothing_is_left_out_as_in_uv(nothing: str) -> None:
    for text in (nothing, f"({nothing})", f"{nothing} and os_name == 'posix'"):
        assert Marker.parse(text).holds(LINUX)
    assert not Marker.parse(f"{nothing} and os_name == 'nt'").holds(LINUX)
    assert not Marker.parse(f"{nothing} or os_name == 'nt'").holds(LINUX)
    assert Marker.parse(f"{nothing} or {nothing}").given(LINUX) is True


def test_strings_that_look_like_versions_are_strings() -> None:
    environment = {**LINUX, "platform_release": "6.9"}
    assert Marker.parse("platform_release > '6.10'").holds(environment)
    assert not reference("platform_release > '6.10'", environment)


def test_several_pseudo_extras_can_be_active() -> None:
    marker = Marker.parse("extra == 'a' and extra == 'b' and extra != 'c'")
    assert marker.holds(LINUX, {"a", "b"})
    assert not marker.holds(LINUX, {"a"})
    assert not marker.holds(LINUX, {"a", "b", "c"})


def test_what_is_left_compares_pseudo_extras_only() -> None:
    marker = Marker.parse("(os_name == 'posix' and extra == 'a') or os_name == 'nt'")
    left = marker.given(LINUX)
    assert left == Marker.parse("extra == 'a'").expression
    assert marker.given({**LINUX, "os_name": "nt"}) is True
    assert marker.given({**LINUX, "os_name": "java"}) is False


def test_the_versions_that_a_marker_tells_apart_are_found() -> None:
    marker = Marker.parse(
        "(python_full_version < '3.11.3' or python_full_version == '3.12.*') and "
        "'3.13' <= python_full_version and python_version in '3.8 3.9' and os_name == '7'"
    )
    assert marker.versions("python_full_version") == {"3.11.3", "3.12.*", "3.13"}
    assert marker.versions("python_version") == {"3.8", "3.9"}
    assert marker.versions("implementation_version") == frozenset()


def test_equal_texts_are_equal_markers() -> None:
    assert Marker.parse("os_name == 'nt'") == Marker.parse("os_name == 'nt'")
    assert len({Marker.parse("os_name == 'nt'"), Marker.parse("os_name == 'nt'")}) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "expected a string or a word", id="empty"),
        pytest.param("os_name", "expected a operator", id="no-operator"),
        pytest.param("os_name ==", "expected a string or a word", id="no-value"),
        pytest.param("os_name == 'nt' and", "expected a string or a word", id="no-second-term"),
        pytest.param("os_name == 'nt' or or", "expected a operator", id="two-ors"),
        pytest.param("os_name == 'nt' os_name", "unexpected `os_name`", id="no-and"),
        pytest.param("(os_name == 'nt'", r"expected `\)`", id="open"),
        pytest.param("os_name == 'nt')", r"unexpected `\)`", id="closed"),
        pytest.param("()", "expected a string or a word", id="nothing-in-parentheses"),
        pytest.param("os_name == 'nt", "expected a variable", id="open-string"),
        pytest.param("os_name = 'nt'", "expected a variable", id="one-equals-sign"),
        pytest.param("os_name == 'nt' && os_name == 'nt'", "expected a variable", id="ampersands"),
        pytest.param("'a' == 'b'", "on one side", id="two-strings"),
        pytest.param("os_name == sys_platform", "on one side", id="two-variables"),
        pytest.param("os == 'nt'", "`os` is no", id="unknown-variable"),
        pytest.param("os_name == 'nt'\0", "expected a variable", id="nul"),
        pytest.param("not os_name == 'nt'", "expected a", id="not"),
    ],
)
def test_what_is_no_marker_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidMarker, match=message):
        Marker.parse(text)


def test_nesting_has_an_end() -> None:
    def nested(depth: int) -> str:
        return "(" * depth + "os_name == 'posix'" + ")" * depth

    assert Marker.parse(nested(100)).holds(LINUX)
    for depth in (101, 100_000):
        with pytest.raises(InvalidMarker, match="nested too deeply"):
            Marker.parse(nested(depth))


@given(text=st.text(st.sampled_from("()'\"=<>!~ andornotinextra_os.3,*|\0\n"), max_size=60))
def test_any_text_is_a_marker_or_an_error(text: str) -> None:
    try:
        marker = Marker.parse(text)
    except InvalidMarker:
        return
    marker.holds(LINUX, ("x",))
