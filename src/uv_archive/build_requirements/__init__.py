"""Build requirements: what `uv.lock` doesn't say, and what every sdist needs before it's of use.

`build_system` reads what a source asks for, `backends` knows what backends add to it, `answers`
has uv find the files, and `gather` does the three for all builds of a selection.
"""

from uv_archive.build_requirements.answers import Question
from uv_archive.build_requirements.backends import Additions, Unknown, Wanted, known_additions
from uv_archive.build_requirements.build_system import BuildSystem, read_build_system
from uv_archive.build_requirements.gather import Obtain, gather
from uv_archive.build_requirements.model import (
    BuildSubject,
    BuildWants,
    Failure,
    Gathered,
    Reason,
    Record,
    Reporter,
    RequiredFile,
    Uncertainty,
)

__all__ = [
    "Additions",
    "BuildSubject",
    "BuildSystem",
    "BuildWants",
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
    "known_additions",
    "read_build_system",
]
