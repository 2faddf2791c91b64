"""Review one head: a model's advice behind the Judge port, and the review posted on the pull request once."""

from dataclasses import dataclass

from temporalio import activity

from activities import code_graph, judging
from domain import forge, refs, review, tasks, wire
from domain.brief import bounded
from domain.redaction import Redactor
from domain.triage import Advice as TriageAdvice
from integrations.agent.judge import Judge
from integrations.forge import port

DIFF_LIMIT = 20_000
"""Characters of diff that a reviewer reads; what is cut is said."""


@dataclass(frozen=True)
class JudgementActivities:
    """Judgements that need no worktree. They run on agent hosts, where the model CLIs are.

    Args:
        till: Where they are paid. None: the judge costs nothing.
        graph: Knows what a change bears on, for repositories of which this host has a mirror. None: nothing is said.
    """

    forge: port.Forge
    judge: Judge
    redactor: Redactor
    till: judging.Till | None = None
    graph: code_graph.CodeGraph | None = None

    @activity.defn(name=wire.JUDGE_TRIAGE)
    async def judge_triage(self, request: tasks.JudgeTriage) -> TriageAdvice:
        """Ask the model how urgent an issue is. Running twice is safe: it only reads, and each call is paid once.

        Raises:
            errors.JudgeFailed: no usable answer; the rules' triage stands.
            errors.TurnNotYet: no money, or the provider refuses for a while.
        """
        inputs = {"title": request.title, "body": bounded(request.body, 3000)}
        return await judging.ask(self.judge, self.till, _case("triage", request.issue), inputs, TriageAdvice)

    @activity.defn(name=wire.JUDGE_REVIEW)
    async def judge_review(self, request: tasks.JudgeReview) -> review.Review:
        """Ask the model to review exactly one head. Running twice is safe: it only reads, and each call is paid once.

        Raises:
            errors.JudgeFailed: no usable answer; neither an approval nor a rejection.
            errors.TurnNotYet: no money, or the provider refuses for a while.
        """
        diff = await self.forge.diff(request.issue.repo, request.base_sha, request.head_sha)
        inputs = {
            "title": request.title,
            "body": bounded(request.body, 2000),
            "diff": self.redactor.redact(bounded(diff, DIFF_LIMIT)),
            "warnings": [f"{w.path}:{w.line} {w.rule}" for w in request.warnings],
            **await self._radius(request),
        }
        advice = await judging.ask(self.judge, self.till, _case("review", request.issue), inputs, review.Advice)
        return review.from_advice(request.head_sha, advice, by=self.judge.name)

    async def _radius(self, request: tasks.JudgeReview) -> dict[str, str]:
        if self.graph is None:
            return {"radius": "", "radius_missing": ""}
        async with judging.preparing():
            found = await self.graph.radius(
                request.issue.repo, request.base_sha, request.head_sha, seconds=code_graph.REVIEW_SECONDS
            )
        text = self.redactor.redact(code_graph.for_reviewer(found))
        return {"radius": text, "radius_missing": found.missing or ("" if text else "no other file is near to it")}


def _case(kind: str, issue: refs.Issue) -> judging.Case:
    return judging.Case(kind, issue.workflow_id, issue.repo, issue.number)


@dataclass(frozen=True)
class ReviewPostingActivities:
    forge: port.Forge
    redactor: Redactor

    @activity.defn(name=wire.POST_REVIEW)
    async def post_review(self, request: tasks.PostReview) -> tasks.Nothing:
        """Post the review of one head. Running twice is safe: it is looked up by its key and commit.

        Our identity wrote the pull request, and a forge lets nobody approve their own: so it is a comment, and the
        verdict stands in its first line.
        """
        verdict = "approves" if request.review.verdict is review.Verdict.APPROVE else "rejects"
        body = (
            f"**Review of {request.review.head_sha[:9]} by {request.review.by}: {verdict}.**\n\n{request.review.text()}"
        )
        await self.forge.review(
            request.pull,
            key=f"review:{request.review.head_sha}",
            head_sha=request.review.head_sha,
            event=forge.ReviewEvent.COMMENT,
            body=self.redactor.redact(body),
        )
        return tasks.Nothing()
