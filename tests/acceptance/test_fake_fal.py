"""fal's own SDK passes against our fake of fal, over TLS, as it speaks nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import trustme

from tests.patience import patience
from tests.vendors import KEYS, fake

PROGRAM = """
import json, fal_client
handle = fal_client.submit("fal-ai/flux/schnell", {"prompt": "a boat"})
first = type(handle.status()).__name__
made = handle.get(interval=0.05)
again = fal_client.result("fal-ai/flux/schnell", handle.request_id)
last = type(fal_client.status("fal-ai/flux/schnell", handle.request_id)).__name__
try:
    fal_client.submit("fal-ai/flux/schnell", {"image": "x"})
except fal_client.FalClientHTTPError as error:
    refused = error.status_code
fal_client.cancel("fal-ai/flux/schnell", handle.request_id)
print(json.dumps([handle.request_id, first, last, made == again, made["images"][0]["url"], refused]))
"""


def test_it_submits_asks_fetches_and_cancels(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "server.pem")
    )
    with fake("fal", tmp_path, tls=tmp_path / "server.pem", image=0.3) as vendor:
        environment = {
            **os.environ,
            "FAL_KEY": KEYS["fal"],
            "FAL_QUEUE_RUN_HOST": vendor.url.removeprefix("https://"),
            "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        }
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        request_id, first, last, equal, url, refused = json.loads(ran.stdout)
        assert (first, last, equal, refused) == ("InProgress", "Completed", True, 422)
        assert url.startswith(vendor.url)
        assert [line["job"]["id"] for line in vendor.lines()] == [request_id]
        assert [line["job_id"] for line in vendor.lines("cancel")] == [request_id]
