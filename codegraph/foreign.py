"""Where code that is not of this repository lives on disk: roots of runtimes, of installed packages and of copies.

The table says only which package a path belongs to; whether that package is ours is decided by who asks.
"""

import dataclasses
import re
from typing import Final

from codegraph import spelling

RUNTIME: Final = "runtime"


@dataclasses.dataclass(frozen=True, slots=True)
class Root:
    """The innermost root that a path lies under.

    Attributes:
        kind: `runtime`, or how its packages are installed: `python`, `script`, `go`, `rust`, `ruby`, `php`, `copy`.
        package: Name of the package, as its registry spells it; empty for a runtime.
        start: Count of parts above the folder that makes it a root (`node_modules`, `vendor`).
        rest: Parts below the package's root folder; for `python`, and for `go` without a version, from the package's
            own name on, since where the name ends is not written on disk.
    """

    kind: str
    package: str = ""
    start: int = 0
    rest: tuple[str, ...] = ()


_VERSION: Final = r"v?\d+\.\d[^/]*"
_HOSTED: Final = r"(?:[\w-]+\.)+(?:com|org|net|io|dev|in|sh|ai|co|cloud|tech|xyz|me|us|eu|de)"
_GO_LIBRARY: Final = (
    "archive|bufio|bytes|cmp|compress|container|context|crypto|database|debug|embed|encoding|errors|expvar|flag|fmt|go|"
    "hash|html|image|index|io|iter|log|maps|math|mime|net|os|path|plugin|reflect|regexp|runtime|slices|sort|strconv|"
    "strings|sync|syscall|testing|text|time|unicode|unique|unsafe"
)
_NODE_LIBRARY: Final = (
    "process|modules|timers|streams|per_context|bootstrap|crypto|deps|main|util|errors|async_hooks|event_target|fs|http|"
    "http2|net|url|vm|webstreams|worker|child_process|cluster|dgram|dns|perf|readline|test_runner"
)
_RUNTIMES: Final = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        (r"/(?:lib|lib64|libexec)/(?:python|pypy|graalpy)-?\d[\d.]*t?(?:\.zip)?/", re.I),
        (r"/lib/python\d[\d.]*\.zip/|/lib-python/\d[\d.]*/|/lib_pypy/", 0),
        (r"/python-?\d[\d.]*(?:-\d+)?/lib/|/(?:ana|mini|micro)?(?:conda|forge)\d?/(?:envs/[^/]+/)?lib/", re.I),
        (r"/Python\.framework/|/msys64/|/cygwin\d*/", re.I),
        (r"/(?:local|lib|lib64|opt|sdk|libexec|Cellar|toolcache)/go(?:lang)?(?:-?\d[\w.]*)?(?:/[\d.]+)?"
         r"(?:/(?:x64|arm64|libexec))*/src/", 0),
        (rf"/(?:go|GOROOT|\$GOROOT|go-?\d[\w.]*|go\d[\w.]*\.\w+-\w+)/src/(?={_GO_LIBRARY})(?:{_GO_LIBRARY})/", 0),
        (r"/pkg/mod/golang\.org/toolchain@[^/]+/src/", 0),
        (r"/rustc/[^/]+/|/rustlib/src/|/library/(?:std|core|alloc|proc_macro|panic_\w+|backtrace)/src/", 0),
        (r"/lib/ruby/(?:site_ruby/)?\d[\d.]*/(?!gems/)|/lib/jruby/|/lib/ruby/stdlib/", 0),
        (rf"\A/(?:node:)?internal/(?:{_NODE_LIBRARY})/[\w/]+(?:\.js)?\Z", 0),
        (r"/(?:usr|opt/local|mingw\w*)/(?:local/)?(?:include|lib/gcc|share/php)/|/Xcode\.app/|/Library/Developer/", 0),
        (r"/glibc[-_][^/]*/|/sysdeps/|/musl-[\d.]+/|/(?:libstdc\+\+-v3|llvm-project|compiler-rt|libcxx)/", 0),
        (r"/(?:@vite|@react-refresh|@id|__vite|__webpack|\(webpack\))(?:/|\Z)|/webpack/(?:bootstrap|runtime|hot)\b", 0),
        (r"/(?:jdk|jre|openjdk|java)-?[\d._]+[^/]*/|/jrt/|/java\.base/|/kotlin-stdlib/", 0),
        (r"/_/src/(?:libraries|coreclr|mono|runtime)/System\.|/dotnet/shared/|/Reference Assemblies/", 0),
    )
)  # fmt: skip
_INSTALLED: Final = tuple(
    (kind, re.compile(pattern, flags))
    for kind, pattern, flags in (
        ("copy", r"/\.nuget/packages/(?P<package>[^/]+)/[^/]+/", 0),
        ("copy", r"/\.m2/repository/(?P<path>(?:[^/]+/)+)[^/]+\.jar!?/|/[^/]+\.(?:jar|war|aar)!?/", 0),
        ("copy", r"/_deps/(?P<package>[^/]+?)-(?:src|build)/", 0),
        ("copy", r"/(?:vcpkg|conan|\.conan2?|bazel-[^/]+/external)/(?:[^/]+/)*?(?P<package>[^/]+)/", 0),
        ("copy", rf"/(?:_?vendor(?:ed|_packages)?|_vendored_packages|third[-_]?party|3rd[-_]?party|Pods|Checkouts"
                 rf"|subprojects)/(?P<package>(?!{_HOSTED}/)[^/]+)(?:/|\Z)", re.I),
        ("python", r"/(?:site|dist)-packages/", re.I),
        ("python", r"/[^/]+\.(?:egg|whl)/", re.I),
        ("python", r"/(?:__pypackages__/\d[\d.]*/lib)/", 0),
        ("script", r"/(?:node_modules|bower_components|jspm_packages)/(?:\.(?:vite|cache)/(?:deps\w*/)?)?"
                   r"(?P<package>@[^/]+/[^/]+|[^/]+)/", 0),
        ("script", r"\A/(?:npm/)?(?P<package>@[^/@]+/[^/@]+|[^/@]+)@(?:v?\d|latest|next)[^/]*/", 0),
        ("script", r"\A/x/(?P<package>[^/@]+)@[^/]+/", 0),
        ("go", rf"/pkg/mod/(?P<package>[^@]+)@[^/]+/|\A/(?P<trimmed>{_HOSTED}/[^@]+)@v[^/]+/", 0),
        ("go", rf"(?:/src|/vendor|\A)/(?={_HOSTED}/(?:[^/]+/)+[^/]+\.(?:go|s|c)\Z)", 0),
        ("rust", rf"/registry/src/[^/]+/(?P<package>[^/]+?)-{_VERSION}/", 0),
        ("rust", rf"(?:\A|/vendor|/registry)/(?P<package>[a-zA-Z][\w-]*?)-{_VERSION}/(?=.*\.rs\Z)", 0),
        ("rust", r"/git/checkouts/(?P<package>[^/]+?)-[0-9a-f]{12,20}/[0-9a-f]{6,40}/", 0),
        ("ruby", rf"/gems/(?P<package>[^/]+?)-(?:{_VERSION}|[0-9a-f]{{7,40}})/", 0),
        ("php", r"/vendor/(?P<package>[a-z0-9][\w.-]*/[a-z0-9][\w.-]*)/(?=.*\.(?:php|inc|phtml)\Z)", 0),
    )
)  # fmt: skip
_SYSTEM: Final = re.compile(
    r"\A/(?:usr/)?lib(?:32|64)?/(?:[\w-]+-linux-\w+/)?[^/]+\.so[\d.]*\Z|\A/System/Library/|\A/usr/lib/\w[^/]*\.dylib\Z"
    r"|\A[A-Za-z]:/Windows/|\A/(?:apex|system/(?:lib\w*|framework))/",
    re.I,
)
_OLD_NODE: Final = re.compile(
    r"(?:_?(?:http|tls|stream)_?\w*|events|timers|net|fs|module|vm|domain|dgram|dns|zlib|util|assert|child_process|cluster"
    r"|bootstrap_node|node|repl|readline|url|querystring|punycode|string_decoder|process|console|buffer)\.js"
)


