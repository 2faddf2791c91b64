"""The prompt of a WORKFLOW.md: a strict and small Jinja, which always ends and in which texts of others stay marked.

Nothing is called, included or multiplied, a loop runs over a list of the task and holds no other loop, and filters have
a budget: so rendering takes time and memory in proportion to the file. Every mistake is found without rendering.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import jinja2
import jinja2.sandbox
from jinja2 import filters, nodes, tests

from domain import errors
from domain.workflow_policy import Code, Finding
from integrations import prompts
from integrations.workflow_file import task


class Trusted(str):
    """Text of the installation's own: it is put out as it stands."""

    __slots__ = ()


LONGEST: Final = 100_000
"""Characters of a rendered prompt."""
_BUDGET: Final = 4_000_000
"""Characters that the filters of one rendering may read and write."""
_DEEPEST: Final = 12
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.,/:#@+?=&%~-]{0,200}")
_INLINE: Final = 300
_FILTERS: Final = (
    *("capitalize", "count", "d", "default", "first", "indent", "int", "join", "last", "length", "list", "lower"),
    *("replace", "reverse", "round", "sort", "string", "title", "tojson", "trim", "truncate", "unique", "upper"),
    "wordcount",
)
_OURS: Final[Mapping[str, Callable[..., Any]]] = {
    "data": lambda *given: Trusted(prompts.as_data(*given)),
    "clean": prompts.clean,
    "bounded": prompts.bounded,
}
FILTERS: Final = (*_FILTERS, *_OURS)
_TESTS: Final = (
    *("defined", "undefined", "none", "in", "eq", "equalto", "ne", "lt", "le", "gt", "ge", "true", "false"),
    *("string", "number", "odd", "even"),
)
_KEEP_LISTS: Final = frozenset({"sort", "unique", "reverse", "list"})
_NODES: Final = (
    *(nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Const),
    *(nodes.If, nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg),
    *(nodes.Filter, nodes.Test, nodes.Keyword, nodes.Assign, nodes.Concat, nodes.Add, nodes.Sub, nodes.List),
    *(nodes.Tuple, nodes.Template),
)
_LIQUID: Final = (
    (re.compile(r"\|\s*\w+\s*:"), "Liquid writes `| default: x`, Jinja writes `| default(x)`"),
    (re.compile(r"\{%-?\s*elsif\b"), "Liquid writes `elsif`, Jinja writes `elif`"),
    (re.compile(r"\{%-?\s*(?:end)?unless\b"), "Liquid writes `unless`, Jinja writes `if not`"),
    (re.compile(r"\{%-?\s*assign\b"), "Liquid writes `assign`, Jinja writes `set`"),
    (re.compile(r"\.size\b"), "Liquid writes `.size`, Jinja writes `| length`"),
)


def check(text: str, first_line: int = 1) -> list[Finding]:
    """Every mistake of a template. `first_line` is the line of the file on which it begins."""
    if not text.strip():
        return []
    found = list(_mistakes(text))
    if not found:
        found = [mistake for sample in task.SAMPLES if (mistake := _trial(text, sample))][:1]
    return [mistake.model_copy(update={"line": mistake.line + first_line - 1}) for mistake in found]


def render(text: str, about: task.Task, source: str = "the template") -> str:
    """Fill in the template.

    Raises:
        TemplateFailed: it has a mistake, or grows beyond its bounds with this task.
    """
    found = list(_mistakes(text))
    if found:
        raise errors.TemplateFailed(f"{source} cannot be rendered, {found[0]}: correct it on the base branch")
    try:
        return _render(text, about)
    except _Failures as failure:
        raise errors.TemplateFailed(
            f"{source} cannot be rendered for {about.identifier} ({failure}): correct it on the base branch"
        ) from failure


