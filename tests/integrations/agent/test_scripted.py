import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import agent, errors
from integrations.agent import port, scripted

SESSION = agent.Session(backend="scripted", id="0b1c7a52-1111-4222-8333-944455556666")


class Player:
    """Runs the program as the worker does: by the backend's command line, in a worktree, with a home."""

    def __init__(self, folder: Path, *turns: list[dict[str, Any]]) -> None:
        self.home, self.worktree, script = folder / "home", folder / "work", folder / "script.json"
        self.home.mkdir()
        self.worktree.mkdir()
        script.write_text(json.dumps({"turns": [{"steps": steps} for steps in turns]}))
        self.backend = scripted.ScriptedBackend(scripted.ScriptedSettings(script=script))

    def start(self, *, resume: bool = False, round_number: int = 1) -> "subprocess.Popen[bytes]":
        request = agent.TurnRequest(
            run="r", prompt="p", session=SESSION, worktree=str(self.worktree), resume=resume, round=round_number
        )
        command = self.backend.command(request, self.home)
        env = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command.argv,
            cwd=self.worktree,
            env=env,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,  # by which its children are known after it was killed
        )

    def run(self, *, resume: bool = False, round_number: int = 1) -> tuple[int, list[dict[str, Any]], str]:
        running = self.start(resume=resume, round_number=round_number)
        out, err = running.communicate(b"p", timeout=30)
        return running.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


def test_every_line_says_that_it_is_scripted(tmp_path: Path) -> None:
    code, lines, _ = Player(tmp_path, [{"say": "hello"}, {"write": {"path": "a/b", "content": "x"}}]).run()
    assert code == 0
    assert [line["type"] for line in lines] == ["session", "text", "tool", "result"]
    assert all(line["scripted"] is True and line["backend"] == "scripted" for line in lines)
    assert lines[0]["session_id"] == SESSION.id


def test_a_session_that_exists_is_not_started_again(tmp_path: Path) -> None:
    player = Player(tmp_path, [{"say": "hello"}])
    player.run()
    code, lines, err = player.run()
    assert (code, lines) == (1, [])
    assert player.backend.corrected_resume((), err, resume=False) is True


def test_a_session_that_does_not_exist_is_not_resumed(tmp_path: Path) -> None:
    player = Player(tmp_path, [{"say": "hello"}])
    code, _, err = player.run(resume=True)
    assert code == 1
    assert player.backend.corrected_resume((), err, resume=True) is False


def test_turn_n_plays_script_turn_n_and_then_nothing(tmp_path: Path) -> None:
    player = Player(tmp_path, [{"say": "one"}], [{"say": "two"}])
    texts = [player.run(resume=n > 1, round_number=n)[1][-1]["text"] for n in (1, 2, 3)]
    assert texts == ["one", "two", "the script has 2 turns, this is turn 3: nothing changed"]


def test_the_transcript_is_where_the_backend_looks_for_it(tmp_path: Path) -> None:
    player = Player(tmp_path, [{"say": "one"}])
    assert player.backend.transcript(player.home, SESSION) is None
    player.run()
    assert player.backend.transcript(player.home, SESSION) is not None


STEPS: list[dict[str, Any]] = [
    {"write": {"path": "a.txt", "content": "alpha beta\n"}},
    {"append": {"path": "log", "content": "one\n"}},
    {"edit": {"path": "a.txt", "old": "alpha", "new": "alpha alpha"}},
    {"commit": {"message": "First"}},
    {"append": {"path": "log", "content": "two\n"}},
    {"cost": 0.5},
    {"write": {"path": "b.txt", "content": "b"}},
    {"delete": {"path": "b.txt"}},
    {"edit": {"path": "a.txt", "old": "beta", "new": "gamma"}},
    {"commit": {"message": "Second"}},
    {"cost": 0.25},
    {"append": {"path": "log", "content": "three\n"}},
    {"sleep": 0.05},
    {"commit": {"message": "Third"}},
]


