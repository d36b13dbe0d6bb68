"""File names of distributions, against the parsers of `packaging`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from uv_archive.filenames import SDIST_ENDINGS, check_safe, parse_sdist, parse_wheel

NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._]{0,8}[A-Za-z0-9])?", fullmatch=True)
VERSIONS = st.from_regex(
    r"(1!)?[0-9]{1,3}(\.[0-9]{1,3}){0,3}((a|b|rc)[0-9])?(\.post[0-9])?(\.dev[0-9])?(\+[a-z0-9]{1,4})?",
    fullmatch=True,
)
TAGS = st.sampled_from(
    [
        "py3-none-any",
        "py2.py3-none-any",
        "cp311-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "cp313-cp313t-win_arm64",
        "pp310-pypy310_pp73-macosx_11_0_arm64",
    ]
)
BUILDS = st.sampled_from(["", "-1", "-10abc", "-2_x"])


@given(name=NAMES, version=VERSIONS, build=BUILDS, tags=TAGS)
def test_wheels_are_read_as_packaging_does(name: str, version: str, build: str, tags: str) -> None:
    text = f"{name}-{version}{build}-{tags}.whl"
    reserved = name.partition(".")[0].lower() in ("con", "prn", "aux", "nul")
    if reserved or "__" in name:
        return
    parsed = parse_wheel(text)
    assert (parsed.name, parsed.version, parsed.build, parsed.tags) == parse_wheel_filename(text)
    assert str(parsed) == text


@given(name=NAMES, version=VERSIONS, ending=st.sampled_from([".tar.gz", ".zip"]))
def test_sdists_are_read_as_packaging_does(name: str, version: str, ending: str) -> None:
    text = f"{name}-{version}{ending}"
    if len(canonicalize_name(name)) != len(name) or name.lower().startswith(("con.", "aux.")):
        return
    parsed = parse_sdist(text, canonicalize_name(name))
    assert (parsed.name, parsed.version) == parse_sdist_filename(text)
    assert (str(parsed), parsed.ending) == (text, ending)


def test_underscores_in_a_row_are_one_as_in_uv() -> None:
    parsed = parse_wheel("a__b-1.0-py3-none-any.whl")
    assert (parsed.name, str(parsed)) == ("a-b", "a__b-1.0-py3-none-any.whl")


@pytest.mark.parametrize("ending", SDIST_ENDINGS)
def test_every_ending_of_an_sdist_is_found_whole(ending: str) -> None:
    parsed = parse_sdist(f"a-1.0{ending}", canonicalize_name("a"))
    assert (parsed.ending, parsed.version) == (ending, Version("1.0"))


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        pytest.param("a-b-1.0.tar.gz", "a-b", "1.0", id="dash-in-the-name"),
        pytest.param("a_b-1.0.tar.gz", "a-b", "1.0", id="underscore"),
        pytest.param("A.B-1.0.tar.gz", "a-b", "1.0", id="case-and-dot"),
        pytest.param("a-1-1.zip", "a", "1.post1", id="post-release"),
        pytest.param("a-1-1.zip", "a-1", "1", id="number-in-the-name"),
    ],
)
def test_the_name_decides_where_the_version_begins(text: str, name: str, version: str) -> None:
    parsed = parse_sdist(text, canonicalize_name(name))
    assert (parsed.name, parsed.version) == (name, Version(version))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(".", id="dot"),
        pytest.param("..", id="dots"),
        pytest.param("../a-1.zip", id="parent"),
        pytest.param("/a-1.zip", id="absolute"),
        pytest.param("a/b-1.zip", id="slash"),
        pytest.param("a\\b-1.zip", id="backslash"),
        pytest.param("C:a-1.zip", id="drive"),
        pytest.param("a-1.zip:x", id="stream"),
        pytest.param("a-1.zip.", id="trailing-dot"),
        pytest.param("a-1.zip ", id="trailing-space"),
        pytest.param("-a-1.zip", id="looks-like-a-flag"),
        pytest.param(".a-1.zip", id="hidden"),
        pytest.param("~a-1.zip", id="home"),
        pytest.param("a-1\0.zip", id="nul"),
        pytest.param("a-1.zip\n", id="line-end"),
        pytest.param("a-\u202e1.zip", id="turns-the-writing"),
        pytest.param("\uff41-1.zip", id="full-width"),
        pytest.param("a-1٣.zip", id="another-digit"),
        pytest.param("a*-1.zip", id="star"),
        pytest.param("CON", id="reserved"),
        pytest.param("aux.x-1.0.zip", id="reserved-before-a-dot"),
        pytest.param("COM1.x-1.0-py3-none-any.whl", id="reserved-port"),
        pytest.param("a" * 256, id="too-long"),
    ],
)
def test_a_name_that_isnt_plain_on_every_system_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        check_safe(text)
    with pytest.raises(ValueError):
        parse_wheel(text)
    with pytest.raises(ValueError):
        parse_sdist(text, canonicalize_name("a"))


def test_names_that_begin_like_reserved_ones_are_allowed() -> None:
    for text in ("console-1.0.zip", "aux-1.0.zip", "nul_x.y-1.0.zip", "com10.x-1.zip"):
        check_safe(text)


@given(text=st.text(st.characters(codec="utf-8"), max_size=60))
def test_a_safe_name_is_one_component_of_plain_letters(text: str) -> None:
    try:
        check_safe(text)
    except ValueError:
        return
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set("/\\:*?\"<>| ~%'")
    assert text[0].isalnum()
    assert text[-1].isalnum()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a-1.0.whl", id="too-few-parts"),
        pytest.param("a-1.0-1-2-py3-none-any.whl", id="too-many-parts"),
        pytest.param("a-one-py3-none-any.whl", id="version"),
        pytest.param("a-1.0-x-py3-none-any.whl", id="build-tag"),
        pytest.param("a-1.0-py3-none-any.WHL", id="ending-in-capitals"),
        pytest.param("a-1.0-py3-none-any.zip", id="ending"),
        pytest.param(
            f"a-1-{'.'.join('abcdefghijk')}-{'.'.join('abcdefghijk')}-{'.'.join('abcdefghijk')}.whl",
            id="too-many-tags",
        ),
    ],
)
def test_what_is_no_wheel_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the name of a wheel"):
        parse_wheel(text)


@pytest.mark.parametrize(
    "text",
    [
        "b-1.0.tar.gz",
        "a.tar.gz",
        "a-.tar.gz",
        "a-x.tar.gz",
        "a-1.0.exe",
        "a-1.0.TAR.GZ",
        "ab-1.0.zip",
    ],
)
def test_what_is_no_sdist_of_the_project_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the name of an sdist"):
        parse_sdist(text, canonicalize_name("a"))
