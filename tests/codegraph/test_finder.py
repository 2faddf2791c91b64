"""Frames are placed in our files, whatever runtime, bundler or registry wrote them; code of others is refused."""

from collections.abc import Mapping

import pytest

from tests.codegraph import placing


@pytest.mark.parametrize(
    "path",
    [
        "/app/src/shop/cart.py",
        "/home/deploy/releases/20240611/src/shop/cart.py",
        "/home/joe/shop/src/shop/cart.py",
        "C:\\srv\\app\\src\\shop\\cart.py",
        "c:\\srv\\APP\\Src\\shop\\Cart.py",
        "/usr/local/lib/python3.11/site-packages/shop/cart.py",
        "C:\\Python311\\Lib\\site-packages\\shop\\cart.py",
        "/opt/shop.egg/shop/cart.py",
        "/app/__pycache__/../src/shop/cart.pyc",
        "shop/cart.py",
        "src/shop/cart.py",
        "file:///app/src/shop/cart.py",
    ],
)
def test_a_python_path_is_placed_however_it_was_deployed(path: str) -> None:
    assert placing.place(placing.PYTHON, abs_path=path, function="load", lineno=3).path == "src/shop/cart.py"


@pytest.mark.parametrize(
    "path",
    [
        "/usr/local/lib/python3.11/site-packages/werkzeug/utils.py",
        "/app/.venv/lib/python3.11/site-packages/requests/api/views.py",
        "/usr/lib/python3/dist-packages/apt/utils.py",
        "/usr/local/lib/python3.11/threading.py",
        "/usr/local/lib/python3.11/email/utils.py",
        "C:\\Python311\\Lib\\email\\utils.py",
        "/app/vendor/other/src/shop/cart.py",
        "/app/_vendor/shoplib/utils.py",
        "/srv/other/utils.py",
        "/srv/other/thing/api/views.py",
        "other/utils.py",
        "utils.py",
        "api/views.py",
        "/app/utils.py",
        "<frozen importlib._bootstrap>",
        "<string>",
        "",
    ],
)
@pytest.mark.parametrize("function", ["run", "<module>", ""])
def test_python_code_of_others_is_refused(path: str, function: str) -> None:
    place = placing.place(placing.PYTHON, abs_path=path, filename=path, function=function, lineno=6)
    assert (place.path, place.symbol, place.confidence) == (None, None, 0.0)
    assert place.reason


def test_a_module_of_another_package_refuses_a_path_that_agrees() -> None:
    assert placing.place(placing.PYTHON, filename="manage.py", module="other.manage", function="main").path is None
    assert placing.place(placing.PYTHON, filename="manage.py", module="manage", function="main").path == "manage.py"


def test_a_module_places_a_frame_without_a_path() -> None:
    assert placing.place(placing.PYTHON, module="shop.api", function="main").path == "src/shop/api/__init__.py"
    assert (
        placing.place(placing.PYTHON, filename="<string>", module="shop.cart", function="load").path
        == "src/shop/cart.py"
    )
    assert (
        placing.place(placing.PYTHON, filename="utils.py", module="shop.utils", function="slug").path
        == "src/shop/utils.py"
    )


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("webpack:///./packages/server/src/http/parse.ts", "parse"),
        ("webpack-internal:///(rsc)/./packages/server/src/http/parse.ts?1f3a", "parse"),
        ("webpack:///babel-loader!./packages/server/src/http/parse.ts", "parse"),
        ("app:///packages/server/dist/http/parse.js", "async parse"),
        ("app:///packages/server/dist/esm/http/parse.mjs:12:5", "Object.parse"),
        ("http://localhost:5173/@fs/home/joe/acme/packages/server/src/http/parse.ts?t=17", "parse"),
        ("turbopack:///[project]/packages/server/src/http/parse.ts", "parse"),
        ("~/packages/server/src/http/parse.ts", "parse"),
        ("file:///usr/src/app/node_modules/@acme/server/dist/http/parse.js", "parse"),
        ("/app/node_modules/.pnpm/@acme+server@1.0.0/node_modules/@acme/server/dist/http/parse.js", "parse"),
        ("/app/node_modules/acme/dist/http/parse.js", "parse"),
    ],
)
def test_a_bundled_path_is_placed_in_its_source(path: str, function: str) -> None:
    place = placing.place(placing.SCRIPT, placing.SCRIPT_FILES, filename=path, function=function, lineno=999)
    assert (place.path, place.symbol, place.line) == ("packages/server/src/http/parse.ts", "parse", 5)