@pytest.mark.parametrize("seed", range(6))
def test_kill_9_at_any_moment_and_resume_leaves_what_one_run_leaves(tmp_path: Path, seed: int) -> None:
    """Each attempt gets a little longer, so the kills fall into different steps; the last one runs to its end."""
    player = Player(tmp_path, STEPS)
    env = {"HOME": str(player.home), "PATH": os.environ["PATH"]}
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=player.worktree, env=env, check=True)
    kills = 0
    for attempt in range(12):
        running = player.start(resume=player.backend.transcript(player.home, SESSION) is not None)
        try:
            running.communicate(b"p", timeout=0.05 + 0.007 * seed + 0.02 * attempt)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.communicate()
            kills += 1
            _wait_until_alone(running.pid)  # git is a child of the killed process: what it was doing ends on its own
            continue
        break
    else:
        code, lines, err = player.run(resume=True)
        assert (code, lines[-1]["type"]) == (0, "result"), err
    assert kills >= 1
    log = subprocess.run(
        ["git", "log", "--format=%s"], cwd=player.worktree, env=env, capture_output=True, text=True, check=True
    )
    assert log.stdout.split() == ["Third", "Second", "First"]
    assert (player.worktree / "log").read_text() == "one\ntwo\nthree\n"
    assert (player.worktree / "a.txt").read_text() == "alpha alpha gamma\n"
    facts = json.loads((player.home / ".scripted" / f"{SESSION.id}.json").read_text())
    assert facts["cost_usd"] == 0.75


def _wait_until_alone(session: int) -> None:
    until = time.monotonic() + 20
    while _members(session):
        assert time.monotonic() < until, "what the killed process began does not end"
        time.sleep(0.01)


