"""The API against its own description, by schemathesis: RAYPIPE_SCHEMA_SECONDS=600 is the long form."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import patience

from .serving import api

SECONDS = int(os.environ.get("RAYPIPE_SCHEMA_SECONDS", "15"))
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "use_after_free", "ensure_resource_availability",
)  # fmt: skip
#: they never end
STREAMS = ("/v1/events", "/v1/videos/{video_id}/events")


@pytest.mark.timeout(SECONDS + patience(165))
def test_whatever_is_sent_the_api_answers_as_its_description_says(tmp_path: Path) -> None:
    with api(tmp_path) as url:
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"]
        command += ["--max-time", str(SECONDS), "--phases", "examples,coverage,fuzzing,stateful"]
        command += ["--checks", ",".join(CHECKS), "--continue-on-failure", "--no-color"]
        command += [part for path in STREAMS for part in ("--exclude-path", path)]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-12_000:]
    log = (tmp_path / "api.log").read_text()
    assert "Traceback" not in log, log[-8_000:]
