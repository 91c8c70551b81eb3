"""What a player may play: pitches of the key's scale and of the chord, within a range, and of a bass the chord's own where a chord begins."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from mousai.data.synth.theory import Chord, scale_over
from mousai.request.instruments import FAMILIES
from mousai.symbolic.harmony import NO_CHORD, TRIADS
from mousai.symbolic.phrase_vae import PITCH, POSITION, Allowed
from mousai.symbolic.players import Player

BASS = FAMILIES.index("bass")
ROOTS = {"major": 0, "minor": 9}  # of the home keys


def pitches(player: Player, chords: Sequence[int], given: Collection[int], mode: str, up: int) -> Tensor:
    """Which pitches `(2, 2, 128)` of the home key a player may play in each half of a bar over two chord classes: within it, and where it begins.

    `given` are the pitch classes of a chord that was asked for, if one was; the piece sounds `up` semitones above the home key.
    """
    allowed = torch.zeros(2, 2, 128, dtype=torch.bool)
    if player.drums:
        allowed[..., player.low : player.high + 1] = True
        return allowed
    for half, chord in enumerate(chords):
        scale = scale_over(chord_of(chord), ROOTS[mode], mode) | set(given)
        begins = (set(given) or set(chord_of(chord).tones)) if player.track.family == BASS else scale
        for pitch in range(max(player.low - up, 0), min(player.high - up, 127) + 1):
            allowed[half, 0, pitch], allowed[half, 1, pitch] = pitch % 12 in scale, pitch % 12 in begins
    return allowed


def allowing(masks: Tensor, middle: Tensor) -> Allowed:
    """The `allowed` of `PhraseVAE.decode` for phrases whose pitches are `masks (b, 2, 2, 128)`, in bars whose second half begins at `middle (b,)`."""

    def allowed(field: int, so_far: Tensor, rows: Tensor) -> Tensor | None:
        at = so_far[:, -1, POSITION]
        return masks[rows, (at >= middle).long(), ((at == 0) | (at == middle)).long()] if field == PITCH else None

    return allowed


def chord_of(chord: int) -> Chord:
    """A chord class as the practice set's chords are."""
    return Chord(chord % 12, TRIADS[chord // 12], chord % 12) if chord != NO_CHORD else Chord(0, "", 0)