_Failures: Final = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What an expression can do wrong with the values it meets, beside what strictness refuses."""


def _trial(text: str, sample: task.Task) -> Finding | None:
    try:
        _render(text, sample)
    except _Failures as failure:
        sentence = f"rendering for an example task fails ({failure}): correct it"
        return Finding(code=Code.TEMPLATE_FAILS, line=_failing_line(failure), sentence=sentence)
    return None


def _failing_line(failure: BaseException) -> int:
    """Jinja maps the frames of compiled templates to template lines."""
    line, frame = 1, failure.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _render(text: str, about: task.Task) -> str:
    pieces: list[str] = []
    size = 0
    for piece in _environment().from_string(text).generate(**about.variables(Trusted)):
        size += len(piece)
        if size > LONGEST:
            raise jinja2.TemplateRuntimeError(f"the prompt grows beyond {LONGEST} characters")
        pieces.append(piece)
    return re.sub(r"\n(?:[ \t]*\n){2,}", "\n\n", "".join(pieces)).strip()


def _mistakes(text: str) -> Iterator[Finding]:
    try:
        tree = _environment().parse(text)
        found = list(_Walk().walk(tree))
        if not found:
            _environment().from_string(text)
    except jinja2.TemplateSyntaxError as error:
        words = (error.message or "wrong syntax").rstrip(".")
        yield _finding(Code.TEMPLATE_UNREADABLE, error.lineno, words, text)
    except (RecursionError, MemoryError, SyntaxError):
        yield _finding(Code.TEMPLATE_UNREADABLE, 1, "the template is nested too deep", text)
    else:
        for code, line, sentence in found:
            yield _finding(code, line, sentence, text)


def _finding(code: Code, line: int, sentence: str, text: str) -> Finding:
    lines = text.split("\n")
    here = lines[line - 1] if 0 < line <= len(lines) else ""
    hint = next((words for pattern, words in _LIQUID if pattern.search(here)), "")
    return Finding(code=code, line=line, sentence=f"{sentence}: {hint or 'correct it'}")


Mistake = tuple[Code, int, str]


class _Walk:
    """Looks at every node of a template once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        """Names that the template makes itself: by name the list that a loop takes them from, or empty."""

    def walk(
        self, node: nodes.Node, depth: int = 0, *, setting: bool = False, looping: bool = False
    ) -> Iterator[Mistake]:
        if not isinstance(node, _NODES):
            yield _no(node, f"`{_word(node)}` is not part of this template language")
            return
        if depth > 10 * _DEEPEST:
            yield _no(node, "it is nested too deep")
            return
        if isinstance(node, nodes.For):
            yield from self._loop(node, depth, looping=looping)
            return
        if isinstance(node, nodes.Assign):
            setting = True
            if isinstance(node.target, nodes.Name):
                self._known.setdefault(node.target.name, "")
            else:
                yield _no(node, "`set` gives a value to one name")
        yield from self._look(node, setting=setting)
        for child in node.iter_child_nodes():
            yield from self.walk(child, depth + 1, setting=setting, looping=looping)

    def _loop(self, node: nodes.For, depth: int, *, looping: bool) -> Iterator[Mistake]:
        listed = self._list_of(node.iter)
        if looping or node.recursive:
            yield _no(node, "a loop inside of a loop is not part of this template language")
        elif not listed:
            yield _no(node, f"a loop runs over one of {', '.join(task.LISTS)}")
        elif not isinstance(node.target, nodes.Name):
            yield _no(node, "a loop has one name")
        else:
            before = dict(self._known)
            self._known |= {node.target.name: listed, "loop": "loop"}
            for part in (*node.body, *((node.test,) if node.test else ())):
                yield from self.walk(part, depth + 1, looping=True)
            self._known = before
            yield from self.walk(node.iter, depth + 1)
            for part in node.else_:
                yield from self.walk(part, depth + 1, looping=looping)

    def _list_of(self, node: nodes.Node) -> str:
        while isinstance(node, nodes.Filter) and node.name in _KEEP_LISTS and node.node is not None:
            node = node.node
        path = _path(node)
        return path if path in task.LISTS else ""

    def _look(self, node: nodes.Node, *, setting: bool) -> Iterator[Mistake]:
        if isinstance(node, nodes.Name) and node.ctx == "load":
            if node.name not in task.NAMES and node.name not in self._known:
                yield _unknown(node, f"'{node.name}' is unknown", task.NAMES)
        elif isinstance(node, nodes.Getattr) or (isinstance(node, nodes.Getitem) and _text_key(node)):
            yield from self._member(node)
        elif isinstance(node, nodes.Filter):
            yield from _filter(node)
        elif isinstance(node, nodes.Test) and node.name not in _TESTS:
            yield _unknown(node, f"there is no test '{node.name}'", _TESTS)
        elif isinstance(node, nodes.Concat) and setting:
            yield _no(node, "`~` is not part of `set`")

    def _is_wrong(self, node: nodes.Node) -> bool:
        return isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem) and any(self._look(node, setting=False))

    def _member(self, node: nodes.Getattr | nodes.Getitem) -> Iterator[Mistake]:
        if self._is_wrong(node.node):
            return  # told once, where it begins
        name = node.attr if isinstance(node, nodes.Getattr) else _text_key(node)
        parent = _path(node.node)
        members = task.MEMBERS.get(self._known.get(parent, parent), ())
        if name not in members:
            whole = f"{parent or 'this value'} has no '{name}'"
            yield _unknown(node, whole, members) if members else _no(node, whole)


