"""URLs of repositories: what is taken, what is written down, and what relative ones mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fetch.conftest import CANARY
from tests.git.repositories import git as run
from uv_archive.fetch.git import Logins, Remote, with_login_of, without_credentials


@pytest.mark.parametrize(
    ("text", "public", "name"),
    [
        ("https://git.example/group/Lib_Rary.git", None, "lib-rary"),
        ("https://git.example/library/", None, "library"),
        ("ssh://git@git.example:22/x/library.git", "ssh://git.example:22/x/library.git", "library"),
        ("git@git.example:x/library.git", "git.example:x/library.git", "library"),
        ("git.example:library", "git.example:library", "library"),
        ("https://u:p@git.example/l.git?token=1#x", "https://git.example/l.git", "l"),
        ("git://git.example/%E5%90%8D", None, "repository"),
    ],
)
def test_a_remote(text: str, public: str | None, name: str) -> None:
    remote = Remote.parse(text)

    assert remote.exposed == text
    assert remote.public() == (public or text)
    assert str(remote) == remote.public()
    assert remote.public() in repr(remote)
    assert remote.name == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-x",
        "--upload-pack=id",
        "/srv/library",
        "../library",
        "C:/library",
        "ext::id",
        "fd::17",
        "https::https://git.example/x",
        "ftp://git.example/x",
        "file:///srv/x",
        "https:///x",
        "ssh://-oProxyCommand=id/x",
        "-oProxyCommand=id:x",
        "-oProxyCommand=id@host:x",
        "https://git.example/a b",
        "https://git.example/a\nb",
        "git@git.example:a\x1bb",
    ],
)
def test_what_is_no_remote(text: str) -> None:
    with pytest.raises(ValueError):
        Remote.parse(text)


_BASES = (
    "https://git.example/a/b/c.git",
    "https://git.example/a/b/",
    "ssh://git@git.example/a/b.git",
    "git@git.example:a/b.git",
    "git@git.example:b.git",
)


@pytest.mark.parametrize("base", _BASES)
@pytest.mark.parametrize(
    "url", ["../x.git", "./x.git", "../../x.git", "./../x/", ".././y/../x.git", "../x/y.git"]
)
def test_a_relative_url_is_what_git_makes_of_it(tmp_path: Path, base: str, url: str) -> None:
    run("init", "--quiet", str(tmp_path))
    (tmp_path / ".gitmodules").write_text(f'[submodule "s"]\n\tpath = s\n\turl = {url}\n')
    entry = f"160000,{'a' * 40},s"
    run("update-index", "--add", "--cacheinfo", entry, directory=tmp_path)
    run("config", "remote.origin.url", base, directory=tmp_path)
    try:
        run("submodule", "init", directory=tmp_path)
        expected = run("config", "submodule.s.url", directory=tmp_path).strip()
        Remote.parse(expected)
    except (AssertionError, ValueError):
        with pytest.raises(ValueError):
            Remote.parse(base).submodule(url)
        return

    assert Remote.parse(base).submodule(url).exposed == expected


@given(st.text(alphabet="./:@-ax", max_size=20))
def test_a_submodule_of_a_remote_is_a_remote(url: str) -> None:
    try:
        found = Remote.parse(_BASES[0]).submodule(url)
    except ValueError:
        return

    assert Remote.parse(found.exposed) == found
    assert not found.exposed.startswith(("/", "-", "file:"))


@pytest.mark.parametrize(
    "document",
    [
        {"tool": {"uv": {"sources": {"l": {"git": "https://u:p@git.example/l.git"}}}}},
        {"tool": {"uv": {"sources": {"l": [{"git": "https://u:p@git.example/l", "tag": "v"}]}}}},
        {"project": {"dependencies": ["l @ git+https://u:p@git.example/l.git@v1.0 ; a > '1'"]}},
        {"dependency-groups": {"dev": ["l@git+https://u:p@git.example/l.git#subdirectory=x"]}},
    ],
)
def test_logins_that_a_project_wrote(document: dict[str, object]) -> None:
    logins = Logins.of([document])

    remote = logins.apply(Remote.parse("https://git.example/l.git"))

    assert remote.exposed == "https://u:p@git.example/l.git"
    assert logins.apply(Remote.parse("https://git.example/m.git")).exposed.count("@") == 0
    assert logins.apply(Remote.parse("http://git.example/l.git")).exposed.count("@") == 0
    assert "p@" not in repr(logins)


def test_a_login_goes_to_submodules_on_the_same_server_only() -> None:
    parent = Remote.parse("https://u:p@git.example:8443/l.git")

    for url, expected in (
        ("https://git.example:8443/m.git", "https://u:p@git.example:8443/m.git"),
        ("https://git.example/m.git", "https://git.example/m.git"),
        ("http://git.example:8443/m.git", "http://git.example:8443/m.git"),
        ("https://own@git.example:8443/m.git", "https://own@git.example:8443/m.git"),
        ("git@git.example:m.git", "git@git.example:m.git"),
    ):
        assert with_login_of(Remote.parse(url), parent).exposed == expected


def test_what_git_says_is_told_without_credentials() -> None:
    said = f"fatal: unable to access 'https://u:{CANARY}@git.example/l.git/': no"

    assert without_credentials(said) == "fatal: unable to access 'https://git.example/l.git/': no"
