"""The option that several commands take to compare an archive with what was expected."""

from __future__ import annotations

import click

from uv_archive.digest import Digest


class ArchiveDigest(click.ParamType[Digest]):
    """The digest of an archive: `sha256:` and 64 hexadecimal digits."""

    name = "digest"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Digest:
        if not value.startswith("sha256:"):
            self.fail("expected `sha256:` and the digest that `download` printed", param, ctx)
        try:
            return Digest.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
