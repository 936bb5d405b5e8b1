"""The lines of a log, whatever it is encoded in and whoever wrote in between."""

import codecs
import gzip
import json
import re
import zlib

GZIP = b"\x1f\x8b"
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
CUT = "\N{HORIZONTAL ELLIPSIS}"
LAST_NUMBER = re.compile(r"\d[\d.,eE+-]*\Z")
# Colours and other control sequences of terminals (ECMA-48, 5.4).
CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def lines_of(content: bytes) -> list[str]:
    """The lines of a log file's ``content``, without colours; ValueError for a broken archive.

    A carriage return ends a line too: progress bars print over themselves. A number with which the
    log breaks off may be half of one: CUT stands in its place.
    """
    if content.startswith(GZIP):
        content = _unpacked(content)
    text = _decoded(content)
    if "\x1b" in text:
        text = CONTROL.sub("", text)
    lines = LAST_NUMBER.sub(CUT, text).splitlines()
    return [part for line in lines for part in _unwrapped(line)]


def _unwrapped(line: str) -> list[str]:
    """What a program printed, where whoever logged it made each line a JSON object, as Docker does:
    lines of its texts. Other lines as they are."""
    if not line.startswith('{"'):
        return [line]
    try:
        texts = [text for text in json.loads(line).values() if isinstance(text, str)]
    except (ValueError, RecursionError):
        return [line]
    return [part for text in texts for part in CONTROL.sub("", text).splitlines()]


def is_cut_off(content: bytes) -> bool:
    """Whether a log file's ``content`` is an archive of which the end is missing."""
    if not content.startswith(GZIP):
        return False
    unpack = zlib.decompressobj(wbits=31)
    unpack.decompress(content)
    return not unpack.eof


def _unpacked(content: bytes) -> bytes:
    """What can be unpacked of an archive that may have been cut off."""
    unpack = zlib.decompressobj(wbits=31)
    try:
        whole = unpack.decompress(content)
        return whole if not unpack.unused_data else gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"it is a gzip archive that cannot be unpacked ({error})") from error


def _decoded(content: bytes) -> str:
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    # UTF-16 that lost its mark: of ASCII every other byte is zero. Other zeros are holes, as they
    # are left where two nodes wrote to one file.
    head = content.lstrip(b"\0")[:200]
    first = (len(content) - len(content.lstrip(b"\0"))) % 2
    zeros = [sum(byte == 0 for byte in head[start::2]) for start in (first, 1 - first)]
    if max(zeros) > len(head) // 4 > 4 * min(zeros):
        return content.decode("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le", "replace")
    return content.replace(b"\0", b"").decode("utf-8", "replace")


def number(text: str) -> float:
    """A printed number above zero, thousands separated or not; 0 where it is none, nan or inf."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return 0.0
    return value if 0 < value < float("inf") else 0.0
