"""The merge queue of one branch: one candidate at a time, tested on the present base, merged as tested."""

import enum

from pydantic import BaseModel, ConfigDict

from domain import checks, refs
from domain.policy import MergeMethod


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Entry(Model):
    """One pull request at one head. `run` is the owner's workflow id: it is asked for clearance and told the end."""

    run: str
    pull: refs.PullRequest
    head_sha: str
    title: str = ""
    method: MergeMethod = MergeMethod.MERGE
    ignored_checks: tuple[str, ...] = ()
    registration_seconds: float = 120
    ci_timeout_seconds: float = 6 * 3600
    ci_poll_seconds: float = 180
    needs_checks: bool = True
    """False: the policy (or a person) let a commit without any check through."""
    priority: int = 3


class Withdrawal(Model):
    """Always answered, also when there is nothing (any more) to take out: the run waits for the queue's word."""

    run: str
    head_sha: str = ""
    reason: str = ""


class CandidateState(enum.StrEnum):
    FRESH = "fresh"
    """The head already contains the tip of the base: CI's verdict on the head is a verdict on the merge."""
    TO_TEST = "to_test"
    CONFLICT = "conflict"
    HEAD_MOVED = "head_moved"
    CLOSED = "closed"
    MERGED = "merged"


class Candidate(Model):
    """What would become of the base: `tested_sha` is the commit whose CI verdict counts."""

    state: CandidateState
    base_sha: str = ""
    tested_sha: str = ""
    found_sha: str = ""
    merge_sha: str = ""


class BuildCandidate(Model):
    entry: Entry
    branch: str


class MergeCandidate(Model):
    entry: Entry
    branch: str
    candidate: Candidate


class End(enum.StrEnum):
    MERGED = "merged"
    CONFLICT = "conflict"
    RED = "red"
    HEAD_MOVED = "head_moved"
    BASE_MOVED = "base_moved"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"


class Ended(Model):
    """The queue's last word on an entry, in one sentence."""

    head_sha: str
    end: End
    sentence: str = ""
    detail: str = ""
    merge_sha: str = ""
    found_sha: str = ""


class ClearanceQuestion(Model):
    """May exactly this head be merged now? `tested_sha` on `base_sha` is what CI vouches for."""

    run: str
    head_sha: str
    tested_sha: str = ""
    base_sha: str = ""


class Clearance(Model):
    """The owner's answer, decided in the task in which the question arrives."""

    granted: bool
    reason: str = ""


class State(Model):
    """`current` is being tested or merged; the rest wait in order."""

    repo: refs.Repository
    branch: str
    entries: tuple[Entry, ...] = ()
    current: Entry | None = None
    candidate: Candidate | None = None
    tested: checks.Verdict | None = None
    withdrawn: bool = False
    merged: int = 0
    """By this queue: an entry that was found merged is not counted."""
    last_run: str = ""
    last: Ended | None = None
    """The newest word and whose entry it was about: a withdrawal that crosses it is answered with the same word."""

    def request(self, entry: Entry) -> None:
        """Line up behind equal priorities. A newer head of the same run takes the old entry's place."""
        if self.last_run == entry.run:
            self.last_run, self.last = "", None
        if self.current and self.current.run == entry.run:
            if self.current.head_sha == entry.head_sha and not self.withdrawn:
                return
            self.withdrawn = True
        rest = [e for e in self.entries if e.run != entry.run]
        at = next((i for i, e in enumerate(rest) if e.priority > entry.priority), len(rest))
        self.entries = (*rest[:at], entry, *rest[at:])

    def withdraw(self, withdrawal: Withdrawal) -> None:
        self.entries = tuple(e for e in self.entries if e.run != withdrawal.run)
        if self.current and self.current.run == withdrawal.run:
            self.withdrawn = True

    def take(self) -> Entry | None:
        if not self.entries:
            return None
        self.current, self.entries = self.entries[0], self.entries[1:]
        self.restart()
        self.withdrawn = False
        return self.current

    def restart(self) -> None:
        """Forget the candidate: it is built again on the base as it is now."""
        self.candidate = None
        self.tested = None

    def word_on(self, withdrawal: Withdrawal) -> Ended:
        """What a run that withdraws is told when nothing of it is being merged."""
        if self.last is not None and (self.last_run, self.last.head_sha) == (withdrawal.run, withdrawal.head_sha):
            return self.last
        return Ended(head_sha=withdrawal.head_sha, end=End.WITHDRAWN, sentence=withdrawal.reason)

    def finish(self, run: str, ended: Ended) -> None:
        found = self.candidate is not None and self.candidate.state is CandidateState.MERGED
        self.merged += ended.end is End.MERGED and not found
        self.last_run, self.last = run, ended
        self.restart()
        self.current = None
        self.withdrawn = False

    def position(self, run: str) -> int | None:
        """0: being merged; 1: next."""
        if self.current and self.current.run == run:
            return 0
        return next((i + 1 for i, e in enumerate(self.entries) if e.run == run), None)


def refusal(entry: Entry, candidate: Candidate) -> Ended | None:
    """What ends an entry before any test: None when the candidate may go on."""
    match candidate.state:
        case CandidateState.CONFLICT:
            sentence = f"{entry.pull} at {entry.head_sha[:9]} conflicts with its base at {candidate.base_sha[:9]}"
            return Ended(head_sha=entry.head_sha, end=End.CONFLICT, sentence=sentence)
        case CandidateState.HEAD_MOVED:
            sentence = f"{entry.pull} was queued at {entry.head_sha}, its head is now {candidate.found_sha}"
            return Ended(head_sha=entry.head_sha, end=End.HEAD_MOVED, sentence=sentence, found_sha=candidate.found_sha)
        case CandidateState.CLOSED:
            return Ended(head_sha=entry.head_sha, end=End.CLOSED, sentence=f"{entry.pull} was closed by somebody else")
        case CandidateState.MERGED:
            return Ended(head_sha=entry.head_sha, end=End.MERGED, merge_sha=candidate.merge_sha)
        case _:
            return None


def verdict_refusal(entry: Entry, verdict: checks.Verdict) -> Ended | None:
    """A candidate goes on only when CI is green on it, or when nobody asked for checks and there are none."""
    if verdict.result is checks.Result.GREEN or (verdict.result is checks.Result.NONE and not entry.needs_checks):
        return None
    hint = ""
    if verdict.result is checks.Result.NONE:
        hint = "; let CI run on pushes to fettle/queue/** so that merge candidates can be tested"
    return Ended(head_sha=entry.head_sha, end=End.RED, sentence=f"merge candidate: {verdict.sentence()}{hint}")
