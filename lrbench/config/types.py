"""The types of settings, each with its range, and the strict models that are made of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import InitErrorDetails

from lrbench.config.faults import fault, nearest, sentence


@dataclass(frozen=True)
class Added:
    """Marks a field that was added after results were published: ``accent: Annotated[float, Added(0.0)] = 0.0``.

    ``neutral`` is the value that changes nothing; the default may be another. With the neutral value, the field is part
    neither of the run key nor of the label, so that stored runs keep both.
    """

    neutral: Any


class Strict(BaseModel):
    """A frozen model that accepts neither unknown keys nor values of another type."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        ser_json_inf_nan="constants",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_nearest_key(cls, data: Any, handler: ValidatorFunctionWrapHandler) -> Self:
        try:
            value: Self = handler(data)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                cls.__name__, [_in_words(e, cls.model_fields) for e in error.errors()]
            ) from None
        return value

    @classmethod
    def neutral(cls) -> dict[str, Any]:
        """The ``Added`` fields, with their neutral values."""
        return {
            name: m.neutral for name, field in cls.model_fields.items() for m in field.metadata if isinstance(m, Added)
        }

    def resolved(self) -> dict[str, Any]:
        """The values as JSON, with defaults, without ``Added`` fields at their neutral value."""
        values, neutral = self.model_dump(mode="json"), self.neutral()
        return {
            name: value
            for name, value in values.items()
            if not (name in neutral and getattr(self, name) == neutral[name])
        }


def _in_words(error: Any, known: Iterable[str]) -> InitErrorDetails:
    is_key = error["type"] == "extra_forbidden"
    text = f"unknown key. {nearest(str(error['loc'][-1]), known)}" if is_key else sentence(error)
    return InitErrorDetails(type=fault(text), loc=error["loc"], input=error["input"])


def _half_open(value: float) -> float:
    if not 0.0 <= value < 1.0:
        raise fault(f"must lie in [0, 1), got {value!r}")
    return value


def _all_half_open(values: tuple[float, ...]) -> tuple[float, ...]:
    for value in values:
        _half_open(value)
    return values


def _span(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fault(f"must be a whole number of steps or a share of the budget, got {value!r}")
    if isinstance(value, int) and value < 1:
        raise fault(f"must be at least 1 step, got {value!r}")
    if isinstance(value, float) and not 0.0 < value <= 1.0:
        raise fault(f"as a share of the budget must lie in (0, 1], got {value!r}")
    return value


Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Fraction = Annotated[float, AfterValidator(_half_open)]
"""A number in [0, 1), such as a momentum."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A number in [0, 1], such as the share of an lr that a schedule keeps."""
Count = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Betas = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_all_half_open)]
Span = Annotated[int | float, BeforeValidator(_span)]
"""A stretch of training: a whole number of scheduler steps, or a share of the budget in (0, 1]."""
Rise = Annotated[
    int | float, BeforeValidator(lambda value: 0 if value == 0 and not isinstance(value, bool) else _span(value))
]
"""A span, or 0."""


def steps_of(span: float, total: int) -> int:
    """The number of steps of a span within ``total`` steps; at least 1, unless the span is 0.

    >>> steps_of(30, 200), steps_of(0.25, 200), steps_of(0, 200)
    (30, 50, 0)
    """
    return span if isinstance(span, int) else max(1, round(span * total))


def known(value: Any) -> Any:
    """A value as JSON has it: None in place of NaN."""
    return None if value != value else value  # noqa: PLR0124 - only NaN differs from itself


LONGEST_NAME = 100
"""The most characters of a name."""


def check_name(kind: str, name: Any) -> None:
    """Check the name of a catalog entry: printable parts, divided by slashes, that tables and file names can hold.

    Raises: LookupError.
    """
    parts = name.split("/") if isinstance(name, str) else [""]
    if len(str(name)) > LONGEST_NAME or not all(
        part.isprintable() and part == part.strip() and part.strip(".") for part in parts
    ):
        raise LookupError(
            f"{kind} {name!r}: is no name. Give up to {LONGEST_NAME} printable letters; slashes may divide it, into "
            "parts that are neither empty, dots alone, nor begin or end with a blank."
        )


def file_name(name: str) -> str:
    """A file name made of a name: characters that some systems do not allow are written as %XX.

    >>> file_name("digits-mlp"), file_name("glue/sst2")
    ('digits-mlp', 'glue%2Fsst2')
    """
    return quote(name, safe="+,=@ ()[]")
