"""The scores of samples/scores from its prompts.txt and the shipped composer: MIDI, piano roll and sound, and the table of what is heard in it.

    python tools/make_scores.py

Score n has prompt n and seed n, 16 bars, played by the SoundFont that `mousai doctor` names.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mousai.audio import io  # noqa: E402
from mousai.audio.hearing import hear_audio  # noqa: E402
from mousai.jobs.compose import compose  # noqa: E402
from mousai.jobs.compose_sound import Rendering  # noqa: E402
from mousai.request.score import ScoreRequest  # noqa: E402
from mousai.symbolic import midi  # noqa: E402

FOLDER = Path(__file__).parents[1] / "samples" / "scores"
SUFFIXES = ("mid", "png", "opus")


def main() -> int:
    for number, prompt in enumerate((FOLDER / "prompts.txt").read_text().splitlines(), 1):
        name = f"{number:02}"
        for suffix in SUFFIXES:
            (FOLDER / f"{name}.{suffix}").unlink(missing_ok=True)
        (made,) = compose([ScoreRequest(prompt=prompt, bars=16, seed=number)], out=FOLDER / f"{name}.mid", rendering=Rendering(format="opus", soundfont="auto"))
        rate = io.info(FOLDER / f"{name}.opus").sample_rate
        heard = hear_audio(io.read(FOLDER / f"{name}.opus"), rate)
        written, fields = midi.read(made.path).tempos[0][1], heard.fields()
        print(f"| [{name}.mid]({name}.mid) | [{name}.opus]({name}.opus) | {prompt} | {number} | {fields['key'] or 'unclear'} | {fields['bpm'] or 'unclear'} (written: {written:g} quarters a minute) |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
