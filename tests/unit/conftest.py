"""Unit tests run without a cluster: starting one fails the test, and so does leaving that of other tests."""

import pytest
import ray


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        pytest.fail("unit tests must not start, join or leave a Ray cluster")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "shutdown", refuse)
    monkeypatch.setattr("ray._private.worker.init", refuse)
