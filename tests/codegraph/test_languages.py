"""Which language a file is, and what happens when a grammar is not there."""

import sys

import pytest

from codegraph import extract, languages
from tests.codegraph import samples


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b/app.py", "python"),
        ("stubs/app.pyi", "python"),
        ("lib/index.js", "javascript"),
        ("lib/index.mjs", "javascript"),
        ("web/App.jsx", "javascript"),
        ("web/App.tsx", "tsx"),
        ("fastify.d.ts", "typescript"),
        ("src/mod.cts", "typescript"),
        ("cmd/main.go", "go"),
        ("src/lib.rs", "rust"),
        ("A.java", "java"),
        ("net/tcp.c", "c"),
        ("net/tcp.h", "c"),
        ("net/tcp.HPP", "cpp"),
        ("net/tcp.cc", "cpp"),
        ("Shop/Cart.cs", "c-sharp"),
        ("Rakefile", "ruby"),
        ("lib/x.rb", "ruby"),
        ("src/Client.php", "php"),
        ("ci/run.sh", "bash"),
        ("README.md", None),
        ("Makefile", None),
        ("no_extension", None),
        (".py", None),
        ("dir.py/file", None),
        ("", None),
    ],
)
def test_a_language_is_known_by_the_name_of_the_file(path: str, name: str | None) -> None:
    assert languages.language_of(path) == name


def test_no_ending_and_no_file_name_belongs_to_two_languages() -> None:
    endings = [ending for language in languages.LANGUAGES.values() for ending in language.extensions]
    names = [name for language in languages.LANGUAGES.values() for name in language.files]

    assert len(endings) == len(set(endings))
    assert len(names) == len(set(names))
    assert all(ending == ending.lower() and ending.startswith(".") for ending in endings)


def test_every_grammar_that_we_pin_is_there_and_fits_its_query() -> None:
    assert languages.missing() == {}
    assert set(languages.LANGUAGES) == set(samples.ALL)


def test_a_missing_grammar_is_reported_and_its_files_keep_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tree_sitter_go", None)
    languages.grammar.cache_clear()
    try:
        reasons = languages.missing()
        facts = extract.extract(samples.GO, "go")
    finally:
        monkeypatch.undo()
        languages.grammar.cache_clear()

    assert list(reasons) == ["go"]
    assert "tree_sitter_go" in reasons["go"]
    assert not facts.parsed
    assert facts.definitions == ()
    assert facts.chunks[0]["Println"] == 1


def test_a_language_that_nobody_knows_is_not_parsed() -> None:
    facts = extract.extract(b"some words here\n", "klingon")

    assert (facts.parsed, facts.language, facts.lines) == (False, "klingon", 1)
    assert facts.chunks == ({"some": 1, "words": 1, "here": 1},)
    with pytest.raises(languages.MissingGrammarError, match="klingon"):
        languages.grammar("klingon")
