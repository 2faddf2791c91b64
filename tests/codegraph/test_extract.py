"""What is read out of each language: names with their owners, spans, kinds, bases, calls, imports and packages."""

import pytest

from codegraph import extract, facts
from tests.codegraph import samples

NAMES = {
    "bash": ["LIMIT", "NAME", "first", "second"],
    "c": ["LIMIT", "SQUARE", "node_t", "node", "pair", "colour", "callback", "names", "split", "grab"],
    "c-sharp": [
        *("Cart", "Cart.Limit", "Cart.Count", "Cart.Cart", "Cart.Add", "Cart.Add.Local"),
        *("IHolder", "IHolder.Hold", "Kind", "Pair"),
    ],
    "cpp": [
        *("shop", "shop.Cart", "shop.Cart.Cart", "shop.Cart.add", "shop.Cart.operator==", "shop.Items", "shop.Kind"),
        *("shop.Cart.total", "shop.Cart.~Cart", "reference"),
    ],
    "go": ["Store", "Reader", "Name", "first", "shared", "Store.Put", "main"],
    "java": [
        *("Cart", "Cart.LIMIT", "Cart.add", "Cart.Cart", "Cart.Kind", "Cart.Kind.m", "Cart.Pair"),
        *("Cart.Port", "Cart.Port.open"),
    ],
    "javascript": [
        *("lazy", "Reply", "Reply.make", "Reply.value", "Reply.#hidden", "status", "method", "served", "handlers"),
        *("get", "put", "x-y", "onEnd", "outer", "outer.arrow", "outer.within"),
    ],
    "php": ["Controller", "Controller.LIMIT", "Controller.run", "Seen", "Seen.see", "Logs", "Kind", "top"],
    "python": ["LIMIT", "Request", "Request.blueprint", "Request.blueprint.inner", "top"],
    "ruby": [
        *("Shop", "Shop.LIMIT", "Shop.Cart", "Shop.Cart.initialize", "Shop.Cart.make", "Shop.Cart.empty?"),
        *("Shop.Cart.again", "top"),
    ],
    "rust": [
        *("elsewhere", "Layer", "Layer", "Layer.Error", "Layer.call", "&mut Layer", "&mut Layer.eq"),
        *("Handler", "Handler.ID", "Handler.handle", "define", "tests", "tests.works"),
    ],
    "tsx": ["Page"],
    "typescript": [
        *("Shape", "Query", "outer", "inner", "Colour", "useThing"),
        *("Panel", "Panel.handler", "Panel.constructor", "Panel.later"),
    ],
}

IMPORTS: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "bash": [("./lib.sh", ()), ("$HERE/more.sh", ())],
    "c": [("<stdio.h>", ()), ("a/b.h", ())],
    "c-sharp": [("System", ()), ("Acme.Util", ()), ("Acme.Long.Name", ())],
    "cpp": [("<vector>", ())],
    "go": [("fmt", ()), ("example.com/a/b", ())],
    "java": [("java.util.List", ()), ("com.acme.Util", ("join",)), ("com.acme.other.*", ())],
    "javascript": [
        ("./pair", ("one", "two")),
        ("whole", ()),
        ("base", ("default", "named")),
        ("./again", ()),
        ("./lazy", ()),
    ],
    "php": [
        ("Acme\\Mail\\Sender", ()),
        ("Acme\\Shop", ("Cart", "Item")),
        ("Acme\\join", ()),
        ("boot.php", ()),
        ("./near.php", ()),
    ],
    "python": [("os", ()), ("sys", ()), (".", ("near", "far")), ("..pkg.mod", ("one", "two"))],
    "ruby": [("json/add", ()), ("./near", ())],
    "rust": [
        ("crate::a", ("b", "self")),
        ("crate::a::c", ("d", "e")),
        ("std::fmt", ()),
        ("super", ()),
        ("self::elsewhere", ()),
        ("serde", ()),
    ],
    "tsx": [],
    "typescript": [("./types", ("A", "B")), ("main", ("default",))],
}

PACKAGES = {"c-sharp": "Acme.Shop", "go": "main", "java": "com.acme.shop", "php": "App\\Http"}


def _read(language: str) -> facts.Facts:
    return extract.extract(samples.ALL[language], language)


def _of(language: str, name: str) -> facts.Definition:
    return next(each for each in _read(language).definitions if each.name == name)


@pytest.mark.parametrize("language", sorted(samples.ALL))
def test_definitions_carry_the_names_of_what_is_around_them(language: str) -> None:
    assert [each.name for each in _read(language).definitions] == NAMES[language]


