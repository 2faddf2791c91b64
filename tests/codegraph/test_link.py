"""An import leads to the file that the language's own rules mean, wherever that file is kept, and to no other."""

import pathlib

import pytest

from codegraph import extract, facts, graph, languages, link, objects, project, store
from tests.codegraph import lab

_ORDER = "src/shop/Order.php"
_PHP = {_ORDER: "<?php\nnamespace Acme\\Sales;\nclass Order {}", "inc/db.php": "<?php\n"}
_JAVA = {"a/com/acme/sales/Order.java": "package com.acme.sales;\nclass Order {}"}
_SHARP = {
    "lib/Order.cs": "namespace Acme.Sales { class Order {} }",
    "lib/Till.cs": "namespace Acme.Sales { class Till {} }",
}
_BASH = {"bin/lib.sh": "f() { :; }\n", "other/lib.sh": "f() { :; }\n"}
_PYTHON = {
    "pkg/__init__.py": "",
    "pkg/a.py": "",
    "pkg/json.py": "",
    "pkg/sub/__init__.py": "",
    "pkg/sub/deep.py": "",
    "tools/run.py": "",
    "tools/json.py": "",
    "tools/near.py": "",
    "top.py": "",
    "more/pyproject.toml": "",
    "more/src/extra/__init__.py": "",
    "samples/pyproject.toml": "",
    "samples/demo.py": "",
}
_CORE = '{"name": "@acme/core", "main": "./dist/index.js", "exports": {".": "./dist/index.js", "./*": "./dist/*.js"}}'
_SCRIPTS = {
    "index.ts": "",
    "packages/core/package.json": _CORE,
    "packages/core/src/index.ts": "",
    "packages/core/src/deep/part.ts": "",
    "packages/old/package.json": '{"name": "old", "main": "lib/main", "types": "types.d.ts"}',
    "packages/old/lib/main.js": "",
    "packages/old/types.d.ts": "",
    "web/tsconfig.json": '{ // its own names\n "compilerOptions": {"baseUrl": ".", "paths": {"~/*": ["app/*"],}} }',
    "web/app/home.tsx": "",
    "web/app/fs.ts": "",
    "web/shared.ts": "",
    "tests/fake/package.json": '{"name": "react", "main": "index.js"}',
    "tests/fake/index.js": "",
    "tests/kit/package.json": '{"name": "@acme/kit"}',
    "tests/kit/index.js": "",
    "packages/user/package.json": '{"name": "user", "devDependencies": {"@acme/kit": "workspace:*"}}',
    "deno.json": '{"imports": {"acme/": "./packages/core/src/"}}',
}
_GO = {
    "go.mod": "module example.com/shop/v2\n\nreplace example.com/forked => ./third/forked // ours\n",
    "cart/cart.go": "package cart\n",
    "cart/cart_test.go": "package cart\n",
    "errors/errors.go": "package errors\n",
    "tool/go.mod": "module example.com/tool\n",
    "tool/run/run.go": "package run\n",
    "third/forked/f.go": "package forked\n",
}
_RUST = {
    "Cargo.toml": '[package]\nname = "my-shop"\nedition = "2021"\n',
    "src/lib.rs": "",
    "src/main.rs": "",
    "src/cart/mod.rs": "",
    "src/cart/item.rs": "",
    "src/cart/item/price.rs": "",
    "src/c.rs": "",
    "tests/common/mod.rs": "",
    "util/Cargo.toml": '[package]\nname = "shop-util"\nedition.workspace = true\n[lib]\npath = "code/root.rs"\n',
    "util/code/root.rs": "",
    "util/code/text.rs": "",
    "tool/Cargo.toml": '[package]\nname = "tool"\n[[bin]]\nname = "t"\npath = "go.rs"\n',
    "tool/go.rs": "",
    "tool/help.rs": "",
}
_C = {
    "include/shop/cart.h": "",
    "include/cart.h": "",
    "src/string.h": "",
    "src/near.h": "",
    "src/part/part.h": "",
    "src/string.py": "",
}
_RUBY = {
    "a.gemspec": "",
    "lib/shop/cart.rb": "",
    "lib/shop/json.rb": "",
    "other/b.gemspec": "",
    "other/lib/other.rb": "",
    "spec/spec_helper.rb": "",
}


