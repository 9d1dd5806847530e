"""Words of a configuration that keepalived reads back exactly as they were (its lib/parser.c). Pure.

Its reader looks at a line several times: for comments (`#`, `!`), for parameters (`$NAME`), for conditions (`@id`), for
braces, and then for words. There are two kinds of words, and which one a keyword takes is fixed: plain ones, which know
no escapes, and escaped ones, in which any byte can be written as an octal number. Lines longer than 1023 bytes are cut.
"""

from __future__ import annotations

import re

from bascule.model.errors import SystemFailure

LINE_MOST = 1000  # bytes, of MAXBUF's 1024
# Between quotes nothing of these is special, but for parameters: those that keepalived has itself begin with "_".
_PLAIN = re.compile(r"[ -~]*")
_UNSAFE = re.compile(r'["\\]|\$\{?_')
_KEPT = re.compile(rb"[A-Za-z0-9/._-]")


def plain(text: str) -> str:
    """A word without escapes. Raises SystemFailure when there is none that means this text."""
    # A word that is a brace ends or begins a block, quoted or not, for the process that only counts blocks.
    if text in {"", "{", "}"} or not _PLAIN.fullmatch(text) or _UNSAFE.search(text):
        raise SystemFailure(
            f"keepalived's configuration cannot hold {text!r}: leave out quotes, backslashes, '$_' and all but ASCII."
        )
    return f'"{text}"'


def escaped(text: str) -> str:
    """A word in which every byte that could mean something is written by its number."""
    if not text or "\0" in text:
        raise SystemFailure(f"keepalived's configuration cannot hold {text!r}: it is empty or has a zero byte.")
    octets = (bytes([octet]) for octet in text.encode())
    return '"' + "".join(each.decode() if _KEPT.fullmatch(each) else f"\\{each[0]:03o}" for each in octets) + '"'


def line(keyword: str, *words: str) -> str:
    """A line without indentation. Raises SystemFailure when keepalived would cut it."""
    written = " ".join((keyword, *words))
    if len(written) > LINE_MOST:
        raise SystemFailure(f"keepalived reads lines of at most {LINE_MOST} bytes: make {keyword} {words[-1]} shorter.")
    return written
