"""What the pages say about files, settings and commands is so."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

from devforge import ci
from domain import run, wire
from domain.policy import RepositoryPolicy, RetryBudgets
from integrations.agent import registry
from tests.docs import grammar, pages
from workers import settings, settings_sources

_LINK: Final = re.compile(r"(?<!`)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_OTHER_VARIABLES: Final = {"FETTLE_CONFIG", "FETTLE_OPERATOR", "FETTLE_TEMPORAL_CLI", "FETTLE_TESTS_FIRST"}

each_page = pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)


@each_page
def test_relative_links_lead_somewhere(page: Path) -> None:
    missing = []
    for match in _LINK.finditer(pages.prose(page)):
        target, _, anchor = match["target"].partition("#")
        if "://" in target:
            continue
        found = (page.parent / target).resolve() if target else page
        if not found.exists() or (anchor and anchor not in _anchors(found)):
            missing.append(match["target"])
    assert not missing


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", pages.prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_images_are_pictures_of_a_decent_size_with_words(page: Path) -> None:
    for words, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        data = (page.parent / target).read_bytes()
        assert data.startswith(_PNG)
        assert len(data) < 300_000, f"{target} has {len(data)} bytes"
        assert len(words) > 15, f"{target} needs words for those who do not see it"


def test_the_table_of_search_attributes_has_every_value_that_a_run_can_show() -> None:
    text = (pages.ROOT / "docs" / "temporal-ui.md").read_text(encoding="utf-8")
    rows = {
        name: set(re.findall(r"`([\w-]+)`", words))
        for name, words in re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.M)
    }
    never = {run.HoldKind.CIRCUIT_BREAKER, run.Phase.VERIFYING_RECOVERY}
    assert set(run.HoldKind) - never <= rows[wire.SA_HOLD]
    assert set(run.Phase) - never == rows[wire.SA_PHASE]
    assert set(registry.BACKENDS) == rows[wire.SA_AGENT]


def test_generated_parts_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(pages.ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("title", re.findall(r"^#+ fettle (.+)$", (pages.ROOT / "docs/cli.md").read_text(), re.M))
def test_commands_page_lists_the_options_of_help(title: str) -> None:
    """The page is made of the functions' signatures, the help of what typer makes of them: they must agree."""
    text = (pages.ROOT / "docs/cli.md").read_text(encoding="utf-8")
    section = re.split(r"^#+ ", text.split(f" fettle {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    listed = set(re.findall(r"`(--[\w-]+)`", "\n".join(line for line in section.splitlines() if line.startswith("|"))))
    shown = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", _options_panel(grammar.help_of("fettle", *title.split()))))
    assert listed == shown - {"--help"}


def _options_panel(text: str) -> str:
    """The first words of each row of the table of options: the rest is prose, which may name other options."""
    rows = re.findall(r"^│ (?:\*  )?\s*(-.*?)  ", text, re.MULTILINE)
    pairs = re.findall(r"^│ (?:\*  )?\s*--[\w-]+\s+(--no-[\w-]+|-\w|--[\w-]+)\s", text, re.MULTILINE)
    return "\n".join([*rows, *pairs])


@each_page
def test_settings_that_are_named_exist(page: Path) -> None:
    """A name that ends in an underscore stands for several."""
    known = _variables() | _OTHER_VARIABLES
    named = set(re.findall(r"\bFETTLE_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    assert not named - known


def _variables() -> set[str]:
    fields = list(settings.Settings.model_fields)
    for name, field in settings.Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            fields += [f"{name}.{inner}" for inner in field.annotation.model_fields]
    return {settings_sources.PREFIX + key.upper().replace(".", settings_sources.NESTED) for key in fields}


@each_page
def test_durations_and_policy_keys_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    policy = set(RepositoryPolicy.model_fields) | set(RetryBudgets.model_fields)
    known = policy | set(settings.Settings.model_fields)
    assert not set(re.findall(r"`(\w+_seconds)`", text)) - known
    assert not set(re.findall(r"--policy '?([a-z]\w+)=", text)) - policy


@each_page
def test_search_attributes_that_are_named_exist(page: Path) -> None:
    named = set(re.findall(r"\bFettle(?:Kind|Repo|Phase|Hold|Severity|Agent|NeedsHuman|\w+)\b", pages.prose(page)))
    assert not named - {*wire.KEYWORD_ATTRIBUTES, *wire.BOOL_ATTRIBUTES}


@each_page
def test_tests_that_are_named_exist(page: Path) -> None:
    """Promises point at tests by name; a renamed test would leave an empty promise."""
    defined = {
        node.name
        for path in (pages.ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = set(re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")))
    assert not named - defined
    for target in re.findall(r"\btests/[\w/]+\.py\b", page.read_text(encoding="utf-8")):
        assert (pages.ROOT / target).exists(), target


def test_every_workflow_is_described() -> None:
    text = (pages.ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    workflows = {value for key, value in vars(wire).items() if key.endswith("_WORKFLOW")}
    assert not {name for name in workflows if f"`{name}`" not in text}


def test_every_command_is_on_the_commands_page_and_every_page_in_the_readme() -> None:
    readme = (pages.ROOT / "README.md").read_text(encoding="utf-8")
    own = [page for page in pages.PAGES if page.parent == pages.ROOT / "docs"]
    assert not [pages.name(page) for page in own if f"({pages.name(page)})" not in readme]


def test_settings_file_of_the_docs_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = pages.blocks(pages.ROOT / "docs/configuration.md", "toml")
    token = tmp_path / "token"
    token.write_text("x" * 40)
    text = re.sub(r'token_file = ".*"', f'token_file = "{token}"', block.text)
    assert tomllib.loads(text)["forge"]["token_file"] == str(token)
    (tmp_path / "fettle.toml").write_text(text)
    for variable in [name for name in os.environ if name.startswith("FETTLE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("FETTLE_STATE_DIR", str(tmp_path))
    assert settings.load().ci_poll_seconds == 60


def test_declaration_of_checks_in_the_docs_is_accepted() -> None:
    (block,) = pages.blocks(pages.ROOT / "docs/devforge.md", "json")
    declared = ci.Declaration.model_validate(json.loads(block.text))
    assert [check.name for check in declared.checks] == ["tests"]


@each_page
def test_commands_in_the_text_exist(page: Path) -> None:
    for command in pages.inline_commands(page):
        program, *rest = pages.words(command)
        if rest and rest[0] != "…":
            grammar.check_options(program, rest)


@pytest.mark.parametrize("number", range(1, 10))
def test_decision_records_are_one_screen_and_whole(number: int) -> None:
    (page,) = (pages.ROOT / "docs/decisions").glob(f"{number:03}-*.md")
    text = page.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert text.startswith(f"# {number:03}: ")
    for heading in ("Facts", "Decision", "What it costs", "Rejected", "What would reopen it"):
        assert f"\n## {heading}\n" in text
    assert "\nWe will " in text
