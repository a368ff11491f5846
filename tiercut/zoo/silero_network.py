"""Silero VAD's layers over a whole window, in torch: its steps are a batch until the LSTM goes over them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: Samples of a step, and samples of the step before that it sees again.
STEP, CONTEXT = 512, 64
#: Of a spectrum: samples, distance to the next one, and frequencies.
SPECTRUM, HOP, FREQUENCIES = 256, 128, 129
#: Size of the LSTM's state.
STATE = 128
#: Least probability, so that its logarithm is finite.
MIN_PROBABILITY = 1e-6


class SileroWindow(nn.Module):
    """The shipped network, run over all steps of a window at once from a state of zero.

    Args:
        scored: Steps at the end whose mean probability is the window's.
    """

    def __init__(self, scored: int) -> None:
        super().__init__()
        self.scored = scored
        self.stft_conv = nn.Conv1d(1, 2 * FREQUENCIES, SPECTRUM, stride=HOP, bias=False)
        self.conv1 = nn.Conv1d(FREQUENCIES, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, STATE, 3, padding=1)
        self.lstm = nn.LSTM(STATE, STATE)
        self.final_conv = nn.Conv1d(STATE, 1, 1)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        """``(1, steps * 512)`` samples of -1 to 1 → ``(1, 2)`` logarithms: probability of silence, of speech."""
        spectra = self.spectra(sound.reshape(-1, STEP))
        x = spectra  # [steps, 129, 4]
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = functional.relu(convolution(x))  # …, at last [steps, 128, 1]
        states, _ = self.lstm(x.permute(2, 0, 1)[0].unsqueeze(1))  # [steps, 1, 128]
        last = functional.relu(states[-self.scored :]).permute(1, 2, 0)  # [1, 128, scored]
        speech = self.final_conv(last).sigmoid().mean(2)  # [1, 1]
        return torch.cat([1 - speech, speech], 1).add(MIN_PROBABILITY).log()

    def spectra(self, steps: torch.Tensor) -> torch.Tensor:
        """``(steps, 512)`` → magnitudes ``(steps, 129, 4)``; each step sees the last samples of the one before."""
        before = torch.cat([steps.new_zeros(1, CONTEXT), steps[:-1, -CONTEXT:]])
        seen = torch.cat([before, steps], 1).unsqueeze(1)  # [steps, 1, 576]
        waves = self.stft_conv(functional.pad(seen, (0, CONTEXT), mode="reflect"))
        real, imaginary = waves[:, :FREQUENCIES], waves[:, FREQUENCIES:]
        magnitudes: torch.Tensor = (real * real + imaginary * imaginary).sqrt()
        return magnitudes
