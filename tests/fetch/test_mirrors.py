"""`--mirror FROM=TO`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fetch.conftest import CANARY
from uv_archive.errors import RequestError
from uv_archive.fetch import Mirrors
from uv_archive.url import Url


@pytest.mark.parametrize(
    ("settings", "url", "expected"),
    [
        pytest.param(
            ["https://files.example=https://mirror.example"],
            "https://files.example/a/b.whl",
            "https://mirror.example/a/b.whl",
            id="host",
        ),
        pytest.param(
            ["https://files.example/=https://mirror.example/all"],
            "https://files.example/a/b.whl",
            "https://mirror.example/all/a/b.whl",
            id="slash-on-one-side",
        ),
        pytest.param(
            ["https://files.example/a=https://mirror.example/x/"],
            "https://files.example/a/b.whl?q=1#f",
            "https://mirror.example/x/b.whl?q=1",
            id="path-and-query",
        ),
        pytest.param(
            ["https://files.example/a=https://mirror.example"],
            "https://files.example/ab/c.whl",
            "https://files.example/ab/c.whl",
            id="half-a-segment",
        ),
        pytest.param(
            ["https://files.example=https://mirror.example"],
            "https://files.example.evil/a.whl",
            "https://files.example.evil/a.whl",
            id="half-a-host",
        ),
        pytest.param(
            ["https://f.example=https://one.example", "https://f.example/a=https://two.example"],
            "https://f.example/a/b.whl",
            "https://two.example/b.whl",
            id="longest",
        ),
        pytest.param(
            ["HTTPS://Files.Example:443=http://mirror.example:8080"],
            "https://files.example/a.whl",
            "http://mirror.example:8080/a.whl",
            id="same-origin-spelled-otherwise",
        ),
        pytest.param(
            ["https://files.example=https://mirror.example"],
            f"https://user:{CANARY}@files.example/a.whl",
            "https://mirror.example/a.whl",
            id="credentials-stay-behind",
        ),
        pytest.param(
            ["https://files.example=https://me:word@mirror.example"],
            "https://files.example/a%2Bcu.whl",
            "https://me:word@mirror.example/a%2Bcu.whl",
            id="mirror-with-credentials",
        ),
        pytest.param(
            ["https://files.example/k=v=https://mirror.example"],
            "https://files.example/k=v/a.whl",
            "https://mirror.example/a.whl",
            id="equals-sign",
        ),
        pytest.param([], "https://files.example/a", "https://files.example/a", id="none"),
    ],
)
def test_apply(settings: list[str], url: str, expected: str) -> None:
    assert Mirrors.parse(settings).apply(Url.parse(url)).exposed == expected


@pytest.mark.parametrize(
    "setting",
    [
        "", "=", "https://files.example", "https://files.example=", "=https://mirror.example",
        "files.example=https://mirror.example", "https://files.example=mirror.example",
        "https://files.example=file:///srv", "ftp://files.example=https://mirror.example",
        "https://files.example?x=https://mirror.example", "https://a=https://[bad",
        f"https://u:{CANARY}@files.example?x=https://mirror.example",
        f"https://files.example=https://u:{CANARY}@mirror.example#x",
        f"https://files.example=https://u:{CANARY}@mirror.example:port",
        "https://files.example\\x=https://mirror.example",
    ],
)  # fmt: skip
def test_what_is_no_mirror(setting: str) -> None:
    with pytest.raises(RequestError, match="--mirror") as caught:
        Mirrors.parse([setting])
    assert CANARY not in caught.value.message


def test_one_place_has_one_mirror() -> None:
    with pytest.raises(RequestError, match=r"twice for `https://a\.example`"):
        Mirrors.parse(
            ["https://a.example=https://b.example", "https://a.example/=https://c.example"]
        )


PATHS = st.lists(st.sampled_from(["a", "ab", "b"]), max_size=4).map("/".join)


@given(PATHS, PATHS, PATHS)
def test_what_follows_the_prefix_is_kept(prefix: str, rest: str, elsewhere: str) -> None:
    mirrors = Mirrors.parse([f"https://f.example/{prefix}=https://m.example/{elsewhere}"])
    url = f"https://f.example/{prefix}".rstrip("/") + f"/{rest}"
    moved = f"https://m.example/{elsewhere}".rstrip("/") + f"/{rest}"
    assert mirrors.apply(Url.parse(url)).exposed == moved
    foreign = Url.parse(f"https://g.example/{prefix}/{rest}")
    assert mirrors.apply(foreign) == foreign
