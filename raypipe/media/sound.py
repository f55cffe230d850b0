"""Sound of clips: kept with each clip, and mixed under the film's music."""

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from raypipe.media.audio import loudness, master
from raypipe.media.decoding import PacketDecoder, packets_of
from raypipe.media.resampling import Samples, put, resampled, up_to
from raypipe.media.video import SOUND_RATE, open_clip

logger = logging.getLogger(__name__)

#: sound that is decoded: samples a second, channels, and bytes of a packet
LEAST_RATE, MOST_RATE, MOST_CHANNELS, MOST_PACKET_BYTES = 8_000, 192_000, 8, 4 * 2**20
#: how far all clips' sound is under the music, in LU of integrated loudness
UNDER_MUSIC = 6.0
#: most that quiet sound is amplified, in dB: noise stays noise
MOST_GAIN = 20.0
#: seconds over which a clip's sound comes and goes, so that no seam is heard as a click
SEAM_SECONDS = 0.02


def has_sound(clip: Path) -> bool:
    """Tell whether an MP4 has a sound stream.

    Raises:
        MediaError: It is no clip.
    """
    with open_clip(clip) as (container, _):
        return bool(container.streams.audio)


def sound_of(container: InputContainer, start: float, samples: int) -> Samples | None:
    """Decode a clip's sound from a time on: so many stereo samples at SOUND_RATE, silence where there is none.

    Sound that is damaged is silent there: the pictures are good, and are paid.

    Args:
        container: An open clip.
        start: Time of the first sample, in seconds.
        samples: How many.

    Returns:
        Samples of shape (2, samples); None if the clip has no sound.
    """
    if not container.streams.audio or not _can_be_decoded(container.streams.audio[0]):
        return None
    sound, heard, begin = np.zeros((2, samples), np.float32), False, round(start * SOUND_RATE)
    try:
        for part in up_to(resampled(_frames(container), "stereo", SOUND_RATE), begin + samples):
            heard = put(part, sound, begin) or heard
    except (av.FFmpegError, ValueError) as error:
        logger.warning("The sound of a clip cannot be read to its end: %s", error)
    return np.clip(np.nan_to_num(sound), -1.0, 1.0) if heard else None


def _can_be_decoded(stream: AudioStream) -> bool:
    if stream.codec_context is None:  # its attributes are those of the stream too
        logger.warning("A clip's sound is encoded in a way that nothing here can decode, and is left out")
        return False
    return _is_bearable(stream)


def _is_bearable(sound: AudioStream | av.AudioFrame) -> bool:
    """Tell whether sound can be decoded in bounded memory: one sample a second would become 48,000."""
    return LEAST_RATE <= sound.rate <= MOST_RATE and sound.layout.nb_channels <= MOST_CHANNELS


def _frames(container: InputContainer) -> Iterator[av.AudioFrame | None]:
    """Decode a clip's sound up to where it cannot be borne; None stands for what is damaged."""
    decoder = PacketDecoder()
    for frame in decoder.sounds(_small(packets_of(container, container.streams.audio[0]))):
        if frame is not None and not _is_bearable(frame):
            logger.warning("A clip's sound goes on at a rate, or with channels, that cannot be borne")
            break
        yield frame
    if decoder.damaged:
        damage = f"{decoder.damaged} of {decoder.packets} packets of a clip's sound are damaged"
        logger.warning("%s: it is silent there", damage)


def _small(packets: Iterator["Packet[Any]"]) -> Iterator["Packet[Any]"]:
    for packet in packets:
        if packet.size > MOST_PACKET_BYTES:
            logger.warning(
                "A clip's sound comes in packets of %d bytes and is left out from there", packet.size
            )
            return
        yield packet


def mixed(clips: Sequence[tuple[Path, int]], fps: int, track: Path | None) -> bytes | None:
    """Mix the sound of clips, one after the other, under the music.

    Args:
        clips: MP4 files, and how many frames the film shows of each.
        fps: Frames a second.
        track: The music, as long as the film; None for none.

    Returns:
        AAC in an MP4, as `fit_track` gives it; None if no clip has sound.

    Raises:
        MediaError: A clip or the track cannot be read.
    """
    bed = _bed(clips, fps)
    if bed is None:
        return None
    music = None if track is None else _music(track, bed.shape[1])
    if music is not None:
        under = loudness(music, SOUND_RATE).integrated_lufs - UNDER_MUSIC
        gain = min(under - loudness(bed, SOUND_RATE).integrated_lufs, MOST_GAIN)
        bed = music + bed * (10 ** (gain / 20) if math.isfinite(gain) else 1.0)
    return master(bed, SOUND_RATE)


def _music(track: Path, samples: int) -> Samples | None:
    with av.open(str(track), format="mp4") as container:
        return sound_of(container, 0.0, samples)


def _bed(clips: Sequence[tuple[Path, int]], fps: int) -> Samples | None:
    """Put the sound of clips one behind the other; None if none has any."""
    edges = [round(frames * SOUND_RATE / fps) for frames in np.cumsum([0, *(shown for _, shown in clips)])]
    bed, heard = np.zeros((2, edges[-1]), np.float32), False
    for (path, _), begin, end in zip(clips, edges, edges[1:], strict=False):
        with open_clip(path) as (container, _):
            found = sound_of(container, 0.0, end - begin)
        if found is not None:
            bed[:, begin:end], heard = _with_soft_ends(found), True
    return bed if heard else None


def _with_soft_ends(samples: Samples) -> Samples:
    count = min(round(SEAM_SECONDS * SOUND_RATE), samples.shape[1] // 2)
    ramp = np.linspace(0, 1, count, dtype=np.float32)
    samples[:, :count] *= ramp
    samples[:, samples.shape[1] - count :] *= ramp[::-1]
    return samples
