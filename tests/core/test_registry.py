"""One object by name, and what an entry lacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import pytest

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registry import Registry


class Shape(ABC):
    name: ClassVar[str]
    corners: ClassVar[int]

    @abstractmethod
    def area(self) -> float: ...


def registry() -> Registry[Shape]:
    return Registry("shape", f"{__name__}:Shape", {"circle": "nowhere.circle"})


def test_an_entry_is_kept_under_its_name() -> None:
    shapes = registry()

    @shapes.register
    class Square(Shape):
        name = "square"
        corners = 4

        def area(self) -> float:
            return 1.0

    assert shapes.names() == ("circle", "square")
    assert shapes.get("square").area() == 1.0
    assert "square" in shapes and "line" not in shapes


def test_a_name_that_is_not_there_has_a_neighbour() -> None:
    with pytest.raises(GeloraError, match="did you mean circle"):
        registry().get("circel")


def test_what_an_entry_lacks_is_an_error_when_it_is_registered() -> None:
    class Half(Shape):
        name = "half"

    with pytest.raises(GeloraError, match="lacks area, corners"):
        registry().register(Half)  # type: ignore[type-abstract]


def test_an_attribute_that_is_declared_again_is_open_again() -> None:
    class Polygon(Shape):
        name = "polygon"
        corners = 5

        def area(self) -> float:
            return 2.0

    class Regular(Polygon):
        corners: ClassVar[int]

    class Triangle(Regular):
        corners = 3

    shapes = registry()
    with pytest.raises(GeloraError, match="lacks corners"):
        shapes.register(Regular)
    assert shapes.register(Triangle) is Triangle


def test_another_kind_and_a_taken_name_are_refused() -> None:
    shapes = registry()

    class Circle(Shape):
        name = "circle"
        corners = 0

        def area(self) -> float:
            return 3.0

    with pytest.raises(GeloraError, match="no subclass"):
        shapes.register(dict)  # type: ignore[arg-type]
    with pytest.raises(GeloraError, match=r"name circle of a shape .*nowhere\.circle"):
        shapes.register(Circle)


def test_a_class_of_the_same_name_from_another_file_takes_no_name_in_use() -> None:
    def toy(module: str) -> type[Shape]:
        body = {"__module__": module, "__qualname__": "Toy", "name": "toy", "corners": 1, "area": lambda self: 1.0}
        return type("Toy", (Shape,), body)

    shapes = registry()
    shapes.register(toy("one"))
    shapes.register(toy("one"))  # as where a file is imported again
    with pytest.raises(GeloraError, match=r"name toy of a shape .* one"):
        shapes.register(toy("other"))


class Tool(ABC):
    name: str
    later: ClassVar[Unknown] = None  # type: ignore[name-defined]  # noqa: F821 - a name only for type checkers

    @abstractmethod
    def use(self) -> None: ...


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("name", 3, r"class Saw: name=3; accepted: a text of letters"),
        ("name", "", "name=''; accepted"),
        ("name", "../saw", r"name='\.\./saw'; accepted"),
        ("use", None, "use=None; accepted: a method"),
    ],
)
def test_a_name_that_is_none_and_a_method_that_cannot_be_called_are_refused(
    attribute: str, value: object, message: str
) -> None:
    saw = type("Saw", (Tool,), {"name": "saw", "use": lambda self: None} | {attribute: value})
    with pytest.raises(GeloraError, match=message):
        Registry("tool", f"{__name__}:Tool", {}).register(saw)


class Held(ABC):
    name: str
    size: ClassVar[int] = 1
    hand: ClassVar[Literal["left", "right"]] = "left"
    parts: ClassVar[tuple[str, ...]] = ()
    prices: ClassVar[Mapping[str, Callable[[], float]]] = {}
    maker: ClassVar[type | None] = None


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("size", True, "size=True; accepted: a whole number"),
        ("hand", "both", "hand='both'; accepted: left, right"),
        ("parts", "blade", "parts='blade'; accepted: a tuple, each item a text"),
        ("parts", ("blade", 2), "accepted: a tuple, each item a text"),
        ("prices", {"new": 3.0}, "accepted: a dictionary, each value a function"),
        ("maker", "Smith", "maker='Smith'; accepted: a class or None"),
    ],
)
def test_an_attribute_of_another_type_is_refused(attribute: str, value: object, message: str) -> None:
    saw = type("Saw", (Held,), {"name": "saw", attribute: value})
    registry = Registry[Held]("tool", f"{__name__}:Held", {})
    with pytest.raises(GeloraError, match=message):
        registry.register(saw)
    assert registry.names() == ()
    whole = {"hand": "right", "parts": ("blade",), "prices": {"new": float}, "maker": int, "size": property(len)}
    registry.register(type("Saw", (Held,), {"name": "saw"} | whole))
    assert registry.names() == ("saw",)


def test_what_is_no_class_is_refused() -> None:
    with pytest.raises(GeloraError, match="is registered as a shape; accepted: a subclass of"):
        registry().register(lambda: None)  # type: ignore[arg-type]
