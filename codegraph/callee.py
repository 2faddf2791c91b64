"""Names of running functions as runtimes write them, and the definitions that they mean."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

from codegraph import facts

_LONGEST: Final = 1_000
_NESTED: Final = 8
_CLOSURE: Final = "\0"
_MAKER: Final = "\1"
_WORDS: Final = re.compile(
    r"(?:(?:async\*?|new|get|set|static|bound|virtual|unsafe|extern|fn|func|function\*?|def|at|Task"
    r"|(?:block(?: \(\d+ levels\))?|rescue|ensure) in)\s+)+"
)
_QUALIFIER: Final = re.compile(r"(?:\s(?:const|volatile|noexcept)|&|\s){1,8}\Z")
_LAST: Final = re.compile(r"\.(\w+)\Z")
_HASH: Final = re.compile(r"::h[0-9a-f]{8,20}E?\Z")
_ALIAS: Final = re.compile(r"\s*\[as ([^\]]*)\]\s*\Z")
_MARKS: Final = (
    (re.compile(r"\.?<locals>|\{\{?impl(?:#\d+)?\}\}?|\(anonymous (?:namespace|class)\)"), ""),
    (re.compile(r"<class:([\w:]+)>"), r"\1"),
    (re.compile(r"<(?:module|main|top \(required\)|clinit|static>|init_module)>|\{main\}|global code|module code"), ""),
    (re.compile(r"<init>|\.c?ctor\b|<cctor>"), f".{_MAKER}"),
    (re.compile(r"<(\w+)>g__(\w+)\|[\d_]+"), r"\1.\2"),
    (re.compile(r"<(\w+)>b__[\d_]+(?:\.MoveNext)?|lambda\$(\w+)\$\d+|\$anonfun\$(\w+)\$\d+"), rf".\1\2\3.{_CLOSURE}"),
    (re.compile(r"<(\w+)>d__\d+(?:`\d+)?(?:\.MoveNext)?"), r"\1"),
    (re.compile(r"\{\{?closure(?:[#:][^{}]*)?\}\}?|\{lambda[^{}]*\}(?:#\d+)?"), f".{_CLOSURE}"),
    (re.compile(r"\(anonymous(?: function)?\)|/<+|'lambda\d*'"), f".{_CLOSURE}"),
    (re.compile(r"<(?:anonymous|lambda|listcomp|genexpr|dictcomp|setcomp|annotate|unknown)[^<>]*>"), f".{_CLOSURE}"),
    (re.compile(r"\.(?:func\d+|gowrap\d+|deferwrap\d+|\d+)(?=[.-]|\Z)|-range\d+|-fm\Z|\.glob\.\."), f".{_CLOSURE}"),
    (re.compile(r"\(\*?([\w.]+)(?:\[[^\]]*\])?\)(?=\.)"), r"\1"),
)
_AS: Final = re.compile(r"<(?:impl )?&?(?:mut )?(?:dyn )?([^<>]*?) (?:as|for) [^<>]*>")
_IMPL: Final = re.compile(r"<impl [^<>]* for ([^<>]*)>")
_ANGLED: Final = re.compile(r"(?<!operator)<[^<>]*>")
_ROUND: Final = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_SPLIT: Final = re.compile(r"::|->|[.#:\\/]")
_IDENTIFIER: Final = re.compile(r"[\w$@?!=~<>+*%&|^\0\1-]+")
_LENGTH: Final = re.compile(r"(?<!\d)(\d{1,3})_?")
_MAKERS: Final = ("constructor", "__init__", "initialize", "__construct", "new")
_RUNTIME: Final = frozenset([
    "Object", "Module", "exports", "module", "prototype", "this", "_this", "self", "window", "global", "globalThis",
    "Function", "Proxy",
])  # fmt: skip
_TYPES: Final = frozenset({"class", "interface", "type", "module"})


@dataclasses.dataclass(frozen=True, slots=True)
class Callee:
    """What a frame says about its function.

    Attributes:
        path: What stands before the function's own package when it is written as a path (`github.com/a/b` of Go).
        parts: Names from the outermost to the function's own; empty when it has none.
        inside: Whether the running code is a nameless function inside the last part.
        counted: What the nameless function is called if it is no nameless one after all (`func1`).
    """

    path: str = ""
    parts: tuple[str, ...] = ()
    inside: bool = False
    counted: str = ""

    @property
    def name(self) -> str:
        """The function's own name with its type's, dotted; empty when it has none."""
        if not self.parts:
            return ""
        leaf = self.parts[-1]
        above = self.parts[-2] if len(self.parts) > 1 else ""
        return f"{above}.{leaf}" if above[:1].isupper() and above not in _RUNTIME else leaf


def read(text: str, owner: str = "") -> Callee:
    """The names in a function name. No text raises.

    Args:
        text: As the runtime writes it, mangled or not.
        owner: Name of the class that it is known to be in.
    """
    text = text[:_LONGEST].strip()
    text = _demangled(text) or text
    text = _HASH.sub("", _ALIAS.sub("", text))
    made = re.match(r"new ([\w$.]+)\s*\Z", text)
    if made:
        text = f"{made[1]}.{_MAKER}"
    path, text = _without_path(text)
    counted = _LAST.search(text)
    text = _WORDS.sub("", text, count=1)
    for pattern, replacement in _MARKS:
        text = pattern.sub(replacement, text)
    for _ in range(_NESTED):
        plainer = _ANGLED.sub("", _AS.sub(r"\1", _IMPL.sub(r"\1", _ROUND.sub("", text))))
        if plainer == text:
            break
        text = plainer
    words = re.split(r"[(\s]", _QUALIFIER.sub("", text).strip())
    text = next((word for word in reversed(words) if word), "")
    parts = [part.strip("<>&*'\"") or part for part in _SPLIT.split(text) if part]
    inside = bool(parts) and _CLOSURE in parts[-1]
    parts = [part for part in parts if _CLOSURE not in part and _IDENTIFIER.fullmatch(part) and not part.isdigit()]
    if parts == [_MAKER] and owner:
        parts = [owner, _MAKER]
    plain = tuple("constructor" if part == _MAKER else part for part in parts)
    return Callee(path, plain, inside, counted[1] if counted and inside else "")


def _without_path(text: str) -> tuple[str, str]:
    """Go writes the package's path before the name: cut it off behind its last `/`."""
    head = re.match(r"((?:[\w~%!@-]+(?:\.[\w~%!@-]+)*/)+)([\w%-]+)\.(?=[\w(])", text)
    if not head:
        return "", text
    return (head[1] + head[2]).replace("%2e", "."), text[head.end() :]


