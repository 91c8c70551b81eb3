"""WebDataset shards: tar archives, here or at a URL, in which a recording and its side-cars have one name."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
import shutil
import tarfile
from glob import glob
from pathlib import Path
from typing import Any

from mousai.audio import io
from mousai.checks import Problems, extra
from mousai.data.index import Index, cache_folder, is_url
from mousai.data.sidecars import KINDS, NEVER_AUDIO, SIDECAR_BYTES, decoded, sidecar_metadata
from mousai.files import writing
from mousai.leftovers import sweep
from mousai.trust import PIPES, is_allowed

MAX_SHARDS = 10**6
SCHEMES = ("http", "https", "ftps", "sftp", "scp", "s3", "gs", "htgs", "hf", "ais", "file")
ODD_IN_URLS = re.compile(r"[\s\"'`$;|&<>\\\x00-\x1f]")

logger = logging.getLogger(__name__)


def shard_files(pattern: str, index: Index) -> list[tuple[str, io.Member, dict[str, Any]]]:
    """The samples of WebDataset shards, as (key, place, what its side-cars say): files of one name up to the first dot, audio beside .json and .txt.

    Problems, with a line for each side-car that is damaged.
    """
    found, problems = [], []
    for shard in local_shards(pattern):
        for name, texts, members in index.shard(shard, read_shard):
            try:
                metadata = sidecar_metadata(texts, f"{shard}:{name}")
            except ValueError as error:
                problems.append(str(error))
                continue
            found += [(f"{shard.name}/{name}{suffix}", io.Member(shard, *place), metadata) for suffix, *place in members]
    if problems:
        raise Problems(problems)
    return found


def read_shard(shard: Path) -> list[tuple[str, dict[str, str], list[tuple[str, int, int, str]]]]:
    """The samples of a shard: name, texts of its side-cars by suffix, and its other files (suffix, offset, bytes, name)."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    read = []
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                base, dot, suffix = member.name.rpartition("/")[2].partition(".")
                if member.isfile() and base and dot:
                    name = member.name[: len(member.name) - len(suffix) - 1]
                    samples.setdefault(name, {})[f".{suffix.lower()}"] = member
            for name, members in samples.items():
                sides = {suffix: members[suffix] for suffix in KINDS if suffix in members}
                for member in members.values():
                    if member.issparse():
                        raise ValueError(f"{shard}:{member.name}: is stored with holes, which is not read; make the archive without --sparse")
                for side in sides.values():
                    if side.size > SIDECAR_BYTES:
                        raise ValueError(f"{shard}:{side.name}: is larger than {SIDECAR_BYTES / 2**20:g} MiB, which is the most that is read of a side-car")
                texts = {suffix: decoded(archive.extractfile(side).read(), f"{shard}:{side.name}") for suffix, side in sides.items()}
                others = [(suffix, member) for suffix, member in members.items() if not suffix.endswith(NEVER_AUDIO)]
                read.append((name, texts, [(suffix, member.offset_data, member.size, member.name) for suffix, member in others]))
    except tarfile.TarError as error:
        raise ValueError(f"{shard}: not a whole, uncompressed tar archive ({error})") from None
    return read


def local_shards(pattern: str) -> list[Path]:
    """The shards of a pattern as files: local ones where they are, URLs fetched once into the shard folder.

    That folder is $MOUSAI_SHARDS, by default `shards` in $MOUSAI_CACHE, ~/.cache/mousai. Raises FileNotFoundError naming all local
    shards that are missing, OSError for a URL that does not answer, ValueError for one that is not opened, ImportError
    without webdataset.
    """
    shards: list[str] = []
    for url in expanded(pattern):
        shards += sorted(glob(url)) if "*" in url and not is_url(url) else [url]
    missing = [shard for shard in shards if not is_url(shard) and not Path(shard).is_file()]
    if missing or not shards:
        names = "\n  ".join(missing)
        raise FileNotFoundError(f"{pattern}: {len(missing)} of {len(shards)} shards are missing:\n  {names}")
    return [fetch_shard(shard) if is_url(shard) else Path(shard) for shard in shards]


def expanded(pattern: str) -> list[str]:
    """The paths and URLs of a pattern, `::` between several and braces written out; ValueError for too many."""
    shardlists = extra("webdataset", "what reads shards", module="webdataset.shardlists")
    many = f"{pattern[:200]}: stands for more than {MAX_SHARDS:,} shards, which is the most"
    if sum(abs(int(last) - int(first)) for first, last in re.findall(r"\{(-?\d{1,18})\.\.(-?\d{1,18})", pattern)) > MAX_SHARDS:
        raise ValueError(many)
    urls = []
    for part in pattern.split("::"):
        check_url(part)
        urls += itertools.islice(shardlists.braceexpand.braceexpand(shardlists.envsubst(part)), MAX_SHARDS + 1)
        if len(urls) > MAX_SHARDS:
            raise ValueError(many)
    for url in urls:
        check_url(url)
    return urls


def check_url(url: str) -> None:
    """ValueError for a URL that may not be opened: a command that nobody has allowed, or what a shell would take for one."""
    if not is_url(url):
        return
    scheme = url.partition(":")[0].lower()
    if scheme == "pipe":
        if not is_allowed(PIPES):
            raise ValueError(f"{url[:200]}: is a command, which may do anything here; if you know what it does, say --allow-pipe")
    elif scheme not in SCHEMES:
        raise ValueError(f"{url[:200]}: expected a URL that begins with {', '.join(SCHEMES)}")
    elif odd := ODD_IN_URLS.search(url):
        raise ValueError(f"{url[:200]}: holds {odd[0]!r}, which a shell might take for a command; write it as %{ord(odd[0]):02X}")


def fetch_shard(url: str) -> Path:
    """A local copy of the shard at `url`, fetched beside its final name and renamed; what is there already is kept."""
    from webdataset.gopen import gopen

    folder = Path(os.environ.get("MOUSAI_SHARDS") or cache_folder() / "shards").expanduser()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", url.rpartition("/")[2])
    target = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    logger.info("fetching %s", url)
    with writing(target) as part, gopen(url) as stream, part.open("wb") as file:  # the stream's end tells whether it was whole
        shutil.copyfileobj(stream, file, 1 << 20)
    return target
