"""Are prompts obeyed? Captions of a practice set as prompts, its style classifier as one ear, and whether seeds differ."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mousai.audio.level import at_rms
from mousai.audio.spectral import log_mel
from mousai.checks import did_you_mean, short
from mousai.conditioners.music import checked
from mousai.data.captions import field_texts
from mousai.data.sources import Source, Track
from mousai.evaluation.features import SAMPLE_RATE
from mousai.evaluation.genre import GenreClassifier, load_classifier, read_clips, rows_of, save_classifier, train_classifier
from mousai.evaluation.phases import Phase, silent
from mousai.evaluation.pulse import relation
from mousai.files import file_hash
from mousai.request.music import Music
from mousai.theory import key_name, key_of

LABEL = "style"  # the field of a practice set's manifest that names the class
LISTEN_SECONDS = 10.0  # of each clip, in training the classifier
FOREIGN = 0.1  # how far from a caption's own tempo, its octaves and thirds, a drawn one is at least


@dataclass(frozen=True)
class Asked:
    """A clip to be generated: the class that it should be, and the words for it."""

    label: str
    prompt: str
    track: str = ""  # the key of the track that the words are from


@dataclass(frozen=True)
class Known:
    """A recording `(c, s)`: its class, None where it has none, and what its metadata say of tempo, key and metre."""

    label: str | None
    audio: Tensor
    music: Music


def manifest_of(practice: str | Path) -> Path:
    """The manifest of a practice set, given as its folder or as the manifest itself."""
    path = Path(practice)
    path = path / "manifest.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no practice set at {practice}: expected a folder with manifest.jsonl, from `mousai data synth`")
    return path


def tracks_by_label(source: Source) -> dict[str, list[Track]]:
    """The tracks of each class, classes in alphabetical order."""
    tracks: dict[str, list[Track]] = {}
    for track in source:
        if LABEL not in track.metadata:
            raise ValueError(f"{source.name}: {track.key} has no field '{LABEL}'; a practice set from `mousai data synth` has it")
        tracks.setdefault(track.metadata[LABEL], []).append(track)
    return dict(sorted(tracks.items()))


def of_styles(source: Source, styles: Collection[str]) -> Source:
    """The source's tracks of some styles; ValueError for a style that no track has."""
    known = tracks_by_label(source)
    for style in styles:
        if style not in known:
            raise ValueError(f"styles: expected some of {', '.join(known)}; came {short(style)}{did_you_mean(style, known)}")
    return replace(source, tracks=[track for track in source if track.metadata[LABEL] in styles])


