"""Small revisions of several languages, and what a frame in one of them is placed in."""

from collections.abc import Mapping

from codegraph import facts, frames, project


def file(language: str, *definitions: tuple[str, int, int], package: str = "", kind: str = "function") -> facts.Facts:
    made = tuple(facts.Definition(name, kind, start, end) for name, start, end in definitions)
    return facts.Facts(language, 400, made, ({},) * (len(made) + 1), package=package)


PYTHON: dict[str, facts.Facts | None] = {
    "src/shop/__init__.py": file("python"),
    "src/shop/cart.py": file(
        "python", ("Cart.add", 10, 20), ("Cart.total", 22, 40), ("Wish.add", 60, 70), ("load", 80, 90)
    ),
    "src/shop/utils.py": file("python", ("slug", 1, 9)),
    "src/shop/api/__init__.py": file("python", ("main", 3, 9)),
    "src/shop/api/views.py": file("python", ("index", 5, 30), ("index.render", 10, 20)),
    "manage.py": file("python", ("main", 1, 9)),
}
SCRIPT: dict[str, facts.Facts | None] = {
    "packages/server/src/index.ts": file("typescript", ("serve", 1, 9)),
    "packages/server/src/http/parse.ts": file(
        "typescript", ("parse", 5, 50), ("Parser.read", 60, 80), ("parse.inner", 20, 30)
    ),
    "packages/client/src/index.ts": file("typescript", ("connect", 1, 9)),
    "packages/client/src/View.vue": None,
    "tools/run.js": file("javascript", ("run", 1, 30)),
}
SCRIPT_FILES = {
    "package.json": '{"name": "root", "private": true}',
    "packages/server/package.json": '{"name": "@acme/server"}',
    "packages/client/package.json": '{"name": "@acme/client"}',
    "examples/demo/package.json": '{"name": "lodash"}',
}
GO: dict[str, facts.Facts | None] = {
    "engine.go": file("go", ("Engine.Run", 5, 20), ("New", 30, 40), package="web"),
    "render/json.go": file("go", ("JSON.Render", 5, 20), ("Page.Render", 30, 50), package="render"),
}
RUST: dict[str, facts.Facts | None] = {
    "core/src/lib.rs": file("rust", ("run", 1, 9)),
    "core/src/router/mod.rs": file("rust", ("Router.call", 10, 30), ("tests.call", 100, 120)),
    "crates/printer/src/json.rs": file("rust", ("write", 10, 30)),
}
RUST_FILES = {
    "core/Cargo.toml": '[package]\nname = "acme-core"\n',
    "crates/printer/Cargo.toml": '[package]\nname = "grep-printer"\n',
}


def place(
    files: Mapping[str, facts.Facts | None],
    declared: Mapping[str, str] | None = None,
    names: tuple[str, ...] = (),
    /,
    **frame: object,
) -> frames.Place:
    return frames.suspects(files, [frames.Frame.read(frame)], project.read(declared or {}, names))[0]
