"""What vendors deliver is read by a process of its own, which may die or hang without harm to anybody else."""

import asyncio
import io
import json
import os
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from raypipe import cpu_work, workers
from raypipe.artifacts import ArtifactStore
from raypipe.errors import DiskFull, InternalError, MediaError, WorkerLost
from raypipe.media import foreign
from raypipe.media.door import Fitted
from raypipe.models import FPS, Chunk, Job, Kind, Size, Track
from raypipe.testing import media
from raypipe.testing.media import ClipFormat

SIZE = Size(width=64, height=36)
FRAMES = 12
GOOD = media.clip(0.5, ClipFormat(width=128, height=72), (200, 60, 60))


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Readers of this test alone."""
    readers = foreign._Readers()
    monkeypatch.setattr(foreign, "_readers", readers)
    yield readers
    readers.close()


def fit(folder: Path, data: bytes, name: str = "delivered") -> Fitted | None:
    source = folder / name
    source.write_bytes(data)
    return foreign.fit_clip(source, folder / f"{name}.fitted.mp4", SIZE, FPS, FRAMES, False)


def clip_of_surround_sound(layout: str) -> bytes:
    """Make a clip in QuickTime with PCM of many channels, which FFmpeg 8.1.2 writes over its memory for."""
    out = io.BytesIO()
    with av.open(out, "w", format="mov") as container:
        video: Any = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 128, 72, "yuv420p"
        sound: Any = container.add_stream("pcm_s16le", rate=48_000, layout=layout)
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((72, 128, 3), 9 * number, np.uint8))
            frame.pts = number
            container.mux(video.encode(frame))
        channels = sound.codec_context.layout.nb_channels
        heard = av.AudioFrame.from_ndarray(np.zeros((1, channels * 24_000), np.int16), "s16", layout)
        heard.sample_rate, heard.pts = 48_000, 0
        container.mux([*video.encode(None), *sound.encode(heard), *sound.encode(None)])
    return out.getvalue()


@pytest.mark.parametrize("layout", ["7.1", "6.1"])
def test_surround_sound_that_breaks_the_decoder_costs_its_own_clip_at_most(
    tmp_path: Path, readers: Any, layout: str
) -> None:
    assert fit(tmp_path, GOOD) == Fitted(held=0, encoded=True)
    for _ in range(3):
        # whether it dies of that is chance
        with suppress(MediaError):
            assert fit(tmp_path, clip_of_surround_sound(layout)) == Fitted(held=0, encoded=True)
    assert fit(tmp_path, GOOD) == Fitted(held=0, encoded=True)


def test_a_process_reads_many_deliveries_and_then_another_one_does(
    tmp_path: Path, readers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "DELIVERIES", 3)
    seen = []
    for _ in range(7):
        fit(tmp_path, GOOD)
        seen.append(readers._reader.process.pid)
    assert os.getpid() not in seen
    assert [seen.count(pid) for pid in dict.fromkeys(seen)] == [3, 3, 1]


def test_a_delivery_whose_reader_was_ended_before_is_read_by_another(tmp_path: Path, readers: Any) -> None:
    fit(tmp_path, GOOD)
    process = readers._reader.process
    process.kill()
    process.wait()
    assert fit(tmp_path, GOOD) == Fitted(held=0, encoded=True)


@pytest.fixture
def ends(readers: Any, monkeypatch: pytest.MonkeyPatch) -> list[signal.Signals]:
    """What readers are ended by in the middle of a delivery, one after the other, as if by themselves or by others."""
    signals: list[signal.Signals] = []

    def ending(reader: foreign._Reader, question: Any) -> Any:
        if signals:
            os.kill(reader.process.pid, signal.SIGSTOP)  # so that it cannot have answered before
            sent = signals.pop(0)
            threading.Timer(0.1, _send, (reader.process.pid, sent)).start()
        return answered(reader, question)

    answered = foreign._Reader.answer
    monkeypatch.setattr(foreign._Reader, "answer", ending)
    return signals


def _send(pid: int, sent: signal.Signals) -> None:
    os.kill(pid, sent)
    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("fault", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_delivery_that_breaks_its_reader_is_read_once_more_and_no_oftener(
    tmp_path: Path, ends: list[signal.Signals], fault: signal.Signals
) -> None:
    ends += [fault]
    assert fit(tmp_path, GOOD) == Fitted(held=0, encoded=True)
    ends += [fault, fault]
    with pytest.raises(MediaError, match=f"ended by signal {fault:d}, each time"):
        fit(tmp_path, GOOD)
    assert not ends
    assert fit(tmp_path, GOOD) == Fitted(held=0, encoded=True)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_delivery_whose_reader_somebody_else_ends_is_no_broken_one(
    tmp_path: Path, ends: list[signal.Signals], sent: signal.Signals
) -> None:
    ends += [sent, sent]
    # the first that says so ends the try: memory may be short, and whoever asks waits for it
    for _ in range(2):
        with pytest.raises(WorkerLost, match=f"ended by signal {sent:d}") as lost:
            fit(tmp_path, GOOD)
        assert lost.value.retryable
    ends += [signal.SIGSEGV, sent]
    with pytest.raises(WorkerLost, match=f"ended by signal {sent:d}"):
        fit(tmp_path, GOOD)
    assert fit(tmp_path, GOOD) == Fitted(held=0, encoded=True)


def test_work_whose_reader_somebody_else_ends_is_tried_again_after_a_while(
    tmp_path: Path, ends: list[signal.Signals]
) -> None:
    async def work() -> Fitted | None:
        return await asyncio.to_thread(fit, tmp_path, GOOD)

    ends += [signal.SIGKILL] * 3
    began = time.monotonic()
    assert asyncio.run(workers._tried_again(work)) == Fitted(held=0, encoded=True)
    assert time.monotonic() - began > sum(workers.RETRY_AFTER[:3])


def test_a_delivery_that_is_not_read_in_time_is_read_later_and_so_is_the_next_one(
    tmp_path: Path, readers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path, GOOD)
    process = readers._reader.process
    os.kill(process.pid, signal.SIGSTOP)
    with monkeypatch.context() as patched:
        patched.setattr(foreign, "DELIVERY_SECONDS", 0.2)
        with pytest.raises(WorkerLost, match=r"not read within 0\.2 s"):
            fit(tmp_path, GOOD)
    assert process.poll() == -signal.SIGKILL
    assert fit(tmp_path, GOOD) == Fitted(held=0, encoded=True)


def test_a_delivery_that_takes_too_much_cpu_is_given_up_whatever_those_before_it_took(
    tmp_path: Path, readers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "track").write_bytes(media.track(5.0))
    monkeypatch.setattr(foreign, "CPU_SECONDS", 1)
    with pytest.raises(MediaError, match="more than 1 s of CPU"):
        foreign.fit_track(tmp_path / "track", tmp_path / "fitted.mp4", 1_200.0)
    monkeypatch.setattr(foreign, "CPU_SECONDS", 1_000)
    bounds = []
    for seconds in (1_200.0, 1.0):
        foreign.fit_track(tmp_path / "track", tmp_path / "fitted.mp4", seconds)
        bounds.append(resource.prlimit(readers._reader.process.pid, resource.RLIMIT_CPU)[0])
    assert 1_000 < bounds[0] < bounds[1]


def test_a_reader_that_answers_nonsense_is_replaced(tmp_path: Path, readers: Any) -> None:
    fit(tmp_path, GOOD)
    process, (reading, writing) = readers._reader.process, os.pipe()
    os.write(writing, b"\x00nonsense\n")
    os.close(writing)
    readers._reader._answers.close()
    readers._reader._answers = os.fdopen(reading)
    assert fit(tmp_path, GOOD) == Fitted(held=0, encoded=True)
    assert process.poll() is not None


def test_a_reader_whose_asker_is_interrupted_answers_nobody_else(
    tmp_path: Path, readers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(reader: foreign._Reader, question: dict[str, Any]) -> Any:
        reader._questions.write(json.dumps(question) + "\n")
        reader._questions.flush()
        raise KeyboardInterrupt

    (tmp_path / "track").write_bytes(media.track(1.0))
    with monkeypatch.context() as patched:
        patched.setattr(foreign._Reader, "answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            foreign.fit_track(tmp_path / "track", tmp_path / "fitted.mp4", 1.0)
    assert fit(tmp_path, GOOD) == Fitted(held=0, encoded=True)


def test_two_threads_have_their_own_deliveries_read(tmp_path: Path, readers: Any) -> None:
    with ThreadPoolExecutor(4) as threads:
        fitted = list(threads.map(lambda number: fit(tmp_path, GOOD, f"clip-{number}"), range(8)))
    assert fitted == [Fitted(held=0, encoded=True)] * 8


def test_errors_come_back_as_what_they_are(tmp_path: Path, readers: Any) -> None:
    with pytest.raises(MediaError, match="no MP4, QuickTime, Matroska or WebM"):
        fit(tmp_path, b"<html>")
    with pytest.raises(InternalError, match="FileNotFoundError"):
        foreign.fit_clip(tmp_path / "nothing", tmp_path / "out", SIZE, FPS, FRAMES, False)
    (tmp_path / "track").write_bytes(media.track(1.0))
    with pytest.raises(DiskFull):
        foreign.fit_track(tmp_path / "track", Path("/dev/full"), 2.0)


def test_a_reader_that_cannot_be_started_is_no_fault_of_the_delivery(
    tmp_path: Path, readers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "_PROGRAM", "raypipe.media.nothing")
    with pytest.raises(WorkerLost, match="cannot be started: it ended with 1"):
        fit(tmp_path, GOOD)


def test_a_reader_ends_with_whoever_asks_it(readers: Any) -> None:
    process = foreign._Reader().process
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()


def test_a_reader_has_none_of_our_environment(
    tmp_path: Path, readers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "the-key")
    fit(tmp_path, GOOD)
    environment = Path(f"/proc/{readers._reader.process.pid}/environ").read_bytes()
    assert b"the-key" not in environment


def test_what_the_reader_warns_of_is_logged_here(
    tmp_path: Path, readers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "track"
    source.write_bytes(media.damaged(media.sound_only(), "audio", 0.5, 0.5))
    foreign.fit_track(source, tmp_path / "fitted.mp4", 5.0)
    assert any("packets of the track are damaged" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("exact", [True, False])
def test_helpers_have_clips_and_tracks_of_vendors_read_apart_and_their_own_not(
    tmp_path: Path, readers: Any, exact: bool
) -> None:
    store = ArtifactStore((tmp_path / "artifacts").as_uri())
    url = (tmp_path / "artifacts").as_uri()
    track = Track(artifact=store.put(media.track(2.0), "audio/flac"), seconds=1.0)
    assert cpu_work.fit_music(track, exact, url).seconds == 1.0
    assert (readers._reader is None) is exact
    if not exact:
        job = Job(
            video_id="v", size=SIZE, fps=FPS, duration=4, prompt="", style="", mood="", seed=0, options={},
            models=dict.fromkeys(Kind, ("local",)),
        )  # fmt: skip
        chunk = Chunk(artifact=store.put(GOOD, "video/mp4"), beat_index=0, frames=FRAMES)
        assert cpu_work.fit_clip(job, chunk, False, url, False) is None
        fitted = cpu_work.fit_clip(job, chunk, False, url, True)
        assert fitted is not None
        assert (fitted.held, fitted.lost) == (0, 0)
        assert readers._reader.read == 3
