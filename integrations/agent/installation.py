"""Whether a CLI that was found on this host can play turns: asked of the program itself, told in one sentence."""

from collections.abc import Callable, Mapping, Sequence

from integrations.agent import port, programs


def missing(program: str, product: str) -> port.Discovery:
    """The answer where the PATH has no such program."""
    return port.Discovery(why_not=f"{program} is not in the PATH: install {product} on this host")


def without_key(path: str, variable: str) -> port.Discovery:
    """The answer where the program is there and its key is not."""
    return port.Discovery(path=path, why_not=f"no key: set {variable} for the agent host")


def tried(
    path: str,
    help_arguments: tuple[str, ...],
    env: Mapping[str, str],
    *,
    needed: Sequence[str],
    verified_majors: frozenset[int],
    optional: Sequence[str] = (),
    unusable: Callable[[programs.Probe], str] = lambda probe: "",
) -> port.Discovery:
    """Run the program for its version and its switches.

    Args:
        needed: Switches without which no turn can be asked for.
        verified_majors: Major versions that this release was tested with; another one is marked, not refused.
        optional: Switches that are used where they are there.
        unusable: A sentence for a program that has what is needed and is the wrong one all the same.
    """
    try:
        probe = programs.probe(path, help_arguments, env)
    except programs.NoAnswer as error:
        return port.Discovery(path=path, why_not=str(error))
    lacking = [switch for switch in needed if switch not in probe.switches]
    why_not = unusable(probe)
    if lacking and not why_not:
        why_not = f"{path} is {probe.version} and does not know {', '.join(lacking)}: install a newer release"
    return port.Discovery(
        path=path,
        version=probe.version,
        ready=not why_not,
        why_not=why_not,
        capability=probe.capability(verified_majors, optional),
    )
