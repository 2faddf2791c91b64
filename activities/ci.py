"""Ask the forge what CI says of one commit. Only reads: running twice asks twice."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio import activity

from domain import checks, errors, tasks, wire
from domain.brief import tail
from integrations.forge.port import Forge

LOG_LIMIT = 4_000
"""Characters of failed-check output that a repair is given: the tail, where the failure is."""


async def judge(forge: Forge, request: checks.PollRequest) -> tuple[checks.Verdict, str]:
    """One fresh verdict on one commit, with the tail of what failed."""
    required = await forge.required_checks(request.repo, request.base_branch)
    found = await forge.checks(request.repo, request.sha)
    age = datetime.now(UTC) - request.since if request.since else timedelta()
    verdict = checks.evaluate(
        request.sha,
        found,
        required,
        ignored=request.ignored,
        age=age,
        registration=timedelta(seconds=request.registration_seconds),
    )
    failed = [c for c in found if c.name in verdict.failed]
    log = "\n".join(f"--- {c.name}\n{c.summary}" for c in failed if c.summary)
    return verdict, tail(log, LOG_LIMIT)


def _sooner(request: checks.PollRequest, verdict: checks.Verdict) -> timedelta | None:
    """While no check is known, look again when the registration time is over rather than a whole interval later."""
    policy = activity.info().retry_policy
    if verdict.waiting_for or verdict.passed or request.since is None or policy is None:
        return None
    left = request.since + timedelta(seconds=request.registration_seconds) - datetime.now(UTC)
    due = max(left, timedelta()) + timedelta(seconds=0.5)
    return due if due < policy.initial_interval else None


@dataclass(frozen=True)
class CiActivities:
    forge: Forge

    @activity.defn(name=wire.POLL_CHECKS)
    async def poll_checks(self, request: tasks.PollChecks) -> tasks.PolledChecks:
        """Answer once CI has an answer. Running twice is safe: it reads, and each time afresh.

        Raises:
            errors.ChecksPending: not yet; the retry policy is the poll interval, so waiting adds no event.
        """
        if request.pull is not None:
            pull = await self.forge.pull_request(request.pull)
            if not pull.open or pull.head_sha != request.request.sha:
                facts = tasks.GateFacts(pull_open=pull.open, merged=pull.merged, head_sha=pull.head_sha)
                return tasks.PolledChecks(facts=facts)
        verdict, log = await judge(self.forge, request.request)
        if verdict.result is checks.Result.PENDING:
            raise errors.ChecksPending(verdict.sentence(), retry_after=_sooner(request.request, verdict))
        return tasks.PolledChecks(verdict=verdict, log_tail=log)
