"""Films as tests compare them: two that are made of the same clips differ in their marks, which are signed anew."""

import json
from io import BytesIO
from typing import NamedTuple

import av
import c2pa
import numpy as np

Packet = tuple[int, int | None, bytes]


def packets(film: bytes) -> list[Packet]:
    """Return all pictures and sound of a film as they are coded: which stream, when, what."""
    with av.open(BytesIO(film)) as container:
        return [(each.stream.index, each.pts, bytes(each)) for each in container.demux() if each.size]


def same_pictures(one: bytes, other: bytes, psnr: float = 36.0) -> bool:
    """Tell whether two films show the same, frame by frame, but for the noise of an encoder."""
    pictures = [_luma(each) for each in (one, other)]
    if pictures[0].shape != pictures[1].shape:
        return False
    noise = ((pictures[0].astype(float) - pictures[1]) ** 2).mean(axis=(1, 2)).max()
    return bool(10 * np.log10(255**2 / max(noise, 1e-9)) > psnr)


def _luma(film: bytes) -> np.ndarray:
    with av.open(BytesIO(film)) as container:
        frames = [each.to_ndarray(format="gray") for each in container.decode(video=0)]
    return np.stack(frames)


class Marking(NamedTuple):
    """What a film says of itself, by the C2PA library's own reader."""

    state: str
    source_type: str
    models: list[str]
    signed_by: str
    certificate: str


def marking(film: bytes) -> Marking:
    """Read a film's manifest, and whether it is true."""
    reader = c2pa.Reader("video/mp4", BytesIO(film))
    found = json.loads(reader.json())
    manifest = found["manifests"][found["active_manifest"]]
    (actions,) = (each for each in manifest["assertions"] if each["label"].startswith("c2pa.actions"))
    (created,) = (each for each in actions["data"]["actions"] if each["action"] == "c2pa.created")
    signed = manifest["signature_info"]
    return Marking(
        str(reader.get_validation_state()),
        created["digitalSourceType"],
        created["parameters"]["org.raypipe.models"],
        signed["common_name"],
        signed["cert_serial_number"],
    )
