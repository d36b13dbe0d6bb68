"""The lock's copy has no secrets, and nothing else is changed."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.archive.samples import lock_text, package
from uv_archive.archive.locked import check_without_secrets, without_credentials, without_secrets
from uv_archive.errors import LockError
from uv_archive.lock import parse_lock

COMMIT = "0123456789012345678901234567890123456789"


@pytest.mark.parametrize(
    ("url", "of_git", "expected"),
    [
        ("https://i.example/s", False, "https://i.example/s"),
        ("https://u:p@i.example/s", False, "https://i.example/s"),
        ("https://token@i.example:8443/s", False, "https://i.example:8443/s"),
        ("https://u:p%40@i.example/a@b", False, "https://i.example/a@b"),
        ("https://u:p@q@i.example/s", False, "https://i.example/s"),
        ("https://i.example/x.whl?sig=1&tag=v1", False, "https://i.example/x.whl"),
        ("https://i.example/x.whl?sig=1#a=1", False, "https://i.example/x.whl#a=1"),
        ("https://i.example/x.whl#sha256=1", False, "https://i.example/x.whl#sha256=1"),
        (f"https://u:p@g.example/r?tag=v1#{COMMIT}", True, f"https://g.example/r?tag=v1#{COMMIT}"),
        (
            f"https://g.example/r?subdirectory=a%2Fb&token=canary&rev=x#{COMMIT}",
            True,
            f"https://g.example/r?subdirectory=a%2Fb&rev=x#{COMMIT}",
        ),
        (f"ssh://git@g.example/r?tag=v1#{COMMIT}", True, f"ssh://git@g.example/r?tag=v1#{COMMIT}"),
        (f"ssh://me:p@g.example/r#{COMMIT}", True, f"ssh://g.example/r#{COMMIT}"),
        ("file:///srv/wheels", False, "file:///srv/wheels"),
    ],
)
def test_what_of_a_url_may_be_written_down(url: str, *, of_git: bool, expected: str) -> None:
    assert without_credentials(url, of_git=of_git) == expected
    assert without_credentials(expected, of_git=of_git) == expected


def test_a_lock_without_secrets_is_unchanged_byte_for_byte() -> None:
    git = f'git = "https://git.example/r?tag=v1&subdirectory=a#{COMMIT}"'
    text = lock_text(
        package("foo", wheels={"https://f.example/foo-1.0%2Bcpu-py3-none-any.whl": "a"}),
        package("bar", source=git),
    )
    for content in (text.encode(), text.replace("\n", "\r\n").encode(), b"", b"# no lock"):
        assert without_secrets(content) == content


def test_secrets_are_taken_out_and_nothing_else() -> None:
    text = lock_text(
        "# locked from https://user:canary@index.example/simple?canary\n",
        package(
            "foo",
            source='registry = "https://user:canary@index.example/simple"',
            wheels={"https://canary@f.example/foo-1.0-py3-none-any.whl?sig=canary&x=1": "a"},
            sdist="https://f.example/foo-1.0.tar.gz?canary#fragment",
        ),
        package("bar", source=f'git = "https://x:canary@git.example/r?tag=v1&t=canary#{COMMIT}"'),
        package("baz", source=f"'git' = 'ssh://git@git.example/r?rev=main#{COMMIT}'"),
        package("qux", source='registry = "https://u\\u0073er:canary@index.example/s\\u0069mple"'),
    )
    cleaned = without_secrets(text.encode()).decode()
    assert "canary" not in cleaned
    expected = (
        text.replace("user:canary@", "")
        .replace("canary@", "")
        .replace("?sig=canary&x=1", "")
        .replace("?canary", "")
        .replace("x:canary@", "")
        .replace("x:", "", 1)
        .replace("&t=canary", "")
        .replace(
            '"https://u\\u0073er:index.example/s\\u0069mple"', '"https://index.example/simple"'
        )
    )
    assert cleaned == expected
    # It is the same lock.
    assert [str(p) for p in parse_lock(cleaned.encode()).packages] == [
        str(p) for p in parse_lock(text.encode()).packages
    ]


def test_a_git_source_in_disguise_loses_its_parameters_as_well() -> None:
    source = f'"g\\u0069t" = "https://x@git.example/r?tag=v#{COMMIT}"'
    cleaned = without_secrets(lock_text(package("a", source=source)).encode())
    assert f'"https://git.example/r#{COMMIT}"'.encode() in cleaned
    other = b'not-git = "https://git.example/r?tag=v"\n'
    assert without_secrets(other) == b'not-git = "https://git.example/r"\n'


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"a": [{"b": "https://u:p@i.example/"}]}, "a[0].b"),
        ({"a": "https://i.example/?q=1"}, "a"),
        ({"git": "https://i.example/?tag=v1&q=1"}, "git"),
    ],
)
def test_what_is_left_is_refused_with_its_place(document: object, place: str) -> None:
    with pytest.raises(LockError, match=r"credentials or a query string") as raised:
        check_without_secrets(document)
    assert raised.value.place == place
    assert raised.value.hint


def test_what_is_no_toml_is_refused() -> None:
    with pytest.raises(LockError, match="isn't TOML"):
        without_secrets(b'x = "https://u:p@i.example/')


secret = st.sampled_from(["", "user:canary@", "canary@", "u:canary%40canary@", "a'canary:b@"])
query = st.sampled_from(["", "?canary", "?a=canary&b=canary", "?"])
paths = st.sampled_from(["", "/", "/simple", "/a@b/c", "/foo-1.0%2Bcpu.whl"])
urls = st.builds(lambda s, p, q: f"https://{s}index.example{p}{q}", secret, paths, query)
quotes = st.sampled_from(['"', "'", '"""', "'''"])
values = st.one_of(
    st.tuples(quotes, urls).map(lambda pair: ("url", *pair)),
    st.tuples(quotes, st.sampled_from(["no url", "a == 'b'", "x # y", "://", "a@b?c"])).map(
        lambda pair: ("other", *pair)
    ),
)


@given(st.lists(values, max_size=6), st.booleans())
def test_the_result_differs_only_in_urls(found: list[tuple[str, str, str]], inline: bool) -> None:
    lines = []
    for number, (_, wanted, value) in enumerate(found):
        quote = '"' if wanted == "'" and "'" in value else wanted
        lines.append(f"k{number} = {quote}{value}{quote}")
    text = "t = { " + ", ".join(lines) + " }\n" if inline else "\n".join([*lines, ""])
    before = tomllib.loads(text)
    cleaned = without_secrets(text.encode())
    after = tomllib.loads(cleaned.decode())
    assert b"canary" not in cleaned
    if inline:
        before, after = before["t"], after["t"]
    assert before.keys() == after.keys()
    for number, (kind, _, value) in enumerate(found):
        if kind == "other":
            assert after[f"k{number}"] == before[f"k{number}"] == value
        else:
            assert after[f"k{number}"] == without_credentials(value)
