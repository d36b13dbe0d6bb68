"""The files that uv names in an answer: a `pylock.toml` (PEP 751) as uv writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import urlsplit

from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.digest import Digest
from uv_archive.errors import BuildRequirementsError
from uv_archive.filenames import SdistFilename, WheelFilename, parse_sdist, parse_wheel
from uv_archive.lock.model import Distribution, LocalPath
from uv_archive.markers import All, AnyOf, Comparison, Expression, InvalidMarker, Marker
from uv_archive.target import Python, Target
from uv_archive.url import Url

_STRONGEST_FIRST = ("sha256", "sha512", "sha384", "blake2b", "sha1", "md5")
LEAVE_OUT = "or leave build requirements out with `--no-build-requirements`"


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedPackage:
    """A package of a `pylock.toml` (PEP 751) that uv wrote."""

    name: NormalizedName
    marker: Marker | None
    wheels: tuple[Distribution, ...]
    sdists: tuple[Distribution, ...]

    @classmethod
    def read(cls, table: Mapping[str, object]) -> LockedPackage:
        """Read an entry of `packages`.

        Raises `ValueError` or `KeyError`, and `BuildRequirementsError` for what isn't a file.
        """
        name = canonicalize_name(_text(table["name"]))
        for kind in ("vcs", "directory"):
            if kind in table:
                raise BuildRequirementsError(
                    f"The build requirement `{name}` is a commit or a source tree, "
                    "which archives don't carry",
                    hint=f"Build it, and refer to its wheel, {LEAVE_OUT}",
                )
        index = table.get("index")
        source = Url.parse(index).public() if isinstance(index, str) and "://" in index else None
        files = [*_tables(table.get("wheels")), *_tables([table.get("sdist")])]
        files += _tables([table.get("archive")])
        found = [_distribution(file, name, source) for file in files]
        marker = table.get("marker")
        return cls(
            name=name,
            marker=_marker(marker) if isinstance(marker, str) else None,
            wheels=tuple(each for each in found if each.is_wheel),
            sdists=tuple(each for each in found if not each.is_wheel),
        )

    def for_target(self, target: Target) -> Distribution:
        """Return the wheel that uv takes on *target*, else the sdist."""
        usable = [
            (priority, wheel.filename.build, wheel)
            for wheel in self.wheels
            if isinstance(wheel.filename, WheelFilename)
            and (priority := target.wheel_priority(wheel.filename.tags)) is not None
        ]
        if usable:
            return max(usable, key=lambda each: each[:2])[2]
        if self.sdists:
            return self.sdists[0]
        raise BuildRequirementsError(
            f"The build requirement `{self.name}` has no wheel for {target.label}",
            hint=f"Give a platform that it has wheels for, {LEAVE_OUT}",
        )

    def may_be_needed(self, python: Python) -> bool:
        """Whether *python* needs the package on some platform or another."""
        minor = f"{python.major}.{python.minor}"
        return self.marker is None or any(
            _may_hold(
                self.marker.expression,
                {"python_version": minor, "python_full_version": f"{minor}.{micro}"},
            )
            for micro in ((0, 99) if python.micro is None else (python.micro,))
        )

    def needed(self, target: Target, micro: str) -> bool:
        """Whether *target*'s patch release *micro* needs the package."""
        marker = self.marker
        return marker is None or any(map(marker.holds, target.environments(micro)))


def _may_hold(expression: Expression, known: Mapping[str, str]) -> bool:
    """Whether a marker can be true where only the *known* variables are settled."""
    match expression:
        case Comparison(variable=variable):
            return variable not in known or Marker("", expression).holds(known)
        case All(terms):
            return all(_may_hold(term, known) for term in terms)
        case AnyOf(terms):
            return any(_may_hold(term, known) for term in terms)
        case _:
            assert_never(expression)


def _marker(text: str) -> Marker:
    try:
        return Marker.parse(text)
    except InvalidMarker as error:
        raise ValueError(f"`{text}` is no marker") from error


def _distribution(
    table: Mapping[str, object], name: NormalizedName, source: str | None
) -> Distribution:
    location = _location(table)
    segment = (
        location.last_segment
        if isinstance(location, Url)
        else location.text.replace("\\", "/").rpartition("/")[2]
    )
    text = table.get("name", segment)
    filename = _filename(_text(text), name)
    size = table.get("size")
    return Distribution(
        filename=filename,
        location=location,
        # What is written down must not name a place of this machine.
        source=source or (str(location) if isinstance(location, Url) else filename.text),
        digest=_digest(table.get("hashes")),
        size=size if isinstance(size, int) else None,
        place=f"build requirement {name}",
    )


def _location(table: Mapping[str, object]) -> Url | LocalPath:
    if "url" not in table:
        return LocalPath(_text(table["path"]))
    url = _text(table["url"])
    if urlsplit(url).scheme == "file":
        from urllib.request import url2pathname  # noqa: PLC0415 - slow, rarely needed

        return LocalPath(url2pathname(urlsplit(url).path))
    return Url.parse(url)


def _filename(text: str, name: NormalizedName) -> WheelFilename | SdistFilename:
    filename = parse_wheel(text) if text.endswith(".whl") else parse_sdist(text, name)
    if filename.name != name:
        raise ValueError(f"`{text}` isn't a file of `{name}`")
    return filename


def _digest(hashes: object) -> Digest | None:
    if isinstance(hashes, dict):
        for algorithm in _STRONGEST_FIRST:
            if isinstance(value := hashes.get(algorithm), str):
                return Digest.parse(f"{algorithm}:{value}")
    return None


def _tables(value: object) -> Iterable[Mapping[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a string")  # noqa: TRY004 - what parsing raises elsewhere
    return value
