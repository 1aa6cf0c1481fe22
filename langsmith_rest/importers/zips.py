"""Members of zip files, also of those that are compressed with Zstandard."""

import struct
import zipfile
from collections.abc import Iterator
from typing import IO

ZSTANDARD = 93  # a member's method, which `zipfile` knows from Python 3.14 on


def read_members(file: IO[bytes], name: str, starts: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the data of each member whose name has one of these starts."""
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not info.filename.startswith(starts):
                continue
            try:
                data = archive.read(info)
            except NotImplementedError:
                data = decompress(file, info, name)
            yield info.filename, data


def decompress(file: IO[bytes], info: zipfile.ZipInfo, name: str) -> bytes:
    """A member that `zipfile` cannot read: its data follows a header with two lengths of two bytes at 26."""
    try:
        import zstandard
    except ImportError:
        needed = "install the extra 'inspect' (or 'local'), or use Python 3.14"
        raise ValueError(f"{name} is compressed with Zstandard, which needs the package zstandard: {needed}.") from None
    if info.compress_type != ZSTANDARD:
        raise ValueError(f"{name}: {info.filename} has the compression method {info.compress_type}, expected 8 or 93.")
    file.seek(info.header_offset + 26)
    file.seek(sum(struct.unpack("<HH", file.read(4))), 1)
    return zstandard.ZstdDecompressor().decompressobj().decompress(file.read(info.compress_size))
