"""Build requirements: what `uv.lock` doesn't say, and what every sdist needs before it's of use.

`build_system` reads what a source asks for, `backends` knows what backends add to it, `reading`
puts the two together, with what hooks say where they may run, `build_settings` has what the project
adds, `answers` has uv find the files, and `gather` does all that for the builds of a selection.
"""

from uv_archive.build_requirements.answers import Answered, Everywhere, Question
from uv_archive.build_requirements.backends import Additions, Unknown, Wanted, known_additions
from uv_archive.build_requirements.build_system import BuildSystem, read_build_system
from uv_archive.build_requirements.gather import Obtain, gather
from uv_archive.build_requirements.model import (
    AskHooks,
    BuildSubject,
    BuildWants,
    ConfigSettings,
    Failure,
    Gathered,
    Reason,
    Record,
    Reporter,
    RequiredFile,
    Uncertainty,
)
from uv_archive.build_requirements.reading import is_recorded

__all__ = [
    "Additions",
    "Answered",
    "AskHooks",
    "BuildSubject",
    "BuildSystem",
    "BuildWants",
    "ConfigSettings",
    "Everywhere",
    "Failure",
    "Gathered",
    "Obtain",
    "Question",
    "Reason",
    "Record",
    "Reporter",
    "RequiredFile",
    "Uncertainty",
    "Unknown",
    "Wanted",
    "gather",
    "is_recorded",
    "known_additions",
    "read_build_system",
]
