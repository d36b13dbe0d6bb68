"""Commands whose help has its options under headings, as uv's has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import click


class SectionedCommand(click.Command):
    """A command made from options by heading; the rest of its help comes last."""

    def __init__(
        self,
        name: str,
        *,
        sections: Mapping[str, Sequence[click.Option]],
        callback: Callable[..., int],
        epilog: str,
    ) -> None:
        super().__init__(
            name,
            params=[option for options in sections.values() for option in options],
            callback=callback,
            help=callback.__doc__,
            epilog=epilog,
        )
        self._sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        listed = {option for options in self._sections.values() for option in options}
        rest = [parameter for parameter in self.get_params(ctx) if parameter not in listed]
        for heading, parameters in (*self._sections.items(), ("Help", rest)):
            records = [parameter.get_help_record(ctx) for parameter in parameters]
            with formatter.section(heading):
                formatter.write_dl([record for record in records if record is not None])
