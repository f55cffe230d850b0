import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypipe.artifacts import ArtifactStore
from raypipe.cli.request import dry_plan
from raypipe.config import Settings
from raypipe.errors import InvalidReferenceImage, InvalidRequest, OrphanFollower, UnknownProvider
from raypipe.intake import accept, notes_on
from raypipe.journal import Journal
from raypipe.logs import warnings_as_notes
from raypipe.media.video import write_png
from raypipe.models import Artifact, DraftBeat, DraftSpec, VideoRequest, VideoState
from tests.journals import commit


class Intake:
    """Where requests are handed in."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder)
        self.journal = Journal(self.settings.journal_url)
        self.store = ArtifactStore(self.settings.artifacts_url)

    def accept(self, request: VideoRequest) -> str:
        video, rows = accept(request, self.settings, self.journal, self.store)
        commit(self.journal, *rows)
        return video.id


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    opened = Intake(tmp_path)
    yield opened
    opened.journal.close()


def png_uri(red: int) -> str:
    data = write_png(np.full((4, 4, 3), red, np.uint8))
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def with_image(image: object) -> VideoRequest:
    return VideoRequest(spec=DraftSpec(beats=(DraftBeat(prompt="x", reference_image=image),)))


def test_an_accepted_video_is_queued_with_its_whole_spec(intake: Intake) -> None:
    video = intake.journal.video(intake.accept(VideoRequest(prompt="a sailing boat", seed=4)))
    assert video.state is VideoState.QUEUED
    assert len(video.spec.beats) == 6
    assert video.spec.frames == 720


def test_too_many_beats_are_truncated_and_the_log_says_so(intake: Intake) -> None:
    spec = DraftSpec(beats=tuple(DraftBeat(prompt=f"b{i}", duration=1.5) for i in range(10)))
    video = intake.journal.video(intake.accept(VideoRequest(spec=spec, duration=15)))
    assert [beat.duration for beat in video.spec.beats] == [5, 5, 5]
    line = (intake.settings.log_dir / "beat_truncation.log").read_text()
    assert video.id in line
    assert "10" in line
    assert "3" in line


def test_a_supplied_picture_is_stored_and_the_beat_names_it(intake: Intake) -> None:
    png = write_png(np.zeros((20, 30, 3), np.uint8))
    request = with_image("data:image/png;base64," + base64.b64encode(png).decode())
    image = intake.journal.video(intake.accept(request)).spec.beats[0].reference_image
    assert image is not None
    assert intake.store.get(image) == png
    again = intake.journal.video(intake.accept(with_image(image))).spec.beats[0]
    assert again.reference_image == image


@pytest.mark.parametrize(
    "image",
    [
        "/etc/passwd",
        "http://127.0.0.1/x.png",
        "data:image/png;base64,!!!",
        "data:image/png;base64," + base64.b64encode(b"no picture").decode(),
        "data:text/html;base64,PGI+",
        Artifact(digest="0" * 64, size=1, media_type="image/png"),
    ],
)
def test_a_picture_that_cannot_be_used_is_refused_naming_its_beat(intake: Intake, image: object) -> None:
    with pytest.raises(InvalidReferenceImage, match="beat 0"):
        intake.accept(with_image(image))
    assert intake.journal.video_ids() == []


def test_what_cannot_be_made_leaves_nothing_behind(intake: Intake) -> None:
    orphan = DraftSpec(beats=(DraftBeat(prompt="x", continues=True),))
    with pytest.raises(OrphanFollower, match="Beat 0"):
        intake.accept(VideoRequest(spec=orphan))
    with pytest.raises(UnknownProvider, match="local"):
        intake.accept(VideoRequest(prompt="x", model="nowhere"))
    with pytest.raises(InvalidRequest, match=r"options\.simulated\.speed"):
        intake.accept(VideoRequest(prompt="x", model="simulated", options={"simulated": {"speed": 3}}))
    assert intake.journal.video_ids() == []
    assert not intake.settings.log_dir.exists()


def test_reference_pictures_are_stored_once_and_who_takes_none_is_noted(intake: Intake) -> None:
    request = VideoRequest(prompt="A fox", duration=5, reference_pictures=(png_uri(1), png_uri(2)))
    spec = intake.journal.video(intake.accept(request)).spec
    assert [each.media_type for each in spec.reference_pictures] == ["image/png"] * 2
    again = VideoRequest(prompt="A fox", duration=5, reference_pictures=spec.reference_pictures)
    assert intake.journal.video(intake.accept(again)).spec.reference_pictures == spec.reference_pictures
    assert "The image model 'local' takes none of the 2 reference pictures." in notes_on(spec)
    with pytest.raises(InvalidReferenceImage, match="Reference picture 2 cannot be used"):
        intake.accept(
            VideoRequest(prompt="A fox", reference_pictures=(png_uri(1), "data:image/png;base64,AAAA"))
        )


@pytest.mark.parametrize(
    ("request_", "notes"),
    [
        ({"prompt": "A football match in the rain"}, ["no picture for: football, match"]),
        ({"prompt": "A ballet dancer", "duration": 120, "style": "neon"}, ["no picture for: ballet, dancer"]),
        ({"prompt": "雪の中の狐"}, ["no picture for: 雪の中の狐"]),
        (
            {"spec": {"title": "My film", "beats": [{"prompt": "a forest"}, {"prompt": "a ballet"}]}},
            ["beat 1: no picture for: ballet"],
        ),
        ({"prompt": "A lighthouse keeper in a storm"}, []),
        ({"prompt": "A football match in the rain", "model": "simulated"}, []),
    ],
)
def test_what_the_provider_notes_of_a_plan_is_told_once_and_before_anything_is_made(
    intake: Intake, request_: dict[str, Any], notes: list[str]
) -> None:
    with warnings_as_notes() as told:
        dry_plan(VideoRequest.model_validate(request_), intake.settings)
    assert told == [f"{note}; drawing an abstract landscape" for note in notes]
    assert intake.journal.video_ids() == []
