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


def backend(text: str, option: str = "--backend") -> str:
    """Read the name of an agent's CLI.

    Raises:
        failures.Usage: no such one: a run that asks for it would find no host, and fail.
    """
    from integrations.agent import registry

    if text not in registry.BACKENDS:
        raise failures.Usage(
            f"{option} is '{text}', the known ones are {', '.join(registry.BACKENDS)}: name one of them"
        )
    return text
