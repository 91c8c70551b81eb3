"""The practice set's classes: tempos, metres, forms and words.

The classes differ in long-term spectrum and in temporal envelope alike (decaying, plucked, swelling, pulsing, dense,
bowed, gated, swung), so that even a small model can keep them apart.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """One class of the practice set."""

    name: str  # class identifier
    genre: tuple[str, ...]
    bpm: tuple[int, int]  # lowest and highest tempo
    minor: float  # probability of a minor key
    moods: dict[str, tuple[str, ...]]  # by mode: words that are true of all its pieces
    phrases: tuple[str, ...]  # what it is called in captions
    family: str  # of chord progressions, a key of harmony.PROGRESSIONS
    form: str = "song"  # a key of form.FORMS
    metres: tuple[str, ...] = ("4/4",)  # drawn evenly
    swing: tuple[float, float] = (0.0, 0.0)  # drawn between; 1/6 = triplets
    swing_unit: float = 0.5  # beats: 0.5 swings eighths, 0.25 sixteenths
    room: float = 1.0  # seconds of reverberation


STYLES = {
    style.name: style
    for style in (
        Style(
            "piano", ("classical",), (54, 132), 0.55,
            {"minor": ("melancholic", "sad", "longing"), "major": ("peaceful", "tender", "graceful")},
            ("solo piano", "piano piece", "piano alone", "classical piano"), "classical", "theme", ("4/4", "4/4", "3/4", "3/4", "6/8"), room=1.6,
        ),
        Style(
            "folk_guitar", ("folk",), (76, 138), 0.4,
            {"minor": ("wistful", "nostalgic"), "major": ("warm", "happy", "homely")},
            ("acoustic folk", "folk song on acoustic guitar", "folk, fingerpicked guitar", "folk music"), "folk", "song",
            ("4/4", "4/4", "4/4", "3/4", "6/8"), room=1.0,
        ),
        Style(
            "ambient", ("ambient",), (50, 84), 0.5,
            {"minor": ("dark", "mysterious", "brooding"), "major": ("dreamy", "calm", "floating")},
            ("ambient soundscape", "ambient synthesizer pads", "ambient without drums", "drifting ambient"), "ambient", "drift", room=4.0,
        ),
        Style(
            "techno", ("techno", "electronic"), (120, 142), 0.85,
            {"minor": ("hypnotic", "driving", "dark"), "major": ("euphoric", "driving")},
            ("techno", "techno with four-on-the-floor kick", "club techno", "warehouse techno"), "techno", "dance", room=1.2,
        ),
        Style(
            "rock", ("rock",), (92, 168), 0.55,
            {"minor": ("aggressive", "energetic", "defiant"), "major": ("triumphant", "energetic", "anthemic")},
            ("rock", "rock band", "guitar rock with drums", "rock with distorted electric guitar"), "rock", "song", room=0.8,
        ),
        Style(
            "strings", ("orchestral", "classical"), (60, 126), 0.5,
            {"minor": ("dramatic", "sad", "tragic"), "major": ("romantic", "uplifting", "noble")},
            ("orchestral strings", "string orchestra", "film music for strings", "cinematic strings"), "cinematic", "theme",
            ("4/4", "4/4", "4/4", "3/4", "6/8"), room=2.2,
        ),
        Style(
            "chiptune", ("chiptune", "video game"), (110, 180), 0.4,
            {"minor": ("tense", "adventurous"), "major": ("happy", "playful", "bouncy")},
            ("chiptune", "8-bit chiptune", "8-bit video game music", "retro game chiptune, square waves"), "game", "song", room=0.3,
        ),
        Style(
            "jazz", ("jazz",), (88, 212), 0.4,
            {"minor": ("moody", "cool", "smoky"), "major": ("relaxed", "smooth", "swinging")},
            ("jazz", "swing jazz", "small jazz combo", "jazz with walking bass and ride cymbal"), "jazz", "jazz", ("4/4", "4/4", "4/4", "4/4", "3/4"),
            swing=(0.1, 0.17), room=0.9,
        ),
        Style(
            "lofi", ("lo-fi", "hip hop"), (66, 94), 0.5,
            {"minor": ("melancholic", "hazy", "sleepy"), "major": ("chill", "cosy", "hazy")},
            ("lo-fi hip hop", "lofi beat", "lo-fi study beat", "dusty hip hop beat"), "lofi", "beat", swing=(0.06, 0.15), swing_unit=0.25, room=0.7,
        ),
        Style(
            "house", ("house", "electronic"), (114, 130), 0.65,
            {"minor": ("groovy", "deep", "nocturnal"), "major": ("uplifting", "sunny", "groovy")},
            ("house", "deep house", "house music", "piano house"), "house", "dance", swing=(0.0, 0.08), swing_unit=0.25, room=1.2,
        ),
        Style(
            "drum_and_bass", ("drum and bass", "electronic"), (160, 180), 0.75,
            {"minor": ("dark", "urgent", "atmospheric"), "major": ("euphoric", "liquid", "atmospheric")},
            ("drum and bass", "drum & bass", "liquid drum and bass", "jungle breakbeats"), "dance", "dance", room=1.6,
        ),
        Style(
            "string_quartet", ("chamber music", "classical"), (56, 144), 0.5,
            {"minor": ("intimate", "plaintive", "restless"), "major": ("elegant", "cheerful", "intimate")},
            ("string quartet", "chamber music for string quartet", "classical string quartet", "two violins, viola and cello"), "classical", "theme",
            ("4/4", "4/4", "3/4", "3/4", "6/8"), room=1.3,
        ),
        Style(
            "brass_band", ("brass band", "march"), (62, 128), 0.25,
            {"minor": ("solemn", "stern"), "major": ("festive", "proud", "stately")},
            ("brass band", "brass band music", "brass ensemble", "village brass band"), "march", "theme", ("4/4", "4/4", "4/4", "3/4", "6/8"), room=1.5,
        ),
        Style(
            "bossa_nova", ("bossa nova", "latin", "jazz"), (104, 152), 0.45,
            {"minor": ("wistful", "cool", "longing"), "major": ("breezy", "relaxed", "sunny")},
            ("bossa nova", "bossa nova with nylon guitar", "brazilian bossa nova", "latin jazz, bossa nova"), "bossa", "jazz", room=1.0,
        ),
        Style(
            "soul", ("soul", "rhythm and blues"), (60, 118), 0.4,
            {"minor": ("longing", "moody", "smouldering"), "major": ("tender", "warm", "heartfelt")},
            ("soul", "soul music", "classic soul groove", "rhythm and blues"), "soul", "song", ("4/4", "4/4", "4/4", "12/8"), room=0.9,
        ),
        Style(
            "metal", ("metal", "rock"), (100, 192), 0.95,
            {"minor": ("aggressive", "dark", "furious"), "major": ("heroic", "aggressive")},
            ("heavy metal", "metal", "metal with double bass drum", "thrash metal guitars"), "metal", "song", room=0.7,
        ),
    )
}  # fmt: skip
