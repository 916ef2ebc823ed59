"""Which arguments of a recipe's classes may be null."""

from typing import TYPE_CHECKING, Any, Literal, Optional, Union

import pytest

from egowm.recipe import RecipeError, build

if TYPE_CHECKING:
    from decimal import Decimal as Unknown


class Base:
    """What all classes here are."""


class Arguments(Base):
    """An argument of each kind."""

    def __init__(
        self,
        number: int = 1,
        several: list[Optional[int]] = [1],  # noqa: B006, UP045
        *,
        maybe: int | None = 1,
        older: Optional[int] = 1,  # noqa: UP045
        choice: Literal["a", None] = "a",
        nested: Union[Literal["a", None], int] = 1,  # noqa: UP007
        implicit: int = None,  # type: ignore[assignment]  # noqa: RUF013
        plain=1,  # type: ignore[no-untyped-def]
        anything: Any = 1,
        thing: object = 1,
        nothing: None = None,
    ) -> None:
        self.taken = {k: v for k, v in locals().items() if k != "self"}


class Child(Arguments):
    """Has an argument of the parent's name that may be null."""

    def __init__(self, number=None, **others: Any) -> None:  # type: ignore[no-untyped-def]
        super().__init__(1 if number is None else number, **others)


class Foreign(Base):
    """With names for type checkers alone."""

    def __init__(self, number: "int" = 1, other: "Unknown | None" = None) -> None:
        self.taken = {"number": number, "other": other}


class Holder(Base):
    """Has others inside."""

    def __init__(self, inner: list[Base]) -> None:
        self.taken = {"inner": inner}


NULLABLE = ["maybe", "older", "choice", "nested", "implicit", "plain", "anything", "thing"]
KINDS = [Arguments, Child, Foreign]


def made(kind: type, **arguments: Any) -> dict[str, Any]:
    section = {"class_path": f"{__name__}.{kind.__name__}", "init_args": arguments}
    taken: dict[str, Any] = build(section, Base).taken
    return taken


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_taken_also_where_they_are_null(kind):
    assert made(kind)["number"] == 1


@pytest.mark.parametrize("name", [*NULLABLE, "nothing"])
def test_null_reaches_an_argument_that_may_be_null(name):
    assert made(Arguments, **{name: None})[name] is None


@pytest.mark.parametrize("name", ["number", "several"])
def test_null_is_refused_where_a_value_is_needed(name):
    with pytest.raises(RecipeError, match=f"Arguments: {name} cannot be null"):
        made(Arguments, **{name: None})
    assert made(Child, number=None)["number"] == 1


def test_a_class_within_another_one_is_looked_at_too():
    inner = {"class_path": f"{__name__}.Foreign", "init_args": {"number": 2}}
    assert made(Holder, inner=[inner])["inner"][0].taken["number"] == 2
    inner["class_path"], inner["init_args"] = f"{__name__}.Arguments", {"number": None}
    with pytest.raises(RecipeError, match="Arguments: number cannot be null"):
        made(Holder, inner=[inner])
