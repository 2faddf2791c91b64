"""What holds for the parser of every backend, whatever its CLI prints: it never raises, and it never takes a process
for a finished turn without the CLI's own sign of success and exit code 0."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import agent
from integrations.agent import port, registry
from tests.integrations.agent.streams_recorded import RECORDED, Recorded

BACKENDS = registry.backends(registry.AgentSettings())
SUCCESS = frozenset({agent.Outcome.FINISHED, agent.Outcome.NEEDS_APPROVAL})
EXITS = st.one_of(st.none(), st.sampled_from([0, 0, 1, 2, 41, 53, 130, 137, 143, 144, 173]), st.integers(0, 255))
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "error", "success"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
every_backend = pytest.mark.parametrize("name", sorted(BACKENDS))


def events_of(name: str, lines: Iterable[bytes]) -> list[agent.Event]:
    return [event for line in lines for event in BACKENDS[name].parse(line)]


def verdict_of(name: str, lines: Iterable[bytes], exit_code: int | None, **facts: Any) -> port.Verdict:
    return BACKENDS[name].fold(events_of(name, lines), exit_code, request_of(name, **facts) if facts else None)


def request_of(name: str, **facts: Any) -> agent.TurnRequest:
    session = agent.Session(backend=name, id=facts.pop("session", RECORDED[name].session))
    return agent.TurnRequest(run="issue/a/b/1", prompt="Fix it", worktree="/state/w", session=session, **facts)


def objects_in(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def says_success(recorded: Recorded, lines: Iterable[bytes]) -> bool:
    return any(recorded.is_success(value) for value in objects_in(lines))


def believed_only_with_a_sign(name: str, lines: Sequence[bytes], exit_code: int | None) -> None:
    """The property itself."""
    verdict = verdict_of(name, lines, exit_code)
    if verdict.outcome in SUCCESS:
        assert exit_code == 0
        assert says_success(RECORDED[name], lines)
    assert verdict.cost_usd is None or 0 <= verdict.cost_usd < float("inf")


def mutated(name: str) -> st.SearchStrategy[list[bytes]]:
    """Lines of a real process: some left out, twice, in another order, with values replaced, or cut in the middle."""
    recorded = RECORDED[name].lines

    @st.composite
    def draw_lines(draw: Callable[..., Any]) -> list[bytes]:
        lines = [draw(st.sampled_from(recorded)) for _ in range(draw(st.integers(0, 10)))]
        return [_mutated(draw, line) for line in lines]

    return draw_lines()


def _mutated(draw: Callable[..., Any], line: bytes) -> bytes:
    match draw(st.integers(0, 4)):
        case 0 | 1:
            return line
        case 2:
            return line[: draw(st.integers(0, len(line)))]
        case 3:
            value = json.loads(line)
            place = value
            while True:
                key = draw(st.sampled_from(sorted(place)))
                if isinstance(place[key], dict) and place[key] and draw(st.booleans()):
                    place = place[key]
                    continue
                place[key] = draw(values)
                return json.dumps(value).encode()
        case _:
            return line + draw(st.binary(max_size=10))


@every_backend
@given(data=st.data())
@QUICK
def test_arbitrary_bytes_are_never_a_finished_turn(name: str, data: st.DataObject) -> None:
    lines = data.draw(st.lists(st.binary(max_size=60), max_size=6))
    assert verdict_of(name, lines, data.draw(EXITS)).outcome not in SUCCESS


@every_backend
@given(data=st.data())
@QUICK
def test_arbitrary_json_never_raises(name: str, data: st.DataObject) -> None:
    keys = st.sampled_from(sorted({key for value in objects_in(RECORDED[name].lines) for key in value}))
    objects = st.dictionaries(keys | st.text(max_size=6), values, max_size=6)
    lines = [json.dumps(value).encode() for value in data.draw(st.lists(objects, max_size=6))]
    believed_only_with_a_sign(name, lines, data.draw(EXITS))


@every_backend
@given(data=st.data())
@QUICK
def test_a_damaged_stream_is_believed_only_with_the_sign_of_success(name: str, data: st.DataObject) -> None:
    believed_only_with_a_sign(name, data.draw(mutated(name)), data.draw(EXITS))


@every_backend
@given(data=st.data())
@QUICK
def test_every_order_of_a_stream_without_its_sign_of_success_is_no_finished_turn(
    name: str, data: st.DataObject
) -> None:
    recorded = RECORDED[name]
    others = [line for line in recorded.lines if not recorded.is_success(json.loads(line))]
    lines = data.draw(st.permutations(others * 2))
    assert verdict_of(name, lines[: data.draw(st.integers(0, len(lines)))], 0).outcome not in SUCCESS


@every_backend
def test_the_recorded_process_is_a_finished_turn(name: str) -> None:
    verdict = verdict_of(name, RECORDED[name].lines, 0)
    assert (verdict.outcome, verdict.summary) == (agent.Outcome.FINISHED, "Done.")
    assert not verdict.retryable


@every_backend
@pytest.mark.parametrize("exit_code", [None, 1, 2, 130, 137, 143])
def test_the_sign_of_success_without_exit_code_0_is_no_finished_turn(name: str, exit_code: int | None) -> None:
    assert verdict_of(name, RECORDED[name].lines, exit_code).outcome not in SUCCESS


@every_backend
def test_every_cut_of_a_stream_before_its_last_line_is_no_finished_turn(name: str) -> None:
    whole = b"\n".join(RECORDED[name].lines)
    for end in range(len(whole)):
        if not says_success(RECORDED[name], whole[:end].split(b"\n")):
            assert verdict_of(name, whole[:end].split(b"\n"), 0).outcome not in SUCCESS


@every_backend
def test_a_sign_of_success_that_the_agent_went_on_after_is_not_the_end_of_its_process(name: str) -> None:
    """A second turn of the same process was cut off, by a signal that the CLI answers with exit code 0."""
    whole = RECORDED[name].lines
    for end in range(len(whole)):
        lines = [*whole, *whole[:end]]
        later = {event.kind for event in events_of(name, whole[:end])}
        if later & {agent.EventKind.TEXT, agent.EventKind.TOOL}:
            assert verdict_of(name, lines, 0).outcome not in SUCCESS
    assert verdict_of(name, [*whole, *whole], 0).outcome is agent.Outcome.FINISHED


@every_backend
def test_lines_of_mebibytes_and_streams_of_thousands_of_lines_are_read(name: str) -> None:
    big = "x" * 3_000_000
    recorded = RECORDED[name]
    grown = [json.dumps(_with_long_texts(json.loads(line), big)).encode() for line in recorded.lines]
    noise = [line for line in recorded.lines if not recorded.is_success(json.loads(line))] * 1500
    deep = [b"[" * 200_000, b'{"type":' * 50_000, b'{"role":"assistant","content":' + b"[" * 100_000]
    number = b'{"type":"result","total_cost_usd":1e999,"cost_usd":' + b"9" * 5000 + b"}"
    for lines in (grown, [*noise, *recorded.lines], [*recorded.lines[:-1], *deep, number, recorded.lines[-1]]):
        assert verdict_of(name, lines, 0).outcome is agent.Outcome.FINISHED
    for line in deep:
        assert verdict_of(name, [line], 0).outcome not in SUCCESS


def _with_long_texts(value: dict[str, Any], big: str) -> dict[str, Any]:
    return {**value, "something_new": big, "more": {"nested": [big]}}


@every_backend
def test_another_session_than_the_one_to_resume_is_no_finished_turn(name: str) -> None:
    """Some CLIs start a new conversation, silently, when they do not find the old one. Kimi Code's conversations have
    names of its own: `test_kimi` compares them."""
    recorded = RECORDED[name]
    other = "ses_0000000000000000000000000" if name == "opencode" else "ffffffff-1111-4222-8333-944455556666"
    resumed = verdict_of(name, recorded.lines, 0, resume=True)
    assert resumed.outcome is agent.Outcome.FINISHED
    if name != "kimi" and any(event.session_id for event in events_of(name, recorded.lines)):
        strange = verdict_of(name, recorded.lines, 0, resume=True, session=other)
        assert strange.outcome is agent.Outcome.PROTOCOL_ERROR


SCHEMA = json.dumps({"type": "object", "required": ["verdict"], "properties": {"verdict": {"enum": ["yes", "no"]}}})


@every_backend
def test_words_are_no_answer_to_a_schema(name: str) -> None:
    verdict = verdict_of(name, RECORDED[name].lines, 0, answer_schema=SCHEMA)
    assert verdict.outcome is agent.Outcome.PROTOCOL_ERROR
    assert verdict.structured == ""