def _read(files: dict[str, str]) -> tuple[dict[str, facts.Facts], project.Project]:
    known = {}
    for path, contents in files.items():
        if language := languages.language_of(path):
            known[path] = extract.extract(contents.encode(), language)
    return known, project.read(files)


def _targets(others: dict[str, str], path: str, text: str) -> list[str]:
    known, declared = _read({**others, path: text})
    return list(link.Linker(known, declared).targets(path, known[path]))


@pytest.mark.parametrize(
    ("others", "path", "text", "expected"),
    [
        (_PHP, "src/A.php", "<?php\nuse Acme\\Sales\\Order;\n", [_ORDER]),
        (_PHP, "src/A.php", "<?php\nuse Acme\\Sales\\{Order};\n", [_ORDER]),
        (_PHP, "index.php", "<?php\nrequire __DIR__ . '/inc/db.php';\n", ["inc/db.php"]),
        (_PHP, "web/index.php", "<?php\nrequire '../inc/db.php';\n", ["inc/db.php"]),
        (_PHP, "web/index.php", "<?php\nrequire dirname(__DIR__) . '/inc/db.php';\n", ["inc/db.php"]),
        (_PHP, "index.php", "<?php\nrequire 'inc/db.php';\n", ["inc/db.php"]),
        (_JAVA, "b/App.java", "package com.acme;\nimport com.acme.sales.*;\nclass App {}", [*_JAVA]),
        (_JAVA, "b/App.java", "package com.acme;\nimport com.acme.sales.Order;\nclass App {}", [*_JAVA]),
        (_JAVA, "b/App.java", "package com.acme;\nimport static com.acme.sales.Order.*;\nclass App {}", [*_JAVA]),
        (_JAVA, "b/App.java", "package com.acme;\nimport com.acme.sales.Order.Item;\nclass App {}", [*_JAVA]),
        (_SHARP, "app/A.cs", "using Acme.Sales;\nclass A {}", [*_SHARP]),
        (_SHARP, "app/A.cs", "using static Acme.Sales.Order;\nclass A {}", ["lib/Order.cs"]),
        (_SHARP, "app/A.cs", "using T = Acme.Sales.Till;\nclass A {}", ["lib/Till.cs"]),
        (_BASH, "bin/a.sh", "source ./lib.sh\n", ["bin/lib.sh"]),
        (_BASH, "bin/a.sh", '. "$DIR/lib.sh"\n', ["bin/lib.sh"]),
        (_BASH, "bin/a.sh", 'source "${BASH_SOURCE%/*}/lib.sh"\n', ["bin/lib.sh"]),
        (_BASH, "bin/a.sh", '. "${BASH_SOURCE%/*}/lib.sh"\n', ["bin/lib.sh"]),
        (_BASH, "bin/a.sh", 'source "$(dirname "$0")/lib.sh"\n', ["bin/lib.sh"]),
        (_BASH, "bin/in/a.sh", 'source "$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/lib.sh"\n', ["bin/lib.sh"]),
        (_BASH, "bin/a.sh", '. "$(git rev-parse --show-toplevel)/other/lib.sh"\n', ["other/lib.sh"]),
        (_BASH, "test.sh", "source other/lib.sh\n", ["other/lib.sh"]),
        (_BASH, "bin/a.sh", "source other/lib.sh\n", ["other/lib.sh"]),
        (_PYTHON, "pkg/b.py", "from . import a\n", ["pkg/a.py"]),
        (_PYTHON, "pkg/b.py", "from . import a, VERSION\n", ["pkg/__init__.py", "pkg/a.py"]),
        (_PYTHON, "main.py", "from . import top\n", ["top.py"]),
        (_PYTHON, "pkg/sub/x.py", "from ..a import thing\n", ["pkg/a.py"]),
        (_PYTHON, "tests/test_a.py", "from pkg.sub import deep\n", ["pkg/sub/deep.py"]),
        (_PYTHON, "tools/a.py", "import near\n", ["tools/near.py"]),
        (_PYTHON, "tools/a.py", "import json\n", ["tools/json.py"]),
        (_PYTHON, "pkg/b.py", "import extra\n", ["more/src/extra/__init__.py"]),
        (_PYTHON, "samples/b.py", "import demo\n", ["samples/demo.py"]),
        (_SCRIPTS, "web/a.ts", "import x from '..';\n", ["index.ts"]),
        (_SCRIPTS, "a.ts", "import x from '.';\n", ["index.ts"]),
        (_SCRIPTS, "web/a.ts", "import {x} from '@acme/core';\n", ["packages/core/src/index.ts"]),
        (_SCRIPTS, "web/a.ts", "import {x} from '@acme/core/deep/part';\n", ["packages/core/src/deep/part.ts"]),
        (_SCRIPTS, "web/a.js", "const x = require('old');\n", ["packages/old/lib/main.js"]),
        (_SCRIPTS, "packages/a.js", "const x = require('./old');\n", ["packages/old/lib/main.js"]),
        (_SCRIPTS, "web/a.ts", "import x from '~/home';\n", ["web/app/home.tsx"]),
        (_SCRIPTS, "web/app/a.ts", "import x from 'shared';\n", ["web/shared.ts"]),
        (_SCRIPTS, "web/app/a.ts", "import x from './home.js?raw';\n", ["web/app/home.tsx"]),
        (_SCRIPTS, "a.ts", "import x from 'acme/deep/part.ts';\n", ["packages/core/src/deep/part.ts"]),
        (_SCRIPTS, "packages/user/a.js", "import x from '@acme/kit';\n", ["tests/kit/index.js"]),
        (_SCRIPTS, "tests/fake/a.js", "import x from 'react';\n", ["tests/fake/index.js"]),
        (_GO, "a.go", 'package a\nimport "example.com/shop/v2/cart"\n', ["cart/cart.go"]),
        (_GO, "a.go", 'package a\nimport "example.com/tool/run"\n', ["tool/run/run.go"]),
        (_GO, "a.go", 'package a\nimport "example.com/forked"\n', ["third/forked/f.go"]),
        (_RUST, "src/a.rs", "use crate::cart::item::Item;\n", ["src/cart/item.rs"]),
        (_RUST, "src/lib.rs", "#[macro_use]\nmod c;\n", ["src/c.rs"]),
        (_RUST, "src/main.rs", "use my_shop::cart;\n", ["src/cart/mod.rs"]),
        (_RUST, "src/cart/item.rs", "use super::*;\n", ["src/cart/mod.rs"]),
        (_RUST, "src/cart/item/price.rs", "use super::super::Cart;\n", ["src/cart/mod.rs"]),
        (_RUST, "src/cart/item.rs", "mod tests {\n    use super::price::Price;\n}\n", ["src/cart/item/price.rs"]),
        (_RUST, "src/cart/item.rs", "use self::price::{Price, self};\n", ["src/cart/item/price.rs"]),
        (_RUST, "src/a.rs", "use shop_util::text::Text;\n", ["util/code/text.rs"]),
        (_RUST, "util/code/b.rs", "use crate::{text, Other};\n", ["util/code/root.rs", "util/code/text.rs"]),
        (_RUST, "tests/buy.rs", "mod common;\nuse common::thing;\n", ["tests/common/mod.rs"]),
        (_RUST, "tool/go.rs", "mod help;\n", ["tool/help.rs"]),
        (_RUST, "tool/a.rs", "use help::Help;\n", ["tool/help.rs"]),
        (_C, "src/a.c", "#include <shop/cart.h>\n", ["include/shop/cart.h"]),
        (_C, "src/a.c", "#include <cart.h>\n", ["include/cart.h"]),
        (_C, "src/a.c", '#include "string.h"\n', ["src/string.h"]),
        (_C, "test/a.cpp", '#include "part/part.h"\n', ["src/part/part.h"]),
        (_RUBY, "spec/a_spec.rb", "require 'spec_helper'\n", ["spec/spec_helper.rb"]),
        (_RUBY, "spec/a_spec.rb", "require 'shop/cart'\n", ["lib/shop/cart.rb"]),
        (_RUBY, "lib/shop/a.rb", "require 'other'\n", ["other/lib/other.rb"]),
        (_RUBY, "lib/shop/a.rb", 'require "#{__dir__}/json"\n', ["lib/shop/json.rb"]),
        (_RUBY, "lib/shop/a.rb", "require File.expand_path('../cart', __FILE__)\n", ["lib/shop/cart.rb"]),
    ],
)
def test_an_import_leads_to_its_file(others: dict[str, str], path: str, text: str, expected: list[str]) -> None:
    assert _targets(others, path, text) == expected


