"""Two runs on one repository edit the same line: both merge, and main only ever holds what CI has tested."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from domain import refs, run
from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(150)]

Name = Callable[[str], str]


def _turns(stack: Stack, name: str, word: str) -> list[list[dict[str, Any]]]:
    """Edit the line; when sent back for a conflict, merge the base's tip, which the test names, and keep both."""
    tip, both = stack.gates / f"{name}.tip", "printf 'red\\nblue\\n' > colour.txt"
    resolve = f'git merge -q "$(cat {tip})" >/dev/null 2>&1; {both}; git add -A; git commit -q -m "Keep both colours"'
    return [
        [{"edit": {"path": "colour.txt", "old": "none", "new": word}}, *stack.gate(f"{name}-{word}").steps],
        [*stack.gate(f"{name}-repair").steps, {"run": {"command": resolve}}, {"say": "both colours stay"}],
    ]


async def test_conflicting_runs_both_merge_over_a_repair(stack: Stack, name: Name) -> None:
    at = name("conflict")
    ci = "grep -q red colour.txt || grep -q blue colour.txt"
    repo = await stack.repository(at, {"colour.txt": "none\n"}, ci=ci)
    issues = [await stack.ask(repo, f"Make it {word}", *_turns(stack, at, word)) for word in ("red", "blue")]
    gates = [stack.gate(f"{at}-{word}") for word in ("red", "blue")]
    for gate in gates:
        await gate.reached()
    for gate in gates:
        gate.open()

    first, second = await _first_merged(stack, issues)
    repair = stack.gate(f"{at}-repair")
    await repair.reached()
    (stack.gates / f"{at}.tip").write_text(stack.books.first_parents(repo)[0].sha)
    repair.open()
    state = await stack.merged(second)
    assert state.used.conflict == 1
    for issue in (first, second):
        await stack.books.check_merged_once(issue)
    assert stack.books.show(repo, "colour.txt") == "red\nblue"
    assert len(stack.books.first_parents(repo)) == 3
    stack.books.check_main_was_tested(repo)


async def _first_merged(stack: Stack, issues: list[refs.Issue]) -> tuple[refs.Issue, refs.Issue]:
    async def look() -> tuple[refs.Issue, refs.Issue] | None:
        for issue, other in (issues, issues[::-1]):
            state = await stack.state_of(issue)
            if state is not None and state.closed and state.phase is run.Phase.DONE:
                return issue, other
        return None

    return await until(look, 40, "one of the two merged")


async def test_unrelated_changes_that_break_together_are_not_both_merged_untested(stack: Stack, name: Name) -> None:
    """Each change is green alone, and both touch other files; together CI fails, so the second one is sent back."""
    at = name("semantic")
    repo = await stack.repository(at, {"a.txt": "0\n", "b.txt": "0\n"}, ci='test "$(cat a.txt)$(cat b.txt)" != 11')
    gates = [stack.gate(f"{at}-{path}") for path in "ab"]
    issues = []
    for path, gate in zip("ab", gates, strict=True):
        edit = {"edit": {"path": f"{path}.txt", "old": "0", "new": "1"}}
        undo = f"git merge -q \"$(cat '{stack.gates / at}.tip')\"; echo 2 > {path}.txt"
        repair = [*stack.gate(f"{at}-repair").steps, {"run": {"command": undo}}, {"say": "made it two"}]
        issues.append(await stack.ask(repo, f"Raise {path}", [edit, *gate.steps], repair))
    await asyncio.gather(*(gate.reached() for gate in gates))
    for gate in gates:
        gate.open()
    first, second = await _first_merged(stack, issues)
    await stack.gate(f"{at}-repair").reached()
    (stack.gates / f"{at}.tip").write_text(stack.books.first_parents(repo)[0].sha)
    stack.gate(f"{at}-repair").open()
    state = await stack.merged(second)
    assert state.used.ci == 1
    for issue in (first, second):
        await stack.books.check_merged_once(issue)
    stack.books.check_main_was_tested(repo)
