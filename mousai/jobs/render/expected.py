"""How long rendering pieces would take on this machine, from trials of what it consists of."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mousai.audio import io
from mousai.audio.loudness import limited, measure
from mousai.diffusion.sampling import PLAIN
from mousai.diffusion.schedules import schedule
from mousai.jobs.render.plan import Target, disk_bytes, seconds_of
from mousai.pictures.overview import Overview
from mousai.pipelines.cascade import Cascade
from mousai.pipelines.long_form import Rendering
from mousai.pipelines.settled import grid_of, resolved
from mousai.request.piece import Piece

TRIAL_SECONDS = 10.0  # of audio that is finished for a trial
MOMENTS = 4  # of a sampling schedule that are tried, at least


@dataclass(frozen=True)
class Expected:
    """What a piece would take: seconds of work on this machine, and where it stands."""

    name: str
    file: str
    seconds: float
    sections: int
    work_seconds: float
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def expected(targets: Sequence[Target], cascade: Cascade) -> list[Expected]:
    """What each target would take, from the times of the generator's steps, the decoder's windows and a finished file, tried now."""
    tried = Trials(cascade)
    rows = []
    for target in targets:
        (piece, settings), seconds = resolved(cascade, target.piece), seconds_of(target)
        grid, _ = grid_of(cascade, piece)
        resolution = settings.over(PLAIN)
        steps = resolution.steps * (resolution.resamples if piece.method == "continuation" else 1)
        work = steps * grid.count * grid.window * tried.frame_step(piece) + grid.num_frames * tried.decoded_frame(piece)
        each, second = tried.finished(target.format)
        rows.append(Expected(target.name, target.file.name, seconds, len(piece.sections), work + each + second * seconds, disk_bytes([target], cascade.codec)))
    return rows


class Trials:
    """Seconds of work that things take on this machine; pieces that hardly differ share a trial."""

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade
        self._known: dict[tuple, Any] = {}

    def _once(self, kind: tuple, trial: Callable[[], Any]) -> Any:
        if kind not in self._known:
            self._known[kind] = trial()
        return self._known[kind]

    def frame_step(self, piece: Piece) -> float:
        """Of one step for one latent frame of a window, over a sampling schedule on average; `piece` is a resolved one."""
        kind = ("step", piece.method, round(math.log2(piece.window)), piece.guidance != 1, piece.interval, piece.schedule)
        return self._once(kind, lambda: self._frame_step(Rendering(self.cascade, _alone(piece))))

    def _frame_step(self, rendering: Rendering) -> float:
        rows, process = rendering.rows_at_once, rendering.system.generator.process
        settings = rendering.settings.over(PLAIN)
        times = schedule(settings.schedule, settings.steps, process=process)
        moments = times[torch.linspace(0, len(times) - 2, max(rows, MOMENTS)).long()]  # guidance may be on at some of them only
        predict = rendering.predictor(times)
        x = torch.randn(rows, rendering.codec.latent_channels, rendering.grid.window, device=rendering.device)
        batches = moments.split(rows)
        return timed(lambda: [predict(x[: len(t)], t, [0] * len(t)).cpu() for t in batches]) / (len(moments) * rendering.grid.window)

    def decoded_frame(self, piece: Piece) -> float:
        """Of decoding one latent frame."""
        return self._once(("frame", piece.codec_steps), lambda: self._decoded_frame(piece.codec_steps))

    def _decoded_frame(self, steps: int) -> float:
        codec = self.cascade.codec
        frames = codec.stride_frames + 2 * codec.context_frames
        latents = torch.randn(1, codec.latent_channels, frames, device=self.cascade.device)
        return timed(lambda: [block.cpu() for block in codec.decode_stream([latents], seeds=[0], steps=steps)]) / frames

    def finished(self, format: str) -> tuple[float, float]:
        """Of a finished file and its picture: for every one, and for each second of it."""
        return self._once(("file", format), lambda: self._finished(format))

    def _finished(self, format: str) -> tuple[float, float]:
        rate, channels = self.cascade.sample_rate, self.cascade.codec.channels
        audio = 0.1 * torch.randn(channels, round(TRIAL_SECONDS * rate))
        picture = Overview(rate, channels, audio.shape[-1], [(0.0, "")])
        picture.add(audio)
        with tempfile.TemporaryDirectory() as folder:

            def master() -> None:
                measure([audio], rate, channels)
                io.write_blocks(Path(folder) / f"trial.{format}", limited([audio], rate, 1.0, -1.0), audio.shape[-1], rate, channels)

            return timed(lambda: picture.save(Path(folder) / "trial.png"), times=1), timed(master) / TRIAL_SECONDS


def timed(work: Callable[[], Any], times: int = 2) -> float:
    """Seconds that `work` takes, the best of so many `times` after one to get going."""
    spent = []
    for _ in range(times + 1):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return min(spent[1:])


def _alone(piece: Piece) -> Piece:
    """A piece of the same kind with one section, for a trial."""
    return replace(piece, sections=(replace(piece.sections[0], transition=None),), extend=None, loop=False, level_sections=None, glide=None)
