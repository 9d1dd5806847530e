"""The templates, every value escaped."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from bascule.console import words

_ENVIRONMENT = Environment(
    loader=PackageLoader("bascule.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals.update(look_of=words.look_of, asked_by=words.asked_by, lasted=words.lasted)
_ENVIRONMENT.filters.update(moment=words.moment, seconds=words.seconds)


def fill(name: str, **values: object) -> str:
    """A template with its values. One that is missing is an error, not an empty place."""
    return _ENVIRONMENT.get_template(name).render(values)