def root(spelled: spelling.Spelling) -> Root | None:
    """The innermost foreign root of a path; None when it lies under none that is known."""
    if spelled.runtime:
        return Root(RUNTIME)
    parts = spelled.parts
    text = "/" + "/".join(parts)
    end, best = 0, None
    for pattern in _RUNTIMES:
        for found in pattern.finditer(text):
            if found.end() > end:
                end, best = found.end(), Root(RUNTIME, start=text.count("/", 0, found.start()))
    for kind, pattern in _INSTALLED:
        for found in pattern.finditer(text):
            if found.end() >= end:
                end, best = found.end(), _installed(kind, found, text)
    if best is None and not spelled.rooted and len(parts) == 1 and _OLD_NODE.fullmatch(parts[0]):
        return Root(RUNTIME)
    return best


def _installed(kind: str, found: re.Match[str], text: str) -> Root:
    rest = tuple(text[found.end() :].split("/")) if found.end() < len(text) else ()
    names = [value for value in found.groupdict().values() if value]
    package = names[0].rstrip("/") if names else ""
    if kind == "python":
        package = rest[0].removesuffix(".py") if rest else ""
    elif kind == "go" and not package:
        package = "/".join(rest[:-1])
    elif kind == "copy" and "/" in package:
        package = package.rsplit("/", 2)[-2]
    return Root(kind, package, text.count("/", 0, found.start()), rest)


_DEPLOYED: Final = frozenset([
    "app", "apps", "application", "srv", "usr", "src", "code", "workspace", "workspaces", "work", "build", "builds",
    "home", "users", "root", "opt", "var", "task", "www", "html", "site", "wwwroot", "htdocs", "public", "current",
    "release", "releases", "deploy", "deployment", "deployments", "runner", "project", "projects", "repo", "repos",
    "repository", "service", "services", "server", "backend", "frontend", "tmp", "mnt", "data", "function",
    "functions", "lambda", "layer", "bundle", "dist", "out", "go", "vercel", "path0", "path1", "output", "local",
    "private", "a", "b", "s", "d", "git", "source", "sources", "github", "checkout", "ci", "jenkins", "agent",
    "_work", "actions", "production", "staging", "live", "versions", "container", "docker", "proc", "self", "cwd",
    "target", "debug", "web", "webapp", "publish", "bin", "obj", "stage",
])  # fmt: skip
_STAMP: Final = re.compile(r"v?\d[\w.T:+-]*|[0-9a-f]{7,64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)


def deployed(parts: tuple[str, ...], names: frozenset[str]) -> bool:
    """Whether folders say nothing but where something was put: deploy folders, stamps, home folders, our own names."""
    after_home = False
    for part in parts:
        lower = part.lower()
        if not (after_home or lower in _DEPLOYED or lower in names or _STAMP.fullmatch(part)):
            return False
        after_home = lower in {"home", "users"}
    return True


def go_library(package: str) -> bool:
    """Whether Go's own library has a package of this name."""
    return package.split("/", 1)[0] in _GO_LIBRARY.split("|")


def system_library(binary: str) -> bool:
    """Whether a binary is one that the operating system brings along."""
    return _SYSTEM.search(binary[:4_096].replace("\\", "/")) is not None
