"""WebDataset shards: tar archives, here or at a URL, in which a recording and its side-cars have one name."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tarfile
from glob import glob
from pathlib import Path
from typing import Any

from mousai.audio import io
from mousai.checks import Problems
from mousai.data.index import Index, cache_folder, is_url
from mousai.data.sidecars import KINDS, NEVER_AUDIO, decoded, sidecar_metadata
from mousai.files import writing
from mousai.leftovers import sweep

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
                texts = {suffix: decoded(archive.extractfile(side).read(), f"{shard}:{side.name}") for suffix, side in sides.items()}
                others = [(suffix, member) for suffix, member in members.items() if not suffix.endswith(NEVER_AUDIO)]
                read.append((name, texts, [(suffix, member.offset_data, member.size, member.name) for suffix, member in others]))
    except tarfile.TarError as error:
        raise ValueError(f"{shard}: not a whole, uncompressed tar archive ({error})") from None
    return read


def local_shards(pattern: str) -> list[Path]:
    """The shards of a pattern as files: local ones where they are, URLs fetched once into the shard folder.

    That folder is $MOUSAI_SHARDS, by default `shards` in $MOUSAI_CACHE, ~/.cache/mousai. Raises FileNotFoundError naming all local
    shards that are missing, OSError for a URL that does not answer, ImportError without webdataset.
    """
    try:
        import webdataset
    except ImportError:
        raise ImportError("WebDataset shards need the package webdataset: pip install 'mousai[webdataset]'") from None
    shards: list[str] = []
    for url in webdataset.shardlists.expand_urls(pattern):
        shards += sorted(glob(url)) if "*" in url and not is_url(url) else [url]
    missing = [shard for shard in shards if not is_url(shard) and not Path(shard).is_file()]
    if missing or not shards:
        names = "\n  ".join(missing)
        raise FileNotFoundError(f"{pattern}: {len(missing)} of {len(shards)} shards are missing:\n  {names}")
    return [fetch_shard(shard) if is_url(shard) else Path(shard) for shard in shards]


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
