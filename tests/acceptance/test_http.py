"""The service over real HTTP."""

import base64
import hashlib
import io
import json
import re
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from raypipe.media.video import probe, read_picture, write_png
from raypipe.models import Size
from tests.patience import patience

from .conftest import Service

QUICK = {"image": 0.05, "clip": [0.2, 0.1], "music": 0.05}
TINY = Size(width=64, height=36)


@pytest.fixture
def client(service: Service) -> httpx.Client:
    with httpx.Client(base_url=service.url, timeout=patience(30)) as opened:
        yield opened


def body(**changes: Any) -> dict[str, Any]:
    asked = {
        "prompt": "A lighthouse in a storm",
        "seconds": 20,
        "model": "simulated",
        "options": {"simulated": QUICK},
    }
    return {**asked, **changes}


def create(client: httpx.Client, **changes: Any) -> str:
    answer = client.post("/v1/videos", json=body(**changes))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def wait(client: httpx.Client, video_id: str, seconds: float = 60) -> tuple[dict[str, Any], list[float]]:
    """Poll a video to its end; gives it with the progress that was seen."""
    seen, deadline = [], time.monotonic() + patience(seconds)
    while time.monotonic() < deadline:
        video = client.get(f"/v1/videos/{video_id}").json()
        seen.append(video["progress"])
        if video["status"] in ("completed", "failed"):
            return video, seen
        time.sleep(0.05)
    pytest.fail(f"{video_id} did not end: {video['state']}, {video['progress']} %")


@pytest.fixture(scope="module")
def finished(service: Service) -> dict[str, Any]:
    with httpx.Client(base_url=service.url, timeout=patience(30)) as client:
        video, _ = wait(client, create(client))
    assert video["status"] == "completed", video["error"]
    return video


def test_a_request_is_accepted_with_where_to_look(client: httpx.Client) -> None:
    answer = client.post("/v1/videos", json=body(seconds="20"))
    assert answer.status_code == 202
    video = answer.json()
    assert answer.headers["location"] == f"/v1/videos/{video['id']}"
    assert (video["object"], video["status"], video["model"]) == ("video", "queued", "simulated")
    assert video["seconds"] == "20"
    assert client.get(answer.headers["location"]).status_code == 200
    wait(client, video["id"])


