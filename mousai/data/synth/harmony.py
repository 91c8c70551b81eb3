"""Chord progressions by family and mode: bars divided by "|", numerals as `theory.roman` reads them.

Phrases of two, four or eight bars that end where they can begin again: the common stock of each music.
"""

from __future__ import annotations

PROGRESSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "pop": {
        "major": (
            "I|V|vi|IV", "I|vi|IV|V", "vi|IV|I|V", "I|IV|vi|V", "I|iii|IV|V", "I|V/3|vi|IV", "I|IV|I/3|V7", "IV|I/3|ii7|V",
            "I|Imaj7|IV|iv", "ii7|IV|I|V", "I|V/3|vi iii|IV V",
        ),
        "minor": (
            "i|bVI|bIII|bVII", "i|iv|bVI|V7", "i|bVII|bVI|V7", "i|bVI|iv|V", "i|bIII|bVII|iv", "i|v|bVI|bVII", "bVI|bVII|i|i",
            "i|bVII/3|bVI|bVII", "iv|i|bVI|bVII",
        ),
    },
    "folk": {
        "major": (
            "I|IV|I|V", "I|V|vi|IV", "I|IV/5|I|V7", "I|iii|IV|I/3", "I|V/3|vi|IV", "I|ii|IV|V", "I|bVII|IV|I", "I vi|IV V|I IV|I V",
        ),
        "minor": ("i|bVII|bVI|bVII", "i|bIII|bVII|i", "i|IV|i|bVII", "i|bVI|bIII|bVII", "i|iv|i|v", "i|bVII|i|v"),
    },
    "rock": {
        "major": ("I|bVII|IV|I", "I|V|vi|IV", "I|IV|V|IV", "I|I|IV|V", "vi|IV|I|V", "I|bIII|IV|I", "I V|vi IV|I V|IV"),
        "minor": (
            "i|bVI|bIII|bVII", "i|bVII|bVI|bVII", "i|bIII|bVII|IV", "i|i|bVI|bVII", "i|bVI|bVII|i", "i bIII|bVII IV|i bIII|bVII",
        ),
    },
    "metal": {
        "major": ("I5|bVI5|bVII5|I5", "I5|V5|vi5|IV5"),
        "minor": (
            "i5|bVI5|bVII5|i5", "i5|bII5|i5|bVII5", "i5|bVI5|iv5|V5", "i5|bIII5|bVII5|bVI5", "i5|i5|bVI5|bVII5", "i5 bII5|i5|i5 bVI5|bVII5",
            "i5|iv5|bVI5|V5",
        ),
    },
    "classical": {
        "major": (
            "I|V7/5 I|IV|V7", "I|vi|ii/3|V7", "I|IV V7|vi|ii7 V7", "I|I/3|IV|V7", "I|V/3|vi|iii|IV|I/3|ii7/3|V7", "I|V7/vi vi|ii7 V7|I",
            "I|IV/5|V7/5|I", "I V/3|vi V/3|I/3 IV|V7", "I|viio7/ii ii|V7|I",
        ),
        "minor": (
            "i|iv|V7|i", "i|bVI|iiø7/3|V7", "i|v/3|bVI|V7", "i|V7/5 i/3|iv|V7", "i|iv bVII|bIII bVI|iiø7 V7", "i|V/3|i/3|iv|i/5|V7|i|V7",
            "i|viio7|i|V7/3", "i|bVI|bIII|V/3",
        ),
    },
    "cinematic": {
        "major": ("I|V/3|vi|IV", "I|iii|IV|iv", "I|bVI|bVII|I", "vi|IV|I|V/3", "I|Isus4|vi|IV", "I|iii|vi|IV"),
        "minor": ("i|bVI|bIII|bVII", "i|iv|bVI|V", "i|bVI|iv|V7", "i|v/3|bVI|iv", "i|bIII|bVI|iv", "i|bVI|i/5|V7"),
    },
    "jazz": {
        "major": (
            "ii7|V7|Imaj7|vi7", "Imaj7|V7/ii|ii7|V7", "iii7|V7/ii|ii7|V7", "Imaj7|#io7|ii7|V7", "Imaj9|IVmaj7|iii7 V7/ii|ii7 V7",
            "ii7 V7|Imaj7|iii7 V7/ii|ii7 V7", "Imaj7|vi7|ii9|V13", "IVmaj7|bVII7|Imaj7|V7/ii|ii7|V7|Imaj7|V7",
        ),
        "minor": (
            "iiø7|V7b9|i6|i6", "i7|iv7|iiø7|V7b9", "i6|bVI7|iiø7|V7b9", "iv7|bVII7|bIIImaj7|bVImaj7|iiø7|V7b9|i7|i7", "i7|bVI7 V7|i7|iiø7 V7b9",
        ),
    },
    "bossa": {
        "major": (
            "Imaj9|V9/V|ii9|V13", "Imaj7|#io7|ii7|V7b9", "Imaj9|vi9|ii9|V7b9", "ii7|bII7|Imaj7|Imaj7", "Imaj7|iv6|iii7 V7/ii|ii7 bII7",
        ),
        "minor": ("i9|iv9|iiø7|V7b9", "i6|bVI7|iiø7|V7b9", "i9|i9|bVII9|bVImaj7|iiø7|V7b9|i6|i6", "iv9|bVII13|bIIImaj7|V7b9"),
    },
    "soul": {
        "major": (
            "Imaj7|iii7|IVmaj7|V7sus4", "I|V/3|vi7|IVmaj7", "vi7|iii7|IVmaj7|Imaj7", "ii9|V13|Imaj9|IVmaj7", "I|I7|IV|iv6", "I|vi7|ii7|V7sus4",
            "IVmaj7|iii7|ii7|Imaj7", "I|V7/vi|vi7 I7|IVmaj7 V7sus4",
        ),
        "minor": ("i7|iv7|bVImaj7|V7", "i9|bVII|bVImaj7|v7", "i7|bIII|IV|bVI", "bVImaj7|v7|i7|i7", "i9|iv9|i9|iv9"),
    },
    "lofi": {
        "major": (
            "ii9|V13|Imaj9|Imaj9", "Imaj9|vi9|ii9|V13", "Imaj7|IVmaj7|iii7|vi7", "Imaj9|iii7|IVmaj7|V13", "IVmaj7|iii7|ii9|Imaj9", "Imaj9|vi9|ii9|V7b9",
            "Imaj7|iii7|IVmaj7|iv6",
        ),
        "minor": ("i9|iv9|bVImaj7|V7", "i9|bVImaj7|iv9|v7", "i9|bVII|bVImaj7|v7", "i9|iv9|i9|V7", "iv9|bVImaj7|i9|i9", "bVImaj7|V7|i9|i9"),
    },
    "house": {
        "major": ("vi7|IVmaj7|Imaj7|V", "ii7|V7sus4|Imaj7|vi7", "IVmaj7|V|vi7|vi7", "IV|V|iii7|vi7"),
        "minor": ("i9|i9|iv9|v7", "i7|bVI|bIII|bVII", "i7|iv7|bVImaj7|bVII", "i9|bVImaj7|i9|bVII", "bVImaj7|bVII|i7|i7"),
    },
    "techno": {
        "major": ("I|I|I|I", "I|I|bVII|I"),
        "minor": ("i|i|i|i", "i|i|bVI|bVII", "i|i|iv|i", "i|i|bII|i", "i7|i7|i7|bVII", "i|i|bIII|bVII"),
    },
    "dance": {
        "major": ("Iadd9|vi9|IVmaj7|V", "IVmaj7|V|vi7|Imaj7", "vi9|IVmaj9|Imaj7|V"),
        "minor": ("i9|bVImaj7|bIII|bVII", "i9|iv9|bVImaj7|v7", "i|i|bVI|bVII", "iv9|v7|i9|i9", "i9|i9|bVImaj7|bVImaj7"),
    },
    "ambient": {
        "major": ("Imaj9|IVmaj9", "Iadd9|vi9|IVmaj7|Iadd9", "Imaj7|iii7|IVmaj9|IVmaj9", "Isus2|IVmaj7", "Iadd9|bVII|IVadd9|Iadd9"),
        "minor": ("i9|bVImaj7", "iadd9|bIII|bVII|iv9", "i9|i9|iv9|iv9", "iadd9|bVImaj7|bIIImaj7|bVII", "i|iadd9|bVImaj9|v7"),
    },
    "march": {
        "major": ("I|IV|V7|I", "I|V7|V7|I", "I|vi|ii7|V7", "I|V7/V|V7|I", "IV|I/5|V7|I", "I|I7|IV|V7", "I IV|I/5 V7|vi IV|I/5 V7"),
        "minor": ("i|iv|V7|i", "i|bVI|V7|i", "i|bVII|bIII|V7", "i iv|i/5 V7|bVI iv|V7"),
    },
    "game": {
        "major": ("I|V|vi|IV", "I|bVI|bVII|I", "I|I|IV|V", "IV|V|iii|vi|ii|V|I|I", "I|IV|V|I", "I|iii|IV|V"),
        "minor": ("i|bVI|bVII|i", "i|bVII|bVI|V", "i|iv|bVII|bIII", "i|bII|V|i", "iv|bVII|bIII|bVI|iv|V|i|i"),
    },
}  # fmt: skip
