"""The text of a PDF as Chromium writes one: streams deflated, glyphs named by each font's table to Unicode."""

from __future__ import annotations

import re
import zlib


def text_of(pdf: bytes) -> str:
    """Return all that is written on the pages, each piece of text in a line of its own."""
    objects = {int(n): body for n, body in re.findall(rb"(\d+) 0 obj\n(.*?)\nendobj", pdf, re.DOTALL)}
    pieces = []
    for body in objects.values():
        if not re.search(rb"/Type\s*/Page\b(?!s)", body):
            continue
        resources = body if b"/Font" in body else objects[_number(body, rb"/Resources")]
        fonts = {
            name: _unicode(_stream(objects[_number(objects[int(n)], rb"/ToUnicode")]))
            for name, n in re.findall(rb"/(F\d+) (\d+) 0 R", resources)
            if b"/ToUnicode" in objects[int(n)]
        }
        pieces += _pieces(_stream(objects[_number(body, rb"/Contents")]), fonts)
    return "\n".join(pieces)


def _pieces(content: bytes, fonts: dict[bytes, dict[int, str]]) -> list[str]:
    """Return the text of each block, in which glyphs may stand one by one."""
    pieces, font = [], {}
    for block in content.split(b"BT\n")[1:]:
        piece = ""
        for name, glyphs in re.findall(rb"/(F\d+) [\d.]+ Tf|<([0-9A-Fa-f]+)> Tj", block):
            font = fonts.get(name, {}) if name else font
            piece += "".join(font.get(int(glyphs[i : i + 4], 16), "?") for i in range(0, len(glyphs), 4))
        pieces.append(piece)
    return pieces


def _unicode(table: bytes) -> dict[int, str]:
    """Return the text of each glyph, from a ToUnicode table's single entries and ranges."""
    known: dict[int, str] = {}
    for block in re.findall(rb"beginbfchar(.*?)endbfchar", table, re.DOTALL):
        for glyph, text in re.findall(rb"<(\w+)>\s*<(\w+)>", block):
            known[int(glyph, 16)] = bytes.fromhex(text.decode()).decode("utf-16-be")
    for block in re.findall(rb"beginbfrange(.*?)endbfrange", table, re.DOTALL):
        for first, last, text in re.findall(rb"<(\w+)>\s*<(\w+)>\s*<(\w+)>", block):
            for offset in range(int(last, 16) - int(first, 16) + 1):
                known[int(first, 16) + offset] = chr(int(text, 16) + offset)
    return known


def _number(body: bytes, key: bytes) -> int:
    match = re.search(key + rb" (\d+) 0 R", body)
    assert match, f"no {key!r} in {body[:200]!r}"
    return int(match[1])


def _stream(body: bytes) -> bytes:
    data = body.split(b"stream\n", 1)[1].rsplit(b"\nendstream", 1)[0]
    return zlib.decompress(data) if b"/FlateDecode" in body else data