@pytest.mark.parametrize(
    ("others", "path", "text"),
    [
        (_PYTHON, "pkg/b.py", "import json\n"),
        (_PYTHON, "tests/test_a.py", "import json\n"),
        (_PYTHON, "pkg/b.py", "import deep\n"),
        (_PYTHON, "pkg/b.py", "import demo\n"),
        (_PYTHON, "pkg/sub/x.py", "from ....a import thing\n"),
        ({"json.rb": "", "json.go": "package json\n", "json.ts": ""}, "a.py", "import json\n"),
        (_SCRIPTS, "web/app/a.ts", "import fs from 'fs';\nimport path from 'node:fs';\n"),
        (_SCRIPTS, "web/a.ts", "import React from 'react';\n"),
        (_SCRIPTS, "a.ts", "import x from './web/shared.py';\n"),
        (_GO, "a.go", 'package a\nimport "errors"\n'),
        (_GO, "a.go", 'package a\nimport "example.com/other/cart"\n'),
        (_RUST, "src/cart/item.rs", "mod c;\n"),
        (_RUST, "src/a.rs", "use c::Thing;\nuse std::cart::Item;\n"),
        (_RUST, "src/lib.rs", "use super::cart;\n"),
        (_C, "src/a.c", "#include <string.h>\n"),
        (_C, "src/a.c", "#include <near.h>\n"),
        (_C, "src/a.c", "#include <string.py>\n"),
        (_RUBY, "lib/shop/a.rb", "require 'json'\n"),
        ({"System.cs": "namespace Acme {}", "sys/System.py": ""}, "A.cs", "using System;\nclass A {}"),
        (_JAVA, "b/App.java", "package com.acme;\nimport java.util.*;\nimport org.sales.Order;\nclass App {}"),
        ({"Order.cs": "namespace Acme.Sales {}"}, "A.php", "<?php\nuse Acme\\Sales\\Order;\n"),
        (_BASH, "bin/a.sh", "source /etc/lib.sh\n. ~/lib.sh\n. $HOME/lib.sh\n"),
        ({"lib/util.py": ""}, "bin/a.sh", "source lib/util.py\n"),
    ],
)
def test_an_import_of_what_is_elsewhere_leads_to_no_file(others: dict[str, str], path: str, text: str) -> None:
    assert _targets(others, path, text) == []