@pytest.mark.parametrize(
    "path",
    [
        "/app/node_modules/undici/lib/index.ts",
        "/app/node_modules/lodash/src/index.ts",
        "/app/node_modules/@other/server/dist/http/parse.js",
        "/app/node_modules/@acme/server/node_modules/qs/dist/http/parse.js",
        "webpack:///./node_modules/react-dom/cjs/index.js",
        "webpack:///./~/react/src/index.js",
        "https://cdn.jsdelivr.net/npm/jquery@3.1.0/src/index.js",
        "node:internal/process/task_queues",
        "internal/process/run.js",
        "chrome-extension://abcdef/packages/server/src/index.ts",
        "native code",
        "[native code]",
        "<anonymous>",
        "index 0",
    ],
)
def test_script_code_of_others_is_refused(path: str) -> None:
    assert (
        placing.place(
            placing.SCRIPT, placing.SCRIPT_FILES, abs_path=path, filename=path, function="connect", lineno=3
        ).path
        is None
    )


def test_the_function_chooses_between_files_whose_paths_agree_alike() -> None:
    assert (
        placing.place(placing.SCRIPT, filename="./src/index.ts", function="connect").path
        == "packages/client/src/index.ts"
    )
    assert (
        placing.place(placing.SCRIPT, filename="./src/index.ts", function="serve").path
        == "packages/server/src/index.ts"
    )


def test_a_file_without_facts_is_placed_and_keeps_the_name_that_ran() -> None:
    place = placing.place(
        placing.SCRIPT, filename="webpack:///./packages/client/src/View.vue?vue&type=script", function="Proxy.render"
    )
    assert (place.path, place.symbol) == ("packages/client/src/View.vue", "render")


@pytest.mark.parametrize(
    "declared", [{"go.mod": "module github.com/acme/web/v2\n"}, {"go.mod": "module github.com/acme/web"}]
)
@pytest.mark.parametrize(
    "path",
    [
        "/home/build/go/src/github.com/acme/web/render/json.go",
        "/go/pkg/mod/github.com/acme/web/v2@v2.1.0/render/json.go",
        "/app/vendor/github.com/acme/web/render/json.go",
        "github.com/acme/web@v1.2.3/render/json.go",
        "/build/render/json.go",
    ],
)
def test_a_go_path_of_our_module_is_placed_at_any_version(path: str, declared: Mapping[str, str]) -> None:
    place = placing.place(
        placing.GO, declared, abs_path=path, function="github.com/acme/web/render.(*Page).Render", lineno=900
    )
    assert (place.path, place.symbol, place.line) == ("render/json.go", "Page.Render", 30)


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/usr/local/go/src/net/http/engine.go", "run"),
        ("/go/pkg/mod/golang.org/x/net@v0.17.0/render/json.go", "run"),
        ("/go/pkg/mod/github.com/acme/website@v0.1.0/engine.go", "run"),
        ("/go/src/github.com/other/web/render/json.go", "Render"),
        ("/app/vendor/github.com/other/web/render/json.go", "Render"),
        ("render/json.go", "github.com/other/web/render.(*JSON).Render"),
        ("runtime/engine.go", "runtime.gopanic"),
    ],
)
def test_go_code_of_others_is_refused(path: str, function: str) -> None:
    assert (
        placing.place(
            placing.GO, {"go.mod": "module github.com/acme/web"}, abs_path=path, function=function, lineno=9
        ).path
        is None
    )


def test_a_go_root_file_is_placed_only_for_our_package() -> None:
    declared = {"go.mod": "module github.com/acme/web"}
    assert (
        placing.place(placing.GO, declared, abs_path="/build/engine.go", function="github.com/acme/web.New").path
        == "engine.go"
    )
    assert (
        placing.place(placing.GO, declared, abs_path="/build/engine.go", function="github.com/other/web.New").path
        is None
    )


