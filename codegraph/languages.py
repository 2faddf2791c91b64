"""The languages that can be read: their file names, their grammars and their queries."""

import dataclasses
import functools
import importlib
import pkgutil

import tree_sitter


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """How files of one language are found and read.

    Attributes:
        name: Name used in facts and reports.
        module: Python module that holds the grammar.
        entry: Function of that module that returns the grammar.
        queries: Files of `queries/` that are read as one query, in order.
        extensions: Endings of file names, in lower case, with their dot.
        files: Whole file names.
    """

    name: str
    module: str
    extensions: tuple[str, ...]
    entry: str = "language"
    queries: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class MissingGrammarError(Exception):
    """The grammar of a language is not installed or does not fit the parser."""


LANGUAGES: dict[str, Language] = {
    language.name: language
    for language in (
        Language("bash", "tree_sitter_bash", (".sh", ".bash", ".bats"), files=(".bashrc", ".profile")),
        Language("c", "tree_sitter_c", (".c", ".h")),
        Language("c-sharp", "tree_sitter_c_sharp", (".cs",)),
        Language(
            "cpp",
            "tree_sitter_cpp",
            (".cc", ".cpp", ".cxx", ".c++", ".hh", ".hpp", ".hxx", ".h++", ".ipp", ".inl", ".tpp"),
            queries=("c", "cpp"),
        ),
        Language("go", "tree_sitter_go", (".go",)),
        Language("java", "tree_sitter_java", (".java",)),
        Language("javascript", "tree_sitter_javascript", (".js", ".mjs", ".cjs", ".jsx")),
        Language("php", "tree_sitter_php", (".php", ".phtml"), entry="language_php"),
        Language("python", "tree_sitter_python", (".py", ".pyi", ".pyw")),
        Language(
            "ruby",
            "tree_sitter_ruby",
            (".rb", ".rake", ".gemspec", ".ru"),
            files=("Rakefile", "Gemfile", "Guardfile", "Capfile", "Vagrantfile"),
        ),
        Language("rust", "tree_sitter_rust", (".rs",)),
        Language("tsx", "tree_sitter_typescript", (".tsx",), entry="language_tsx", queries=("typescript", "tsx")),
        Language("typescript", "tree_sitter_typescript", (".ts", ".mts", ".cts"), entry="language_typescript"),
    )
}
"""Every language by its name."""

_BY_EXTENSION = {ending: language.name for language in LANGUAGES.values() for ending in language.extensions}
_BY_FILE = {name: language.name for language in LANGUAGES.values() for name in language.files}


def language_of(path: str) -> str | None:
    """Name of the language of a file, by its name alone; None when it is none of `LANGUAGES`."""
    name = path.rpartition("/")[2]
    if name in _BY_FILE:
        return _BY_FILE[name]
    stem, dot, ending = name.rpartition(".")
    return _BY_EXTENSION.get(f".{ending.lower()}") if dot and stem else None


@functools.cache
def grammar(name: str) -> tuple[tree_sitter.Parser, tree_sitter.Query]:
    """Parser and query of a language, made once a process.

    Raises:
        MissingGrammarError: There is no such language, or its grammar cannot be loaded.
    """
    language = LANGUAGES.get(name)
    if language is None:
        raise MissingGrammarError(f"no language is called {name!r}: known are {', '.join(LANGUAGES)}")
    source = "".join(_query(part) for part in language.queries or (name,))
    try:
        module = importlib.import_module(language.module)
        grammar_ = tree_sitter.Language(getattr(module, language.entry)())
        return tree_sitter.Parser(grammar_), tree_sitter.Query(grammar_, source)
    except (ImportError, AttributeError, ValueError) as error:  # one of another release may not fit the query either
        raise MissingGrammarError(
            f"the grammar of {name} cannot be loaded from {language.module}: {error}; install that package"
        ) from error


def _query(name: str) -> str:
    data = pkgutil.get_data(__package__, f"queries/{name}.scm")  # a worker need not wait for importlib.resources
    if data is None:
        raise MissingGrammarError(f"the query of {name} cannot be read: the package was installed without its data")
    return data.decode()


def missing() -> dict[str, str]:
    """Languages that cannot be read here, each with the reason."""
    reasons = {}
    for name in LANGUAGES:
        try:
            grammar(name)
        except MissingGrammarError as error:
            reasons[name] = str(error)
    return reasons
