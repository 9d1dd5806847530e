"""`--check-option NAME=VALUE`: whatever the API offers of health checks beyond the ordinary."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from bascule.wire.health_check_options import HealthCheckOptions

NAMES = sorted(str(field.alias) for field in HealthCheckOptions.model_fields.values())

CheckOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--check-option", metavar="NAME=VALUE", help=f"More of the check; repeat it. Names: {', '.join(NAMES)}."
    ),
]


def check_options_of(given: list[str] | None) -> dict[str, object]:
    """The options as fields of the API. Raises typer.BadParameter."""
    texts: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if name not in NAMES or not equals:
            raise typer.BadParameter(
                f"{text!r} is no option of a check: write NAME=VALUE with one of {', '.join(NAMES)}."
            )
        texts[name] = value
    try:
        options = HealthCheckOptions.model_validate_strings(texts, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{first['loc'][0]}: {first['msg']}.") from error
    return options.model_dump(mode="json", by_alias=True, exclude_unset=True)
