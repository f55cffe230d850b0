"""Every answer that users get is judged: errors are in our shape, what is there is found, progress only grows."""

from collections.abc import Callable
from typing import Any

import httpx

#: under this path Serve's proxy answers for itself, in words of its own; users ask nothing there
SERVES_OWN = "/-/"


class Answers:
    """Judges answers, whatever their status, and notes what is wrong with them.

    An answer that never comes, because the connection breaks, is none: it is asked for again.

    Args:
        note: Is told in a sentence what is wrong, without ids, so that the same is noted once.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._progress: dict[str, int] = {}

    def changes(self, video_id: str) -> None:
        """Expect that a video's progress goes back: a beat of it is made anew."""
        self._progress.pop(video_id, None)

    def judge(self, answer: httpx.Response, video_id: str | None = None) -> None:
        """Judge an answer.

        Args:
            answer: What came.
            video_id: A video that is there, which was asked for.
        """
        if answer.request.url.path.startswith(SERVES_OWN):
            return
        request = f"{answer.request.method} {_without_ids(answer.request.url.path)}"
        wrong = wrong_error(answer) if answer.is_error else wrong_body(answer)
        if wrong is not None:
            self._note(f"{request} was answered {answer.status_code} with {wrong}")
        elif answer.status_code == httpx.codes.NOT_FOUND and video_id is not None:
            self._note(f"{request} was answered 404, and there is such a video")
        elif answer.is_success and _is_json(answer):
            self._judge_progress(answer.json())

    def _judge_progress(self, body: dict[str, Any]) -> None:
        if body.get("object") != "video":
            return
        video_id, progress, state = body["id"], body["progress"], body["state"]
        before = self._progress.get(video_id, 0)
        if progress < before:
            self._note(f"progress went back from {before} to {progress}, and nothing was made anew")
        if (state == "completed") != (progress == 100):
            self._note(f"a video is {state}, and its progress {progress}")
        self._progress[video_id] = max(before, progress)


def wrong_error(answer: httpx.Response) -> str | None:
    """Return what is wrong with an error's body; None if it is JSON with a code and a message, as all of ours are."""
    if not _is_json(answer):
        return f"a body that is not ours: {answer.text[:80]!r}"
    try:
        body = answer.json()
        code, message = body["error"]["code"], body["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"JSON that is not ours: {answer.text[:80]!r}"
    if body.keys() != {"error"} or body["error"].keys() != {"code", "message", "param"}:
        return f"JSON that is not ours: {answer.text[:80]!r}"
    if not (isinstance(code, str) and code and isinstance(message, str) and message):
        return f"an error without a code and a message: {answer.text[:80]!r}"
    return None


def wrong_body(answer: httpx.Response) -> str | None:
    """Return what is wrong with the body of an answer that is no error: it is JSON, or a film; None if nothing is."""
    if answer.headers.get("content-type") == "video/mp4":
        return None if answer.content[4:8] == b"ftyp" else "a film that is no MP4"
    if not _is_json(answer):
        return f"a body that is not ours: {answer.text[:80]!r}"
    try:
        return None if isinstance(answer.json(), dict) else "JSON that is no object"
    except ValueError:
        return f"JSON that cannot be read: {answer.text[:80]!r}"


def _is_json(answer: httpx.Response) -> bool:
    return str(answer.headers.get("content-type", "")).partition(";")[0] == "application/json"


def _without_ids(path: str) -> str:
    return "/".join("ID" if part.startswith("vid_") else part for part in path.split("/"))
