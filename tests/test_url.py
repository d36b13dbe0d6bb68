"""URLs keep their secrets to themselves."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uv_archive.url import Url

SECRET = "https://user:s3cret@files.example/a/b.whl?signature=s3cret#s3cret"


@dataclass(frozen=True)
class Holder:
    url: Url


def test_a_printed_url_has_no_credentials_query_or_fragment() -> None:
    url = Url.parse(SECRET)
    assert str(url) == url.public() == f"{url}" == "https://files.example/a/b.whl"
    assert repr(url) == "Url('https://files.example/a/b.whl')"
    printed = [f"{url!r}", repr(Holder(url)), repr([url])]
    assert not [text for text in printed if "s3cret" in text or "user" in text]


@given(
    user=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    password=st.text(st.sampled_from("abcXYZ019-._~%!$&'()*+,;=:@"), min_size=1),
    query=st.text(st.sampled_from("abcXYZ019-._~=&/:@?")),
)
def test_no_url_says_its_credentials(user: str, password: str, query: str) -> None:
    written = f"https://q{user}q:w{password}w@h.example/x?y{query}y"
    url = Url.parse(written)
    assert str(url) == "https://h.example/x"
    assert url.without_credentials().exposed == f"https://h.example/x?y{query}y"
    assert url.host == "h.example"


def test_an_error_says_nothing_of_the_url() -> None:
    for text in (
        "https://user:s3cret@h:port/x",
        "https://user:s3/cret@h/x",
        "https://user:s3cret@ho℀st/x",
        "https://user:s3cret@[::1/x",
        "https://user:s3cret@h/ x",
        "user:s3cret@h/x",
    ):
        with pytest.raises(ValueError) as caught:
            Url.parse(text)
        assert "s3" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        pytest.param("https://h.example/x", ("https", "h.example", 443), id="https"),
        pytest.param("http://h.example", ("http", "h.example", 80), id="http"),
        pytest.param("https://h.example:443/x", ("https", "h.example", 443), id="default-port"),
        pytest.param("https://h.example:8443/x", ("https", "h.example", 8443), id="another-port"),
        pytest.param("https://h.example:0/x", ("https", "h.example", 0), id="port-0"),
        pytest.param("HTTPS://H.Example/x", ("https", "h.example", 443), id="case"),
        pytest.param("https://u:p@h.example/x", ("https", "h.example", 443), id="credentials"),
        pytest.param("https://good.example@h.example/x", ("https", "h.example", 443), id="bait"),
        pytest.param("https://a@b@h.example/x", ("https", "h.example", 443), id="two-ats"),
        pytest.param("https://[2001:DB8::1]:8080/x", ("https", "2001:db8::1", 8080), id="ipv6"),
        pytest.param(
            "https://xn--bcher-kva.example/", ("https", "xn--bcher-kva.example", 443), id="idna"
        ),
        pytest.param("https://bücher.example/", ("https", "bücher.example", 443), id="unicode"),
        pytest.param("ssh://git@h.example/r", ("ssh", "h.example", None), id="ssh"),
    ],
)
def test_an_origin_is_scheme_host_and_port(
    written: str, origin: tuple[str, str, int | None]
) -> None:
    assert Url.parse(written).origin == origin


@pytest.mark.parametrize(
    ("written", "credentials"),
    [
        pytest.param("https://h/x", None, id="none"),
        pytest.param("https://u:p@h/x", ("u", "p"), id="both"),
        pytest.param("https://u@h/x", ("u", ""), id="user"),
        pytest.param("https://:p@h/x", ("", "p"), id="password"),
        pytest.param("https://u%40x:p%2Fq@h/x", ("u@x", "p/q"), id="encoded"),
    ],
)
def test_credentials_are_decoded(written: str, credentials: tuple[str, str] | None) -> None:
    assert Url.parse(written).credentials == credentials
    assert Url.parse(written).without_credentials().credentials is None


@pytest.mark.parametrize(
    ("path", "segment"),
    [
        pytest.param("/a/b.whl", "b.whl", id="plain"),
        pytest.param("/a/b%2Bc.whl", "b+c.whl", id="encoded"),
        pytest.param("/a/b%252Fc.whl", "b%2Fc.whl", id="encoded-twice"),
        pytest.param("/a/..%2Fb", "../b", id="encoded-slash"),
        pytest.param("/a/b;c", "b;c", id="parameters"),
        pytest.param("/a/", "", id="directory"),
        pytest.param("", "", id="nothing"),
        pytest.param("/a/b?c/d#e/f", "b", id="query"),
        pytest.param("/a/%C3%A9", "é", id="utf-8"),
    ],
)
def test_the_last_segment_is_decoded_once(path: str, segment: str) -> None:
    assert Url.parse(f"https://h.example{path}").last_segment == segment


def test_a_segment_that_is_no_text_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        _ = Url.parse("https://h.example/%FF").last_segment


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("h.example/x", id="no-scheme"),
        pytest.param("//h.example/x", id="relative"),
        pytest.param("https:///x", id="no-host"),
        pytest.param("https://u:p@/x", id="only-credentials"),
        pytest.param("https:h.example", id="no-slashes"),
        pytest.param("file:///x", id="file"),
        pytest.param("https://h.example/a b", id="space"),
        pytest.param("https://h.example/\n", id="line-end"),
        pytest.param("https://h.exa\tmple/", id="tab"),
        pytest.param("https://h.example/\0", id="nul"),
        pytest.param("https://h.example/\x7f", id="delete"),
        pytest.param("https://h:99999/", id="port-too-high"),
        pytest.param("https://h:x/", id="port-text"),
        pytest.param("https://[::1/", id="bracket"),
        # A client that takes `\` for `/` would send the credentials of `good` to `evil`.
        pytest.param("https://evil.example\\@good.example/x", id="backslash"),
    ],
)
def test_what_is_no_absolute_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Url.parse(text)