def _demangled(text: str) -> str:
    """The identifiers of a mangled name (Itanium, Rust, Swift), outermost first; empty when it is not mangled."""
    if not re.match(r"_{1,3}(?:ZN?|R[NIM]|\$s|T0)|\$s\d", text):
        return ""
    names, position = [], 0
    for _ in range(64):
        found = _LENGTH.search(text, position)
        if not found:
            break
        end = found.end() + int(found[1])
        word = text[found.end() : end]
        if end > len(text) or not re.fullmatch(r"[\w$.]+", word):
            position = found.end()
            continue
        names.append(word)
        position = end
        if text.startswith("_ZN") and text[position : position + 1] == "E":
            break
    names = [name for name in names if not re.fullmatch(r"h[0-9a-f]{16}", name)]
    names = [{"_$u7b$$u7b$closure$u7d$$u7d$": "{{closure}}"}.get(name, name) for name in names]
    return "::".join(name for name in names if not name.startswith("_$LT$"))


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """A definition that a frame is in.

    Attributes:
        definition: The definition.
        by: `name`, or `line` when only the line says so.
        line: The frame's line if the definition holds it, otherwise the definition's first line.
        drifted: Whether the frame's line lies outside of the definition.
    """

    definition: facts.Definition
    by: str
    line: int
    drifted: bool = False


def find(callee: Callee, known: facts.Facts, line: int) -> Hit | None:
    """The definition that runs: by its name first; the line only chooses among those of one name."""
    wanted = callee.parts
    if callee.counted:
        found = [each for each in known.definitions if each.name.rsplit(".", 1)[-1] == callee.counted]
        if found:
            return _hit(min(found, key=lambda each: _order(each, wanted, line)), line)
    for place in range(len(wanted) - 1, -1, -1):
        found = _named(wanted[: place + 1], known.definitions)
        last = place == len(wanted) - 1
        if not last:
            found = [each for each in found if each.kind in _TYPES]
        if not found:
            continue
        best = min(found, key=lambda each: _order(each, wanted[:place], line))
        if last and not callee.inside:
            return _hit(best, line)
        inner = enclosing(known.definitions, line)
        if inner is None or not (inner.name == best.name or inner.name.startswith(f"{best.name}.")):
            inner = best
        return _hit(inner, line)
    named = callee.parts and not callee.inside and not _runtime_only(callee)
    inner = None if named else enclosing(known.definitions, line)
    return Hit(inner, "line", line) if inner else None


def _runtime_only(callee: Callee) -> bool:
    return all(part in _RUNTIME for part in callee.parts)


def enclosing(definitions: Sequence[facts.Definition], line: int) -> facts.Definition | None:
    """The innermost definition that holds a line."""
    holding = [each for each in definitions if each.start <= line <= each.end]
    return min(holding, key=lambda each: (each.end - each.start, -each.name.count("."), each.name), default=None)


def _named(wanted: Sequence[str], definitions: Sequence[facts.Definition]) -> list[facts.Definition]:
    leaf = wanted[-1]
    leaves = {leaf}
    if leaf == "constructor":
        leaves |= {*_MAKERS, *wanted[-2:-1]}
    found = [each for each in definitions if each.name.rsplit(".", 1)[-1] in leaves]
    if not found:
        plain = _plain(leaf)
        found = [each for each in definitions if plain and _plain(each.name.rsplit(".", 1)[-1]) == plain]
    return found


def _plain(leaf: str) -> str:
    return leaf.strip("_#$@?!='\"").lower()


def _order(each: facts.Definition, above: Sequence[str], line: int) -> tuple[object, ...]:
    owners = each.name.split(".")[:-1]
    matched, position = 0, len(above)
    for owner in reversed(owners):
        if owner in above[:position]:
            position = max(place for place in range(position) if above[place] == owner)
            matched += 1
    distance = max(each.start - line, line - each.end, 0)
    missing = len(owners) - matched if above else 0
    near = (distance > 0, missing, distance)
    return (-matched, each.kind == "constant", *near, each.end - each.start, each.start, each.name)


def _hit(each: facts.Definition, line: int) -> Hit:
    inside = each.start <= line <= each.end
    return Hit(each, "name", line if inside else each.start, not inside)