def test_before_modules_a_go_repository_is_called_as_its_folders_are_imported() -> None:
    old = {
        "cart/cart.go": "package cart\n",
        "main.go": 'package main\nimport (\n"github.com/acme/shop/cart"\n"github.com/acme/shop/till"\n)\n',
        "till/till.go": 'package till\nimport "github.com/other/cart"\n',
    }
    assert _targets(old, "a.go", 'package a\nimport "github.com/acme/shop/cart"\n') == ["cart/cart.go"]
    assert _targets(old, "a.go", 'package a\nimport "github.com/other/thing/cart"\n') == []


@pytest.mark.parametrize(
    "files",
    [
        {"package.json": '{"name": 1, "exports": {".": [1, {"a": null}], "./*": 3}, "imports": 4, "main": []}'},
        {"package.json": '{"name": "x", "exports": ' + '{".":' * 400 + "1" + "}" * 401},
        {"tsconfig.json": '{"compilerOptions": {"baseUrl": "../../..", "paths": {"*": 1, "**": ["a"], "": ["b"]}}}'},
        {"tsconfig.json": "/*" * 100_000, "go.mod": "\n" * 400_000 + "replace " * 1_000},
        {"Cargo.toml": '[package]\nname = 1\nedition = 2\n[lib]\npath = "../../x"\n[[bin]]\npath = 2\n'},
        {"pyproject.toml": "[tool]\nsetuptools = 1\npoetry = {packages = 2}\npytest = {ini_options = []}\n"},
        {"pyproject.toml": "[tool.setuptools.packages]\nfind = 1\n[tool.poetry]\npackages = [1, {from = []}]\n"},
    ],
)
def test_project_files_that_make_no_sense_break_nothing(files: dict[str, str]) -> None:
    texts = {"a.ts": "import x from 'x/y';\n", "a.rs": "use x::y;\n", "a.py": "import x\n", "a.go": 'import "x"\n'}
    known, declared = _read({**files, **texts})
    assert set(link.links(known, declared).values()) == {()}


