"""A fake of fal's queue: `python -m raypipe.testing.fake_fal --port 8200 --ledger FILE`."""

import asyncio
import base64
import hashlib
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from raypipe.models import Kind
from raypipe.testing.vendor import ELSEWHERE, Job, Vendor, cut_off, deliver, run

KEY = "fal_fake:secret"
#: what webhooks are signed with, and what a forger has
_OWN, _FORGERS = (Ed25519PrivateKey.from_private_bytes(each * 32) for each in (b"o", b"f"))
_KEYS = "/.well-known/jwks.json"
#: what a model makes, by a part of its name; all others make images
_KINDS = {"image-to-video": Kind.CLIP, "video": Kind.CLIP, "audio": Kind.MUSIC, "music": Kind.MUSIC}


class FakeFal:
    """The queue of a vendor."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    def app(self) -> FastAPI:
        """Return it as an application."""
        app = FastAPI(title="fake fal")
        app.middleware("http")(self.authenticated)
        request = "/{owner}/{alias}/requests/{job_id}"
        app.get(f"{request}/status")(self.status)
        app.put(f"{request}/cancel")(self.cancel)
        app.get(request)(self.result)
        app.get("/files/{job_id}/{name}")(self.delivery)
        app.get(_KEYS)(self.keys)
        app.post("/{model:path}")(self.submit)
        return app

    async def authenticated(self, request: Request, call_next: Any) -> Response:
        """Refuse who has no key; what was made may be fetched by whoever knows its address."""
        given = request.headers.get("authorization", "")
        if given != f"Key {KEY}" and not request.url.path.startswith(("/files/", _KEYS)):
            return JSONResponse({"detail": "Cannot access application"}, 401)
        answer: Response = await call_next(request)
        return answer

    async def submit(self, model: str, request: Request) -> Response:
        """Take a request into the queue."""
        kind = next((kind for part, kind in _KINDS.items() if part in model), Kind.IMAGE)
        inputs = await request.json()
        if not isinstance(inputs, dict) or not inputs.get("prompt"):
            return _invalid("missing", "Field required", ["body", "prompt"])
        fault = self._vendor.fault("create", kind)
        if fault in _REFUSALS:
            return _refusal(self._vendor, fault)
        address = request.query_params.get("fal_webhook")
        job = self._vendor.take(kind, model, inputs, address)
        if address:
            self._vendor.call_when_over(job, address, _signed)
        if fault == "hang":
            await asyncio.sleep(3_600)
        return cut_off() if fault == "lose" else JSONResponse(_queued(job, request))

    async def status(self, job_id: str, request: Request) -> Response:
        """Say how far a request is."""
        job = self._vendor.jobs.get(job_id)
        if job is None or job.cancelled:
            return JSONResponse({"detail": "Request not found"}, 404)
        fault = self._vendor.fault("poll", job.kind)
        if fault in _REFUSALS:
            return _refusal(self._vendor, fault)
        if fault in ("fail", "elsewhere"):
            job = job.model_copy(update={"failed": fault == "fail", "elsewhere": fault == "elsewhere"})
            self._vendor.jobs[job_id] = job
        done = time.time() >= job.ready_at
        state = {"status": "COMPLETED", "metrics": {}} if done else {"status": "IN_PROGRESS"}
        return JSONResponse(_queued(job, request) | state | {"logs": None}, 200 if done else 202)

    async def result(self, job_id: str, request: Request) -> Response:
        """Say where what was made is."""
        job = self._vendor.jobs[job_id]
        if job.failed:
            return _invalid(
                "content_policy_violation", "The content could not be processed", ["body", "prompt"]
            )
        url = ELSEWHERE if job.elsewhere else f"{request.base_url}files/{job.id}/output"
        file = {"url": url, "content_type": None}
        names: dict[Kind, dict[str, Any]] = {
            Kind.IMAGE: {"images": [file], "seed": 1}, Kind.CLIP: {"video": file}, Kind.MUSIC: {"audio_file": file},
        }  # fmt: skip
        return JSONResponse(names[job.kind])

    async def keys(self) -> Any:
        """Publish what webhooks are signed with (RFC 8037)."""
        public = base64.urlsafe_b64encode(_OWN.public_key().public_bytes_raw()).decode().rstrip("=")
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": public}]}

    async def cancel(self, job_id: str) -> Response:
        """Take a request out of the queue."""
        self._vendor.cancel(job_id)
        return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202)

    async def delivery(self, job_id: str) -> Response:
        """Deliver what was made."""
        return await asyncio.to_thread(deliver, self._vendor, self._vendor.jobs[job_id])


def _queued(job: Job, request: Request) -> dict[str, Any]:
    application = "/".join(job.model.split("/")[:2])
    root = f"{request.base_url}{application}/requests/{job.id}"
    return {
        "status": "IN_QUEUE",
        "request_id": job.id,
        "queue_position": 0,
        "response_url": root,
        "status_url": f"{root}/status",
        "cancel_url": f"{root}/cancel",
    }


def _signed(job: Job, forged: bool) -> tuple[bytes, dict[str, str]]:
    """Sign a webhook as fal does: ids, time and the body's SHA-256, with ED25519."""
    body = json.dumps(
        {"request_id": job.id, "gateway_request_id": job.id, "status": "OK", "payload": {}}
    ).encode()
    about = job.id, "a-user", str(int(time.time()))
    signed = "\n".join((*about, hashlib.sha256(body).hexdigest())).encode()
    signature = (_FORGERS if forged else _OWN).sign(signed).hex()
    names = ("request-id", "user-id", "timestamp", "signature")
    return body, {
        f"x-fal-webhook-{name}": value for name, value in zip(names, (*about, signature), strict=True)
    }


_REFUSALS = ("refuse", "busy", "error", "funds")


def _refusal(vendor: Vendor, fault: str | None) -> Response:
    if fault == "busy":
        return vendor.busy()
    if fault == "refuse":
        return _invalid("content_policy_violation", "The content could not be processed", ["body", "prompt"])
    if fault == "funds":
        return JSONResponse({"detail": "User is locked. Reason: Exhausted balance."}, 403)
    return Response("bad gateway", 502)


def _invalid(kind: str, said: str, where: list[str]) -> Response:
    return JSONResponse({"detail": [{"loc": where, "msg": said, "type": kind, "url": ""}]}, 422)


if __name__ == "__main__":
    run(lambda vendor: FakeFal(vendor).app(), __doc__ or "")
