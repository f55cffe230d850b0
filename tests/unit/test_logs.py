"""What a service logs, for people and for machines."""

import json
import logging
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, sys
from pathlib import Path
from raypipe.logs import log_to_file_and_stderr
log_to_file_and_stderr(Path(sys.argv[1]))
logger = logging.getLogger("raypipe.somewhere")
logger.info("Step %s is done", "chunk/3", extra={"video": "vid_1", "beat": 3, "cost": 0.5, "error": None})
logger.debug("nobody reads this")
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("A line\\nand another")
"""


def test_each_line_for_machines_is_an_object_that_says_what_it_is_about(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True
    )
    first, second = map(json.loads, (tmp_path / "raypipe.jsonl").read_text().splitlines())
    assert first == {
        "time": first["time"], "level": "INFO", "logger": "raypipe.somewhere", "message": "Step chunk/3 is done",
        "video": "vid_1", "beat": 3, "cost": 0.5,
    }  # fmt: skip
    assert (second["level"], second["message"]) == ("ERROR", "A line\nand another")
    assert "ZeroDivisionError" in second["trace"]
    for text in (ran.stderr, (tmp_path / "raypipe.log").read_text()):
        assert "INFO raypipe.somewhere: Step chunk/3 is done" in text
    assert logging.getLogger("raypipe").handlers == [], "not here"
