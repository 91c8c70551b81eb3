"""Files that are not what was written: one of them is damaged, then what reads it is run."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults.commands import COMMANDS, first_names, result
from faults.stage import Found, Stage, complaints, different, ill

OURS, TOLD, FOREIGN = "ours", "told", "foreign"


@dataclass(frozen=True)
class Reader:
    """A command that reads files of `world`, and what is promised for those: of OURS the right result or a line that names it.

    TOLD is for what a person may change, so that another result comes with a line that names it; of FOREIGN files, which
    nothing vouches for (others' and finished music), any result will do, but no traceback. `makes` is the command whose result it is to have.
    """

    name: str
    world: str
    words: tuple[str, ...]
    files: tuple[str, ...]
    promise: str = OURS
    makes: str | None = None


READERS = (
    Reader("weights", "base", COMMANDS["generate"].words, ("model/*.safetensors", "model/*.json"), OURS, "generate"),
    Reader("config", "base", COMMANDS["generate"].words, ("model/config.yaml", "model/README.md"), TOLD, "generate"),
    Reader("codec", "after encode", COMMANDS["decode"].words, ("codec/*",), TOLD, "decode"),
    Reader("latents", "after encode", COMMANDS["decode"].words, ("latents/0.safetensors",), OURS, "decode"),
    Reader("state", "half train", COMMANDS["train"].words, ("run/state/*/*", "home/index/*"), OURS, "train"),
    Reader("run", "half train", COMMANDS["train"].words, ("run/config.yaml",), TOLD, "train"),
    Reader("log", "half train", COMMANDS["train"].words, ("run/log.jsonl",), FOREIGN),
    Reader("done", "after train", COMMANDS["train"].words, ("run/model/*.yaml", "run/model/*.json", "run/model/*.safetensors"), OURS, "train"),
    Reader("export", "after train", COMMANDS["export"].words, ("run/state/*/*", "run/config.yaml", "run/model/*", "home/index/*"), OURS, "export"),
    Reader("cache", "after cache", COMMANDS["generator"].words, ("cache/*",), OURS, "generator"),
    Reader("cache-again", "after cache", COMMANDS["cache"].words, ("cache/*", "home/index/*"), OURS, "cache"),
    Reader("generator", "half generator", COMMANDS["generator"].words, ("run/state/*/*", "cache/*"), OURS, "generator"),
    Reader("its-codec", "half generator", COMMANDS["generator"].words, ("codec/*",), TOLD, "generator"),
    Reader("render", "half render", COMMANDS["render"].words, ("pieces/*.render/**/*",), OURS, "render"),
    Reader("pieces", "after render", COMMANDS["render"].words, ("pieces/*",), FOREIGN),
    Reader("replay", "after render", ("replay", "pieces/noise-0.wav", "--model", "model", "--out", "again.wav"), ("pieces/noise-0.*", "model/*"), TOLD),
    Reader("seams", "after render", ("evaluate", "seams", "pieces/noise-0.job.json", "--out", "figures", "--every", "0.3"), ("pieces/noise-0.*",), FOREIGN),
    Reader("synth", "half synth", COMMANDS["synth"].words, ("practice/**/*",), FOREIGN),
    Reader("annotated", "after annotate", COMMANDS["annotate"].words, ("heard.jsonl",), FOREIGN),
    Reader("info-run", "after train", ("info", "run", "--json"), ("run/*", "run/model/*"), FOREIGN),
    Reader("info-cache", "after cache", ("info", "cache", "--json"), ("cache/*",), FOREIGN),
    Reader("info-piece", "after render", ("info", "pieces/calm-piano-3.flac", "--json"), ("pieces/calm-piano-3.*",), FOREIGN),
    Reader("recordings", "base", ("encode", "album/wav.wav", "album/flac.flac", "album/ogg.ogg", "album/mp3.mp3", "--model", "codec", "--out", "latents"), ("album/*",), FOREIGN),
    Reader("extended", "base", COMMANDS["extend"].words, ("music/1.wav", "encoder/*"), FOREIGN),
    Reader("album", "base", ("data", "scan", "album"), ("album/*",), FOREIGN),
    Reader("manifest", "base", COMMANDS["train"].words, ("music/*", "codec.yaml"), FOREIGN),
    Reader("sources", "base", COMMANDS["cache"].words, ("music/*", "generator.yaml", "encoder/*"), FOREIGN),
    Reader("asked", "base", COMMANDS["generate"].words, ("prompts.txt", "encoder/*"), FOREIGN),
    Reader("joint", "base", COMMANDS["library"].words, ("joint/*",), TOLD, "library"),
    Reader("heard", "after library", COMMANDS["library"].words, ("home/library/*", "home/index/*"), OURS, "library"),
    Reader("like", "base", ("library", "album", "--like", "music/0.wav", "--joint", "joint"), ("album/*", "music/0.wav"), FOREIGN),
    Reader("drawn", "base", COMMANDS["audition"].words, ("flow/*", "told/*", "joint/*"), TOLD, "audition"),
    Reader("audition", "half audition", COMMANDS["audition"].words, ("points/audition.json", "points/map.*", "home/library/*"), TOLD, "audition"),
    Reader("pick", "after audition", ("replay", "points/01.wav", "--model", "told", "--out", "again.wav"), ("points/01.wav", "told/*"), FOREIGN),
    Reader("judge", "base", COMMANDS["best"].words, ("joint/*",), TOLD, "best"),
    Reader("composer", "base", COMMANDS["compose"].words, ("composer/*",), TOLD, "compose"),
    Reader("in-part", "base", COMMANDS["infill"].words, ("composer/*",), TOLD, "infill"),
    Reader("filled", "base", COMMANDS["infill"].words, ("scores/0.mid",), FOREIGN),
    Reader("begun", "base", COMMANDS["go-on"].words, ("scores/0.mid",), FOREIGN),
    Reader("composed", "after go-on", ("replay", "scored/busy-0.mid", "--model", "composer", "--out", "again.mid"), ("scored/busy-0.mid", "scores/0.mid"), FOREIGN),
    Reader("made-anew", "after infill", ("replay", "scored/busy-0.mid", "--model", "composer", "--out", "again.mid"), ("scored/busy-0.mid", "scores/0.mid"), FOREIGN),
    Reader("info-score", "after go-on", ("info", "scored/busy-0.mid", "--json"), ("scored/busy-0.mid",), FOREIGN),
    Reader("scores", "base", ("data", "scan", "scores"), ("scores/*",), FOREIGN),
    Reader("learned", "base", COMMANDS["phrases"].words, ("scores/*", "phrases.yaml"), FOREIGN),
    Reader("mels", "after mels", COMMANDS["joint"].words, ("mels/*",), OURS, "joint"),
    Reader("vectors", "after vectors", COMMANDS["flow"].words, ("vectors/*",), OURS, "flow"),
    Reader("flow", "half flow", COMMANDS["flow"].words, ("run/state/*/*", "vectors/*"), OURS, "flow"),
    Reader("prior", "half prior", COMMANDS["prior"].words, ("run/state/*/*", "phrase_latents.safetensors"), OURS, "prior"),
    Reader("grid", "half grid", COMMANDS["grid"].words, ("run/state/*/*", "phrase_latents.safetensors"), OURS, "grid"),
    Reader("its-phrases", "base", COMMANDS["prior"].words, ("composer/*",), TOLD, "prior"),
    Reader("job-file", "base", COMMANDS["render"].words, ("pieces.jsonl",), FOREIGN),
)

NAMES = [reader.name for reader in READERS]


def act(name: str, number: int) -> Callable[[Stage, random.Random], tuple[Found, str]]:
    """What happens in the cases of a reader."""
    reader = next(each for each in READERS if each.name == name)
    return lambda stage, chance: damaged(stage, reader, chance)


def damaged(stage: Stage, reader: Reader, chance: random.Random) -> tuple[Found, str]:
    """One file of a world is damaged; the reader's promise has to hold."""
    right = stage.undisturbed(COMMANDS[reader.makes]) if reader.makes else None
    stage.begin(reader.world)
    files = sorted({path for pattern in reader.files for path in stage.here.glob(pattern) if path.is_file() and path.name not in (".lock", "lock")})
    if not files:
        return Found("wrong line", f"{reader.world} has no file to damage"), "nothing"
    path, way = chance.choice(files), chance.choice(list(WAYS))
    name = str(path.relative_to(stage.here))
    WAYS[way](path, chance)
    what = f"{way} {name}"
    ended = stage.run(reader.words)
    if found := ill([ended]):
        return found, what
    named = [line for line in ended.err.splitlines() if path.name in line or str(Path(name).parent) in line]
    if ended.code:
        told = named or any(reader.words[-1] in line for line in complaints(ended))
        return Found() if told or reader.promise == FOREIGN else Found("wrong line", f"names no file: {ended.err.strip()[-300:]}"), what
    if right is None or reader.promise == FOREIGN:
        return Found(), what
    try:
        made = result(stage.here, COMMANDS[reader.makes])
    except Exception as error:  # of whatever reads it
        if isinstance(error, ValueError) and path.name in str(error):  # which is told as soon as it is read
            return Found(), what
        return Found("lost", f"{type(error).__name__}: {error}"), what
    made = {name: value for name, value in made.items() if not name.endswith("/moved")}
    made = first_names(made) if COMMANDS[reader.makes].counts_on else made
    elsewhere = {each for each in made.keys() | right.files.keys() if made.get(each) != right.files.get(each)} - {name}
    if made == right.files or named and (reader.promise == TOLD or not elsewhere):
        return Found(), what
    return Found("lost", f"another result, unsaid: {different(right.files, made)}"), what


def flip(path: Path, chance: random.Random) -> None:
    """One bit, of the beginning or of anywhere."""
    data = bytearray(path.read_bytes())
    if data:
        at = chance.randrange(len(data) if chance.random() < 0.6 else min(len(data), 200))
        data[at] ^= 1 << chance.randrange(8)
        path.write_bytes(data)


def zero(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at, size = chance.randrange(len(data) + 1), chance.choice([8, 64, 4096])
    data[at : at + size] = bytes(len(data[at : at + size]))
    path.write_bytes(data)


def truncate(path: Path, chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(chance.randrange(max(1, path.stat().st_size)))


def append(path: Path, chance: random.Random) -> None:
    with path.open("ab") as file:
        file.write(chance.choice([chance.randbytes(40), b"\0" * 512, path.read_bytes(), b"\n{}\n"]))


def digit(path: Path, chance: random.Random) -> None:
    """Another digit in the place of one, as an edit would."""
    data = bytearray(path.read_bytes())
    places = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if places:
        at = chance.choice(places)
        data[at] = 48 + (data[at] - 48 + chance.randint(1, 9)) % 10
        path.write_bytes(data)


def swap(path: Path, chance: random.Random) -> None:
    """The bytes of another file of the world."""
    others = sorted(each for each in Path.cwd().rglob("*") if each.is_file() and each != path)
    path.write_bytes(chance.choice(others).read_bytes())


def folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path, chance: random.Random) -> None:
    """A link to nowhere, to itself, or to the file under another name."""
    where = chance.choice(["nowhere", path.name, "moved"])
    if where == "moved":
        shutil.move(path, path.with_name("moved"))
    else:
        path.unlink()
    path.symlink_to(where)


WAYS: dict[str, Callable[[Path, random.Random], object]] = {
    "flip": flip, "flip again": flip, "zero": zero, "truncate": truncate, "append": append, "digit": digit, "swap": swap,
    "empty": lambda path, chance: path.write_bytes(b""), "delete": lambda path, chance: path.unlink(), "folder": folder, "link": link,
}  # fmt: skip
