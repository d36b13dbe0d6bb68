"""Build wheels alone: one sdist or tree, exactly its recorded requirements, no network.

`unpacking` and `checkout` lay out a source, `surroundings` decides what a build sees of this
machine, `confinement` takes the network from it where the system can, and `one` builds one wheel.
`wanted` decides what an archive lacks, `many` builds that, and `within` records it.
"""

from uv_archive.build.confinement import Confinement, find_confinement
from uv_archive.build.many import FailedBuild
from uv_archive.build.many import Reporter as BuildReporter
from uv_archive.build.one import (
    Build,
    Built,
    NotBuilt,
    Requirement,
    SdistSource,
    TreeSource,
    build_one,
)
from uv_archive.build.wanted import Tree
from uv_archive.build.within import (
    BuildOutcome,
    BuiltFile,
    Draft,
    Options,
    build_archive,
    build_within,
    recomposed,
)

__all__ = [
    "Build",
    "BuildOutcome",
    "BuildReporter",
    "Built",
    "BuiltFile",
    "Confinement",
    "Draft",
    "FailedBuild",
    "NotBuilt",
    "Options",
    "Requirement",
    "SdistSource",
    "Tree",
    "TreeSource",
    "build_archive",
    "build_one",
    "build_within",
    "find_confinement",
    "recomposed",
]
