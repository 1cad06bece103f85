"""Bodies that both ends know: any byte that is lost, repeated or moved changes length or checksum."""

import random
import zlib
from functools import lru_cache

# A prime length, so that no power of two of lost bytes goes unnoticed.
BLOCK = random.Random(7).randbytes(65_521)
PART_BYTES = 256 * 1024


def parts(size):
    """The body of this size, piece by piece."""
    sent = 0
    while sent < size:
        start = sent % len(BLOCK)
        part = BLOCK[start : start + min(size - sent, len(BLOCK) - start)]
        yield part
        sent += len(part)


@lru_cache(maxsize=4096)
def checksum(size):
    """CRC-32 of the body of this size."""
    value = 0
    for part in parts(size):
        value = zlib.crc32(part, value)
    return value
