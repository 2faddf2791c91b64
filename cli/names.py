"""From what a person types to the run that is meant."""

from temporalio.client import Client

from cli import failures, listing
from domain import refs


def parse(text: str) -> refs.RunName:
    """Read `owner/repo#12` or `12`.

    Raises:
        failures.Usage: it is neither.
    """
    try:
        return refs.RunName.parse(text)
    except ValueError as wrong:
        raise failures.Usage(str(wrong)) from wrong


def repository(text: str) -> refs.Repository:
    """Read `owner/name`.

    Raises:
        failures.Usage: it is not one.
    """
    try:
        return refs.Repository.parse(text)
    except ValueError as wrong:
        raise failures.Usage(str(wrong)) from wrong


async def find(client: Client, text: str) -> refs.Issue:
    """The run that `text` names. A bare number means the one open run with it, else the one that has ended.

    Raises:
        failures.Usage: the number is ambiguous; the message lists the candidates.
        failures.Failed: no run has the number.
    """
    name = parse(text)
    if name.repo is not None:
        return name.repo.issue(name.number)
    for ended in (False, True):
        found = [i async for i in listing.issues(client, ended=ended) if i.number == name.number]
        candidates = sorted({str(issue): issue for issue in found}.items())
        if len(candidates) == 1:
            return candidates[0][1]
        if candidates:
            names = ", ".join(name for name, _ in candidates[:10]) + (", …" if len(candidates) > 10 else "")
            raise failures.Usage(
                f"{text} is ambiguous, {len(candidates)} {'ended' if ended else 'open'} runs have that number: "
                f"name one of {names}"
            )
    raise failures.Failed(f"no run has the number {name.number}: see fettle fleet --all, or name it owner/repo#{text}")
