"""The activities of the fake agent hosts, in front of `tests.workflows.world` like `tests.workflows.outside`."""

from collections.abc import Mapping
from datetime import timedelta

from temporalio import activity

from domain import agent, errors, path_leases, refs, review, run, tasks, triage, wire, work
from tests.workflows.outside import Outside
from tests.workflows.world import Host, Turn, World


class AgentsActivities:
    """What any agent host answers: claims and judgements."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    @activity.defn(name=wire.CLAIM_HOST)
    async def claim_host(self, request: work.ClaimHost) -> work.HostLease:
        world, issue = self._outside.of_run(request.run)
        async with world.call(wire.CLAIM_HOST, issue):
            held = world.host_of(request.run)
            free = [h for h in world.hosts.values() if len(h.leases) < h.slots and h.host_id != request.avoid_host]
            if held is None or held.host_id == request.avoid_host:
                if not free:
                    raise errors.HostFull("full", retry_after=timedelta(seconds=0.2))
                held = free[0]
            held.leases[request.run] = request.backend
            return work.HostLease(
                host_id=held.host_id, queue=refs.host_queue(held.host_id), backend_versions=dict(held.backends)
            )

    @activity.defn(name=wire.PREDICT_CONFLICTS)
    async def predict_conflicts(self, question: path_leases.Question) -> path_leases.Forecast:
        world, issue = self._outside.of_run(question.run)
        world.asked.append(question)
        async with world.call(wire.PREDICT_CONFLICTS, issue):
            numbers = {run: refs.Issue.from_workflow_id(run).number for run in question.others}
            chances = {run: world.collisions.get(_pair(issue.number, other), 0) for run, other in numbers.items()}
            return path_leases.Forecast(
                pairs=tuple(
                    path_leases.Pair(run=run, probability=chance, files=("cart.py",) if chance else ())
                    for run, chance in chances.items()
                )
            )

    @activity.defn(name=wire.JUDGE_TRIAGE)
    async def judge_triage(self, request: tasks.JudgeTriage) -> triage.Advice:
        world = self._outside.world(request.issue.repo)
        async with world.call(wire.JUDGE_TRIAGE, request.issue):
            return triage.Advice(priority=2, reason="it looks urgent")

    @activity.defn(name=wire.JUDGE_REVIEW)
    async def judge_review(self, request: tasks.JudgeReview) -> review.Review:
        world = self._outside.world(request.issue.repo)
        async with world.call(wire.JUDGE_REVIEW, request.issue):
            blocking = world.verdicts.popleft() if world.verdicts else ()
            return review.from_advice(request.head_sha, review.Advice(blocking=blocking), by="model")


class HostActivities:
    """What one host's own queue does."""

    def __init__(self, outside: Outside, host: Host) -> None:
        self._outside = outside
        self._host = host

    @activity.defn(name=wire.PREPARE_WORKTREE)
    async def prepare_worktree(self, request: work.PrepareWorktree) -> work.Worktree:
        world, issue = self._outside.of_run(request.run)
        async with world.call(wire.PREPARE_WORKTREE, issue):
            world.prepared.append(request)
            tip = world.forge.branches["main"]
            pushed = world.in_progress.get(request.run) or world.forge.branches.get(request.branch, tip)
            head = self._host.worktrees.get(request.run) or pushed
            self._host.worktrees[request.run] = tip if request.start_fresh else head
            return work.Worktree(path="worktree", base_sha=tip, head_sha=head, base_tip_sha=tip)

    @activity.defn(name=wire.RUN_AGENT)
    async def run_agent(self, request: agent.TurnRequest) -> agent.TurnResult:
        world, issue = self._outside.of_run(request.run)
        world.turn_requests.append(request)
        world.live.add(request.run)
        try:
            async with world.call(wire.RUN_AGENT, issue):
                turn = world.next_turn(issue)
                if turn.error:
                    raise turn.error
                files = {f"issue-{issue.number}.py": f"turn {request.round}"} if turn.files is None else turn.files
                if files and not turn.refuses:
                    self._commit(world, request, files)
                if not turn.alone:
                    world.in_progress[request.run] = self._host.worktrees[request.run]
                return agent.TurnResult(
                    outcome=_outcome(turn),
                    wip_sha=world.in_progress.get(request.run, ""),
                    wip_note="the forge refuses it" if turn.alone else "",
                    session=request.session,
                    summary=f"turn {request.round} done",
                    question=turn.asks,
                    turn_cost_usd=turn.cost_usd,
                    cost_usd=turn.cost_usd,
                )
        finally:
            world.live.discard(request.run)

    def _commit(self, world: World, request: agent.TurnRequest, files: Mapping[str, str]) -> None:
        """A conflict is resolved as agents do it: by a merge of the base that keeps both."""
        forge, at = world.forge, self._host.worktrees[request.run]
        parents: tuple[str, ...] = (at,)
        tree = dict(forge.commits[at].tree)
        if request.brief and request.brief.reason == run.Reason.CONFLICT:
            base = forge.branches["main"]
            parents, tree = (at, base), {**tree, **forge.commits[base].tree}
        self._host.worktrees[request.run] = forge.commit(parents, {**tree, **files})

    @activity.defn(name=wire.SURVEY_WORKTREE)
    async def survey_worktree(self, request: work.SurveyWorktree) -> work.HandedOver:
        world, issue = self._outside.of_run(request.run)
        async with world.call(wire.SURVEY_WORKTREE, issue):
            if world.unreadable:
                raise errors.UnsafeWork("the worktree cannot be read")
            head = self._host.worktrees[request.run]
            return work.HandedOver(head_sha=head, tree_sha=head)

    @activity.defn(name=wire.INTEGRATE_WORK)
    async def integrate_work(self, request: work.IntegrateWork) -> work.Integration:
        world, issue = self._outside.of_run(request.run)
        world.integrations.append(request)
        async with world.call(wire.INTEGRATE_WORK, issue):
            forge, head = world.forge, self._host.worktrees[request.run]
            base = forge.merge_base(forge.branches[request.base_branch], head)
            if head == base or head == request.expected_remote_sha:
                return work.Integration(outcome=work.IntegrationOutcome.NO_CHANGES)
            if world.findings and (found := world.findings.popleft()):
                return work.Integration(outcome=work.IntegrationOutcome.UNSAFE, findings=found)
            remote = forge.branches.get(request.branch, "")
            if remote != request.expected_remote_sha and remote != head and not forge.holds(head, remote or head):
                raise errors.RefMoved(f"{request.branch} is at {remote}")
            if remote != head:
                forge.branches[request.branch] = head
                await world.write("pushed", request.run)
            changed = forge.changed(base, head)
            protected = tuple(work.ProtectedFile(path=path) for path in sorted(changed) if path.startswith(".github/"))
            theirs = request.person and request.handed_over and request.handed_over.head_sha
            return work.Integration(
                outcome=work.IntegrationOutcome.PUSHED,
                head_sha=head,
                base_sha=base,
                files=tuple(sorted(changed)),
                added_lines=len(changed),
                accepted=(work.AcceptedCommit(sha=head, by=request.person, files=protected),)
                if theirs and protected
                else (),
            )

    @activity.defn(name=wire.VERIFY_COMMIT)
    async def verify_commit(self, request: work.VerifyCommit) -> work.Verification:
        world, issue = self._outside.of_run(request.run)
        async with world.call(wire.VERIFY_COMMIT, issue):
            passed = world.verifies.popleft() if world.verifies else True
            return work.Verification(passed=passed, exit_code=0 if passed else 1, tail="" if passed else "1 failed")

    @activity.defn(name=wire.RELEASE_HOST)
    async def release_host(self, request: work.ReleaseHost) -> None:
        world, issue = self._outside.of_run(request.run)
        async with world.call(wire.RELEASE_HOST, issue):
            self._host.leases.pop(request.run, None)
            if request.remove_worktree:
                self._host.worktrees.pop(request.run, None)


def _pair(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)


def _outcome(turn: Turn) -> agent.Outcome:
    if turn.asks is not None:
        return agent.Outcome.NEEDS_APPROVAL
    if turn.limited:
        return agent.Outcome.LIMIT
    return agent.Outcome.REFUSED if turn.refuses else agent.Outcome.FINISHED
