"""Loudness and true peak of a stream of audio, and a limiter that holds the true peak, in memory that does not grow.

Integrated loudness is that of ITU-R BS.1770-4 and EBU R128: K-weighting (pyloudnorm's filters), blocks of 400 ms every
100 ms, an absolute gate at -70 LUFS and a relative one 10 LU below the mean. The true peak is that of BS.1770-4,
annex 2: the signal at four times its rate, here by a Kaiser-windowed sinc of 32 samples, flat within 0.05 dB up to
0.45 of the sample rate. A stretch is oversampled only where its samples could reach the level in question: nothing
between samples is above their largest times `LARGEST_RISE`, the sum of the filter's magnitudes, 8.1 dB.

The limiter turns the gain down before a peak and up after it, by the same curve: the gain that each peak asks for,
its minimum over the surroundings, smoothed by a Hann window no wider than these, so that nothing is left above.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyloudnorm
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, minimum_filter1d
from scipy.signal import sosfilt
from torch import Tensor

CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)  # left, right, centre, left and right surround
MOST_CHANNELS = len(CHANNEL_WEIGHTS)
CEILING_DB = -1.0
TRIALS = 4  # of the limiter's gain
NEAR_LU = 0.1
MOST_MAKE_UP = 6.0  # dB
STEPS = 10  # a second, in which energies are summed
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
LOWEST_RATE = 4000  # the K-weighting has a shelf at 1500 Hz
NO_STATE = 1e-30  # a filter's state below it is 0: in silence it would shrink until the processor slows down

FRAME = 16  # samples for which one peak is known
LIMITER_FRAMES = 4096  # that are limited at a time
SMOOTHING_SECONDS = 0.01  # to each side; the gain moves for twice as long before and after a peak


@dataclass(frozen=True)
class Loudness:
    """Integrated loudness in LUFS and true peak in dBTP; both -inf for silence."""

    integrated_lufs: float
    true_peak_db: float


def k_weighting(sample_rate: int) -> np.ndarray:
    """The filter of BS.1770 as second-order sections `(2, 6)`, each b then a, in float64: a high shelf, then a high-pass."""
    shelf = pyloudnorm.IIRfilter(4.0, 1 / math.sqrt(2), 1500.0, sample_rate, "high_shelf")
    high_pass = pyloudnorm.IIRfilter(0.0, 0.5, 38.0, sample_rate, "high_pass")
    return np.array([np.concatenate([stage.b, stage.a]) for stage in (shelf, high_pass)])


class LoudnessMeter:
    """Measures audio of one to five channels that comes bit by bit; what it says does not depend on the cuts."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        if sample_rate < LOWEST_RATE or not 1 <= channels <= MOST_CHANNELS:
            wanted = f"at {LOWEST_RATE} Hz or more in 1 to {MOST_CHANNELS} channels"
            raise ValueError(f"loudness is measured {wanted}, came {sample_rate} Hz and {channels} channels")
        self.sample_rate, self.channels, self.num_samples = sample_rate, channels, 0
        self._sections = k_weighting(sample_rate)
        self._state = np.zeros((len(self._sections), channels, 2))
        # One frame for the filter to see, one for what it makes of silence at the ends, one for rounding to whole frames.
        self._windows = _Windows(channels, sample_rate, 3 * FRAME)
        self._energies = array("d")  # of whole steps, 7 MB a day
        self._peak = 0.0

    def add(self, audio: Tensor) -> None:
        """Measure audio `(c, s)`, s from 0 on. ValueError for another shape, and for NaN or infinite samples."""
        samples = _samples(audio, self.channels)
        self.num_samples += samples.shape[1]
        for window in self._windows.add(samples):
            energies, self._state = self._weigh(window, self._state, self.sample_rate)
            self._energies.extend(energies)
            self._peak = self._highest(window, self._peak)

    @property
    def integrated_lufs(self) -> float:
        """Loudness of all that came so far; -inf for silence, for less than 0.4 s and for nothing above the gate."""
        if self.num_samples < 0.4 * self.sample_rate:
            return -math.inf
        tail, state = [np.array(self._energies)], self._state
        for window, length in self._windows.rest():
            energies, state = self._weigh(window, state, length)
            tail.append(energies)
        steps = np.concatenate(tail)
        # Whole blocks, and one that lacks less than half a step, as pyloudnorm has it.
        count = round((self.num_samples / self.sample_rate - 0.4) / 0.1) + 1
        blocks = np.convolve(steps, np.ones(4), "valid")[:count] / (0.4 * self.sample_rate)
        return _lufs(_gated_power(blocks))

    @property
    def true_peak_db(self) -> float:
        """Highest true peak of any channel so far, in dB of full scale; -inf for silence."""
        peak = self._peak
        for window, _ in self._windows.rest():
            peak = self._highest(window, peak)
        return 20 * math.log10(peak) if peak else -math.inf

    @property
    def loudness(self) -> Loudness:
        """Both, of all that came so far."""
        return Loudness(self.integrated_lufs, self.true_peak_db)

    def _weigh(self, window: NDArray, state: NDArray, length: int) -> tuple[NDArray, NDArray]:
        """Energies of the steps in the first `length` samples of a second of audio, and the filters' new state."""
        start = self._windows.reach
        weighted, state = sosfilt(self._sections, window[:, start : start + length].astype(np.float64), zi=state)
        power = np.array(CHANNEL_WEIGHTS[: self.channels]) @ np.square(weighted)
        bounds = np.arange(STEPS) * self.sample_rate // STEPS
        return np.add.reduceat(power, bounds[bounds < length]), np.where(np.abs(state) < NO_STATE, 0.0, state)

    def _highest(self, window: NDArray, known: float) -> float:
        """The true peak in a window if it is above the `known` one, else that."""
        whole = window[:, : window.shape[1] // FRAME * FRAME]
        return max(known, float(_frame_peaks(whole, known).max()))


def measure(blocks: Iterable[Tensor], sample_rate: int, channels: int) -> Loudness:
    """Loudness and true peak of blocks `(c, s)` that follow one another."""
    meter = LoudnessMeter(sample_rate, channels)
    for block in blocks:
        meter.add(block)
    return meter.loudness


def gain_for(loudness: Loudness, target_lufs: float | None) -> float:
    """The linear gain that brings what was measured to `target_lufs`; 1.0 for None and for silence."""
    if target_lufs is None or loudness.integrated_lufs == -math.inf:
        return 1.0
    return 10 ** ((target_lufs - loudness.integrated_lufs) / 20)


def limited(blocks: Iterable[Tensor], sample_rate: int, gain: float, ceiling_db: float) -> Iterator[Tensor]:
    """Blocks `(c, s)` times the linear `gain`, their true peaks held at `ceiling_db` (dBTP), all channels by one gain.

    As many samples come out as go in, where they were, in blocks of other lengths; the result is the same to the bit
    however the input was cut. Where no peak within 30 ms is above the ceiling, it is exactly block * gain.
    Raises ValueError for a gain or ceiling that is no number, for blocks of other than 1 to 5 channels or of not
    always as many, and for NaN or infinite samples.
    """
    if not (math.isfinite(gain) and math.isfinite(ceiling_db) and sample_rate > 0 and gain >= 0):
        came = f"{gain}, {ceiling_db} dB and {sample_rate} Hz"
        raise ValueError(f"expected a gain of 0 or more, a finite ceiling and a sample rate above 0, came {came}")
    return _limited(blocks, max(1, round(SMOOTHING_SECONDS * sample_rate / FRAME)), gain, 10 ** (ceiling_db / 20))


def brought_to(audio: Tensor, sample_rate: int, target_lufs: float, ceiling_db: float = CEILING_DB) -> Tensor:
    """Audio `(c, s)` at a loudness, its true peak held at the ceiling; what the limiter takes is made up for, by `MOST_MAKE_UP` dB at most.

    What has no loudness, silence or less than 0.4 s, is only limited.
    """
    plain = gain = gain_for(measure([audio], sample_rate, len(audio)), target_lufs)
    for _ in range(TRIALS):
        made = torch.cat(list(limited([audio], sample_rate, gain, ceiling_db)), dim=1)
        off = target_lufs - measure([made], sample_rate, len(audio)).integrated_lufs
        if abs(off) < NEAR_LU or not math.isfinite(off):
            break
        gain = min(gain * 10 ** (off / 20), plain * 10 ** (MOST_MAKE_UP / 20))
    return made


def _limited(blocks: Iterable[Tensor], smoothing: int, gain: float, ceiling: float) -> Iterator[Tensor]:
    """The generator behind `limited`, smoothing over so many frames to each side, `ceiling` an amplitude."""
    windows = None
    for block in blocks:
        samples = _samples(block, windows.channels if windows else None)
        windows = windows or _Windows(len(samples), LIMITER_FRAMES * FRAME, _limiter_reach(smoothing))
        for window in windows.add(samples):
            yield torch.from_numpy(_limit(window, smoothing, np.float32(gain), ceiling))
    for window, length in windows.rest() if windows else ():
        yield torch.from_numpy(_limit(window, smoothing, np.float32(gain), ceiling)[:, :length])


def _limiter_reach(smoothing: int) -> int:
    """Samples on each side that a gain depends on: one frame each for the filter and between frames, and `_gains`."""
    return FRAME * (1 + (smoothing + 2) + smoothing + 1)


def _limit(window: NDArray, smoothing: int, gain: np.float32, ceiling: float) -> NDArray:
    """The window without its surroundings, times gain, limited."""
    reach = _limiter_reach(smoothing)
    loud = window * gain
    middle = loud[:, reach:-reach]
    peaks = _frame_peaks(loud, ceiling).max(0)
    return middle * _gains(peaks, smoothing, ceiling) if peaks.max() > ceiling else middle


def _gains(peaks: NDArray, smoothing: int, ceiling: float) -> NDArray:
    """Gains of samples, float32, for the peaks of frames, those at both ends left out.

    The minimum goes two frames further than the smoothing: one for the line that is drawn between the middles of
    frames, one for the filter, so that the gain is as low as it has to be around a peak too. Gains of 1 are exact.
    """
    asked = ceiling / np.maximum(peaks.astype(np.float64), ceiling)
    lowest = minimum_filter1d(asked, 2 * (smoothing + 2) + 1)[smoothing + 2 : -(smoothing + 2)]
    window = np.hanning(2 * smoothing + 3)[1:-1]
    smooth = convolve1d(lowest, window / window.sum())[smoothing:-smoothing, None]
    place = (np.arange(FRAME) + 0.5) / FRAME - 0.5  # of a sample from the middle of its frame, in frames
    before, after = np.maximum(-place, 0), np.maximum(place, 0)
    gains = smooth[:-2] * before + smooth[1:-1] * (1 - before - after) + smooth[2:] * after
    return gains.astype(np.float32).reshape(-1)


def _oversampling() -> NDArray:
    """Matrix `(3 frames, 3 · FRAME)` from a frame and its neighbours to the values at n + 1/4, n + 1/2 and n + 3/4."""
    column = np.arange(3 * FRAME) - FRAME
    times = np.arange(FRAME)[:, None] + np.array([0.25, 0.5, 0.75])  # (FRAME, 3)
    distance = column[:, None] - times.reshape(-1)
    window = np.i0(5.0 * np.sqrt(np.clip(1 - (distance / FRAME) ** 2, 0, None))) / np.i0(5.0)
    return np.where(np.abs(distance) < FRAME, np.sinc(distance) * window, 0).astype(np.float32)


OVERSAMPLING = _oversampling()
LARGEST_RISE = float(np.abs(OVERSAMPLING).sum(0).max())


def _frame_peaks(audio: NDArray, level: float) -> NDArray:
    """True peaks `(c, m - 2)` of the inner of m frames in audio `(c, m · FRAME)`.

    Exact where they are above `level`; elsewhere perhaps only the peak of the samples.
    """
    channels = audio.shape[0]
    at_samples = np.abs(audio).reshape(channels, -1, FRAME).max(-1)
    peaks = at_samples[:, 1:-1].copy()
    around = np.maximum(peaks, np.maximum(at_samples[:, :-2], at_samples[:, 2:]))
    rows = np.lib.stride_tricks.sliding_window_view(audio, 3 * FRAME, axis=1)[:, ::FRAME]
    high = around * LARGEST_RISE > level
    between = np.abs(rows[high] @ OVERSAMPLING)
    peaks[high] = np.maximum(peaks[high], between.max(-1))
    return peaks


def _lufs(power: float) -> float:
    """BS.1770-4, equation 2; -inf for no power."""
    return -0.691 + 10 * math.log10(power) if power > 0 else -math.inf


def _gated_power(blocks: NDArray) -> float:
    """BS.1770-4, equations 5 to 7: the mean power of the blocks above both gates; 0 if there is none."""
    above = blocks[blocks >= 10 ** ((ABSOLUTE_GATE_LUFS + 0.691) / 10)]
    if not above.size:
        return 0.0
    return float(above[above > above.mean() * 10 ** (RELATIVE_GATE_LU / 10)].mean())


def _samples(audio: Tensor, channels: int | None) -> NDArray:
    """Audio `(c, s)` of so many channels as an array, checked; of any number that can be measured for None."""
    right = range(1, MOST_CHANNELS + 1) if channels is None else [channels]
    if audio.dim() != 2 or len(audio) not in right or not audio.is_floating_point():
        wanted = f"{channels or f'1 to {MOST_CHANNELS}'} channels"
        came = f"{str(audio.dtype).removeprefix('torch.')} {tuple(audio.shape)}"
        raise ValueError(f"expected float audio (c, s) of {wanted}, came {came}")
    samples = audio.detach().cpu().float()
    if samples.numel() and not all(math.isfinite(bound) for bound in torch.aminmax(samples)):
        raise ValueError("the audio holds NaN or infinite samples")
    return samples.numpy()


class _Windows:
    """Cuts a stream into windows of `size` samples with `reach` more on both sides, at the same places however it comes.

    Zeros stand before the first sample and after the last. A window lives until the next one is asked for.
    """

    def __init__(self, channels: int, size: int, reach: int) -> None:
        self.channels, self.size, self.reach = channels, size, reach
        self._buffer = np.zeros((channels, size + 2 * reach), np.float32)
        self._filled = reach

    def add(self, samples: NDArray) -> Iterator[NDArray]:
        """The windows `(c, reach + size + reach)` that samples `(c, s)` complete."""
        start = 0
        while start < samples.shape[1]:
            count = min(self._buffer.shape[1] - self._filled, samples.shape[1] - start)
            self._buffer[:, self._filled : self._filled + count] = samples[:, start : start + count]
            start, self._filled = start + count, self._filled + count
            if self._filled == self._buffer.shape[1]:
                yield self._buffer
                self._filled = 2 * self.reach
                self._buffer[:, : self._filled] = self._buffer[:, self.size :].copy()

    def rest(self) -> Iterator[tuple[NDArray, int]]:
        """The windows that zeros complete, and how many samples of each there are; the stream can still go on."""
        left = self._filled - self.reach
        padded = np.zeros((self.channels, left + self.size + 2 * self.reach), np.float32)
        padded[:, : self._filled] = self._buffer[:, : self._filled]
        for start in range(0, left, self.size):
            yield padded[:, start : start + self._buffer.shape[1]], min(self.size, left - start)