def _members(session: int) -> list[int]:
    """The processes of a session that still do anything."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, _, of = (place / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                found.append(int(place.name))
    return found


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"edit": {"path": "a", "old": "x", "new": "y"}}, "neither the old nor the new text"),
        ({"run": {"command": "exit 3"}}, "ended with 3, the script expects 0"),
        ({"dance": 1}, "'dance' is no step"),
        ({"write": {"path": "../out", "content": ""}}, "outside the worktree"),
        ({"wait_for_file": {"path": "never", "seconds": 0.1}}, "did not appear"),
    ],
)
def test_a_step_that_cannot_be_done_fails_the_turn_in_words(tmp_path: Path, step: dict[str, Any], words: str) -> None:
    code, lines, _ = Player(tmp_path, [step]).run()
    assert code == 1
    assert words in lines[-1]["text"]
    assert lines[-1]["reason"] == "script"


def test_an_edit_that_is_already_made_counts_as_done(tmp_path: Path) -> None:
    player = Player(tmp_path, [{"edit": {"path": "a", "old": "x", "new": "y"}}])
    (player.worktree / "a").write_text("y")
    assert player.run()[0] == 0


def test_an_expected_failure_is_none(tmp_path: Path) -> None:
    assert Player(tmp_path, [{"run": {"command": "exit 3", "expect_exit": 3}}]).run()[0] == 0


def test_scripts_are_chosen_by_the_runs_name(tmp_path: Path) -> None:
    settings = scripted.ScriptedSettings(folder=tmp_path)
    (tmp_path / "default.json").write_text("{}")
    (tmp_path / "acme__api__7.json").write_text("{}")
    assert settings.script_of("issue/acme/api/7").name == "acme__api__7.json"
    assert settings.script_of("issue/acme/api/8").name == "default.json"
    assert settings.script_of("experiment").name == "default.json"
    with pytest.raises(errors.ConfigurationError, match="has no script for issue/acme/api/8"):
        scripted.ScriptedSettings(folder=tmp_path / "none").script_of("issue/acme/api/8")


def test_a_backend_without_a_script_is_not_ready() -> None:
    assert scripted.ScriptedBackend().discover({}).why_not == "FETTLE_SCRIPTED names no file or folder of scripts"
    with pytest.raises(errors.ConfigurationError, match="FETTLE_SCRIPTED names no file or folder"):
        scripted.ScriptedSettings().script_of("issue/acme/api/8")


@given(st.binary(max_size=300), st.integers(0, 255) | st.none())
def test_no_output_but_the_result_line_is_a_success(noise: bytes, exit_code: int | None) -> None:
    backend = scripted.ScriptedBackend()
    verdict = backend.fold([event for line in noise.split(b"\n") for event in backend.parse(line)], exit_code)
    assert verdict.outcome is not agent.Outcome.FINISHED


def ask(player: Player, answer: agent.Answer | None, round_number: int) -> tuple[agent.Outcome, port.Verdict]:
    request = agent.TurnRequest(
        run="r",
        prompt="p",
        session=SESSION,
        worktree=str(player.worktree),
        resume=round_number > 1,
        round=round_number,
        answer=answer,
    )
    command = player.backend.command(request, player.home)
    env = {"HOME": str(player.home), "PATH": os.environ["PATH"]}
    done = subprocess.run(command.argv, cwd=player.worktree, env=env, input=b"p", capture_output=True)
    events = [event for line in done.stdout.splitlines() for event in player.backend.parse(line)]
    verdict = player.backend.fold(events, done.returncode, request)
    return verdict.outcome, verdict


ASKING: list[dict[str, Any]] = [
    {"append": {"path": "log", "content": "before\n"}},
    {"ask": {"tool": "Bash", "text": "echo asked >> log", "run": "echo asked >> log"}},
    {"append": {"path": "log", "content": "after\n"}},
]


@pytest.mark.parametrize(
    ("allow", "log", "denials"), [(True, "before\nasked\nafter\n", ()), (False, "before\nafter\n", ("Bash",))]
)
def test_a_question_ends_the_process_and_its_answer_goes_on_with_that_call(
    tmp_path: Path, allow: bool, log: str, denials: tuple[str, ...]
) -> None:
    player = Player(tmp_path, ASKING, [{"say": "the next turn"}])
    outcome, verdict = ask(player, None, 1)
    assert outcome is agent.Outcome.NEEDS_APPROVAL
    assert verdict.question == agent.Question(id="ask-1-2", tool="Bash", text="echo asked >> log")
    assert (player.worktree / "log").read_text() == "before\n"
    answer = agent.Answer(question_id="ask-1-2", allow=allow, by="kim")
    outcome, verdict = ask(player, answer, 2)
    assert (outcome, verdict.denials) == (agent.Outcome.FINISHED, denials)
    assert (player.worktree / "log").read_text() == log
    outcome, _ = ask(player, answer, 2)
    assert outcome is agent.Outcome.FINISHED
    assert (player.worktree / "log").read_text() == log, "an answered turn that is asked for again repeats nothing"
    assert ask(player, None, 3)[1].summary == "the next turn"


def test_an_answer_to_another_question_is_none(tmp_path: Path) -> None:
    player = Player(tmp_path, ASKING)
    ask(player, None, 1)
    other = agent.Answer(question_id="ask-1-1", allow=True, by="kim")
    assert ask(player, other, 2)[0] is agent.Outcome.NEEDS_APPROVAL
    assert (player.worktree / "log").read_text() == "before\n"


def test_another_session_than_was_asked_for_is_no_success(tmp_path: Path) -> None:
    player = Player(tmp_path, [{"say": "hello"}])
    done = player.run()
    events = [event for line in done[1] for event in player.backend.parse(json.dumps(line).encode())]
    other = agent.Session(backend="scripted", id="0b1c7a52-2222-4222-8333-944455556666")
    request = agent.TurnRequest(run="r", prompt="p", session=other, worktree="/w")
    assert player.backend.fold(events, 0).outcome is agent.Outcome.FINISHED
    verdict = player.backend.fold(events, 0, request)
    assert (verdict.outcome, verdict.reason) == (agent.Outcome.PROTOCOL_ERROR, "other_session")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "no JSON object"),
        ("{", "cannot be read as JSON"),
        ('{"turns": "one"}', 'a list of "turns"'),
        ('{"turns": [{"steps": [{"say": "a"}]}, {"steps": ["say"]}]}', "in turn 2"),
        ('{"turns": [{"steps": [{"say": "a"}]}]}', ""),
    ],
)
def test_a_file_that_is_no_script_is_told_before_it_is_played(tmp_path: Path, text: str, problem: str) -> None:
    script = tmp_path / "script.json"
    script.write_text(text)
    found = scripted.problem_with(script)
    assert (problem in found) if problem else not found
