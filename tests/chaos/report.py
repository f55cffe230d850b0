"""The report of a run: its file is written as the run goes, so that it is there whatever ends the run."""

import faulthandler
import itertools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

#: longest quotation of what went wrong, in characters
QUOTED = 2_000


class Report:
    """What a run was told to do, what it has done so far, and what was wrong.

    Args:
        file: Where it is written, at every step of the run; None for nowhere.
        parameters: What the run was told.
    """

    def __init__(self, file: Path | None, parameters: dict[str, Any]) -> None:
        self._file, self._began = file, time.time()
        self._numbers = itertools.count()
        self._is_written = False
        self._problems: Counter[str] = Counter()
        self._incidents: Counter[str] = Counter()
        #: what the run is at
        self.stage = "begins"
        self.is_over = False
        self.kills: list[dict[str, Any]] = []
        self.ends: Counter[str] = Counter()
        #: what else there is to tell, by name
        self.facts: dict[str, Any] = {"parameters": parameters}

    @property
    def problems(self) -> list[str]:
        """What must not be: where there is any, the run has failed."""
        return _counted(self._problems)

    @property
    def well(self) -> bool:
        """Whether the run came to its end and found nothing wrong, and its file says so."""
        return self.is_over and not self._problems and (self._is_written or self._file is None)

    def problem(self, sentence: str) -> None:
        """Note something that must not be; the same is noted once, with its number."""
        self._problems[sentence] += 1
        self.write()

    def incident(self, sentence: str) -> None:
        """Note something that went wrong in the suite itself, and that it got over."""
        self._incidents[sentence] += 1
        print(f"incident: {sentence}", flush=True)
        self.write()

    def killed(self, kill: dict[str, Any]) -> None:
        """Note something that was done to the installation."""
        self.kills.append(kill)
        self.write()

    def ended(self, state: str) -> None:
        """Note how a user's video ended."""
        self.ends[state] += 1
        self.write()

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Name what the run is at; what goes wrong there is a problem, and the run goes on with what is next."""
        self.stage = stage
        self.write()
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, what is next is done, and the report written
            self.failed(self.stage, error)

    def failed(self, what: str, error: BaseException) -> None:
        """Note that something of the suite itself was ended by an exception."""
        trace = "".join(traceback.format_exception(error))
        print(trace, file=sys.stderr, flush=True)
        self.problem(f"{what}: {error!r:.300}\n{trace[-QUOTED:]}")

    def text(self, kills: bool = True) -> str:
        """Return it as JSON, with each kill or with their numbers alone."""
        kinds = Counter(kill["kind"] for kill in self.kills)
        all_of_it = {
            **self.facts,
            "over": self.is_over,
            "stage": self.stage,
            "seconds": round(time.time() - self._began),
            "users' videos": dict(self.ends),
            "kills by kind": dict(kinds),
            **({"kills": list(self.kills)} if kills else {}),
            "incidents": _counted(self._incidents),
            "problems": self.problems,
        }
        return json.dumps(all_of_it, indent=2, default=str) + "\n"

    def begin(self) -> None:
        """Write the file, in place of that of a run before.

        Raises:
            OSError: It cannot be written; then there should be no run.
        """
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._replace(self._file)

    def write(self) -> None:
        """Replace the file; where that fails the run goes on, and it is tried again with whatever is next."""
        if self._file is None:
            return
        try:
            self._replace(self._file)
        except OSError as error:
            self._is_written = False
            print(f"The report cannot be written for now: {error}", file=sys.stderr, flush=True)

    def _replace(self, file: Path) -> None:
        """Put a new file in place of the old one: a reader finds either, and never half of one."""
        new = file.with_name(f"{file.name}.{os.getpid()}-{next(self._numbers)}")
        try:
            new.write_text(self.text())
            new.replace(file)
        finally:
            new.unlink(missing_ok=True)
        self._is_written = True

    def over(self) -> None:
        """Note that the run has come to its end."""
        self.is_over, self.stage = True, "over"
        self.write()

    def heed_signals(self) -> None:
        """Write the report and end the process at once where somebody ends the run; Ray has handlers of its own."""

        def end(number: int, _: FrameType | None) -> NoReturn:
            self.abandon(f"the run was ended by {signal.Signals(number).name}", 128 + number)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)

    def end_after(self, seconds: float) -> None:
        """Write the report and end the process if it lives for so many seconds more, whatever it waits for."""

        def end() -> None:
            faulthandler.dump_traceback()
            self.abandon(f"the run was not over after {seconds:g} s", 1)

        watch = threading.Timer(seconds, end)
        watch.daemon = True
        watch.start()

    def heed_threads(self) -> None:
        """Note exceptions that end threads."""

        def note(thread: threading.ExceptHookArgs) -> None:
            if thread.exc_value is not None:
                self.failed(f"a thread, {thread.thread and thread.thread.name}", thread.exc_value)

        threading.excepthook = note

    def abandon(self, why: str, code: int) -> NoReturn:
        """Write the report and end the process where it stands: it is the first of its namespace, so all others end."""
        sentence = f"{why}, while it was at: {self.stage}"
        try:
            self.problem(sentence)
            with suppress(Exception):  # a signal may come in the middle of another print
                print(sentence, file=sys.stderr, flush=True)
        finally:
            os._exit(code)


def conclude(file: Path | None, code: int) -> int:
    """Note in the report of a run that ended with an exit code if it was not over; returns the code, or 1 for that.

    Whoever is killed writes nothing any more: who started the run does it.
    """
    if file is None:
        return code
    try:
        report = json.loads(file.read_text())
        if report["over"]:
            return code
        problems = report["problems"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        report = {"over": False, "stage": "unknown"}
        problems = [f"what the run has written cannot be read: {error!r}"]
    said = f"the run ended with the code {code} before it was over, while it was at: {report['stage']}"
    file.write_text(json.dumps({**report, "problems": [*problems, said]}, indent=2) + "\n")
    print(said, file=sys.stderr)
    return code or 1


def _counted(sentences: Counter[str]) -> list[str]:
    # a copy: threads add to it
    return [f"{sentence} ({n} times)" if n > 1 else sentence for sentence, n in list(sentences.items())]
