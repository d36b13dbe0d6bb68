"""Whatever a lock has become: it is read, or there is one clear error, soon."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from tests.lock.documents import (
    INDEX,
    Table,
    document,
    edge,
    package,
    project,
    sdist,
    wheel,
)
from uv_archive.errors import LockError
from uv_archive.lock import parse_lock

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Mutations for each example that the profile asks for: 2,000 every day, 200,000 to soak.
_MUTATIONS = 40
_SECONDS = 2.0

#: A lock that has everything a lock can have.
EVERYTHING = document(
    project(
        needs=["a", edge("b", extra=["x"], marker="extra == 'extra-7-project-cpu'")],
        extras={"cpu": [edge("c", version="1.0", source={"registry": INDEX})], "gpu": []},
        groups={"dev": ["a", edge("c", version="2.0", source={"registry": INDEX})]},
    ),
    package("a", wheels=["py3-none-any", "cp311-abi3-manylinux_2_17_x86_64"], sdist=sdist("a")),
    package("b", extras={"x": ["a"]}, needs=["b"], wheels=[wheel("b", "1.0+cpu")]),
    package("c", "1.0", forks=["python_full_version >= '3.12'"]),
    package("c", "2.0", forks=["python_full_version < '3.12'"]),
    package("g", source={"git": f"https://git.example/g?tag=v1&subdirectory=s#{COMMIT}"}),
    package(
        "u", source={"url": "https://files.example/v1.0.tar.gz"}, sdist={"hash": "md5:" + "0" * 32}
    ),
    package(
        "w",
        source={"path": "vendor/w-1.0-py3-none-any.whl"},
        wheels=[{"filename": "w-1.0-py3-none-any.whl"}],
    ),
    package("l", source={"registry": "../wheels"}, wheels=[{"path": "l-1.0-py3-none-any.whl"}]),
    package("d", None, source={"directory": "../d"}),
    supported_markers=["sys_platform == 'linux'", "os_name in 'nt posix'"],
    conflicts=[[{"package": "project", "extra": "cpu"}, {"package": "project", "extra": "gpu"}]],
    manifest={
        "members": ["project"],
        "requirements": [{"name": "a", "extras": ["x"], "marker": "python_version ~= '3.9'"}],
        "dependency-groups": {"lint": [{"name": "b"}]},
        "build-constraints": [{"name": "setuptools", "specifier": "<70"}],
    },
    options={"exclude-newer": "2025-01-01T00:00:00Z"},
)

VALUES: tuple[object, ...] = (
    "", " ", "a", "b", "project", "1.0", "9" * 400, "../x",
    "\0", "\x1b[2J", "\u202e", "a\nb", "C:\\x",
    "https://", "https://[", "https://[::1]:x/", "//x", "file:///x%00", "file://h/%FF", "http://a\\@b/c",
    "https://files.example/a-1.0-py3-none-any.whl",
    "https://files.example/%252e%252e%252fa-1.0.zip",
    "((((", "extra", "extra == ", "python_version >= 'x'", "os_name ~= 'x'", "'a' == 'b'",
    "os_name == 'nt' or " * 50 + "os_name == 'nt'", "(" * 99 + "os_name == 'nt'" + ")" * 99,
    "sha256:", "sha256:" + "0" * 64, "a-1.0-" + "-".join([".".join("abcdefghijklm")] * 3) + ".whl",
    0, 1, 2, -1, 2**31, 2**63 - 1, 2**64, 10**30, True, False, 1.5, float("nan"), float("inf"),
    [], [[]], [[[[]]]], [1,
    "a"], {}, {"": ""}, {"name": "a"}, {"registry": INDEX}, {"virtual": "."},
    {"name": {"name": {"name": "a"}}},
)  # fmt: skip


def places(value: object) -> Iterator[tuple[Table, str] | tuple[list[object], int]]:
    """Yield every place in *value*: a container and a key or a position in it."""
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from places(value[key])
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield value, position
            yield from places(inner)


def mutate(table: Table, random: random.Random) -> None:
    """Drop, replace, move or double something in *table*."""
    found = list(places(table))
    container, key = random.choice(found)
    other, other_key = random.choice(found)
    match random.randrange(6):
        case 0:
            del container[key]  # type: ignore[arg-type]
        case 1 | 2:
            container[key] = copy.deepcopy(random.choice(VALUES))  # type: ignore[index]
        case 3:
            container[key] = copy.deepcopy(other[other_key])  # type: ignore[index]
        case 4 if isinstance(container, list):
            container.append(copy.deepcopy(random.choice(container)))
        case 4 if isinstance(container, dict):
            container[f"{key}x"] = copy.deepcopy(container[str(key)])
        case _:
            text = container[key]  # type: ignore[index]
            if isinstance(text, str):
                position = random.randrange(len(text) + 1)
                container[key] = text[:position] + random.choice("\0%/\\.:@#?é' ") + text[position:]  # type: ignore[index]


def read(content: bytes) -> None:
    started = time.process_time()
    try:
        parse_lock(content)
    except LockError as error:
        message = error.message
        assert message
        assert "\n" not in message
    assert time.process_time() - started < _SECONDS


@given(seed=st.integers(0, 2**32), changes=st.integers(1, 6))
def test_a_mutated_lock_is_read_or_refused(seed: int, changes: int) -> None:
    generator = random.Random(seed)
    for _ in range(_MUTATIONS):
        table = copy.deepcopy(EVERYTHING)
        for _ in range(changes):
            mutate(table, generator)
        read(tomli_w.dumps(table).encode(errors="surrogatepass"))


@given(data=st.data())
def test_a_lock_with_other_bytes_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(tomli_w.dumps(EVERYTHING).encode())
    for _ in range(data.draw(st.integers(1, 8))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    read(
        bytes(
            content[: data.draw(st.integers(0, len(content)))]
            if data.draw(st.booleans())
            else content
        )
    )


def test_what_is_mutated_can_be_read() -> None:
    lock = parse_lock(tomli_w.dumps(EVERYTHING).encode())
    assert len(lock.packages) == 10


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_each_value_in_each_place_is_read_or_refused(value: object) -> None:
    for number in range(len(list(places(EVERYTHING)))):
        table = copy.deepcopy(EVERYTHING)
        container, key = list(places(table))[number]
        container[key] = copy.deepcopy(value)  # type: ignore[index]
        read(tomli_w.dumps(table).encode())
