"""How music without amplifiers is played: piano, folk guitar, string orchestra, string quartet, brass band."""

from __future__ import annotations

from mousai.data.synth.drumming import MARCH, WALTZ_MARCH, drum
from mousai.data.synth.melody import counterpoint, melody
from mousai.data.synth.players import Rng, arpeggiate, bass_line, choose, hold_chords, ladder, level, play, strike_chords, strum, voiced
from mousai.data.synth.score import Score
from mousai.data.synth.theory import above


def piano(score: Score, rng: Rng) -> None:
    """A tune in the right hand over broken chords, a waltz bass, or chords struck on the beat."""
    part = score.part("piano", "piano")
    textures = {"4/4": ("broken", "broken", "alberti", "struck", "ostinato"), "3/4": ("waltz", "waltz", "broken"), "6/8": ("broken",)}
    texture = choose(rng, textures[score.metre.name])
    if texture == "broken":
        orders = {
            "4/4": ((0, 2, 3, 2, 4, 2, 3, 2), (0, 1, 2, 3, 4, 3, 2, 1), (0, 1, 2, 3), (0, 1, 2, 1, 3, 1, 2, 1)),
            "3/4": ((0, 1, 2, 3, 2, 1), (0, 2, 3, 4, 3, 2)),
            "6/8": ((0, 1, 2, 3, 2, 1), (0, 2, 4, 3, 4, 2)),
        }[score.metre.name]
        arpeggiate(score, part, lambda span: ladder(36, span), choose(rng, orders), 0.66, ring=4.0)
    elif texture == "alberti":
        close = voiced(score, 50, 3)
        arpeggiate(score, part, lambda span: close[span.start], (0, 2, 1, 2, 0, 2, 1, 2), 0.6)
    elif texture == "waltz":
        bass_line(score, part, choose(rng, ("r..", "r-.", "r-....")), 34, 0.74, hold=1.0)
        strike_chords(score, part, voiced(score, 52, 3), choose(rng, (".xx", "..x.x.")), 0.58, hold=0.8)
    elif texture == "struck":
        bass_line(score, part, choose(rng, ("r---5---", "r", "r---r-5-")), 33, 0.74, hold=1.0)
        strike_chords(score, part, voiced(score, 52, 3), choose(rng, ("x.x.x.x.", "x---x---", "x--x--x-")), 0.62, hold=0.95)
    else:
        bass_line(score, part, "r", 31, 0.74, hold=1.0)
        rungs = voiced(score, 57, 3)
        arpeggiate(score, part, lambda span: [*rungs[span.start], rungs[span.start][0] + 12], choose(rng, ((0, 1, 2, 3, 2, 1, 2, 3), (0, 2, 1, 3) * 2)), 0.64)
    kind = choose(rng, ("lyric", "lyric", "lively"))
    tune = melody(score, rng, kind, int(rng.integers(72, 79)))
    play(score, part, tune, gain=1.15, hold=1.2)
    if rng.random() < 0.35:  # octaves where it is full
        loud = [note for note in tune if score.bar_at(note.start).energy > 0.75]
        play(score, part, loud, gain=0.9, transpose=12)


def folk_guitar(score: Score, rng: Rng) -> None:
    """Picked or strummed steel strings, often with a tune on another instrument and a bass."""
    guitar = score.part("guitar", choose(rng, ("acoustic guitar", "acoustic guitar", "twelve-string guitar")))
    if rng.random() < 0.6:
        orders = {
            "4/4": ((0, 3, 2, 4, 1, 3, 2, 4), (0, 2, 1, 3, 0, 2, 4, 3), (0, 2, 3, 4, 1, 4, 3, 2)),
            "3/4": ((0, 2, 3, 4, 3, 2), (0, 3, 2, 3, 4, 3)),
            "6/8": ((0, 2, 3, 4, 3, 2), (0, 3, 2, 4, 3, 2)),
        }[score.metre.name]
        arpeggiate(score, guitar, lambda span: ladder(40, span, 5), choose(rng, orders), 0.68, ring=2.2)
    else:
        strokes = {"4/4": ("D---d-u---u-d-u-", "D---d-u-d---d-u-", "D-u-d-u-d-u-d-u-"), "3/4": ("D---d-u-d-u-", "D---d---d-u-"), "6/8": ("D-d-u-d-d-u-", "D---u-d---u-")}
        strum(score, guitar, _six_strings(score), choose(rng, strokes[score.metre.name]), 0.7)
    if rng.random() < 0.75:
        lead = score.part("lead", choose(rng, ("acoustic guitar", "flute", "whistle", "harmonica", "fiddle", "mandolin")))
        play(score, lead, melody(score, rng, choose(rng, ("lively", "lyric")), 76, rest=0.15), hold=1.05)
    if rng.random() < 0.5:
        bass = score.part("bass", "double bass")
        lines = {"4/4": ("r---5---", "r-----5-", "r---r-a-"), "3/4": ("r-----", "r---a-"), "6/8": ("r--5--", "r-----")}
        bass_line(score, bass, choose(rng, lines[score.metre.name]), 28, 0.75)


def _six_strings(score: Score) -> dict[float, list[int]]:
    """Open guitar shapes: bass, fifth, octave and on."""
    return {span.start: ladder(40, span, 6) for span in score.spans}


