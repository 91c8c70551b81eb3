"""General MIDI's programmes by name, and where a prompt says which are not to play."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mousai.data.synth.styles import STYLES
from mousai.data.synth.voices import VOICES

FAMILIES = (  # of eight General MIDI programmes each; drums are one more
    "piano", "chromatic percussion", "organ", "guitar", "bass", "strings", "ensemble", "brass", "reed", "pipe", "synth lead", "synth pad",
    "synth effects", "ethnic", "percussive", "sound effects",
)  # fmt: skip
NAMES = (
    "acoustic grand piano", "bright acoustic piano", "electric grand piano", "honky-tonk piano", "electric piano 1", "electric piano 2", "harpsichord", "clavinet",
    "celesta", "glockenspiel", "music box", "vibraphone", "marimba", "xylophone", "tubular bells", "dulcimer",
    "drawbar organ", "percussive organ", "rock organ", "church organ", "reed organ", "accordion", "harmonica", "tango accordion",
    "acoustic guitar (nylon)", "acoustic guitar (steel)", "electric guitar (jazz)", "electric guitar (clean)", "electric guitar (muted)", "overdriven guitar", "distortion guitar", "guitar harmonics",
    "acoustic bass", "electric bass (finger)", "electric bass (pick)", "fretless bass", "slap bass 1", "slap bass 2", "synth bass 1", "synth bass 2",
    "violin", "viola", "cello", "contrabass", "tremolo strings", "pizzicato strings", "orchestral harp", "timpani",
    "string ensemble 1", "string ensemble 2", "synth strings 1", "synth strings 2", "choir aahs", "voice oohs", "synth voice", "orchestra hit",
    "trumpet", "trombone", "tuba", "muted trumpet", "french horn", "brass section", "synth brass 1", "synth brass 2",
    "soprano sax", "alto sax", "tenor sax", "baritone sax", "oboe", "english horn", "bassoon", "clarinet",
    "piccolo", "flute", "recorder", "pan flute", "blown bottle", "shakuhachi", "whistle", "ocarina",
    "lead 1 (square)", "lead 2 (sawtooth)", "lead 3 (calliope)", "lead 4 (chiff)", "lead 5 (charang)", "lead 6 (voice)", "lead 7 (fifths)", "lead 8 (bass and lead)",
    "pad 1 (new age)", "pad 2 (warm)", "pad 3 (polysynth)", "pad 4 (choir)", "pad 5 (bowed)", "pad 6 (metallic)", "pad 7 (halo)", "pad 8 (sweep)",
    "fx 1 (rain)", "fx 2 (soundtrack)", "fx 3 (crystal)", "fx 4 (atmosphere)", "fx 5 (brightness)", "fx 6 (goblins)", "fx 7 (echoes)", "fx 8 (sci-fi)",
    "sitar", "banjo", "shamisen", "koto", "kalimba", "bagpipe", "fiddle", "shanai",
    "tinkle bell", "agogo", "steel drums", "woodblock", "taiko drum", "melodic tom", "synth drum", "reverse cymbal",
    "guitar fret noise", "breath noise", "seashore", "bird tweet", "telephone ring", "helicopter", "applause", "gunshot",
)  # fmt: skip
ALSO_CALLED = {
    "grand piano": 0, "bright piano": 1, "honky-tonk": 3, "honky tonk piano": 3, "electric piano": 4, "rhodes": 4, "clavichord": 7, "tubular bell": 14, "hammered dulcimer": 15,
    "hammond organ": 16, "pipe organ": 19, "harmonium": 20, "bandoneon": 23, "nylon-string guitar": 24, "classical guitar": 24, "spanish guitar": 24, "steel-string guitar": 25,
    "acoustic guitar": 25, "jazz guitar": 26, "electric guitar": 27, "clean guitar": 27, "muted guitar": 28, "distorted guitar": 30, "double bass": 32, "contrabass": 43, "electric bass": 33, "bass guitar": 33,
    "picked bass": 34, "slap bass": 36, "synth bass": 38, "synth strings": 50, "harp": 46, "kettledrums": 47, "string ensemble": 48, "choir": 52, "french horn": 60, "cor anglais": 69,
    "saxophone": 66, "panpipes": 75, "pan pipes": 75, "tin whistle": 78, "steel drum": 114, "steelpan": 114, "bagpipes": 109, "thumb piano": 108, "wood block": 115, "taiko": 116,
    "polysynth": 90, "warm pad": 89, "choir pad": 91, "bowed pad": 92, "metallic pad": 93, "halo pad": 94, "sweep pad": 95, "square lead": 80, "sawtooth lead": 81, "saw lead": 81, "calliope": 82,
    "voice": 52, "singer": 52, "vocals": 52, "guitar": 25, "bass": 33, "synth": 81, "synthesizer": 81, "strings": 48, "horn": 60, "oboe": 68, "bassoon": 70, "sax": 66, "pad": 89, "keys": 4, "upright bass": 32,
}  # fmt: skip
NOT_IN_PROMPTS = (*NAMES[80:104], *NAMES[119:], "whistle")  # words and sounds that a prompt has for other reasons



def programs() -> dict[str, int]:
    """General MIDI's programmes by the words that name them."""
    named = {name: number for number, name in enumerate(NAMES)} | {name.lower(): 8 * family for family, name in enumerate(FAMILIES)}
    for voice_name, voice in VOICES.items():
        melodic = [preset for bank, preset in voice.programs if bank != 128]
        if melodic:
            named.setdefault(voice.words.lower() or voice_name, melodic[0])
            named.setdefault(voice_name, melodic[0])
    return named | ALSO_CALLED


def longest_first(words: Iterable[str]) -> str:
    """A pattern of any of these words, of which the longest that fits is found."""
    return "|".join(re.escape(each) for each in sorted(words, key=len, reverse=True))


IN_PROMPTS = (*(name for name in programs() if name not in NOT_IN_PROMPTS), "drums", "percussion")
_STYLES = {words for style in STYLES.values() for words in (style.name.replace("_", " "), *style.phrases, *style.genre)}
_NAME = rf"(?:{longest_first(IN_PROMPTS)})s?(?!\w)"
_NO_STYLE = rf"(?!(?:{longest_first(_STYLES - set(IN_PROMPTS))})(?!\w))"  # as "brass band" is one
_FURTHER = rf"(?:\s*,\s*(?:(?:and|or|nor)\s+)?|\s+(?:and|or|nor)\s+|\s*&\s*)(?:(?:any|the|no|without)\s+)?{_NO_STYLE}{_NAME}"
NOT_WANTED = re.compile(rf"(?<!\w)(?:no|without|not)\s+(?:(?:any|the|a|an)\s+)?(?:{_NO_STYLE}{_NAME}(?:{_FURTHER})*|(?:{longest_first(_STYLES)})(?!\w)|[\w-]+)", re.IGNORECASE)  # "no drums", "without bass guitar, harp or piano"
