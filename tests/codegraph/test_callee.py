"""Names of running functions lead to definitions, and the line only chooses among those of one name."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codegraph import callee, facts
from tests.codegraph import placing


@pytest.mark.parametrize(
    ("text", "parts", "inside"),
    [
        ("Cart.total", ("Cart", "total"), False),
        ("Cart.total.<locals>.<lambda>", ("Cart", "total"), True),
        ("async fn total", ("total",), False),
        ("Object.<anonymous>", ("Object",), True),
        ("new Cart", ("Cart", "constructor"), False),
        ("Object.total [as sum]", ("Object", "total"), False),
        ("cart/total/<", ("cart", "total"), True),
        ("github.com/acme/web.(*Engine).Run.func1", ("Engine", "Run"), True),
        ("gopkg.in/yaml%2ev3.Map[...].Get", ("Map", "Get"), False),
        ("a::b::{{closure}}::h14066f85f0cf734d", ("a", "b"), True),
        ("<a::Cart<T> as core::fmt::Display>::fmt", ("a", "Cart", "fmt"), False),
        ("_ZN4core3fmt5write17h0123456789abcdefE", ("core", "fmt", "write"), False),
        ("_ZN4acme4Cart5totalEi", ("acme", "Cart", "total"), False),
        ("void acme::Cart<int>::total(int, char const*) const", ("acme", "Cart", "total"), False),
        ("Acme\\Http\\Client::read", ("Acme", "Http", "Client", "read"), False),
        ("block (2 levels) in Cart#total", ("Cart", "total"), False),
        ("<Total>d__3.MoveNext", ("Total",), False),
        ("lambda$total$0", ("total",), True),
        ("<module>", (), False),
        ("Cart.is_const", ("Cart", "is_const"), False),
    ],
)
def test_names_of_running_functions(text: str, parts: tuple[str, ...], inside: bool) -> None:
    called = callee.read(text)
    assert (called.parts, called.inside) == (parts, inside)


@given(name=st.from_regex(r"_{0,2}[a-z][A-Za-z0-9_]{0,12}", fullmatch=True))
@example(name="func1")
@example(name="const")
@example(name="new")
def test_any_plain_name_finds_its_definition(name: str) -> None:
    known = facts.Facts(
        "python", 90, (facts.Definition("A", "class", 1, 60), facts.Definition(f"A.{name}", "method", 5, 9))
    )
    for text in (name, f"A.{name}", f"a::b::A::{name}", f"A#{name}", f"async {name}", f"pkg.A.{name}"):
        hit = callee.find(callee.read(text), known, 40)
        assert hit is not None
        assert hit.definition.name == f"A.{name}"


@pytest.mark.parametrize(
    ("function", "line", "symbol", "found"),
    [
        ("Cart.total", 65, "Cart.total", 22),  # the line is in another definition
        ("total", 300, "Cart.total", 22),
        ("add", 62, "Wish.add", 62),  # of one name, the one that holds the line
        ("add", 52, "Wish.add", 60),  # or the nearest
        ("Cart.add", 62, "Cart.add", 10),  # unless its owner is named
        ("<lambda>", 25, "Cart.total", 25),
        ("", 85, "load", 85),
        ("<module>", 200, None, 200),
        ("vanished", 25, "vanished", 25),
    ],
)
def test_the_name_beats_the_line(function: str, line: int, symbol: str | None, found: int) -> None:
    place = placing.place(placing.PYTHON, filename="src/shop/cart.py", function=function, lineno=line)
    assert (place.path, place.symbol, place.line) == ("src/shop/cart.py", symbol, found)


def test_a_nameless_function_is_placed_in_the_innermost_definition_around_it() -> None:
    frame = {"filename": "src/shop/api/views.py", "function": "index.<locals>.<lambda>"}
    assert placing.place(placing.PYTHON, lineno=12, **frame).symbol == "index.render"
    assert placing.place(placing.PYTHON, lineno=99, **frame).symbol == "index"
