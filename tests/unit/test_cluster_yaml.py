"""The shipped cluster.yaml, by Ray's own rules and by our promises."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config() -> Any:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_ray_accepts_it(config: Any) -> None:
    validate_config(prepare_config(config))


def test_ray_would_refuse_it_if_it_were_wrong(config: Any) -> None:
    config["available_node_types"]["worker"]["resources"] = {"CPU": "many"}
    with pytest.raises(Exception, match="many"):
        validate_config(prepare_config(config))


def test_raypipe_is_installed_on_every_node_from_the_same_checkout(config: Any) -> None:
    assert config["file_mounts"] == {"/home/ubuntu/raypipe": "."}
    assert any("pip install" in line and "/home/ubuntu/raypipe" in line for line in config["setup_commands"])


def test_the_head_starts_serve_and_does_no_cpu_work(config: Any) -> None:
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}
    assert any("serve run --non-blocking serve_app:app" in line for line in config["head_start_ray_commands"])
    assert not any("serve" in line for line in config["worker_start_ray_commands"])


def test_workers_are_spot_instances_that_come_and_go(config: Any) -> None:
    worker = config["available_node_types"]["worker"]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert worker["min_workers"] == 0 < worker["max_workers"]


def test_the_dashboard_is_on_loopback(config: Any) -> None:
    assert any("--dashboard-host=127.0.0.1" in line for line in config["head_start_ray_commands"])


def test_the_places_to_edit_are_marked_and_few() -> None:
    assert 2 <= (ROOT / "cluster.yaml").read_text().count("EDIT:") <= 4