def test_a_video_is_approved_cancelled_and_tried_again_over_http(client: httpx.Client) -> None:
    video_id = create(client, until="storyboard", options={"simulated": QUICK | {"clip": 30.0}})
    url, deadline = f"/v1/videos/{video_id}", time.monotonic() + patience(30)
    while (video := client.get(url).json())["state"] != "waiting":
        assert time.monotonic() < deadline, video
        time.sleep(0.05)
    assert video["error"]["code"] == "approval"
    assert client.get(f"{url}/storyboard/0").status_code == 200
    for wrong in ("-1", "nan", "much", "5"):  # the last one because it was begun without
        refused = client.post(f"{url}/continue", params={"budget": wrong})
        assert (refused.status_code, "budget" in refused.json()["error"]["message"]) == (422, True), wrong
    for wrong, said in (("bugdet=5", "this request takes budget"), ("budget=1&budget=2", "more than once")):
        refused = client.post(f"{url}/continue?{wrong}")
        assert (refused.status_code, said in refused.json()["error"]["message"]) == (422, True), refused.text
    assert client.post(f"{url}/continue").status_code == 202
    assert client.post(f"{url}/continue").status_code == 409
    while not any(beat["chunk"]["state"] == "accepted" for beat in client.get(url).json()["beats"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.post(f"{url}/cancel").status_code == 202
    video, _ = wait(client, video_id, 20)
    assert (video["state"], video["error"]["code"]) == ("cancelled", "cancelled")
    refused = client.post(f"{url}/cancel")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "video_over")
    assert client.post(f"{url}/retry").json()["state"] in ("queued", "running")
    assert client.post(f"{url}/cancel").status_code == 202
    assert client.post("/v1/videos/vid_none/cancel").status_code == 404


def test_a_request_that_is_sent_again_under_its_key_makes_no_second_video(client: httpx.Client) -> None:
    key = {"Idempotency-Key": "order 7"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/videos", json=body(), headers=key), range(8)))
    assert {answer.status_code for answer in answers} == {202}
    (video_id,) = {answer.json()["id"] for answer in answers}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 7
    other = client.post("/v1/videos", json=body(prompt="something else"), headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert (
        client.post("/v1/videos", json=body(), headers={"Idempotency-Key": "order 8"}).json()["id"]
        != video_id
    )
    wait(client, video_id)
    assert client.delete(f"/v1/videos/{video_id}").status_code == 200
    gone = client.post("/v1/videos", json=body(), headers=key)
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "video_deleted")


def test_who_prefers_to_wait_is_answered_at_the_end_or_after_a_while(client: httpx.Client) -> None:
    answer = client.post("/v1/videos", json=body(), headers={"Prefer": "respond-async, wait=20"})
    assert (answer.status_code, answer.json()["status"]) == (202, "completed")
    assert answer.headers["preference-applied"] == "wait=20"
    slow = body(options={"simulated": QUICK | {"clip": 30.0}})
    began = time.monotonic()
    answer = client.post("/v1/videos", json=slow, headers={"Prefer": "wait=1"})
    assert answer.json()["status"] in ("queued", "in_progress")
    assert 0.8 < time.monotonic() - began < patience(10)
    shown = client.get(answer.headers["location"])
    assert (shown.headers["retry-after"], shown.headers["openai-poll-after-ms"]) == ("1", "1000")
    client.post(f"{answer.headers['location']}/cancel")


def test_a_plan_costs_nothing_can_be_edited_and_is_taken_as_it_is(client: httpx.Client) -> None:
    answer = client.post("/v1/plans", json=body(seconds="10", options={"simulated": QUICK | {"price": 0.5}}))
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert plan["estimated_cost"] == 0.5 * 5
    assert plan["costs"]["chunk/1"] == 0.5
    plan["spec"]["beats"][1]["prompt"] = "The lamp goes out"
    made = client.post("/v1/videos", json={"spec": plan["spec"]}, headers={"Prefer": "wait=20"}).json()
    assert made["status"] == "completed"
    beats = client.get(f"/v1/videos/{made['id']}").json()["beats"]
    assert [beat["prompt"] for beat in beats] == [beat["prompt"] for beat in plan["spec"]["beats"]]


def test_models_and_time_lines_are_told(client: httpx.Client, finished: dict[str, Any]) -> None:
    models = {each["id"]: each for each in client.get("/v1/models").json()["data"]}
    assert models["local"]["key"] is None
    assert models["replicate/minimax/hailuo-02"]["durations"] == [6, 10]
    assert models["replicate/minimax/hailuo-02"]["price"] == "$0.045/s"
    line = client.get(f"/v1/videos/{finished['id']}/timeline").json()
    assert {bar["step"] for bar in line["bars"]} >= {"image/0", "chunk/3", "music", "stitch"}
    assert all(0 <= bar["start"] <= bar["end"] <= line["seconds"] for bar in line["bars"])


def test_lists_can_be_of_one_status(client: httpx.Client, finished: dict[str, Any]) -> None:
    done = client.get("/v1/videos", params={"status": "completed", "limit": 100}).json()["data"]
    assert finished["id"] in {each["id"] for each in done}
    assert {each["status"] for each in done} == {"completed"}
    assert client.get("/v1/videos", params={"status": "sleeping"}).status_code == 422


def test_a_beat_is_made_anew_over_http_and_its_takes_are_kept(client: httpx.Client) -> None:
    video, _ = wait(client, create(client))
    url = f"/v1/videos/{video['id']}"
    assert client.post(f"{url}/beats/9", json={}).status_code == 404
    assert client.post(f"{url}/beats/2", json={"take": 2}).status_code == 422
    assert client.post(f"{url}/beats/2", json={"prompt": ""}).status_code == 422
    assert client.post(f"{url}/beats/2", json={"shot": "wide"}).status_code == 422
    answer = client.post(f"{url}/beats/2", json={"prompt": "a whale"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    video, _ = wait(client, video["id"])
    assert video["status"] == "completed"
    assert [take["take"] for take in video["beats"][2]["takes"]] == [1, 2]
    assert [take["prompt"] for take in video["beats"][2]["takes"]][1] == "a whale"
    for take, status in ((1, 200), (2, 200), (3, 409)):
        assert client.get(f"{url}/storyboard/2", params={"take": take}).status_code == status


def test_progress_never_goes_back_and_ends_at_100(client: httpx.Client) -> None:
    video, seen = wait(
        client,
        create(client, options={"simulated": {"image": 0.1, "clip": [0.6, 0.1, 0.3, 0.1], "music": 0.1}}),
    )
    assert video["status"] == "completed"
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert len(set(seen)) > 4


def test_a_finished_video_shows_its_beats_chunks_and_phases(finished: dict[str, Any]) -> None:
    assert [beat["role"] for beat in finished["beats"]] == ["reference", "follower"] * 2
    assert {beat["chunk"]["state"] for beat in finished["beats"]} == {"done"}
    assert set(finished["phases"]) == {"plan", "storyboard", "references", "chunks", "stitch", "music"}
    assert finished["chunks_progress"] == 100
    assert finished["completed_at"] >= finished["created_at"]
    assert finished["error"] is None


def test_the_content_is_a_whole_mp4(client: httpx.Client, finished: dict[str, Any], tmp_path: Path) -> None:
    answer = client.get(f"/v1/videos/{finished['id']}/content")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert "attachment" in answer.headers["content-disposition"]
    path = tmp_path / "film.mp4"
    path.write_bytes(answer.content)
    assert probe(path).frames == 480
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 480
        assert container.streams.audio


def test_content_comes_in_ranges(client: httpx.Client, finished: dict[str, Any]) -> None:
    url = f"/v1/videos/{finished['id']}/content"
    whole = client.get(url).content
    part = client.get(url, headers={"range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == whole[100:200]
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert client.get(url, headers={"range": "bytes=-50"}).content == whole[-50:]
    beyond = client.get(url, headers={"range": f"bytes={len(whole)}-"})
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(whole)}"
    for malformed in ("bytes=x-y", "bytes", "bytes=5-1"):
        refused = client.get(url, headers={"range": malformed})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_range"), malformed
    for unknown in ("pages=1-2", "nonsense"):
        assert client.get(url, headers={"range": unknown}).content == whole


def test_every_get_can_be_a_head(client: httpx.Client, finished: dict[str, Any]) -> None:
    video = f"/v1/videos/{finished['id']}"
    for path in (
        "/healthz",
        "/v1/videos",
        video,
        f"{video}/content",
        f"{video}/storyboard/0",
        f"{video}/chunks/0",
    ):
        head = client.head(path)
        assert (head.status_code, head.content) == (200, b""), path
    assert client.head("/v1/videos/vid_0").status_code == 404


def test_content_is_named_for_caches(client: httpx.Client, finished: dict[str, Any]) -> None:
    url = f"/v1/videos/{finished['id']}/content"
    head = client.head(url)
    assert head.status_code == 200
    assert head.content == b""
    assert int(head.headers["content-length"]) == len(client.get(url).content)
    again = client.get(url, headers={"if-none-match": head.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


def test_storyboard_images_and_chunks_can_be_got(client: httpx.Client, finished: dict[str, Any]) -> None:
    for beat in finished["beats"]:
        image = client.get(beat["image"]["url"])
        assert read_picture(image.content, TINY).shape == (36, 64, 3)
        assert probe(client.get(beat["chunk"]["url"]).content).frames in (120, 121)
    for kind in ("storyboard", "chunks"):
        beyond = client.get(f"/v1/videos/{finished['id']}/{kind}/{len(finished['beats'])}")
        assert (beyond.status_code, beyond.json()["error"]["code"]) == (404, "beat_not_found")


def test_what_is_not_there_is_404_and_what_is_not_ready_409(client: httpx.Client) -> None:
    for url in (
        "/v1/videos/vid_0",
        "/v1/videos/nothing",
        "/v1/videos/vid_0/content",
        "/v1/videos/vid_0/storyboard/0",
    ):
        answer = client.get(url)
        assert answer.status_code == 404, url
        assert answer.json()["error"]["code"] == "video_not_found"
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
    video_id = create(client, options={"simulated": {"image": 0.5, "clip": 0.5, "music": 0.1}})
    early = client.get(f"/v1/videos/{video_id}/content")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "video_not_ready")
    wait(client, video_id)


def test_lists_go_by_cursor(client: httpx.Client) -> None:
    ids = [create(client, seconds=5) for _ in range(3)]
    page = client.get("/v1/videos", params={"limit": 2}).json()
    assert [video["id"] for video in page["data"]] == [ids[2], ids[1]]
    assert (page["object"], page["has_more"], page["last_id"]) == ("list", True, ids[1])
    following = client.get("/v1/videos", params={"limit": 1, "after": page["last_id"]}).json()
    assert following["first_id"] == ids[0]
    upwards = client.get("/v1/videos", params={"order": "asc", "after": ids[0]}).json()
    assert [video["id"] for video in upwards["data"]] == ids[1:]
    for wrong in ({"limit": 0}, {"after": "nobody"}):
        assert client.get("/v1/videos", params=wrong).status_code == 422


def test_a_failed_step_is_told_with_beat_phase_provider_and_reason(client: httpx.Client) -> None:
    video, _ = wait(
        client, create(client, options={"simulated": {**QUICK, "fail": {"chunk/2": "out of credit"}}})
    )
    assert (video["status"], video["state"]) == ("failed", "partial")
    for said in ("beat 2", "chunks", "simulated", "out of credit"):
        assert said in video["error"]["message"]
    assert video["beats"][2]["chunk"]["error"]["message"] == "out of credit"
    assert video["beats"][3]["chunk"]["error"]["code"] == "upstream_failed"
    assert client.get(video["beats"][0]["chunk"]["url"]).status_code == 200


def test_a_client_that_hangs_up_stops_nothing(client: httpx.Client, service: Service) -> None:
    def added() -> list[dict[str, Any]]:
        videos = client.get("/v1/videos", params={"limit": 100}).json()["data"]
        return [video for video in videos if video["id"] not in before]

    before: set[str] = set()
    before |= {video["id"] for video in added()}
    data = json.dumps(body()).encode()
    host, port = service.url.removeprefix("http://").split(":")
    deadline = time.monotonic() + patience(60)
    for number in range(5):
        with socket.create_connection((host, int(port))) as connection:
            head = ["POST /v1/videos HTTP/1.1", f"host: {host}:{port}", "content-type: application/json"]
            head += [f"content-length: {len(data)}", "", ""]
            connection.sendall("\r\n".join(head).encode() + data)
            while len(added()) == number:  # who hangs up before it is accepted has no promise
                assert time.monotonic() < deadline, "it was not accepted"
                time.sleep(0.02)
    while time.monotonic() < deadline:
        new = added()
        if len(new) == 5 and all(video["status"] == "completed" for video in new):
            return
        time.sleep(0.2)
    pytest.fail(f"not all were made: {[video['status'] for video in new]}")


def test_ten_videos_at_once_are_all_made_and_accepting_them_takes_milliseconds(client: httpx.Client) -> None:
    times, ids = [], []
    for _ in range(10):
        began = time.perf_counter()
        ids.append(create(client, seconds=30))
        times.append(time.perf_counter() - began)
    assert {wait(client, video_id)[0]["status"] for video_id in ids} == {"completed"}
    assert statistics.median(times) < patience(0.25)


def test_a_spec_with_a_supplied_picture_is_made_from_it(client: httpx.Client) -> None:
    red = write_png(np.full((36, 64, 3), (228, 78, 78), np.uint8))
    uri = "data:image/png;base64," + base64.b64encode(red).decode()
    spec = {"beats": [{"prompt": "a", "reference_image": uri}, {"prompt": "b", "continues": True}]}
    asked = {"spec": spec, "model": "simulated", "options": {"simulated": QUICK}}
    answer = client.post("/v1/videos", json=asked)
    assert answer.status_code == 202, answer.text
    video, _ = wait(client, answer.json()["id"])
    assert video["status"] == "completed"
    assert client.get(video["beats"][0]["image"]["url"]).content == red


def test_a_picture_is_served_as_what_its_bytes_are_whatever_the_client_called_it(
    client: httpx.Client,
) -> None:
    png = write_png(np.full((36, 64, 3), (78, 228, 78), np.uint8))
    uri = "data:image/jpeg;base64," + base64.b64encode(png).decode()
    for picture in (uri, {"digest": hashlib.sha256(png).hexdigest(), "size": 1, "media_type": "text/html"}):
        spec = {"beats": [{"prompt": "a", "reference_image": picture}]}
        answer = client.post(
            "/v1/videos", json={"spec": spec, "model": "simulated", "options": {"simulated": QUICK}}
        )
        video, _ = wait(client, answer.json()["id"])
        served = client.get(video["beats"][0]["image"]["url"])
        assert served.headers["content-type"] == "image/png"
        assert served.content == png


def test_a_picture_of_too_many_pixels_is_refused_in_a_sentence(
    client: httpx.Client, service: Service
) -> None:
    out = io.BytesIO()
    Image.new("1", (14_000, 14_000)).save(out, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    _refused(client, service, json.dumps(spec_of({"prompt": "x", "reference_image": uri})).encode())
    junk = "data:image/png;base64," + base64.b64encode(b"<html>").decode()
    answer = client.post("/v1/videos", json=spec_of({"prompt": "x", "reference_image": junk}))
    assert "BytesIO" not in answer.text
    assert "no PNG or JPEG" in answer.json()["error"]["message"]


def test_what_the_api_says_advises_no_command_line(client: httpx.Client) -> None:
    assert "`raypipe" not in client.get("/v1/videos/vid_0").text


def test_the_service_keeps_a_log_with_the_counts_of_beats_and_images(
    finished: dict[str, Any], service: Service
) -> None:
    log = (service.data_dir / "logs" / "raypipe.log").read_text()
    assert "beat count 4, image count 4" in log
    assert f"Gathered 4 chunks of 4 beats of {finished['id']}" in log


def test_the_local_provider_makes_a_real_video(client: httpx.Client) -> None:
    video_id = create(client, model="local", seconds=5, size="160x90", options={})
    video, _ = wait(client, video_id)
    assert video["status"] == "completed", video["error"]
    info = probe(client.get(f"/v1/videos/{video_id}/content").content)
    assert (info.width, info.height, info.frames) == (160, 90, 120)


def test_the_api_documents_itself(client: httpx.Client) -> None:
    for page in ("/docs", "/redoc"):
        html = client.get(page).text
        loaded = re.findall(r'(?:src|href)="([^"]+)"', html)
        assert loaded
        assert all(link.startswith("/") for link in loaded), "nothing comes from elsewhere"
        assert all(client.get(link).status_code == 200 for link in loaded)
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/videos", "/v1/videos/{video_id}", "/v1/videos/{video_id}/content"} <= set(paths)


def spec_of(*beats: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"beats": list(beats)}, "model": "simulated"}


MALFORMED = {
    "no prompt": {"model": "simulated"},
    "an empty prompt": body(prompt=" "),
    "0 seconds": body(seconds=0),
    "10,000 seconds": body(seconds=10_000),
    "an unknown provider": body(model="nowhere"),
    "an orphan follower": spec_of({"prompt": "x", "continues": True}),
    "a million beats": spec_of(*[{"prompt": "x"}] * 1_000_000),
    "a prompt of 10 MB": body(prompt="x" * 10_000_000),
    "wrong types": body(seconds=[30], prompt={"text": "x"}),
    "a negative size": body(size="-1280x720"),
    "an odd size": body(size="1281x721"),
    "an unknown field": body(colour="red"),
    "an unknown option": body(options={"simulated": {"speed": 2}}),
    "a picture by file name": spec_of({"prompt": "x", "reference_image": "/etc/passwd"}),
}


@pytest.mark.parametrize("asked", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_cannot_be_made_is_refused_in_a_sentence(
    client: httpx.Client, service: Service, asked: dict[str, Any]
) -> None:
    _refused(client, service, json.dumps(asked).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'"x"', b'{"prompt": "\xff\xfe"}', b"x" * 40_000_000],
    ids=lambda d: repr(d[:16]),
)
def test_a_body_that_is_no_request_is_refused_in_a_sentence(
    client: httpx.Client, service: Service, data: bytes
) -> None:
    _refused(client, service, data)


def _refused(client: httpx.Client, service: Service, data: bytes) -> None:
    before = _left_behind(client, service)
    answer = client.post("/v1/videos", content=data, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()["error"]
    assert error["code"]
    assert 10 < len(error["message"]) < 600
    assert "Traceback" not in answer.text
    assert _left_behind(client, service) == before


def _left_behind(client: httpx.Client, service: Service) -> tuple[str | None, list[str]]:
    newest = client.get("/v1/videos", params={"limit": 1}).json()["first_id"]
    files = [
        str(path) for path in service.data_dir.rglob("*") if path.is_file() and "journal" not in path.name
    ]
    return newest, sorted(files)
