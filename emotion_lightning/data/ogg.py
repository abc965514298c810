"""Finds damage in an Ogg file (Vorbis, Opus): libsndfile leaves out a damaged page, and reads the rest as if it were the whole.

RFC 3533 describes the pages that such a file consists of.
"""

import zlib
from typing import BinaryIO

HEADER = 27  # bytes of a page before the table of its segments
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # the bits of each byte


def damage(file: BinaryIO) -> str:
    """Returns what is wrong with the pages of a file that begins with one; empty if nothing is."""
    numbers: dict[bytes, int] = {}  # the last page of each stream
    position = 0
    while header := file.read(HEADER):
        table = file.read(header[26]) if len(header) == HEADER else b""
        page = header + table + file.read(sum(table))
        if not page.startswith(b"OggS"):
            return f"damaged (no Ogg page at byte {position})"
        if len(header) < HEADER or len(page) < HEADER + header[26] + sum(table):
            return f"truncated (its last Ogg page, at byte {position}, is not whole)"
        serial, number = page[14:18], int.from_bytes(page[18:22], "little")
        if checksum(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
            return f"damaged (the checksum of its Ogg page at byte {position} is wrong)"
        if number != numbers.get(serial, number - 1) + 1:
            return f"damaged (an Ogg page is missing before byte {position})"
        numbers[serial] = number
        position += len(page)
    return ""


def checksum(page: bytes) -> int:
    """Returns the CRC of a page whose own field is zero: that of zlib, but with the highest bit first and no inversion."""
    crc = zlib.crc32(page.translate(REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{crc:032b}"[::-1], 2)
