"""One real cluster for all tests here."""

from tests.clusters import cluster, settings, with_coordinator, with_coordinator_of, with_service

__all__ = ["cluster", "settings", "with_coordinator", "with_coordinator_of", "with_service"]
