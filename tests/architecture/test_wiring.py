"""The wiring of workflows, activities and wire names: what is missing or doubled is listed by name."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio import common, workflow

from domain import errors, wire
from workers import topology

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "activities",
    "cli",
    "devforge",
    "domain",
    "integrations",
    "sandbox",
    "store",
    "web",
    "workers",
    "workflows",
)
ALEMBIC_ENVIRONMENT = "store.migrations.env"
"""Runs migrations when it is imported: only alembic may import it."""
CALLS = {"execute_activity_method", "start_activity_method", "execute_local_activity_method"}


def modules_of(package: str) -> list[str]:
    folder = ROOT / package
    found = pkgutil.walk_packages([str(folder)], prefix=f"{package}.")
    return [package, *(m.name for m in found if "sample" not in m.name and not m.name.startswith("store.migrations."))]


def defined_workflows() -> dict[str, type]:
    found = {}
    for name in modules_of("workflows"):
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, type) and value.__module__ == name and "__temporal_workflow_definition" in vars(value):
                found[f"{name}.{value.__name__}"] = value
    return found


def defined_activities() -> Iterator[tuple[str, str]]:
    """Qualified name and wire name of every activity."""
    for name in modules_of("activities"):
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, type) and value.__module__ == name:
                for member in vars(value).values():
                    definition = getattr(member, "__temporal_activity_definition", None)
                    if definition is not None:
                        yield f"{name}.{value.__name__}.{member.__name__}", definition.name


def wire_values() -> list[str]:
    return [value for name, value in vars(wire).items() if name.isupper() and isinstance(value, str)]


def workflow_trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "workflows").glob("*.py")):
        yield path, ast.parse(path.read_text())


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, node


def test_every_workflow_is_registered_exactly_once() -> None:
    assert Counter(topology.WORKFLOWS) == Counter(defined_workflows().values())


@pytest.mark.parametrize("definition", topology.WORKFLOWS, ids=lambda d: d.__name__)
def test_a_workflow_has_a_wire_name_and_is_pinned(definition: type) -> None:
    known = workflow._Definition.must_from_class(definition)
    assert known.name in wire_values()
    assert known.versioning_behavior is common.VersioningBehavior.PINNED


def test_every_activity_has_a_wire_name_of_its_own() -> None:
    names = dict(defined_activities())
    assert set(names.values()) <= set(wire_values())
    assert [n for n, count in Counter(names.values()).items() if count > 1] == []


def test_every_wire_name_of_an_activity_is_implemented_and_called() -> None:
    source = (ROOT / "domain" / "wire.py").read_text().split("# --- activities")[1].split("# --- updates")[0]
    declared = {getattr(wire, line.split(":")[0]) for line in source.splitlines() if ': Final = "' in line}
    implemented = {name for _, name in defined_activities()}
    methods = {qualified.rpartition(".")[2]: name for qualified, name in defined_activities()}
    called = {
        methods[node.args[0].attr]
        for _, tree in workflow_trees()
        for name, node in calls(tree)
        if name in CALLS and isinstance(node.args[0], ast.Attribute)
    }
    assert declared == implemented == called


def test_every_activity_call_is_typed_and_has_options_and_a_summary() -> None:
    wrong = []
    for path, tree in workflow_trees():
        for name, node in calls(tree):
            if "activity" not in name or not name.startswith(("execute", "start")):
                continue
            keywords = {k.arg for k in node.keywords}
            splats = [ast.unparse(k.value) for k in node.keywords if k.arg is None]
            typed = bool(node.args) and isinstance(node.args[0], ast.Attribute)
            if name not in CALLS or not typed or "summary" not in keywords or not splats:
                wrong.append(f"{path.name}:{node.lineno} {ast.unparse(node)[:80]}")
            elif not splats[0].startswith("options."):
                wrong.append(f"{path.name}:{node.lineno} options come from activities.options, not {splats[0]}")
    assert wrong == []


def test_every_row_of_the_option_table_bounds_an_attempt() -> None:
    from activities import options

    rows = {name: row for name, row in vars(options).items() if name.isupper() and isinstance(row, dict)}
    rows["agent_turn"] = options.agent_turn(3600)
    rows["watch"] = options.watch(60)
    unbounded = [n for n, row in rows.items() if not n.startswith("_") and "start_to_close_timeout" not in row]
    assert unbounded == []
    assert len(rows) > 5


def test_every_timer_has_a_summary() -> None:
    wrong = [
        f"{path.name}:{node.lineno}"
        for path, tree in workflow_trees()
        for name, node in calls(tree)
        if name == "wait_condition"
        and any(k.arg == "timeout" for k in node.keywords)
        and not any(k.arg == "timeout_summary" for k in node.keywords)
    ]
    assert wrong == []


def test_workflow_code_has_nothing_that_breaks_replay() -> None:
    banned = {
        ("asyncio", "wait"),
        ("asyncio", "as_completed"),
        ("asyncio", "TaskGroup"),
        ("asyncio", "sleep"),
        ("datetime", "now"),
        ("time", "time"),
        ("uuid", "uuid4"),
        ("os", "environ"),
    }
    wrong = [
        f"{path.name}:{node.lineno} {ast.unparse(node)}"
        for path, tree in workflow_trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in banned
    ]
    assert wrong == []


def test_every_error_says_what_a_retry_can_do() -> None:
    def leaves(cls: type[errors.FettleError]) -> Iterator[type[errors.FettleError]]:
        yield cls
        for child in cls.__subclasses__():
            yield from leaves(child)

    documented = errors.__doc__ or ""
    missing = [
        cls.__name__
        for cls in leaves(errors.FettleError)
        if cls.__module__ == errors.__name__ and cls.__name__ not in documented
    ]
    assert missing == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_imports_alone(package: str) -> None:
    """In one fresh interpreter a package, with the import system's memory of ours emptied before each module."""
    program = (
        "import importlib, sys\n"
        f"packages = {PACKAGES!r}\n"
        "for name in sys.argv[1:]:\n"
        "    for known in [m for m in sys.modules if m.partition('.')[0] in packages]:\n"
        "        del sys.modules[known]\n"
        "    importlib.import_module(name)\n"
    )
    names = [n for n in modules_of(package) if not n.endswith("__main__")]
    done = subprocess.run(
        [sys.executable, "-c", program, *names], cwd=ROOT, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_activities_say_why_running_twice_is_safe() -> None:
    wanting = []
    for qualified, _ in defined_activities():
        module, _, method = qualified.rpartition(".")
        module, _, cls = module.rpartition(".")
        function = getattr(getattr(importlib.import_module(module), cls), method)
        text = " ".join((function.__doc__ or "").split()) + " ".join(
            (importlib.import_module(module).__doc__ or "").split()
        )
        if "twice is safe" not in text and "Running it twice" not in text:
            wanting.append(qualified)
    assert wanting == []
