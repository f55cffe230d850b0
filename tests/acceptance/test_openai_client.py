"""The official `openai` client does with this service what it does with its vendor's, unmodified."""

import io
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from PIL import Image as Picture

from raypipe.media.video import probe

from .conftest import Service

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # the vendor has left; the shape has stayed


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def picture() -> bytes:
    out = io.BytesIO()
    Picture.new("RGB", (64, 36), (200, 40, 40)).save(out, "PNG")
    return out.getvalue()


def test_it_creates_polls_lists_downloads_and_deletes(client: openai.OpenAI, tmp_path: Path) -> None:
    made = client.videos.create_and_poll(
        prompt="A lighthouse in a storm",
        model="simulated",
        seconds="12",
        size="1280x720",
        input_reference=("start.png", picture(), "image/png"),
        poll_interval_ms=200,
    )
    assert (made.status, made.progress, made.seconds, made.size) == ("completed", 100, "12", "1280x720")
    assert (made.object, made.model, made.error) == ("video", "simulated", None)
    assert made.completed_at is not None
    assert client.videos.retrieve(made.id).id == made.id
    client.videos.download_content(made.id).write_to_file(tmp_path / "film.mp4")
    assert probe(tmp_path / "film.mp4").frames == 288
    for variant in ("thumbnail", "spritesheet"):
        data = client.videos.download_content(made.id, variant=variant).read()  # type: ignore[arg-type]
        with Picture.open(io.BytesIO(data)) as shown:
            assert shown.width == {"thumbnail": 480, "spritesheet": 800}[variant]
    with Picture.open(
        io.BytesIO(client.videos.download_content(made.id, variant="thumbnail").read())
    ) as shown:
        assert shown.getpixel((10, 10))[0] > 150, "the first beat's image is the picture that was given"  # type: ignore[index]
    others = [client.videos.create(prompt=f"A boat {n}", model="simulated", seconds="8") for n in range(3)]
    newest = [each.id for each in client.videos.list(limit=2)][:4]  # it turns pages by itself
    assert newest == [*(each.id for each in reversed(others)), made.id]
    assert client.videos.delete(made.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(made.id)


def test_its_errors_are_the_services(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="sora-2"):
        client.videos.create(prompt="A boat", model="sora-2")
    with pytest.raises(openai.UnprocessableEntityError, match="picture of the first beat"):
        client.videos.create(prompt="A boat", model="simulated", input_reference=("a.png", b"no picture"))
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve("vid_none")


def test_fields_of_other_services_are_taken_with_a_note_and_unknown_ones_are_not(
    client: openai.OpenAI,
) -> None:
    made = client.videos.create(
        prompt="A boat",
        model="simulated",
        seconds="8",
        extra_body={"fps": 30, "n": 1, "negative_prompt": "rain"},
    )
    assert made.model_extra is not None
    assert made.model_extra["notes"] == [
        "`fps` is ignored: films have 24 frames a second.",
        "`negative_prompt` is ignored: say it in the prompt.",
    ]
    with pytest.raises(openai.UnprocessableEntityError, match="sparkle"):
        client.videos.create(prompt="A boat", model="simulated", extra_body={"sparkle": 1})
