"""The shipped cluster.yaml, by Ray's own rules and by our promises."""

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws import config as aws_config
from ray.autoscaler._private.aws import node_provider as aws_provider
from ray.autoscaler._private.aws import utils as aws_utils
from ray.autoscaler._private.command_runner import _with_environment_variables, _with_interactive
from ray.autoscaler._private.commands import (
    _bootstrap_config,
    _set_up_config_for_head_node,
    try_logging_config,
)
from ray.autoscaler._private.util import prepare_config, validate_config, with_head_node_ip
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

ROOT = Path(__file__).parents[2]
UBUNTU = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"


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


def test_what_is_installed_on_the_nodes_includes_what_rays_autoscaler_imports(config: Any) -> None:
    (install,) = [line for line in config["setup_commands"] if "pip install" in line]
    assert install.endswith(' "/home/ubuntu/raypipe[aws]"')
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [requirement.split(">=")[0] for requirement in extras["aws"]] == ["boto3"]


def test_the_head_starts_serve_and_does_no_cpu_work(config: Any) -> None:
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}
    assert any("serve run --non-blocking serve_app:app" in line for line in config["head_start_ray_commands"])
    assert not any("serve" in line for line in config["worker_start_ray_commands"])


def test_workers_are_spot_instances_and_at_least_one_with_cpus_is_there_from_the_start(config: Any) -> None:
    worker = prepare_config(config)["available_node_types"]["worker"]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert worker["resources"]["CPU"] >= 1
    assert 1 <= worker["min_workers"] < worker["max_workers"]


def test_the_dashboard_is_on_loopback(config: Any) -> None:
    assert any("--dashboard-host=127.0.0.1" in line for line in config["head_start_ray_commands"])


def test_the_places_to_edit_are_marked_and_few() -> None:
    assert 2 <= (ROOT / "cluster.yaml").read_text().count("EDIT:") <= 5


# --- AWS: Ray's own code for that provider, against moto


class Aws:
    """An AWS account in this process that notes which calls Ray makes, as IAM names them."""

    def __init__(self) -> None:
        self.calls: set[str] = set()
        self.ec2 = boto3.client("ec2", "us-east-1")
        self.ami = self.ec2.register_image(Name="ubuntu-24.04")["ImageId"]
        boto3.setup_default_session()
        events = boto3.DEFAULT_SESSION.events
        events.register("before-call.*.*", self._note)
        events.register("before-parameter-build.ec2.RunInstances", self._resolve)

    def add_profile(self, name: str) -> None:
        """What docs/operations.md has one do before `ray up`."""
        iam = boto3.client("iam")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(documented_policy()))
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        self.calls.clear()

    def _note(self, model: Any, **_: Any) -> None:
        self.calls.add(f"{model.service_model.endpoint_prefix}:{model.name}")

    def _resolve(self, params: Any, **_: Any) -> None:
        # EC2 does this itself and moto does not; it asks for the parameter with the rights of the caller
        if params["ImageId"] == UBUNTU:
            self.calls.add("ssm:GetParameters")
            params["ImageId"] = self.ami


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "nobody")
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes the key pair to ~/.ssh
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(aws_provider, "TAG_BATCH_DELAY", 0)
    monkeypatch.setattr(aws_config.time, "sleep", lambda _seconds: None)
    caches = (aws_utils.resource_cache, aws_utils.client_cache, aws_config._get_subnets_or_die)
    with mock_aws():
        for cache in caches:
            cache.cache_clear()
        yield Aws()
    for cache in caches:
        cache.cache_clear()