@pytest.mark.parametrize("language", sorted(samples.ALL))
def test_imports_name_the_module_and_what_is_taken(language: str) -> None:
    assert [(each.module, each.names) for each in _read(language).imports] == IMPORTS[language]


@pytest.mark.parametrize("language", sorted(samples.ALL))
def test_a_file_says_its_own_package(language: str) -> None:
    assert _read(language).package == PACKAGES.get(language, "")


@pytest.mark.parametrize(
    ("language", "name", "kind", "start", "end", "signature"),
    [
        ("bash", "second", "function", 7, 10, "second()"),
        ("c", "grab", "function", 14, 17, "static inline void *grab(void)"),
        ("c", "SQUARE", "macro", 4, 4, "#define SQUARE(x) ((x) * (x))"),
        ("c", "names", "constant", 11, 11, 'static const char *names[] = { "a" }'),
        ("c-sharp", "Cart.Add", "method", 12, 20, "public async Task<int> Add(int a)"),
        ("cpp", "shop", "module", 2, 13, "namespace shop"),
        ("cpp", "shop.Cart", "class", 3, 10, "class Cart final : public Base<T>, private other::Mixin"),
        ("go", "Store.Put", "method", 28, 31, "func (s *Store[K]) Put(a int) error"),
        ("go", "Reader", "interface", 15, 18, "type Reader interface"),
        ("java", "Cart.add", "method", 12, 16, "public <U> void add(int a) throws Failure"),
        ("javascript", "Reply", "class", 5, 9, "export default class Reply extends mixin(Base)"),
        ("javascript", "status", "function", 10, 10, "res.status = function status (code)"),
        ("php", "Controller", "class", 8, 13, "abstract class Controller extends Base implements Seen, \\Acme\\Other"),
        ("python", "Request", "class", 10, 20, "class Request(Base, other.Mixin[int], metaclass=Meta)"),
        ("python", "Request.blueprint", "method", 15, 20, 'def blueprint(self, path: str = "") -> str'),
        ("python", "Request.blueprint.inner", "function", 17, 18, "def inner()"),
        ("ruby", "Shop.Cart.make", "method", 11, 13, "def self.make"),
        ("ruby", "top", "function", 20, 20, "def top"),
        ("rust", "Layer", "class", 7, 11, "pub struct Layer<T>"),
        ("rust", "Layer.call", "method", 15, 19, "fn call(&self) -> u8"),
        ("rust", "tests.works", "function", 35, 36, "fn works()"),
        ("tsx", "Page", "function", 1, 3, "export function Page()"),
        ("typescript", "Panel", "class", 8, 13, "export class Panel<T> extends View<T> implements Shape<T>, Other"),
        ("typescript", "useThing", "function", 7, 7, "export const useThing = async <T>(a: T): Promise<T>"),
    ],
)
def test_a_definition_has_a_kind_a_span_with_its_decorators_and_a_signature(
    language: str, name: str, kind: str, start: int, end: int, signature: str
) -> None:
    found = _of(language, name)

    assert (found.kind, found.start, found.end, found.signature) == (kind, start, end, signature)


@pytest.mark.parametrize(
    ("language", "name", "bases"),
    [
        ("c-sharp", "Cart", ("Base", "IHolder")),
        ("cpp", "shop.Cart", ("Base", "other::Mixin")),
        ("go", "Store", ("Base", "other.Queue")),
        ("go", "Reader", ("io.Reader",)),
        ("java", "Cart", ("Base", "Holder", "Seen")),
        ("javascript", "Reply", ("mixin",)),
        ("php", "Controller", ("Base", "Seen", "\\Acme\\Other", "Logs", "Counts")),
        ("python", "Request", ("Base", "other.Mixin")),
        ("ruby", "Shop.Cart", ("Base::Record", "Enumerable", "One", "Two")),
        ("rust", "Handler", ("Clone", "Send")),
        ("rust", "&mut Layer", ("PartialEq",)),
        ("typescript", "Shape", ("Base", "Other")),
        ("typescript", "Panel", ("View", "Shape", "Other")),
    ],
)
def test_bases_are_names_without_their_arguments(language: str, name: str, bases: tuple[str, ...]) -> None:
    assert _of(language, name).bases == bases


