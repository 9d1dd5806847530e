"""Patterns that mean the same to RE2, which our own checks use, and to PCRE as keepalived calls it. Pure.

keepalived searches a body piece by piece as it arrives (PCRE2_PARTIAL_HARD) and never says where the body ends. So a
pattern that looks at the end, or a greedy repetition that reaches it, never matches there; `^` matches where a piece
begins; an alternative that the end cuts off hides the next one; and nested repetitions may take exponential time. What
is left means the same: characters, classes and repetitions, each as few times as possible. Whether there is a match
does not depend on how long it is. A `.` or a negated class is one byte here and one character there.
"""

from __future__ import annotations

import re

from bascule.model.errors import SystemFailure

_ESCAPED = r"\\(?:[dDwWnrt]|[!-/:-@\[-`{-~])"
_LITERAL = r"[ !\"#%&',/0-9:;<=>@A-Z_`a-z~-]"
_IN_CLASS = rf"(?:{_ESCAPED}|[ !-,./-Z_`a-z{{|}}~])"
_CLASS = rf"\[\^?-?{_IN_CLASS}(?:-?{_IN_CLASS})*-?\]"
_TIMES = r"(?P<times>[*+?]|\{[0-9]{1,3}(?:,(?:[0-9]{1,3})?)?\})\??"
_PART = re.compile(rf"(?P<atom>{_LITERAL}|{_ESCAPED}|\.|{_CLASS})(?:{_TIMES})?")


def pcre(pattern: str) -> str:
    """The same pattern for keepalived. Raises SystemFailure for one that would not mean the same."""
    parts, place = [], 0
    while place < len(pattern):
        found = _PART.match(pattern, place)
        if found is None:
            raise SystemFailure(
                f"The data plane keepalived cannot search for the pattern {pattern!r} (see position {place + 1}): use"
                r" ASCII characters, '.', classes, \d, \w and repetitions, without groups, alternatives and anchors."
            )
        times = found["times"]
        parts.append(found["atom"] + (f"{times}?" if times else ""))
        place = found.end()
    return "".join(parts)