def test_links_follow_every_change_of_files_and_of_project_files(tmp_path: pathlib.Path) -> None:
    """What is kept from one revision to the next never differs from what a new graph finds."""
    at = tmp_path / "a.git"
    steps: list[dict[bytes, lab.Contents | None]] = [
        {b"a.py": b"import b\n", b"b.py": b"", b"main.go": b'package main\nimport "x.org/shop/cart"\n'},
        {b"cart/c.go": b"package cart\n", b"web/a.ts": b"import '@acme/core';\n", b"core/src/index.ts": b"a = 1\n"},
        {b"go.mod": b"module x.org/shop\n", b"core/package.json": b'{"name": "@acme/core"}'},
        {b"a.py": b"import b, c\n"},
        {b"c/__init__.py": b"", b"b.py": b"x = 1\n"},
        {b"go.mod": b"module x.org/other\n", b"A.java": b"package p;\nimport q.B;\n", b"B.java": b"package q;\n"},
        {b"B.java": b"package r;\n", b"b.py": None},
        {b"go.mod": None, b"cart/c.go": b'package cart\nimport "github.com/a/b/web"\n'},
    ]
    shas = lab.make(at, [lab.Commit(files, time=1_700_000_000 + n) for n, files in enumerate(steps)])
    held = graph.Graph(objects.Repository(at), store.Store(None), workers=0)
    seen = []
    for sha in (*shas, *reversed(shas)):
        fresh = graph.Graph(objects.Repository(at), store.Store(None), workers=0).at(sha)
        found = held.at(sha)
        assert (found.imports, found.importers) == (fresh.imports, fresh.importers)
        assert list(found.imports) == sorted(found.imports)
        seen.append(found.imports)
    assert seen[1]["web/a.ts"] == ()
    assert (seen[2]["web/a.ts"], seen[2]["main.go"]) == (("core/src/index.ts",), ("cart/c.go",))
    assert (seen[4]["a.py"], seen[5]["main.go"]) == (("b.py", "c/__init__.py"), ())
    assert (seen[5]["A.java"], seen[6]["A.java"]) == (("B.java",), ())


def test_a_name_that_very_many_files_have_leads_to_none_of_them() -> None:
    """Each import of it would look at all of them."""
    some = {f"lib{number}/include/config.h": "" for number in range(20)}
    many = {f"lib{number}/include/config.h": "" for number in range(201)}
    assert _targets(some, "lib7/src/main.c", '#include "config.h"') == ["lib7/include/config.h"]
    assert _targets(many, "lib7/src/main.c", '#include "config.h"') == []
    assert _targets(many, "lib7/include/main.c", '#include "config.h"') == ["lib7/include/config.h"]