@pytest.mark.parametrize(
    ("language", "name", "calls"),
    [
        ("bash", "second", ("first", "grep")),
        ("c", "split", ("one", "two")),
        ("c-sharp", "Cart.Add", ("Item", "Later", "Local", "Send", "Test")),
        ("cpp", "shop.Cart.add", ("far", "local", "near")),
        ("cpp", "shop.Cart.total", ("Item", "call")),
        ("go", "Store.Put", ("Println", "Store")),
        ("java", "Cart.add", ("Item", "Override", "forEach", "price", "seen")),
        ("javascript", "Reply.value", ("Thing",)),
        ("php", "Controller.run", ("Item", "helper", "own", "still")),
        ("python", "Request", ("decorate", "route")),
        ("python", "Request.blueprint", ("inner", "property")),
        ("python", "Request.blueprint.inner", ("helper",)),
        ("ruby", "Shop.Cart.again", ("call_it",)),
        ("rust", "Layer.call", ("Other", "format", "helper", "write")),
        ("tsx", "Page", ("Card", "Layout")),
    ],
)
def test_calls_belong_to_the_innermost_definition(language: str, name: str, calls: tuple[str, ...]) -> None:
    assert _of(language, name).calls == calls


def test_calls_outside_of_every_definition_are_those_of_the_file() -> None:
    assert _read("bash").calls == (".", "second", "source")
    assert _read("javascript").calls == ("on", "require")
    assert _read("python").calls == ()


def test_a_line_belongs_to_the_innermost_definition_and_what_is_left_to_the_file() -> None:
    found = _read("python")
    bags = dict(zip([each.name for each in found.definitions], found.chunks, strict=False))

    assert bags["Request"] == {
        **{"decorate": 1, "app": 1, "route": 1, "class": 1, "Request": 1, "Base": 1, "other": 1, "Mixin": 1},
        **{"int": 1, "metaclass": 1, "Meta": 1, "Class": 1, "words": 1},
    }
    assert bags["Request.blueprint.inner"] == {"def": 1, "inner": 1, "return": 1, "helper": 1, "path": 1}
    assert "helper" not in bags["Request.blueprint"]
    assert found.chunks[-1]["Module"] == 1
    assert len(found.chunks) == len(found.definitions) + 1


@pytest.mark.parametrize("language", sorted(samples.ALL))
def test_chunks_hold_every_word_of_the_text_once(language: str) -> None:
    found = _read(language)
    whole = extract.words_only(samples.ALL[language], language).chunks[0]
    total: dict[str, int] = {}
    for chunk in found.chunks:
        for word, count in chunk.items():
            total[word] = total.get(word, 0) + count

    assert found.parsed
    assert total == whole


@pytest.mark.parametrize("language", sorted(samples.ALL))
def test_windows_line_ends_and_a_byte_order_mark_change_no_name_and_no_span(language: str) -> None:
    plain = _read(language)
    other = extract.extract(b"\xef\xbb\xbf" + samples.ALL[language].replace(b"\n", b"\r\n"), language)

    def outline(found: facts.Facts) -> list[tuple[str, str, int, int]]:
        return [(each.name, each.kind, each.start, each.end) for each in found.definitions]

    assert outline(other) == outline(plain)
    assert [each.module for each in other.imports] == [each.module for each in plain.imports]
    assert other.lines == plain.lines


def test_words_keep_their_case_and_their_script_and_leave_numbers_out() -> None:
    text = 'x = "Grüße an 東京" # camelCase snake_case 3px 0x1F a1 _ __ “quoted”\n' + "w" * 65 + "\n"

    assert extract.words_only(text.encode(), "python").chunks[0] == {
        **{"Grüße": 1, "an": 1, "東京": 1, "camelCase": 1, "snake_case": 1, "a1": 1, "__": 1, "quoted": 1},
    }


def test_a_comment_between_a_decorator_and_its_function_does_not_part_them() -> None:
    found = extract.extract(b"@a\n# why\n@b(1)\n\ndef f():\n    pass\ndef g(): pass\n", "python")

    assert [(each.name, each.start, each.end) for each in found.definitions] == [
        ("f", 1, 6),
        ("g", 7, 7),
    ]


def test_a_signature_has_neither_comments_nor_annotations() -> None:
    text = b"class A {\n  // why\n  @Override // really\n  /* so */ @Named(1) void run(int a) {}\n}\n"
    found = extract.extract(text, "java")

    assert [(each.name, each.signature) for each in found.definitions] == [
        ("A", "class A"),
        ("A.run", "void run(int a)"),
    ]


def test_a_constant_gives_its_name_to_nothing_inside_it() -> None:
    found = extract.extract(b"export const api = { get: () => 1, nested: { put() {} } }\n", "typescript")

    assert [each.name for each in found.definitions] == ["api", "get", "put"]


def test_facts_survive_the_store() -> None:
    for language in samples.ALL:
        found = _read(language)
        assert facts.decode(facts.encode(found)) == found
