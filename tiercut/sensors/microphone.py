"""A microphone, read with PortAudio."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tiercut.backoff import Backoff
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, SensorForm, Spoiled
from tiercut.sensors.base import DeviceSensor, optional
from tiercut.sensors.signals import PIECE_S, piece_samples, sound_form

#: What speech models take.
DEFAULT_RATE_HZ = 16000.0
#: Seconds of sound that may wait to be read; more is lost and counted.
MAX_WAITING_S = 2.0
#: A microphone that is silent for this long counts as gone.
SILENT_S = 2.0

Piece = tuple[NDArray[np.float32], float]


class Microphone(DeviceSensor):
    """A microphone, as samples of -1 to 1 in pieces of 50 ms; one that is unplugged is opened again when it is back."""

    #: open streams of this process: PortAudio looks for new devices only while there is none
    _open_count: ClassVar[int] = 0
    _opening: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._sd = optional(
            "sounddevice",
            sensor="microphone",
            extra="audio",
            expected="sounddevice and PortAudio",
            fix="and PortAudio itself: apt-get install libportaudio2",
        )
        self._rate_hz = self.form.rate_hz or DEFAULT_RATE_HZ
        self._waiting: queue.Queue[Piece | None] = queue.Queue(round(MAX_WAITING_S / PIECE_S))
        #: pieces that found no place, or that PortAudio lost
        self._lost = 0

    @classmethod
    def form_of(cls, source: SourceSettings) -> SensorForm:
        """As the settings say: one channel of 16 kHz where they do not."""
        return sound_form(source, source.rate_hz or DEFAULT_RATE_HZ, len(source.channels) or 1)

    def close(self) -> None:
        """End the iteration."""
        super().close()
        with suppress(queue.Full):  # then nobody waits for more
            self._waiting.put_nowait(None)

    def _items(self) -> Iterator[Captured | Spoiled]:
        backoff = Backoff()
        while not self._timing.closed:
            try:
                stream = self._open()
            except (self._sd.PortAudioError, ValueError) as error:  # ValueError: no device of that name
                yield Spoiled("microphone_gone", self._said(f"cannot be opened: {error}", backoff.next_s))
            else:
                try:
                    for item in self._heard():
                        backoff.reset()
                        yield item
                finally:
                    self._shut(stream)
                if not self._timing.closed:
                    yield Spoiled("microphone_gone", self._said("gives nothing any more", backoff.next_s))
            self._timing.sleep(backoff.take_s())

    def take(self, samples: NDArray[np.float32], _count: int, _time: Any, status: Any) -> None:
        """Take in what PortAudio gives, on its own thread: never waits."""
        if status.input_overflow:
            self._lost += 1
        try:
            self._waiting.put_nowait((samples.copy(), self._timing.clock.unix_s()))
        except queue.Full:
            self._lost += 1

    def _heard(self) -> Iterator[Captured | Spoiled]:
        """Pieces as they come, until the microphone falls silent."""
        while True:
            try:
                piece = self._waiting.get(timeout=SILENT_S)
            except queue.Empty:
                return
            if piece is None or self._timing.closed:
                return
            if self._lost:
                lost, self._lost = self._lost, 0
                came = f"expected every piece of {PIECE_S:g} s to be taken in time, {lost} were lost"
                yield Spoiled("overrun", f"the microphone gives more than is taken: {came}; lower the site's load")
            yield Captured(piece[0], "microphone", piece[1])

    def _open(self) -> Any:
        with self._opening:
            if not Microphone._open_count:  # look again which devices there are
                self._sd._terminate()  # noqa: SLF001 - its documentation names no other way
                self._sd._initialize()  # noqa: SLF001
            stream = self._sd.InputStream(
                samplerate=self._rate_hz,
                channels=len(self.form.channels),
                device=self._device,
                dtype="float32",
                blocksize=piece_samples(self._rate_hz),
                callback=self.take,
            )
            try:
                stream.start()
            except BaseException:
                stream.close()
                raise
            Microphone._open_count += 1
            return stream

    def _shut(self, stream: Any) -> None:
        with self._opening, suppress(self._sd.PortAudioError):
            Microphone._open_count -= 1
            stream.close()

    @property
    def _device(self) -> int | str | None:
        """Number of a device, or a part of its name; ``None``: the system's default."""
        name = str(self.source.path[0]) if self.source.path else None
        return int(name) if name is not None and name.isdigit() else name

    def _said(self, what: str, again_s: float) -> str:
        name = f"microphone '{self._device}'" if self.source.path else "system's microphone"
        return f"the {name} {what}; connect it, or correct path and rate_hz (tried again after {again_s:g} s)"
