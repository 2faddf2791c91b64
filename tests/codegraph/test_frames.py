"""Stack traces are read from any JSON, their files are ranked, and batches are answered at their commits."""

import json
import pathlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegraph import frames, manifest, objects, project, store
from tests.codegraph import lab, placing


def _frames(*rows: tuple[str, bool | None]) -> list[frames.Frame]:
    return [frames.Frame(filename=path, function="f", lineno=3, in_app=in_app) for path, in_app in rows]


def test_the_innermost_frame_of_the_application_leads() -> None:
    stack = _frames(
        ("manage.py", True),
        ("src/shop/api/views.py", True),
        ("src/shop/cart.py", True),
        ("src/shop/utils.py", False),
        ("/usr/local/lib/python3.11/site-packages/requests/api.py", False),
    )
    ranked = frames.rank(stack, frames.suspects(placing.PYTHON, stack))
    assert [each.path for each in ranked] == [
        "src/shop/cart.py",
        "src/shop/api/views.py",
        "src/shop/utils.py",
        "manage.py",
    ]
    assert ranked[0].reasons[0] == "the innermost frame of the application"


def test_a_recursion_does_not_outweigh_the_innermost_frame() -> None:
    stack = _frames(*[("src/shop/cart.py", None), ("src/shop/utils.py", None)] * 200, ("src/shop/api/views.py", None))
    ranked = frames.rank(stack, frames.suspects(placing.PYTHON, stack))
    assert [each.path for each in ranked] == ["src/shop/api/views.py", "src/shop/utils.py", "src/shop/cart.py"]
    assert "in 200 frames" in ranked[1].reasons


def test_a_trace_is_read_from_an_event_and_in_camel_case() -> None:
    rows = [{"absPath": "/app/a.py", "lineNo": 7, "inApp": True}, {"filename": "b.py", "lineno": "8", "colno": 1}]
    event = {"entries": [{"type": "exception", "data": {"values": [{"stacktrace": {"frames": rows}}]}}]}
    for value in (rows, {"frames": rows}, event, {"exception": {"values": [{}, {"stacktrace": {"frames": rows}}]}}):
        found = frames.trace(value)
        assert [(each.abs_path or each.filename, each.lineno) for each in found] == [("/app/a.py", 7), ("b.py", 8)]


def test_the_last_of_chained_exceptions_is_the_trace() -> None:
    chain = [{"stacktrace": {"frames": [{"filename": name}]}} for name in ("cause.py", "raised.py")]
    assert [each.filename for each in frames.trace({"exception": {"values": chain}})] == ["raised.py"]


def test_answers_do_not_depend_on_the_order_of_files() -> None:
    turned = dict(reversed(placing.SCRIPT.items()))
    stack = [frames.Frame(filename="./src/index.ts", function=name) for name in ("connect", "serve", "other", "")]
    assert frames.suspects(placing.SCRIPT, stack) == frames.suspects(turned, stack)


_TEXT = st.text(max_size=40) | st.sampled_from(
    [
        "/",
        "C:\\",
        "webpack://",
        "a://",
        "!/",
        "<",
        "(*T).m",
        "_ZN9",
        "/vendor/",
        "/gems/a-1.0/",
        "~/",
        "..",
        "\0",
        "\ud800",
    ]
)
_PATH = st.lists(_TEXT | st.sampled_from(["src", "shop", "cart.py", "index.js", "site-packages"]), max_size=8).map(
    "/".join
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _PATH,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["frames", "values", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_FIELDS = ("filename", "abs_path", "absPath", "module", "function", "lineno", "lineNo", "in_app", "package", "platform")


@settings(max_examples=300)
@given(frame=st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=8) | _JSON)
def test_any_frame_gets_an_answer(frame: object) -> None:
    started = time.thread_time()
    for files, declared in (
        (placing.PYTHON, {}),
        (placing.SCRIPT, placing.SCRIPT_FILES),
        (placing.GO, {"go.mod": "module a.b/c"}),
        (placing.RUST, placing.RUST_FILES),
    ):
        place = frames.suspects(files, [frames.Frame.read(frame)], project.read(declared))[0]
        assert place.path is None or place.path in files
        assert 0.0 <= place.confidence <= 1.0
        assert (place.path is None) == (place.confidence == 0.0)
    assert all(isinstance(each, frames.Frame) for each in frames.trace(frame))
    assert time.thread_time() - started < 2.0


@settings(max_examples=100)
@given(
    text=st.text(max_size=200),
    name=st.sampled_from(["package.json", "Cargo.toml", "go.mod", "a.gemspec", "pyproject.toml"]),
)
def test_any_project_file_is_read(text: str, name: str) -> None:
    started = time.thread_time()
    assert isinstance(project.read({name: text}), project.Project)
    assert time.thread_time() - started < 2.0


@pytest.mark.parametrize(
    "text", ["<" * 4_000, "/vendor/a.com" * 300, "((" * 500, "<a as " * 300, "!/" * 2_000, "a." * 2_000 + "/x"]
)
def test_hostile_names_take_no_time(text: str) -> None:
    started = time.thread_time()
    placing.place(placing.PYTHON, abs_path=text, filename=text, module=text, function=text)
    assert time.thread_time() - started < 1.0


def test_a_batch_is_answered_at_each_commit(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "repo"
    (folder / "lib").mkdir(parents=True)
    lab.git(tmp_path, "init", "-q", str(folder))
    (folder / "package.json").write_text(json.dumps({"name": "shop"}))
    (folder / "lib" / "cart.js").write_text("function total() {\n  return 1\n}\n")
    (folder / "lib" / "rates.js").write_text("// Code generated by a tool. DO NOT EDIT.\nfunction rate() {}\n")
    lab.git(folder, "add", ".")
    lab.git(folder, "commit", "-qm", "one")
    first = lab.git(folder, "rev-parse", "HEAD")
    lab.git(folder, "mv", "lib/cart.js", "lib/basket.js")
    lab.git(folder, "commit", "-qm", "two")
    second = lab.git(folder, "rev-parse", "HEAD")
    repository, kept = objects.Repository(folder), store.Store(tmp_path / "store")

    def finder_at(name: str, commit: str) -> frames.Finder:
        made = manifest.build(repository, commit, kept, workers=1)
        keys = {path: made.files[path].key for path in (*made.sources, *made.tests)}
        held = manifest.read(repository, kept, keys.values(), workers=1)
        return frames.at(repository, made, {path: held[key] for path, key in keys.items()}, [name])

    def case(number: int, commit: str, path: str, function: str) -> dict[str, object]:
        return {"id": number, "repo": "acme/shop", "commit": commit, "frame": {"filename": path, "function": function}}

    cases = [
        case(1, first, "/app/node_modules/shop/lib/cart.js", "Object.total"),
        case(2, second, "/app/node_modules/shop/lib/cart.js", "Object.total"),
        case(3, second, "app:///lib/basket.js", "total"),
        case(4, second, "app:///lib/rates.js", "rate"),
        case(5, second, "/app/node_modules/lodash/lib/basket.js", "total"),
    ]
    assert list(frames.predictions(cases, finder_at)) == [
        {"id": 1, "path": "lib/cart.js", "symbol": "total"},
        {"id": 2, "path": None, "symbol": None},
        {"id": 3, "path": "lib/basket.js", "symbol": "total"},
        {"id": 4, "path": "lib/rates.js", "symbol": "rate"},
        {"id": 5, "path": None, "symbol": None},
    ]
