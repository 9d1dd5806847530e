"""The nouns and their rules, one file a noun. Frozen dataclasses and enumerations; no I/O, no clock, no dice.

Everything else speaks in these types: the store fills them, the balancing package decides on them, agents receive them
and data planes apply them. What the same noun looks like in JSON is in `bascule.wire`.
"""
