"""One real cluster for all tests here, but for those that have one in namespaces of their own."""

import os
import shutil

import pytest

from tests.clusters import cluster, settings, with_coordinator, with_coordinator_of, with_service

__all__ = ["cluster", "settings", "with_coordinator", "with_coordinator_of", "with_service"]


@pytest.fixture
def namespaces() -> None:
    """Skip a test that needs PID and mount namespaces where there can be none; in CI it fails."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))):
        assert "CI" not in os.environ, "namespaces need root, unshare and setpriv"
        pytest.skip("namespaces need root, unshare and setpriv")
