"""What clients are told where Serve, and not the service, answers: nothing that worked on their request is left."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.failures import failure, unrepeatable
from raypipe.errors import AnswerLost

logger = logging.getLogger(__name__)

#: statuses below 500 with which Serve itself answers
_OF_SERVE = (408, 429)
_WHY = "What worked on this request died or cannot be reached"


class OwnAnswers:
    """Answers in our own words where Serve's proxy gives none, or words of its own; it runs in the proxy.

    An answer to a POST is passed on once it is whole: a client that gets half of one sends the request again, and would
    have a second video made.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer or one of our own."""
        if scope["type"] != "http" or scope["path"].startswith("/-/"):
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        try:
            await self._app(scope, receive, answer.take)
        except Exception:
            if answer.is_passed_on:
                raise
            logger.exception("%s %s failed in the proxy", scope["method"], scope["path"])
        if not answer.is_passed_on:
            await self._answer_instead(scope, answer.status, receive, send)

    async def _answer_instead(self, scope: Scope, status: int, receive: Receive, send: Send) -> None:
        may_be_done = unrepeatable(scope)
        if may_be_done:
            message = f"{_WHY}, and it may have been carried out: look before you send it again."
        else:
            message = f"{_WHY}; come again in a second."
        headers = may_be_done or {"Retry-After": "1"}
        status = status if status in _OF_SERVE else 503
        await failure(status, AnswerLost.code, message, headers=headers)(scope, receive, send)


class _Answer:
    """What comes back for a request, some of it held until it is whole."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send, self._holds = send, scope["method"] == "POST"
        self._held: list[Message] = []
        self._is_ours = True
        #: status of the answer that came; 0 while there is none
        self.status = 0
        #: whether the client has got any of it
        self.is_passed_on = False

    async def take(self, message: Message) -> None:
        """Pass a message on, or hold it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._is_ours = _is_ours(message)
        if not self._is_ours:
            return
        self._held.append(message)
        if not self._holds or (message["type"] == "http.response.body" and not message.get("more_body")):
            await self._pass_on()

    async def _pass_on(self) -> None:
        self.is_passed_on = True
        held, self._held = self._held, []
        for message in held:
            await self._send(message)


def _is_ours(start: Message) -> bool:
    """Tell whether an answer comes from the service: its failures are JSON, and Serve's are text."""
    if start["status"] < 500 and start["status"] not in _OF_SERVE:
        return True
    headers: dict[bytes, bytes] = dict(start.get("headers", ()))
    return headers.get(b"content-type", b"").startswith(b"application/json")
