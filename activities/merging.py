"""The merge queue's work on the forge: build a candidate on the present base, merge exactly what was tested."""

from dataclasses import dataclass

from temporalio import activity

from activities import ci
from domain import checks, errors, refs, wire
from domain.merge_queue import (
    BuildCandidate,
    Candidate,
    CandidateState,
    End,
    Ended,
    Entry,
    MergeCandidate,
    verdict_refusal,
)
from integrations.forge.port import Forge


@dataclass(frozen=True)
class MergeActivities:
    forge: Forge

    @activity.defn(name=wire.BUILD_CANDIDATE)
    async def build_candidate(self, request: BuildCandidate) -> Candidate:
        """Find what a merge of this entry would be, and make it on a branch of ours when it needs a test. Running twice
        is safe: a candidate that already holds both the base's tip and the head is taken as it is."""
        entry = request.entry
        pull = await self.forge.pull_request(entry.pull)
        if pull.head_sha != entry.head_sha:
            return Candidate(state=CandidateState.HEAD_MOVED, found_sha=pull.head_sha)
        if pull.merged:
            merge = await self._merge(entry)
            return Candidate(state=CandidateState.MERGED, merge_sha=merge.merge_sha)
        if not pull.open:
            return Candidate(state=CandidateState.CLOSED)
        base_sha = await self._base_tip(entry, request.branch)
        if (await self.forge.compare(entry.pull.repo, base_sha, entry.head_sha)).behind_by == 0:
            return Candidate(state=CandidateState.FRESH, base_sha=base_sha, tested_sha=entry.head_sha)
        return await self._candidate_commit(entry, request.branch, base_sha)

    async def _candidate_commit(self, entry: Entry, base: str, base_sha: str) -> Candidate:
        repo = entry.pull.repo
        branch = refs.queue_branch(base, entry.pull.number)
        tip = await self.forge.branch_sha(repo, branch)
        if tip is None or not await self._holds(repo, tip, base_sha, entry.head_sha):
            await self.forge.put_branch(repo, branch, base_sha)
            message = f"Merge candidate: {entry.title} ({entry.pull})"
            try:
                tip = await self.forge.merge_into(repo, branch, entry.head_sha, message)
            except errors.NotMergeable:
                await self.forge.delete_branch(repo, branch)
                return Candidate(state=CandidateState.CONFLICT, base_sha=base_sha)
        return Candidate(state=CandidateState.TO_TEST, base_sha=base_sha, tested_sha=tip)

    async def _holds(self, repo: refs.Repository, tip: str, base_sha: str, head_sha: str) -> bool:
        on_base = await self.forge.compare(repo, base_sha, tip)
        on_head = await self.forge.compare(repo, head_sha, tip)
        return on_base.behind_by == 0 and on_head.behind_by == 0

    async def _base_tip(self, entry: Entry, branch: str) -> str:
        sha = await self.forge.branch_sha(entry.pull.repo, branch)
        if sha is None:
            raise errors.NotFound(f"{entry.pull.repo} has no branch {branch}: {entry.pull} cannot merge into it")
        return sha

    @activity.defn(name=wire.MERGE_CANDIDATE)
    async def merge_candidate(self, request: MergeCandidate) -> Ended:
        """Merge the entry at its head, if base, head and CI are still what was tested and its issue is still open.
        Running twice is safe: a merge of that head is looked up before it is made."""
        entry, candidate = request.entry, request.candidate
        pull = await self.forge.pull_request(entry.pull)
        if pull.head_sha != entry.head_sha:
            sentence = f"{entry.pull} was cleared at {entry.head_sha}, its head is now {pull.head_sha}"
            return Ended(head_sha=entry.head_sha, end=End.HEAD_MOVED, sentence=sentence, found_sha=pull.head_sha)
        if not pull.merged:
            if (tip := await self._base_tip(entry, request.branch)) != candidate.base_sha:
                sentence = f"{request.branch} was {candidate.base_sha[:9]} when tested, it is now {tip[:9]}"
                return Ended(head_sha=entry.head_sha, end=End.BASE_MOVED, sentence=sentence, found_sha=tip)
            if not (await self.forge.issue(refs.Issue.from_workflow_id(entry.run))).open:
                # Nothing may have told the run: its webhook can be lost, and CI's answer was all it waited for.
                return Ended(head_sha=entry.head_sha, end=End.CLOSED, sentence="somebody closed the issue")
            if refused := verdict_refusal(entry, await self._fresh_verdict(entry, request)):
                return refused
        ended = await self._merge(entry)
        if ended.end is End.MERGED:
            ended = await self._compare_trees(entry.pull.repo, ended, candidate)
            await self.forge.delete_branch(entry.pull.repo, refs.queue_branch(request.branch, entry.pull.number))
        return ended

    async def _fresh_verdict(self, entry: Entry, request: MergeCandidate) -> checks.Verdict:
        poll = checks.PollRequest(
            repo=entry.pull.repo,
            sha=request.candidate.tested_sha,
            base_branch=request.branch,
            ignored=entry.ignored_checks,
            registration_seconds=0,
        )
        return (await ci.judge(self.forge, poll))[0]

    async def _merge(self, entry: Entry) -> Ended:
        try:
            merge = await self.forge.merge(
                entry.pull, head_sha=entry.head_sha, method=entry.method, title=f"{entry.title} (#{entry.pull.number})"
            )
        except errors.HeadMoved as moved:
            return Ended(head_sha=entry.head_sha, end=End.HEAD_MOVED, sentence=str(moved), found_sha=moved.found_sha)
        except (errors.NotMergeable, errors.InvalidRequest) as refused:
            return Ended(head_sha=entry.head_sha, end=End.REFUSED, sentence=str(refused))
        return Ended(head_sha=entry.head_sha, end=End.MERGED, merge_sha=merge.sha)

    async def _compare_trees(self, repo: refs.Repository, ended: Ended, candidate: Candidate) -> Ended:
        """A push to the base in the instant between our look and the merge cannot be excluded on every forge; it
        cannot go unnoticed either."""
        if not candidate.tested_sha:
            return ended
        if await self.forge.tree_sha(repo, ended.merge_sha) == await self.forge.tree_sha(repo, candidate.tested_sha):
            return ended
        detail = f"the merge {ended.merge_sha} does not hold what CI tested at {candidate.tested_sha}: look at the base"
        return ended.model_copy(update={"detail": detail})
