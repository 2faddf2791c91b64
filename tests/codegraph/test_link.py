"""An import leads to the file that the language's own rules mean, wherever that file is kept."""

import pytest

from codegraph import extract, languages, link

_ORDER = "src/shop/Order.php"
_PHP = {_ORDER: "<?php\nnamespace Acme\\Sales;\nclass Order {}", "inc/db.php": "<?php\n"}
_JAVA = {"a/com/acme/sales/Order.java": "package com.acme.sales;\nclass Order {}"}
_SHARP = {
    "lib/Order.cs": "namespace Acme.Sales { class Order {} }",
    "lib/Till.cs": "namespace Acme.Sales { class Till {} }",
}
_BASH = {"bin/lib.sh": "f() { :; }\n", "other/lib.sh": "f() { :; }\n"}


@pytest.mark.parametrize(
    ("others", "path", "text", "expected"),
    [
        (_PHP, "src/A.php", "<?php\nuse Acme\\Sales\\Order;\n", [_ORDER]),
        (_PHP, "src/A.php", "<?php\nuse Acme\\Sales\\{Order};\n", [_ORDER]),
        (_PHP, "index.php", "<?php\nrequire __DIR__ . '/inc/db.php';\n", ["inc/db.php"]),
        (_PHP, "web/index.php", "<?php\nrequire '../inc/db.php';\n", ["inc/db.php"]),
        (_PHP, "index.php", "<?php\nrequire 'inc/db.php';\n", ["inc/db.php"]),
        (_JAVA, "b/App.java", "package com.acme;\nimport com.acme.sales.*;\nclass App {}", [*_JAVA]),
        (_JAVA, "b/App.java", "package com.acme;\nimport com.acme.sales.Order;\nclass App {}", [*_JAVA]),
        (_JAVA, "b/App.java", "package com.acme;\nimport java.util.*;\nclass App {}", []),
        (_SHARP, "app/A.cs", "using Acme.Sales;\nclass A {}", [*_SHARP]),
        (_SHARP, "app/A.cs", "using static Acme.Sales.Order;\nclass A {}", ["lib/Order.cs"]),
        (_SHARP, "app/A.cs", "using T = Acme.Sales.Till;\nclass A {}", ["lib/Till.cs"]),
        (_BASH, "bin/a.sh", "source ./lib.sh\n", ["bin/lib.sh"]),
        (_BASH, "bin/a.sh", '. "$DIR/lib.sh"\n', ["bin/lib.sh"]),
        (_BASH, "bin/a.sh", 'source "${BASH_SOURCE%/*}/lib.sh"\n', ["bin/lib.sh"]),
        (_BASH, "test.sh", "source other/lib.sh\n", ["other/lib.sh"]),
        (_BASH, "bin/a.sh", "source other/lib.sh\n", ["other/lib.sh"]),
    ],
)
def test_an_import_leads_to_its_file(others: dict[str, str], path: str, text: str, expected: list[str]) -> None:
    known = {}
    for name, contents in {**others, path: text}.items():
        language = languages.language_of(name)
        assert language
        known[name] = extract.extract(contents.encode(), language)
    assert list(link.Linker(known).targets(path, known[path])) == expected
