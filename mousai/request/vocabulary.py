"""Everyday words for what a composer of scores can be told: each stands for words that request/music.py, request/score.py and request/instruments.py know.

What a file was made of follows from these tables: whoever changes one raises `READING`, and keeps the old one for files that say the number before.
"""

from __future__ import annotations

import re

from mousai.request.instruments import longest_first, programs
from mousai.request.music import PACES, has, in_words

READING = 2  # how words are read today; 1 = as before everyday words, and instruments beside a style, were
INSTRUMENTS = {
    **dict.fromkeys(("ukulele", "lute", "nylon string guitar"), "nylon guitar"), **dict.fromkeys(("steel string guitar", "12-string guitar"), "acoustic guitar"),
    **dict.fromkeys(("upright piano", "fortepiano", "pianoforte"), "piano"), **dict.fromkeys(("wurlitzer", "e-piano", "electric keys"), "rhodes"), **dict.fromkeys(("cembalo", "spinet", "virginal"), "harpsichord"),
    **dict.fromkeys(("cornet", "flugelhorn"), "trumpet"), "euphonium": "tuba", "violoncello": "cello", "vibes": "vibraphone", "glock": "glockenspiel", "chimes": "tubular bells", "church bells": "tubular bells",
    **dict.fromkeys(("cimbalom", "zither"), "dulcimer"), "mouth organ": "harmonica", "squeezebox": "accordion", "concertina": "accordion", "bass clarinet": "clarinet", "alto flute": "flute", "synthesiser": "synthesizer",
    **dict.fromkeys(("drum kit", "drum set", "drumkit", "drum machine", "bongos", "congas", "hand drums"), "drums"), "sub bass": "synth bass", "fretless": "fretless bass", "handpan": "steel drum",
}  # fmt: skip
SYNONYMS = {
    # tempo
    **dict.fromkeys(("largo", "lento", "adagio", "grave", "larghetto", "ballad", "leisurely", "laid-back", "laid back", "languid"), "slow"),
    **dict.fromkeys(("andante", "moderato", "allegretto", "andantino", "midtempo", "mid tempo", "walking pace"), "moderate"),
    **dict.fromkeys(("allegro", "vivace", "presto", "prestissimo", "brisk", "speedy", "rapid", "up tempo"), "fast"),
    # mode, by a mood of one mode alone
    **dict.fromkeys(("gloomy", "mournful", "sorrowful", "melancholy", "sombre", "somber", "bleak", "grim", "ominous", "eerie", "spooky", "sinister", "lonely", "grieving", "bittersweet"), "sad"),
    **dict.fromkeys(("joyful", "joyous", "cheery", "merry", "jolly", "optimistic", "hopeful", "carefree", "feel-good", "upbeat", "jubilant"), "happy"),
    **dict.fromkeys(("gentle", "soothing", "serene", "tranquil", "relaxing", "lullaby", "meditative"), "peaceful"),
    # density
    **dict.fromkeys(("uncluttered", "spare", "sparsely", "minimalist", "minimalistic"), "sparse"),
    **dict.fromkeys(("crowded", "elaborate", "ornate", "florid"), "busy"), "virtuoso": "virtuosic",
    # metre
    "gigue": "jig", "two-step": "2/4", "polka": "2/4", "landler": "waltz", "ländler": "waltz", "berceuse": "6/8",
    # style
    **dict.fromkeys(("8-bit", "8 bit", "nes music", "game boy"), "chiptune"), "lo fi": "lofi", "chillhop": "lo-fi hip hop",
    **dict.fromkeys(("hip-hop", "trip hop", "trip-hop", "boom bap"), "hip hop"),
    **dict.fromkeys(("dnb", "d&b", "drum n bass", "drum'n'bass"), "drum and bass"), **dict.fromkeys(("trance", "electronica"), "techno"), "edm": "house",
    **dict.fromkeys(("bebop", "big band", "swing band"), "jazz"), **dict.fromkeys(("bossa", "samba"), "bossa nova"), **dict.fromkeys(("r&b", "rnb", "motown", "gospel", "funk", "funky"), "soul"),
    **dict.fromkeys(("country", "bluegrass", "americana"), "folk music"), **dict.fromkeys(("punk", "grunge", "ska"), "rock"), "marching band": "brass band",
    **dict.fromkeys(("orchestra", "symphony", "symphonic", "cinematic", "film score", "film music", "movie score"), "orchestral strings"),
    **dict.fromkeys(("soundscape", "new age"), "ambient"), **dict.fromkeys(("nocturne", "piano sonata", "piano solo", "étude", "etude"), "solo piano"), "chamber": "chamber music",
    "chamber music": "chamber music", "bossa nova": "bossa nova",  # which stay as they are, though their first words stand for them too
    **INSTRUMENTS,
}  # fmt: skip
PACES_IMPLIED = {  # of what says nothing else of the tempo
    **dict.fromkeys(("calm", "peaceful", "sleepy", "gentle", "soothing", "serene", "tranquil", "relaxing", "lullaby", "meditative"), "slow"),
    **dict.fromkeys(("energetic", "lively", "upbeat", "frantic", "hectic", "furious"), "fast"),
}  # fmt: skip
_KNOWN = {form for name in programs() for form in (name, f"{name}s")}  # which stay as they are: a "fretless bass" is no fretless bass bass
_WORDS = re.compile(rf"(?<!\w)(?:{longest_first(_KNOWN.union(SYNONYMS))})(?!\w)", re.IGNORECASE)


def in_known_words(text: str, implied: bool = True) -> tuple[str, dict[str, tuple[str, ...]]]:
    """A text in words that controls know, a tempo that others imply among them, and of each of those which of the text's words it stands for."""
    stands_for: dict[str, tuple[str, ...]] = {}

    def known(found: re.Match) -> str:
        words = SYNONYMS.get(found[0].lower())
        if words is None:
            return found[0]
        stands_for[words] = tuple(dict.fromkeys((*stands_for.get(words, ()), found[0])))
        return words

    made = _WORDS.sub(known, text)
    paces = {word: pace for word, pace in PACES_IMPLIED.items() if has(text, word)} if implied else {}
    said = next((pace for pace in PACES if has(made, pace)), None)
    pace = said or next(iter(paces.values()), None)
    if pace is not None and in_words(text).bpm is None:
        made = made if said else f"{made}, {pace}"
        stands_for[pace] = (*stands_for.get(pace, (pace,) if said else ()), *(word for word, its in paces.items() if its == pace))
    return made, stands_for
