"""A run reduced to its judgements: it asks for one after the other, with the options of the real runs."""

from pydantic import BaseModel
from temporalio import common, exceptions, workflow

from activities import options
from activities.reviewing import JudgementActivities
from domain import refs, review, tasks

NAME = "JudgeTaker"


class Work(BaseModel):
    issue: refs.Issue
    heads: tuple[str, ...]
    continued: bool = False
    """It has continued as new once before its first judgement."""


class Report(BaseModel):
    reviews: list[review.Review] = []
    failure: str = ""


@workflow.defn(name=NAME, versioning_behavior=common.VersioningBehavior.PINNED)
class JudgeTaker:
    @workflow.run
    async def run(self, work: Work) -> Report:
        if not work.continued:
            workflow.continue_as_new(work.model_copy(update={"continued": True}))
        report = Report()
        for head in work.heads:
            asked = tasks.JudgeReview(issue=work.issue, title="T", body="B", base_sha="b" * 40, head_sha=head)
            try:
                found = await workflow.execute_activity_method(
                    JudgementActivities.judge_review, asked, summary="review", **options.JUDGE
                )
            except exceptions.ActivityError as error:
                if exceptions.is_cancelled_exception(error):
                    raise
                report.failure = str(error.cause)
                break
            report.reviews.append(found)
        return report
