"""One real cluster for all tests here."""

from tests.clusters import (
    cluster,
    installation,
    settings,
    with_coordinator,
    with_coordinator_of,
    with_service,
    with_shared,
)

__all__ = [
    "cluster",
    "installation",
    "settings",
    "with_coordinator",
    "with_coordinator_of",
    "with_service",
    "with_shared",
]