@pytest.mark.parametrize(
    ("path", "function", "expected"),
    [
        ("/build/core/src/router/mod.rs", "acme_core::router::Router::call::h14066f85f0cf734d", "Router.call"),
        ("/root/.cargo/registry/src/index-6f17d22bba15001f/acme-core-0.7.5/src/router/mod.rs", "call", "Router.call"),
        ("acme-core-0.7.5/src/router/mod.rs", "acme_core::router::tests::call", "tests.call"),
        ("/c/.cargo/git/checkouts/acme-0123456789abcdef/abcdef0/core/src/router/mod.rs", "call", "Router.call"),
    ],
)
def test_a_crate_of_ours_is_placed(path: str, function: str, expected: str) -> None:
    place = placing.place(placing.RUST, placing.RUST_FILES, ("acme/acme",), abs_path=path, function=function, lineno=12)
    assert (place.path, place.symbol) == ("core/src/router/mod.rs", expected)


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/root/.cargo/registry/src/index-6f17d22bba15001f/hyper-0.14.27/src/lib.rs", "run"),
        ("/rustc/90c541806f/library/core/src/lib.rs", "core::ops::run"),
        ("/home/joe/other/src/lib.rs", "other::run"),
        ("src/lib.rs", "other::run"),
        ("/root/.cargo/registry/src/index-6f17d22bba15001f/printer-0.2.1/src/json.rs", "parse"),
    ],
)
def test_a_crate_of_others_is_refused(path: str, function: str) -> None:
    assert placing.place(placing.RUST, placing.RUST_FILES, abs_path=path, function=function, lineno=12).path is None


@pytest.mark.parametrize(
    ("path", "frame", "expected"),
    [
        (
            "src/main/java/com/acme/Json.java",
            {"filename": "Json.java", "module": "com.acme.Json$1", "function": "read"},
            True,
        ),
        (
            "src/main/java/com/acme/Json.java",
            {"filename": "Json.java", "module": "org.other.Json", "function": "read"},
            False,
        ),
        ("src/main/java/com/acme/Json.java", {"module": "com.acme.Json", "function": "lambda$read$0"}, True),
        (
            "src/Http/Client.php",
            {"filename": "/var/www/html/src/Http/Client.php", "function": "Acme\\Http\\Client::read"},
            True,
        ),
        ("src/Http/Client.php", {"filename": "/app/vendor/other/http/src/Http/Client.php", "function": "read"}, False),
        ("src/Http/Client.php", {"filename": "/app/vendor/acme/http/src/Http/Client.php", "function": "read"}, True),
        ("src/Acme/Pipe.cs", {"abs_path": "C:\\a\\1\\s\\src\\Acme\\Pipe.cs", "function": "<read>d__3.MoveNext"}, True),
        ("src/Acme/Pipe.cs", {"module": "Acme.Pipe", "function": "read"}, True),
        (
            "lib/shop/cart.rb",
            {"filename": "/app/releases/2024/lib/shop/cart.rb", "function": "block in Cart#read"},
            True,
        ),
        (
            "lib/shop/cart.rb",
            {"filename": "/usr/local/bundle/gems/shop-1.2.0/lib/shop/cart.rb", "function": "read"},
            True,
        ),
        (
            "lib/shop/cart.rb",
            {"filename": "/usr/local/bundle/gems/rack-3.0.1/lib/shop/cart.rb", "function": "read"},
            False,
        ),
        ("src/net/read.c", {"abs_path": "/build/src/net/read.c", "function": "read", "package": "/app/server"}, True),
        ("src/net/read.c", {"abs_path": "/b/src/net/read.c", "package": "/lib/x86_64-linux-gnu/libc.so.6"}, False),
    ],
)
def test_shapes_of_other_languages(path: str, frame: dict[str, object], expected: bool) -> None:
    package = {"java": "com.acme", "php": "Acme\\Http", "cs": "Acme"}.get(path.rsplit(".", 1)[-1], "")
    files = {path: placing.file("x", ("Cart.read", 5, 20), ("write", 30, 40), package=package)}
    declared = {"composer.json": '{"name": "acme/http"}', "shop.gemspec": 'spec.name = "shop"'}
    place = placing.place(files, declared, lineno=35, **frame)
    assert (place.path, place.symbol) == (
        (path, "Cart.read" if "function" in frame else "write") if expected else (None, None)
    )
