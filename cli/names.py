"""From what a person types to a name; which run that is, `cli.listing` knows."""

from cli import failures
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
