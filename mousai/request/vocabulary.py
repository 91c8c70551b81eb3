"""Everyday words for what a composer of scores can be told: each stands for words that request/music.py and request/score.py know."""

from __future__ import annotations

import re

from mousai.request.music import PACES, has, in_words

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
    **dict.fromkeys(("soundscape", "new age"), "ambient"), **dict.fromkeys(("nocturne", "piano sonata", "piano solo", "étude", "etude"), "solo piano"), "chamber": "chamber music", "chamber music": "chamber music", "bossa nova": "bossa nova",
    # instruments
    **dict.fromkeys(("ukulele", "lute", "nylon string guitar", "classical guitar", "spanish guitar"), "nylon guitar"), **dict.fromkeys(("steel string guitar", "12-string guitar"), "acoustic guitar"),
    **dict.fromkeys(("upright piano", "fortepiano", "pianoforte"), "piano"), **dict.fromkeys(("wurlitzer", "e-piano", "electric keys"), "rhodes"), **dict.fromkeys(("cembalo", "spinet", "virginal"), "harpsichord"),
    **dict.fromkeys(("cornet", "flugelhorn"), "trumpet"), "euphonium": "tuba", "violoncello": "cello", "vibes": "vibraphone", "glock": "glockenspiel", "chimes": "tubular bells", "church bells": "tubular bells",
    **dict.fromkeys(("cimbalom", "zither"), "dulcimer"), "mouth organ": "harmonica", "squeezebox": "accordion", "concertina": "accordion", "bass clarinet": "clarinet", "alto flute": "flute", "synthesiser": "synthesizer",
    **dict.fromkeys(("drum kit", "drum set", "drumkit", "drum machine", "bongos", "congas", "hand drums"), "drums"), "sub bass": "synth bass", "fretless": "fretless bass", "handpan": "steel drum",
}  # fmt: skip
PACES_IMPLIED = {  # of what says nothing else of the tempo
    **dict.fromkeys(("calm", "peaceful", "sleepy", "gentle", "soothing", "serene", "tranquil", "relaxing", "lullaby", "meditative"), "slow"),
    **dict.fromkeys(("energetic", "lively", "upbeat", "frantic", "hectic", "furious"), "fast"),
}  # fmt: skip
_WORDS = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(words) for words in sorted(SYNONYMS, key=len, reverse=True))})(?!\w)", re.IGNORECASE)


def in_known_words(text: str) -> tuple[str, dict[str, tuple[str, ...]]]:
    """A text in words that controls know, and of each of those which of the text's words it stands for."""
    stands_for: dict[str, tuple[str, ...]] = {}

    def known(found: re.Match) -> str:
        words = SYNONYMS[found[0].lower()]
        stands_for[words] = tuple(dict.fromkeys((*stands_for.get(words, ()), found[0])))
        return words

    made = _WORDS.sub(known, text)
    implied = {word: pace for word, pace in PACES_IMPLIED.items() if has(text, word)}
    said = next((pace for pace in PACES if has(made, pace)), None)
    pace = said or next(iter(implied.values()), None)
    if pace is not None and in_words(text).bpm is None:
        made = made if said else f"{made}, {pace}"
        stands_for[pace] = (*stands_for.get(pace, (pace,) if said else ()), *(word for word, its in implied.items() if its == pace))
    return made, stands_for