def _filter(node: nodes.Filter) -> Iterator[Mistake]:
    if node.name not in FILTERS:
        yield _unknown(node, f"there is no filter '{node.name}'", FILTERS)
        return
    most = 100 if node.name == "indent" else LONGEST
    for argument in (*node.args, *(keyword.value for keyword in node.kwargs)):
        plain = isinstance(argument, nodes.Const) or (node.name in {"default", "d"} and bool(_path(argument)))
        value = argument.value if isinstance(argument, nodes.Const) else None
        if not plain or (isinstance(value, str) and len(value) > _INLINE) or (isinstance(value, int) and value > most):
            yield _no(node, f"the filter '{node.name}' takes short texts and numbers up to {most}")


def _path(node: nodes.Node) -> str:
    if isinstance(node, nodes.Name):
        return str(node.name)
    if isinstance(node, nodes.Getattr):
        parent = _path(node.node)
        return f"{parent}.{node.attr}" if parent else ""
    return ""


def _text_key(node: nodes.Getitem) -> str:
    return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else ""


def _no(node: nodes.Node, sentence: str) -> Mistake:
    return Code.TEMPLATE_UNREADABLE, node.lineno, sentence


def _unknown(node: nodes.Node, sentence: str, known: Iterable[str]) -> Mistake:
    return Code.TEMPLATE_FAILS, node.lineno, f"{sentence}, there are {', '.join(sorted(known))}"


def _word(node: nodes.Node) -> str:
    words = {"Call": "calling a function", "Include": "include", "Mul": "*", "Pow": "**", "Mod": "%", "Div": "/"}
    return words.get(type(node).__name__, type(node).__name__.lower())


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-"})

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise jinja2.TemplateRuntimeError(f"'{operator}' takes numbers; texts are joined with `~`")
        return super().call_binop(context, operator, left, right)


def _environment() -> _Sandbox:
    environment = _Sandbox(
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # the reader is a model; what others wrote is marked in `_put_out`
        finalize=_put_out,
    )
    spent = _Budget()
    builtin = {name: filters.FILTERS[name] for name in _FILTERS}
    environment.filters = {name: spent.on(work) for name, work in {**builtin, **_OURS}.items()}
    environment.tests = {name: tests.TESTS[name] for name in _TESTS}
    environment.globals.clear()
    return environment


class _Budget:
    """Counts the characters that the filters of one rendering handle."""

    def __init__(self) -> None:
        self._left = _BUDGET

    def on(self, work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)  # Jinja marks some with what they want to be given
        def counted(*args: Any, **kwargs: Any) -> Any:
            result = work(*args, **kwargs)
            self._left -= sum(len(each) for each in (*args, result) if isinstance(each, str))
            if self._left < 0:
                raise jinja2.TemplateRuntimeError(f"its filters handle more than {_BUDGET} characters")
            return result

        return counted


def _put_out(value: Any) -> str:
    """What one expression adds to the prompt.

    Whatever is not plainly a name, a number or an address is somebody's text, also when filters have been at it; it is
    put into a mark that it cannot close. So a template need not say which of its values are dangerous.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | jinja2.Undefined):
        return str(value)  # an undefined value says what is missing
    if isinstance(value, Mapping):
        return _put_out(str(value))
    if not isinstance(value, str):
        return ", ".join(_put_out(each) for each in value)
    if isinstance(value, Trusted) or _PLAIN.fullmatch(value):
        return str(value)
    body = prompts.clean(value).strip()
    if len(body) > _INLINE or "\n" in body:
        return f"\n{prompts.as_data(value, 'Text of the issue')}\n"
    mark = f"data-{hashlib.sha256(body.encode()).hexdigest()[:12]}"
    return f"<{mark}>{body}</{mark}>"