def strings(score: Score, rng: Rng) -> None:
    """String orchestra: low strings, held or marked inner voices, a broad tune; sometimes harp, horns or timpani."""
    marked = rng.random() < 0.45
    inner = voiced(score, 53, 3)
    low = score.part("cellos", "cello section")
    bass_line(score, low, "r" if not marked else _even(score, "r.r"), 36, 0.75, hold=1.0)
    bass_line(score, score.part("basses", "contrabass"), "r", 28, 0.6, hold=1.0, least=0.6)
    violas = score.part("violas", "strings short" if marked else "strings")
    if marked:
        strike_chords(score, violas, inner, _even(score, choose(rng, ("Xoxo", "Xxxx"))), 0.7, hold=0.75)
    else:
        hold_chords(score, violas, inner, 0.6)
    violins = score.part("violins", "violin section")
    tune = melody(score, rng, choose(rng, ("broad", "lyric", "lyric")), 76, rest=0.0)
    play(score, violins, tune, hold=1.05)
    if rng.random() < 0.6:
        full = [note for note in tune if score.bar_at(note.start).energy > 0.8]
        play(score, violins, full, gain=0.7, transpose=12)
    extra = choose(rng, ("harp", "horns", "timpani", "choir", "none"))
    if extra == "harp":
        arpeggiate(score, score.part("harp", "harp"), lambda span: ladder(48, span, 7), _order(score, (0, 1, 2, 3, 4, 5, 4, 3)), 0.55, ring=2.0)
    elif extra == "horns":
        play(score, score.part("horns", "french horn"), counterpoint(score, tune, 50), transpose=-12 if rng.random() < 0.3 else 0)
    elif extra == "timpani":
        bass_line(score, score.part("timpani", "timpani"), choose(rng, ("R", "R-----rr" if score.metre.beats == 4 else "R----r")), 36, 0.8, hold=1.5, least=0.6)
    elif extra == "choir":
        hold_chords(score, score.part("choir", "choir"), voiced(score, 58, 3), 0.6, least=0.6)


def _even(score: Score, beat: str) -> str:
    """The same figure on every beat: of four letters in simple, of three in compound metre."""
    return (beat[: 2 if score.metre.division == 2 else 3]) * score.metre.beats


def _order(score: Score, order: tuple[int, ...]) -> tuple[int, ...]:
    """As many steps as the bar has eighths."""
    steps = score.metre.beats * score.metre.division
    return tuple(order[i % len(order)] for i in range(steps))


def string_quartet(score: Score, rng: Rng) -> None:
    """Four solo strings: the first violin leads, inner voices answer in held, repeated or off-beat notes, the cello walks."""
    tune = melody(score, rng, choose(rng, ("lyric", "lively")), 78, rest=0.03)
    first, second = score.part("violin 1", "violin"), score.part("violin 2", "violin")
    viola, cello = score.part("viola", "viola"), score.part("cello", "cello")
    textures = {name: choose(rng, ("held", "repeated", "offbeat", "follow")) for name in dict.fromkeys(bar.section for bar in score.bars)}
    inner = voiced(score, 57, 3)
    play(score, first, tune, hold=0.98)
    for bar in score.bars:
        beats, loud = score.metre.beats, 0.62 * level(bar)
        for span in bar.spans:
            low, high = inner[span.start][0], inner[span.start][1]
            if textures[bar.section] in ("held", "follow"):
                score.add(viola, span.start, span.length, low, loud)
                if textures[bar.section] == "held":
                    score.add(second, span.start, span.length, high, loud)
            else:
                eighth = 1 / score.metre.division
                for i in range(int(span.length * score.metre.division)):
                    if textures[bar.section] == "repeated" or i % score.metre.division:
                        for voice, pitch in ((viola, low), (second, high)):
                            score.add(voice, span.start + i * eighth, eighth * 0.7, pitch, loud * (1.0 if i % 2 == 0 else 0.85))
            score.add(cello, span.start, span.length if beats < 4 or textures[bar.section] == "held" else span.length / 2, above(span.chord.bass, 36), 0.72 * level(bar))
            if beats == 4 and textures[bar.section] != "held":
                score.add(cello, span.start + span.length / 2, span.length / 2, above(span.chord.fifth, 38), 0.66 * level(bar))
    following = [note for note in counterpoint(score, tune, 55) if textures[score.bar_at(note.start).section] == "follow"]
    play(score, second, following, hold=0.98)


def brass_band(score: Score, rng: Rng) -> None:
    """A march or a hymn: cornets in thirds over horns, trombones and tubas, with drums where it marches."""
    hymn = score.bpm < 84
    tune = melody(score, rng, "lyric" if hymn else "lively", 72, rest=0.02)
    play(score, score.part("cornets", "trumpet"), tune, hold=0.95 if hymn else 0.85)
    play(score, score.part("second cornets", "trumpet"), counterpoint(score, tune, 58), hold=0.95 if hymn else 0.85)
    inner = voiced(score, 53, 3)
    horns, tuba = score.part("horns", "french horn"), score.part("bass", "tuba")
    if hymn:
        hold_chords(score, horns, inner, 0.6, overlap=0.0)
        bass_line(score, tuba, "r", 29, 0.75, hold=0.98)
    else:
        offbeats = {"4/4": choose(rng, (".x.x.x.x", "..x...x.")), "3/4": ".xx", "6/8": "..x..x"}[score.metre.name]
        strike_chords(score, horns, inner, offbeats, 0.6, hold=0.5)
        bass_line(score, tuba, {"4/4": choose(rng, ("r.5.r.5.", "r...5...", "r-5-r-a-")), "3/4": "r..", "6/8": "r..5.."}[score.metre.name], 29, 0.8, hold=0.8)
    if rng.random() < 0.8:
        trombones = score.part("trombones", "trombone")
        if rng.random() < 0.5:
            hold_chords(score, trombones, voiced(score, 46, 3), 0.55, overlap=0.0, least=0.6)
        else:
            play(score, trombones, melody(score, rng, "broad", 55, rest=0.0), hold=0.95)
    if not hymn and score.metre.division == 2:
        drum(score, score.part("drums", "marching drums"), choose(rng, MARCH if score.metre.beats == 4 else WALTZ_MARCH), rng)
