"""`mousai compose`: scores from words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from mousai.cli.options import Json, option, progress_bar, report, share_processors
from mousai.words import say


def compose(
    prompts: Annotated[Optional[list[str]], typer.Argument(help="What to compose, a score for each.", metavar="PROMPT...", show_default=False)] = None,
    prompts_file: Annotated[Optional[Path], option("A file with a prompt a line.", "--prompts")] = None,
    sections: Annotated[Optional[Path], option("A YAML or JSON file of pieces in sections, of which prompt, bars, key, bpm, metre, chords and density may change.", "--sections")] = None,
    bars: Annotated[Optional[str], option("Length, with --continue of what is new; 32 unless given. With --infill which bars, such as 9-16.")] = None,
    seconds: Annotated[Optional[float], option("Length, in whole bars, in place of --bars.", "--seconds", "-s")] = None,
    seed: Annotated[int, option("Of the first score; the others count on from it.")] = 0,
    count: Annotated[int, option("Scores of each prompt.")] = 1,
    out: Annotated[Optional[Path], option("A folder, or a .mid name for one score; this folder unless given.", "--out", "-o")] = None,
    render: Annotated[Optional[str], option("Make it sound, too: wav, flac, ogg, opus, mp3, or a file name that ends so.")] = None,
    soundfont: Annotated[Optional[str], option("An .sf2 or .sf3 file that plays it, or `auto` for an installed one; else the own instruments.")] = None,
    stems: Annotated[bool, option("Each part's sound to a file of its own, too.", "--stems")] = False,
    loudness: Annotated[Optional[float], option("LUFS of the sound, its true peak at -1 dBTP at most; -18 without a limit to the peak unless given.")] = None,
    through_cascade: Annotated[bool, option("The sound varied by an audio model, too, by the same prompt.", "--through-cascade")] = False,
    strength: Annotated[Optional[float], option("By how much, near 0: as it is, 1: nothing left of it but its loudness; 0.5 unless given.")] = None,
    cascade: Annotated[Optional[str], option("The audio model's folder, or a shipped one's name; starter unless given.", "--cascade")] = None,
    going_on: Annotated[Optional[Path], option("A MIDI file to go on from, as it is, by its players, in its key, metre and tempo.", "--continue")] = None,
    infill: Annotated[Optional[Path], option("A MIDI file of which --bars, --tracks or both are made anew; every note elsewhere stays.", "--infill")] = None,
    tracks: Annotated[Optional[str], option('Of --infill, by number or name as `mousai info` lists them: "2, drums"; all unless given.', "--tracks")] = None,
    key: Annotated[Optional[str], option('Such as "F# minor", "Bb major", "Am".')] = None,
    bpm: Annotated[Optional[float], option("Tempo in beats a minute; of 6/8 and 12/8 a beat is a dotted quarter.")] = None,
    metre: Annotated[Optional[str], option("4/4, 3/4, 6/8, 12/8, 2/4.")] = None,
    chords: Annotated[Optional[str], option('One a bar, again and again: "Am F C G"; or a MIDI file whose chords they are.')] = None,
    instruments: Annotated[Optional[str], option('Who plays: "cello, piano"; those of the style unless given.')] = None,
    density: Annotated[Optional[float], option("How much is played beside what is usual, 0.25 to 4.")] = None,
    guidance: Annotated[float, option("How closely what is asked for is followed; 1 = no guidance.", "--guidance", "-g")] = 1.5,
    temperature: Annotated[float, option("How freely chords and repetitions are drawn; 0 = the likeliest.")] = 0.9,
    spread: Annotated[float, option("How widely new phrases are drawn; 1 = as in training, 0 = the likeliest.")] = 0.6,
    picture: Annotated[bool, option("Whether a piano roll is drawn beside each file.", "--picture/--no-picture")] = True,
    model: Annotated[str, option("A model folder, or the name of the shipped one.", "--model", "-m")] = "starter-symbolic",
    as_json: Json = False,
) -> None:
    """Compose scores: a MIDI file for each prompt, with its recipe inside, its piano roll, and its sound if wanted."""
    share_processors()
    from mousai.jobs import compose as job
    from mousai.jobs.compose_sound import Cascading, Rendering
    from mousai.request.clip import read_prompts
    from mousai.request.score import Infill, ScoreRequest, bars_said
    from mousai.request.score_piece import read_pieces

    length = bars_said(bars) if bars is not None else None
    region = None
    if infill is not None:
        if going_on is not None:
            raise ValueError("--infill and --continue: each says what is done with a file; give one")
        going_on, region = infill, Infill((length, length) if isinstance(length, int) else length, (tracks,) if tracks is not None else ())
        length = None
    elif tracks is not None or isinstance(length, tuple):
        raise ValueError("--tracks and a --bars of two numbers are for --infill; say in which file")
    if going_on is not None and not prompts_file and sections is None:
        prompts = prompts or [""]  # the file says what is played
    if count < 1:
        raise ValueError(f"count: expected a whole number from 1, came {count}")
    said: dict[str, Any] = {
        "bars": length, "seconds": seconds, "key": key, "bpm": bpm, "metre": metre, "chords": job.chords_said(chords), "density": density,
        "instruments": (instruments,) if instruments is not None else (), "guidance": guidance, "temperature": temperature, "spread": spread,
    }  # fmt: skip
    texts = [*(prompts or ()), *(read_prompts(prompts_file) if prompts_file else ())]
    requests: list[Any] = [ScoreRequest(prompt=text, seed=seed + number, **said) for number, text in enumerate(text for text in texts for _ in range(count))]
    if sections is not None:
        if texts or going_on is not None or any(said[name] not in (None, ()) for name in ("bars", "seconds", "key", "bpm", "metre", "chords", "density")):
            raise ValueError("--sections: the file says what is composed; leave prompts, lengths, key, tempo, metre, chords, density, --continue and --infill away")
        common = {"seed": seed, "guidance": guidance, "temperature": temperature, "spread": spread, **({"instruments": [instruments]} if instruments is not None else {})}
        requests = [piece.with_seed(piece.seed + number) for piece in read_pieces(sections, common) for number in range(count)]
    if render is None and (soundfont or stems or loudness is not None or through_cascade):
        raise ValueError("--soundfont, --stems, --loudness and --through-cascade are for --render; say in which format")
    if not through_cascade and (strength is not None or cascade is not None):
        raise ValueError("--strength and --cascade are for --through-cascade")
    rendering = None
    if render is not None:
        out, render = _place(out, render)
        varying = Cascading(cascade or "starter", 0.5 if strength is None else strength) if through_cascade else None
        rendering = Rendering(render, soundfont, stems, loudness, varying)
    made: list[Any] = []
    try:
        with progress_bar("bars") as progress:
            for score in job.compose(requests, model, out, rendering=rendering, picture=picture, going_on=going_on, infill=region, progress=progress):
                made.append(score)
                if not as_json:
                    say(score.path, *(each for each in (score.picture, score.audio, score.varied, *score.stems) if each))
                    say(f"mousai: {job.in_words(score)}", to=sys.stderr)
    finally:
        if made and as_json:
            report({"scores": [score.to_dict() for score in made], "wanted": len(requests)}, "", as_json)


def _place(out: Path | None, render: str) -> tuple[Path | None, str]:
    """Where the score goes and the sound's format, of what --out and --render say: a file's name of the one is the other's too."""
    path = Path(render)
    if not path.suffix:
        return out, render
    suffix = path.suffix.removeprefix(".").lower()
    if out is not None and (out.suffix.lower() not in (".mid", ".midi") or out.with_suffix("") != path.with_suffix("")):
        raise ValueError(f"--render {render}: lies beside the score and has its name; give the format alone, or --out {path.with_suffix('.mid')}")
    return path.with_suffix(".mid"), suffix
