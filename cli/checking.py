"""Check a WORKFLOW.md on this machine: every mistake with its line, what has no effect, and what the rest means."""

from pathlib import Path
from typing import Any

from cli import failures, render
from domain.numerals import counted
from domain.workflow_policy import FILE_LIMIT, FILE_NAME, Code, Finding, Workflow
from integrations import prompts, turn_prompt
from integrations.workflow_file import reading


def check(place: Path, *, with_prompt: bool, as_json: bool) -> int:
    """Print the findings; 1 when the file could not be used."""
    path = place / FILE_NAME if place.is_dir() else place
    parsed = _parsed(path)
    text = _prompt(parsed.workflow) if with_prompt and not parsed.mistakes else ""
    if as_json:
        render.emit_json(_answer(path, parsed, text))
    else:
        _say(path, parsed, text)
    return failures.FAILED if parsed.mistakes else failures.DONE


def _parsed(path: Path) -> reading.Parsed:
    try:
        with path.open("rb") as file:
            found = file.read(FILE_LIMIT + 1)
        # What is beyond the limit is not read, and a character that the limit cuts is no damage.
        return reading.parse(found.decode("utf-8", "strict" if len(found) <= FILE_LIMIT else "replace"))
    except FileNotFoundError:
        code, sentence = Code.MISSING_FILE, f"there is no file {path}: name it, or the folder that holds {FILE_NAME}"
    except OSError as failure:
        code, sentence = Code.UNREADABLE, f"{path} cannot be read ({failure.strerror}): correct its permissions"
    except UnicodeDecodeError as damage:
        code, sentence = Code.UNREADABLE, f"{path} is not UTF-8 (byte {damage.start}): save it as that"
    return reading.Parsed(Workflow(), (Finding(code=code, sentence=sentence),))


def _prompt(workflow: Workflow) -> str:
    from domain.brief import Brief

    brief = Brief(
        issue="acme/api#12",
        title="Round the total once, at the end",
        body="Each line is rounded by itself, so the total is off by a cent.",
        author="ada",
        base_branch="main",
        branch="fettle/issue-12-round-the-total-once",
        verify_command=workflow.gates.verify_command,
        url="https://forge.example/acme/api/issues/12",
        labels=("bug",),
        priority=3,
        **workflow.brief(),
    )
    return turn_prompt.render(prompts.Library(), brief).text


def _answer(path: Path, parsed: reading.Parsed, text: str) -> dict[str, Any]:
    found = [finding.model_dump(mode="json") for finding in parsed.findings]
    settings = parsed.workflow.model_dump(mode="json", exclude={"prompt", "source", "problem", "issue"})
    return {
        "path": str(path),
        "usable": not parsed.mistakes,
        "mistakes": [each for each, f in zip(found, parsed.findings, strict=True) if f.is_mistake],
        "notes": [each for each, f in zip(found, parsed.findings, strict=True) if not f.is_mistake],
        "settings": settings if not parsed.mistakes else None,
        "prompt": text or None,
    }


def _say(path: Path, parsed: reading.Parsed, text: str) -> None:
    out = render.printer()
    for finding in parsed.findings:
        place = f"{path}:{finding.line}" if finding.line else str(path)
        kind = "mistake" if finding.is_mistake else "note"
        out.print(render.clean(f"{place}: {kind}: {finding.sentence} [{finding.code}]"))
    mistakes, notes = len(parsed.mistakes), len(parsed.findings) - len(parsed.mistakes)
    if mistakes:
        count = f"{counted(mistakes, 'mistake')}, {counted(notes, 'note')}"
        out.print(render.clean(f"{path}: {count}: runs would not use this version"))
        return
    rows = [(key, str(value)) for key, value in _set(parsed.workflow)]
    out.print(render.clean(f"{path}: no mistakes, {counted(notes, 'note')}"))
    if rows:
        out.print(render.facts(rows))
    if text:
        out.print(render.clean_lines(f"\n{text}"))


def _set(workflow: Workflow) -> list[tuple[str, object]]:
    """What the file says, by section and key."""
    said = workflow.model_dump(mode="json", exclude_unset=True, exclude={"prompt", "source", "problem", "issue"})
    rows: list[tuple[str, object]] = []
    for section, values in said.items():
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        rows += [(f"{section}.{key}".rstrip("."), _short(value)) for key, value in pairs]
    rows.append(("prompt", f"{len(workflow.prompt)} characters" if workflow.prompt else "Fettle's own"))
    return rows


def _short(value: object) -> str:
    words = ", ".join(map(_short, value)) if isinstance(value, list) else str(value)
    line = " ".join(words.split())
    return line if len(line) <= 100 else f"{line[:97]}…"
