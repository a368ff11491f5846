"""Make a recording of somebody who speaks now and then in a room that is never quite silent, and say when.

python -m examples.sound.recording --out recordings/speech.wav

The speech is made by espeak-ng (``apt-get install espeak-ng``), which is only needed here.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float64]

#: What espeak-ng gives; the model takes 16,000, and tiercut converts.
RATE_HZ = 22_050
SENTENCES = (
    ("en-us", "The quick brown fox jumps over the lazy dog, and then it sleeps for the rest of the day."),
    ("en-gb+f3", "Please turn on the lights in the kitchen and close the window before it begins to rain."),
    ("en-us+m3", "Nobody has seen the keys, so somebody must have taken them to the office this morning."),
)
#: Level of the room's own noise, of what is no speech, and of speech: standard deviations in parts of full scale.
ROOM, OTHER, SPEECH = 0.001, 0.03, 0.1
PAUSE_S = 4.0


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when somebody speaks, in seconds since the start."""

    start_s: float
    end_s: float


def speech(voice: str, text: str) -> Sound:
    """What espeak-ng makes of a sentence, without the silence around it.

    Raises:
        SystemExit: espeak-ng is not installed.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise SystemExit("espeak-ng is not installed: apt-get install espeak-ng")
    said = subprocess.run([program, "-v", voice, "--stdout", text], check=True, capture_output=True).stdout  # noqa: S603
    with wave.open(io.BytesIO(said)) as file:
        if file.getframerate() != RATE_HZ:
            raise SystemExit(f"espeak-ng gave {file.getframerate()} Hz instead of {RATE_HZ}")
        sound = np.frombuffer(file.readframes(len(said)), "<i2").astype(float)
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max())
    return _at_level(sound[loud[0] : loud[-1] + 1], SPEECH)


def no_speech(kind: str, random: np.random.Generator) -> Sound:
    """A few seconds of ``room`` (nothing but its noise), ``fan``, ``hum`` (of mains) or ``melody``."""
    t = np.arange(int(PAUSE_S * RATE_HZ)) / RATE_HZ
    match kind:
        case "fan":
            noise = random.standard_normal(t.size)
            return _at_level(np.convolve(noise, np.ones(16) / 16, mode="same"), OTHER)
        case "hum":
            waves = [np.sin(2 * np.pi * 50 * n * t) / n for n in (1, 2, 3, 5)]
            return _at_level(np.sum(waves, axis=0), OTHER)
        case "melody":
            notes = 440 * 2 ** (np.array([0, 4, 7, 12, 7, 4, 0, 0])[(t * 2).astype(int) % 8] / 12)
            return _at_level(np.sin(2 * np.pi * notes * t) * np.exp(-3 * (t * 2 % 1)), OTHER)
    return np.zeros(t.size)


def make() -> tuple[NDArray[np.int16], list[Span]]:
    """The recording, and when somebody speaks in it; the same each time."""
    random = np.random.default_rng(0)
    parts: list[Sound] = [no_speech("room", random)]
    spans: list[Span] = []
    for kind, (voice, text) in zip(("fan", "hum", "melody"), SENTENCES, strict=True):
        start = sum(part.size for part in parts)
        parts += [said := speech(voice, text), no_speech(kind, random)]
        spans.append(Span(start / RATE_HZ, (start + said.size) / RATE_HZ))
    parts.append(no_speech("room", random))
    sound = np.concatenate(parts)
    sound += ROOM * random.standard_normal(sound.size)
    return (np.clip(sound, -1, 1) * 32767).round().astype("<i2"), spans


def write(path: Path) -> list[Span]:
    """Write the recording as a WAV file, and beside it a JSON file that says when somebody speaks."""
    sound, spans = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(sound.tobytes())
    said = [[round(span.start_s, 3), round(span.end_s, 3)] for span in spans]
    path.with_suffix(".json").write_text(json.dumps({"speech_s": said}) + "\n", encoding="utf-8")
    return spans


def _at_level(sound: Sound, level: float) -> Sound:
    scaled: Sound = sound * (level / sound.std())
    return scaled


def main() -> None:
    """Write the recording."""
    parser = argparse.ArgumentParser(description="make a recording with speech, silence and noise in it")
    parser.add_argument("--out", type=Path, default=Path("recordings/speech.wav"))
    args = parser.parse_args()
    for span in write(args.out):
        print(f"speech from {span.start_s:.1f} to {span.end_s:.1f} s")


if __name__ == "__main__":
    main()
