"""Vorbis comments inside FLAC, Ogg Vorbis and Opus files, of which libsndfile writes only a few names of its own.

The block is that of the Vorbis I specification, 5.2; FLAC has it as a metadata block (RFC 9639, 8.6), Vorbis and Opus
(RFC 7845, 5.2) as their second packet, on Ogg pages (RFC 3533) of its own or shared with the other headers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mousai.audio.container import ogg_checksum
from mousai.files import writing

OGG_HEADERS = {b"\x01vorbis": (3, b"\x03vorbis"), b"OpusHead": (2, b"OpusTags")}  # how many packets, how the comments begin
PLACEHOLDER = b"copyright="


def read_comments(file: BinaryIO) -> list[bytes]:
    """The comments, `NAME=value`, of an open FLAC, Ogg Vorbis or Opus file; [] for any other."""
    file.seek(0)
    magic = file.read(4)
    if magic == b"fLaC":
        return split_comments(read_part(file, *flac_comments(file)))[1]
    return split_comments(ogg_comments(file))[1] if magic == b"OggS" else []


def placeholder(entries: Sequence[bytes]) -> str:
    """What to give libsndfile as the copyright of a FLAC file, so that its header has the room for these comments."""
    return "x" * (sum(4 + len(entry) for entry in entries) - 4 - len(PLACEHOLDER))


def read_part(file: BinaryIO, start: int, size: int) -> bytes:
    """No more than there is, whatever a header promises."""
    end = file.seek(0, os.SEEK_END)
    file.seek(start)
    return file.read(max(0, min(size, end - start)))


def split_comments(block: bytes) -> tuple[bytes, list[bytes], bytes]:
    """(vendor, comments, what follows) of a Vorbis comment block."""
    vendor, at = counted(block, 0)
    count, entries = int.from_bytes(block[at : at + 4], "little"), []
    at += 4
    while len(entries) < count and at < len(block):
        entry, at = counted(block, at)
        entries.append(entry)
    return vendor, entries, block[at:]


def counted(block: bytes, at: int) -> tuple[bytes, int]:
    """The bytes behind a 32-bit count at `at`, and where they end."""
    end = at + 4 + int.from_bytes(block[at : at + 4], "little")
    return block[at + 4 : end], end


def join_comments(vendor: bytes, entries: Sequence[bytes], rest: bytes) -> bytes:
    body = b"".join(len(entry).to_bytes(4, "little") + entry for entry in entries)
    return len(vendor).to_bytes(4, "little") + vendor + len(entries).to_bytes(4, "little") + body + rest


def replace_placeholder(file: BinaryIO, entries: Sequence[bytes]) -> None:
    """Put comments into a FLAC file that was written with a `placeholder` for them."""
    at, size = flac_comments(file)
    vendor, others, rest = split_comments(read_part(file, at, size))
    others = [entry for entry in others if not entry.lower().startswith(PLACEHOLDER)]
    block = join_comments(vendor, [*others, *entries], rest)
    assert len(block) == size, "the placeholder has the length of the comments"
    file.seek(at)
    file.write(block)


def flac_comments(file: BinaryIO) -> tuple[int, int]:
    """Where a FLAC file's comment block begins and its length; (0, 0) where it has none."""
    at = 4
    while len(head := read_part(file, at, 4)) == 4:
        size = int.from_bytes(head[1:], "big")
        if head[0] & 127 == 4:
            return at + 4, size
        if head[0] & 128:
            break
        at += 4 + size
    return 0, 0


def ogg_pages(file: BinaryIO) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(header of 27 bytes, lacing, body) of the pages from here on."""
    while len(head := file.read(27)) == 27:
        lacing = file.read(head[26])
        yield head, lacing, file.read(sum(lacing))


def ogg_comments(file: BinaryIO) -> bytes:
    """The comment block of the first stream of a Vorbis or Opus file, b"" where there is none."""
    file.seek(0)
    pages = ogg_pages(file)
    head, _, body = next(pages)
    for start, (_, mark) in OGG_HEADERS.items():
        if body.startswith(start):
            packets, _ = header_packets((page for page in pages if page[0][14:18] == head[14:18]), 1)
            return packets[0][len(mark) :] if packets else b""
    return b""


def header_packets(pages: Iterator[tuple[bytes, bytes, bytes]], wanted: int) -> tuple[list[bytes], int]:
    """The next `wanted` packets, fewer where pages end before, and how many pages they took."""
    packets, parts, taken = [], [], 0
    while len(packets) < wanted and (page := next(pages, None)):
        taken, at = taken + 1, 0
        for lace in page[1]:
            parts.append(page[2][at : at + lace])
            at += lace
            if lace < 255:
                packets.append(b"".join(parts))
                parts = []
    return packets, taken


def add_to_ogg(path: Path, entries: Sequence[bytes]) -> None:
    """Add comments by writing all pages anew, for the pages behind longer comments count from another number."""
    with writing(path) as copy, path.open("rb") as source, copy.open("wb") as file:
        pages = ogg_pages(source)
        head, lacing, body = next(pages)
        file.write(head + lacing + body)
        count, mark = next(about for start, about in OGG_HEADERS.items() if body.startswith(start))
        packets, taken = header_packets(pages, count - 1)
        vendor, others, rest = split_comments(packets[0][len(mark) :])
        packets[0] = mark + join_comments(vendor, [*others, *entries], rest)
        for number, page in enumerate(header_pages(packets), 1):
            file.write(ogg_page(*page, head[14:18], number))
        for head, lacing, body in pages:
            moved = int.from_bytes(head[18:22], "little") - taken + number
            file.write(ogg_page(head[5], head[6:14], lacing, body, head[14:18], moved))


def header_pages(packets: Sequence[bytes]) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """(flags, position, lacing, body) of the pages that packets of headers fill; a page on which none ends has position -1."""
    laces = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    data, at = b"".join(packets), 0
    for first in range(0, len(laces), 255):
        lacing = laces[first : first + 255]
        continued = first > 0 and laces[first - 1] == 255
        position = 0 if min(lacing) < 255 else -1
        yield int(continued), position.to_bytes(8, "little", signed=True), lacing, data[at : at + sum(lacing)]
        at += sum(lacing)


def ogg_page(flags: int, position: bytes, lacing: bytes, body: bytes, serial: bytes, number: int) -> bytes:
    head = b"OggS\0" + bytes([flags]) + position + serial + number.to_bytes(4, "little")
    rest = bytes([len(lacing)]) + lacing + body
    return head + ogg_checksum(head + bytes(4) + rest).to_bytes(4, "little") + rest