def documented_policy() -> Any:
    """The rights that docs/operations.md says the profile needs."""
    (block,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    return json.loads(block)


def documented_actions() -> list[str]:
    return [action for statement in documented_policy()["Statement"] for action in statement["Action"]]


def as_the_head_reads(resolved: Any) -> Any:
    provider = aws_provider.AWSNodeProvider(resolved["provider"], resolved["cluster_name"])
    _, file = _set_up_config_for_head_node(resolved, provider, no_restart=False)
    with file:
        return json.loads(Path(file.name).read_text())


def start(config: Any, node_type: str) -> tuple[Any, str]:
    """Start an instance of a node type as Ray does, on AWS and in `ray up` or the head's autoscaler alike."""
    provider = aws_provider.AWSNodeProvider(config["provider"], config["cluster_name"])
    is_head = node_type == config["head_node_type"]
    tags = {
        TAG_RAY_NODE_KIND: NODE_KIND_HEAD if is_head else NODE_KIND_WORKER,
        TAG_RAY_USER_NODE_TYPE: node_type,
        TAG_RAY_LAUNCH_CONFIG: "hash",
    }
    node_config = config["available_node_types"][node_type]["node_config"]
    if is_head:
        node_config = {**node_config, **config["head_node"]}  # what Ray gives to the head alone
    provider.create_node_with_resources_and_labels(node_config, tags, 1, {}, {})
    (node,) = provider.non_terminated_nodes({TAG_RAY_USER_NODE_TYPE: node_type})
    return provider, node


def test_ray_starts_the_head_and_a_worker_on_aws_with_one_profile(config: Any, aws: Aws) -> None:
    aws.add_profile("raypipe-node")
    resolved = _bootstrap_config(config, no_config_cache=True)  # what `ray up` begins with
    try_logging_config(resolved)
    assert not {call for call in aws.calls if call.startswith("iam:")}  # Ray makes no profile of its own
    provider, head = start(resolved, "head")
    _, worker = start(as_the_head_reads(resolved), "worker")

    described = {
        instance["InstanceId"]: instance
        for reservation in aws.ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    }
    assert set(described) == {head, worker}
    for instance in described.values():
        assert instance["State"]["Name"] == "running"
        assert instance["ImageId"] == aws.ami
        assert instance["IamInstanceProfile"]["Arn"].endswith(":instance-profile/raypipe-node")
        assert instance["KeyName"] == described[head]["KeyName"]
        assert instance["SecurityGroups"] == described[head]["SecurityGroups"] != []
        assert instance["SubnetId"]
    assert described[head]["InstanceType"] == "m7i.xlarge"
    assert "InstanceLifecycle" not in described[head]
    assert described[worker]["InstanceType"] == "c7i.2xlarge"
    assert described[worker]["InstanceLifecycle"] == "spot"
    assert resolved["available_node_types"]["worker"]["resources"]["CPU"] == cpus("c7i.2xlarge")
    assert provider.internal_ip(head) != provider.internal_ip(worker)


def cpus(instance_type: str) -> int:
    (described,) = boto3.client("ec2", "us-east-1").describe_instance_types(InstanceTypes=[instance_type])[
        "InstanceTypes"
    ]
    return int(described["VCpuInfo"]["DefaultVCpus"])


def test_ray_starts_nothing_when_the_profile_was_not_made(config: Any, aws: Aws) -> None:
    resolved = aws_config.bootstrap_aws(prepare_config(config))
    with pytest.raises(Exception, match="raypipe-node"):
        start(resolved, "worker")


def test_the_documented_rights_are_enough_for_what_ray_calls_here_and_on_the_head(
    config: Any, aws: Aws
) -> None:
    aws.add_profile("raypipe-node")
    head_config = as_the_head_reads(aws_config.bootstrap_aws(prepare_config(config)))
    allowed = documented_actions()
    allowed_here = allowed + re.findall(r"`(ec2:\w+)`", (ROOT / "docs" / "operations.md").read_text())
    assert {"ec2:CreateKeyPair", "ec2:CreateSecurityGroup"} <= aws.calls
    for call in aws.calls:
        assert any(fnmatchcase(call, action) for action in allowed_here), call

    aws.calls.clear()
    provider, worker = start(head_config, "worker")
    provider.set_node_tags(worker, {TAG_RAY_NODE_STATUS: "up-to-date"})
    provider.terminate_nodes([worker])
    assert {"ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"} <= aws.calls
    for call in aws.calls:
        assert any(fnmatchcase(call, action) for action in allowed), call


def test_the_documented_rights_pass_on_the_profile_and_open_the_bucket(config: Any) -> None:
    name = config["available_node_types"]["worker"]["node_config"]["IamInstanceProfile"]["Name"]
    resources = {
        action: json.dumps(statement["Resource"])
        for statement in documented_policy()["Statement"]
        for action in statement["Action"]
    }
    assert f":role/{name}" in resources["iam:PassRole"]
    for action in ("s3:GetObject", "s3:PutObject", "s3:ListBucket"):
        assert "arn:aws:s3:::YOUR-BUCKET" in resources[action]


def test_every_node_type_has_the_same_profile_and_the_documented_one(config: Any) -> None:
    profiles = [
        node["node_config"].get("IamInstanceProfile") for node in config["available_node_types"].values()
    ]
    assert profiles == [{"Name": "raypipe-node"}] * len(profiles)
    documented = (ROOT / "docs" / "operations.md").read_text()
    assert "create-instance-profile --instance-profile-name raypipe-node" in documented


# --- the shell commands, run as Ray's ssh runs them

SHOW = """#!/bin/sh
echo "$(basename "$0") $*" >> ~/calls
case "$(basename "$0") $1" in "ray start") env > ~/ray-start.env;; esac
"""
#: as Ubuntu's: what stands below the guard is not read by every shell
BASHRC = """case $- in *i*) ;; *) return;; esac
export PATH=$HOME/fakes:$PATH
"""


class Node:
    """A home folder in which a node's commands run; what they would install or start is fake."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for name in ("fakes/sudo", "fakes/python3", "venv/bin/pip", "venv/bin/ray", "venv/bin/serve"):
            program = home / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(SHOW)
            program.chmod(0o755)
        (home / "raypipe").mkdir()
        (home / ".bashrc").write_text(BASHRC)

    def up(self, config: Any, kind: str) -> None:
        """Run a node's setup and start commands, each in a shell of its own."""
        commands = config["setup_commands"] + config[f"{kind}_setup_commands"]
        commands += with_head_node_ip(config[f"{kind}_start_ray_commands"], "10.0.0.1")
        for command in commands:
            here = command.replace("/home/ubuntu", str(self.home))
            line = " ".join(_with_interactive(_with_environment_variables(here, {"RAY_X": 1})))
            subprocess.run(
                ["bash", "-c", line],
                env={"HOME": str(self.home), "PATH": "/usr/local/bin:/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,  # an interactive bash would take the terminal
                check=True,
            )

    @property
    def calls(self) -> list[str]:
        return (self.home / "calls").read_text().splitlines()

    @property
    def ray_start(self) -> dict[str, str]:
        """The environment that `ray start` was given."""
        lines = (self.home / "ray-start.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_ray_start_sees_the_bucket_which_is_edited_in_one_place(kind: str, tmp_path: Path) -> None:
    text = (ROOT / "cluster.yaml").read_text()
    assert text.count("YOUR-BUCKET") == 1
    node = Node(tmp_path)
    for bucket in ("films", "other-films"):  # `ray up` again, with another bucket, on the same machine
        config = yaml.safe_load(text.replace("YOUR-BUCKET", bucket))
        node.up(config, kind)
        assert node.ray_start["RAYPIPE_ARTIFACTS"] == f"s3://{bucket}/raypipe"
        assert node.ray_start["AWS_REGION"] == config["provider"]["region"]


def test_the_head_and_a_worker_run_what_they_should(config: Any, tmp_path: Path) -> None:
    nodes = {}
    for kind in ("head", "worker"):
        (tmp_path / kind).mkdir()
        nodes[kind] = Node(tmp_path / kind)
        nodes[kind].up(config, kind)
        installs = [call for call in nodes[kind].calls if call.startswith("pip install")]
        assert installs == [f"pip install --quiet {nodes[kind].home}/raypipe[aws]"]
        # as `raypipe serve` has it on a Ray of its own
        assert nodes[kind].ray_start["RAY_worker_niceness"] == "0"
        assert nodes[kind].ray_start["RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"] == "1"
        guard = nodes[kind].ray_start["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]
        assert guard == "raypipe.api.proxy.in_proxy"
    assert nodes["head"].calls[-1] == "serve run --non-blocking serve_app:app"
    assert nodes["worker"].calls[-1] == "ray start --address=10.0.0.1:6379"
