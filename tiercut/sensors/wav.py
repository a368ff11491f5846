"""A sound file, played as a microphone would have given it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tiercut.errors import SensorError
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, SensorForm
from tiercut.sensors.base import DeviceSensor, Player, in_real_time
from tiercut.sensors.signals import piece_samples, sound_form
from tiercut.sensors.sound_file import SoundFile, open_sound


class Wav(DeviceSensor):
    """A sound file, as samples of -1 to 1 in pieces of 50 ms: in real time, or as fast as they are taken."""

    NEEDS: ClassVar = {"path": '["speech.wav"]'}

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._path = self.source.path[0]
        with open_sound(self._path) as sound:
            self._form = _form(self.source, sound)

    @property
    def form(self) -> SensorForm:
        """What it gives."""
        return self._form

    @classmethod
    def form_of(cls, source: SourceSettings) -> SensorForm:
        """As the file says, or the settings where the file is not on this machine."""
        if not source.path[0].is_file():
            return sound_form(source, source.rate_hz, len(source.channels))
        with open_sound(source.path[0]) as sound:
            return _form(source, sound)

    def _items(self) -> Iterator[Captured]:
        real_time = in_real_time(self.source, otherwise=True)
        player = Player(self._timing, real_time=real_time)
        while True:
            with open_sound(self._path) as sound:
                yield from self._played(sound, player)
            if not self.source.loop:
                return
            if not player.played_s:
                raise SensorError(
                    f"cannot play {self._path}", expected="sound", came="a file without any", fix="replace the file"
                )

    def _played(self, sound: SoundFile, player: Player) -> Iterator[Captured]:
        size, done = piece_samples(sound.rate_hz), 0
        while len(piece := sound.read(size)):
            at_unix_s = player.played(len(piece) / sound.rate_hz)
            done += len(piece)
            yield Captured(piece, f"{self._path.name} {done / sound.rate_hz:.2f} s", at_unix_s)


def _form(source: SourceSettings, sound: SoundFile) -> SensorForm:
    if source.rate_hz not in {None, sound.rate_hz}:
        raise SensorError(
            f"cannot play {source.path[0]} at another rate",
            expected=f"rate_hz = {sound.rate_hz:g}, as the file says",
            came=f"{source.rate_hz:g}",
            fix="leave rate_hz out: the model gets its own rate anyhow",
        )
    return sound_form(source, sound.rate_hz, sound.channels)