def prompts_for(
    source: Source, per_class: int, seeds_per_prompt: int, tempos: bool = False, keys: bool = False, seed: int = 0
) -> list[Asked]:
    """`per_class` clips to ask for of each class, class after class, each prompt `seeds_per_prompt` times in a row.

    Prompts are the tracks' own captions, different ones as far as there are, spread over the set; a caption that says
    no more than the name of the class does not count. With `tempos` or `keys` a prompt is put together from what else is
    known of a track and a tempo or key that is not its own, drawn from `seed`, see `foreign`.
    """
    if per_class < 1 or seeds_per_prompt < 1 or per_class % seeds_per_prompt:
        raise ValueError(f"per_class: expected a multiple of seeds_per_prompt {seeds_per_prompt}, came {per_class}")
    wanted = per_class // seeds_per_prompt
    asked = []
    for label, tracks in tracks_by_label(source).items():
        said: dict[str, Track] = {}
        for track in tracks:
            said.setdefault(track.metadata.get("caption", ""), track)
        usable = [text for text in said if text and _plain(text) != _plain(label)]
        if not usable:
            raise ValueError(f"{source.name}: no track of the class {label} has a caption to prompt with")
        for i in range(wanted):
            prompt = usable[i * len(usable) // wanted] if wanted < len(usable) else usable[i % len(usable)]
            track = said[prompt]
            if tempos or keys:
                prompt = foreign(track, tempo_range(source) if tempos else None, keys, random.Random(f"{seed}:{label}:{i}"))
            asked += [Asked(label, prompt, track.key)] * seeds_per_prompt
    return asked


def tempo_range(source: Source) -> tuple[int, int]:
    """The lowest and the highest tempo that tracks of a source have; ValueError where none has any."""
    tempos = [track.metadata["bpm"] for track in source if "bpm" in track.metadata]
    if not tempos:
        raise ValueError(f"{source.name}: no track has a tempo, so that none can be drawn")
    return round(min(tempos)), round(max(tempos))


def foreign(track: Track, tempos: tuple[int, int] | None, keys: bool, rng: random.Random) -> str:
    """A prompt in the words of a track's genre, moods, instruments, metre, tempo and key, with another tempo or key than its own.

    The tempo lies within `tempos`, evenly in octaves, and apart from the track's own, its double, half and thirds, as far
    as the range allows; the key is of the same mode, so that moods still fit.
    """
    known = {name: value for name, value in track.metadata.items() if name not in ("caption", "tempo")}
    own = known.pop("bpm", None)
    if tempos is not None:
        all_of_them = range(tempos[0], tempos[1] + 1)
        others = [bpm for bpm in all_of_them if own is None or relation(bpm, own, FOREIGN) is None] or list(all_of_them)
        own = rng.choices(others, [1 / bpm for bpm in others])[0]
    if keys:
        root, mode = key_of(known["key"]) if "key" in known else (0, rng.choice(("major", "minor")))
        known["key"] = key_name(root + rng.randrange(1, 12), mode)
    texts = field_texts(known, rng, ", ") + ([f"{own:g} bpm"] if own is not None else [])
    rng.shuffle(texts)
    return ", ".join(texts)


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def practice_classifier(manifest: Path, steps: int = 400, phase: Phase = silent) -> tuple[GenreClassifier, Path]:
    """The classifier of a practice set's train split, trained once and kept beside its manifest; and where it is."""
    path = manifest.with_name(f"genre-classifier-{file_hash(manifest)[:8]}.safetensors")
    if not path.is_file():
        seconds = min(LISTEN_SECONDS, *(row["duration"] for row in rows_of(manifest, {"duration": int | float})))
        clips = read_clips(manifest, "train", seconds, LABEL, phase("reading what the judge of styles is trained on, once a set: clips"))
        save_classifier(train_classifier(clips, steps, progress=phase("training the judge of styles: steps")), path)
    return load_classifier(path), path


def recordings(source: Source, per_class: int, seconds: float) -> list[Known]:
    """The beginnings `(2, s)` of up to `per_class` tracks of each class."""
    num_samples = round(seconds * SAMPLE_RATE)
    return [
        Known(label, source.read(track, 0.0, num_samples, SAMPLE_RATE, 2), music_of(track))
        for label, tracks in tracks_by_label(source).items()
        for track in tracks[:per_class]
    ]


def music_of(track: Track) -> Music:
    """The tempo, key and metre of a track as its metadata say them, where they can be."""
    return Music(**{name: checked(name, track.metadata.get(name)) for name in ("bpm", "key", "metre")})


def seed_distances(asked: Sequence[Asked], clips: Sequence[Tensor]) -> dict[str, dict[str, float]]:
    """Log-mel distances in dB of pairs of clips `(c, s)`: one prompt and two seeds, one class and two prompts, two classes.

    Each is `{pairs, mean, least}`; a kind without pairs is left out.
    """
    spectra = [log_mel(at_rms(clip), SAMPLE_RATE) for clip in clips]
    kinds: dict[str, list[float]] = {"one prompt, two seeds": [], "one class, two prompts": [], "two classes": []}
    for (i, first), (j, second) in itertools.combinations(enumerate(asked), 2):
        if first == second:
            kind = "one prompt, two seeds"
        else:
            kind = "one class, two prompts" if first.label == second.label else "two classes"
        kinds[kind].append((spectra[i] - spectra[j]).abs().mean().item())
    return {kind: {"pairs": len(distances), "mean": torch.tensor(distances).mean().item(), "least": min(distances)} for kind, distances in kinds.items() if distances}
