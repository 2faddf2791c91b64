"""Where a frame of a stack trace runs: in which of our files and in which definition, or in code that is not ours."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from codegraph import agreement, callee, facts, foreign, installed, project, spelling
from codegraph.stack import Frame

_ENOUGH: Final = 0.3


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a frame runs.

    Attributes:
        path: Our file; None when the frame is not ours.
        symbol: Definition in it, dotted; the function's own name where the revision holds no such definition; None when
            neither is known.
        line: The frame's line, or the first line of `symbol` when the frame's line lies outside of it; 0 when unknown.
        confidence: From 0 (not ours) to 1.
        reason: Why, in a few words.
    """

    path: str | None
    symbol: str | None
    line: int
    confidence: float
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Candidate:
    path: str
    confidence: float
    hit: callee.Hit | None
    agreed: int
    reason: str

    @property
    def moved(self) -> bool:
        """Whether the definition is elsewhere than the frame's line."""
        return self.hit is None or self.hit.drifted


class Finder:
    """Places frames in the files of one revision."""

    def __init__(self, files: Mapping[str, facts.Facts | None], known: project.Project | None = None) -> None:
        """Files are all paths that frames may be in, with their facts where there are any."""
        self._files = files
        self._project = known or project.Project()
        self._evidence = agreement.Evidence(files, self._project)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in sorted(files):
            self._by_stem[spelling.stem(path.rpartition("/")[2]).lower()].append(path)

    def place(self, frame: Frame) -> Place:
        """Where a frame runs. No frame raises."""
        called = callee.read(frame.function, _owner(frame.module))
        spelled = list(dict.fromkeys(spelling.read(text) for text in (frame.abs_path, frame.filename) if text))
        real = [each for each in spelled if each.parts]
        candidates: list[_Candidate] = []
        if foreign.system_library(frame.package):
            return Place(None, None, frame.lineno, 0.0, "it belongs to a library of the system")
        for each in real:
            root = foreign.root(each)
            if root is None:
                continue
            inside = self._covering(each, root, frame, called)
            if inside is None and root.kind != foreign.RUNTIME:
                inside = self._installed(root, frame, called)
            if inside is None:
                owner = f"package {root.package}" if root.package else "a runtime or a copy"
                return Place(None, None, frame.lineno, 0.0, f"it belongs to {owner}, not to this repository")
            return self._placed(inside, frame, called)
        for each in real:
            candidates.extend(self._local(each, frame, called))
        if not candidates:
            candidates.extend(self._by_module(frame, called, lone=not real))
        if not candidates:
            why = "code without a file" if spelled and not real else "no file of this revision agrees enough with it"
            return Place(None, None, frame.lineno, 0.0, why)
        return self._placed(_best(candidates), frame, called)

    def _paths(self, parts: tuple[str, ...]) -> list[str]:
        return self._by_stem.get(spelling.stem(parts[-1]).lower(), [])

    def _hit(self, path: str, frame: Frame, called: callee.Callee) -> tuple[callee.Hit | None, int]:
        """The definition, and whether the function is known to be (1) or not to be (-1) in the file."""
        known = self._files[path]
        if known is None or not known.parsed:
            return None, 0
        hit = callee.find(called, known, frame.lineno)
        if not called.parts or called.inside or (hit and hit.by == "line"):
            return hit, 0
        return hit, 1 if hit else -1

    def _covering(
        self, spelled: spelling.Spelling, root: foreign.Root, frame: Frame, called: callee.Callee
    ) -> _Candidate | None:
        """A file of the revision that lies at the very same place, foreign root included."""
        if spelled.runtime:
            return None
        for path in self._paths(spelled.parts):
            found = agreement.align(spelled.parts, path, folded=spelled.folded)
            if found and found.whole and not found.built and len(found.above) <= root.start and found.agreed > 1:
                hit, _ = self._hit(path, frame, called)
                return _Candidate(path, 0.9, hit, found.agreed, "the same path is in the revision")
        return None

    def _installed(self, root: foreign.Root, frame: Frame, called: callee.Callee) -> _Candidate | None:
        if not root.rest:
            return None
        candidates = []
        for found in installed.find(root, self._paths(root.rest), self._project, self._evidence):
            hit, known = self._hit(found.path, frame, called)
            sure = found.confidence >= installed.SURE and known == 0
            if known > 0 or sure or (found.exact and root.kind != "copy"):
                confidence = found.confidence * (1.0 if known >= 0 else 0.8) + 0.02 * (known > 0)
                candidates.append(_Candidate(found.path, confidence, hit, found.agreed, found.reason))
        return _best(candidates) if candidates else None

    def _local(self, spelled: spelling.Spelling, frame: Frame, called: callee.Callee) -> Iterator[_Candidate]:
        paths = self._paths(spelled.parts)
        for path in paths:
            found = agreement.align(spelled.parts, path, folded=spelled.folded)
            if found is None:
                continue
            says = self._evidence.of(path, frame.module, called, spelled.host)
            if found.agreed == 1 and found.missing and says != agreement.SAME and len(paths) > 1:
                continue
            hit, known = self._hit(path, frame, called)
            confidence = self._evidence.confidence(path, found, says, known, frame.in_app, alone=len(paths) == 1)
            if confidence >= _ENOUGH:
                reason = "the whole path agrees" if found.whole else f"the last {found.agreed} parts of the path agree"
                reason += ", so does the module" if says == agreement.SAME else ""
                yield _Candidate(path, confidence, hit, found.agreed, reason)

    def _by_module(self, frame: Frame, called: callee.Callee, *, lone: bool) -> Iterator[_Candidate]:
        """Files that the module alone names, for runtimes that send no path."""
        for path in self._evidence.imports.get(frame.module, ()):
            if "." in frame.module or lone:
                yield _Candidate(path, 0.8, self._hit(path, frame, called)[0], 1, "the module is this file")
        owner = _owner(frame.module) or (called.parts[-2] if len(called.parts) > 1 else "")
        for ending in (".java", ".kt", ".scala", ".cs", ".php"):
            for path in self._by_stem.get(f"{owner}{ending}".lower(), ()) if owner and lone else ():
                if self._evidence.of(path, frame.module, called, "") == agreement.SAME:
                    yield _Candidate(path, 0.8, self._hit(path, frame, called)[0], 1, "the class is in this file")

    def _placed(self, best: _Candidate, frame: Frame, called: callee.Callee) -> Place:
        hit = best.hit
        if hit:
            how = f"its {hit.by}, its line has drifted" if hit.drifted and frame.lineno else f"its {hit.by}"
            reason = f"{best.reason}; {hit.definition.name} by {how}"
            return Place(best.path, hit.definition.name, hit.line, _rounded(best.confidence), reason)
        reason = f"{best.reason}; {called.name} is not known there" if called.name else best.reason
        return Place(best.path, called.name or None, frame.lineno, _rounded(best.confidence), reason)


def _rounded(confidence: float) -> float:
    return round(min(confidence, 1.0), 4)


def _best(candidates: Sequence[_Candidate]) -> _Candidate:
    best = min(candidates, key=lambda each: (-each.confidence, -each.agreed, each.moved, len(each.path), each.path))
    rivals = {each.path for each in candidates if each.confidence == best.confidence and each.agreed == best.agreed}
    if len(rivals) == 1:
        return best
    reason = f"{best.reason}, as do those of {len(rivals) - 1} other files"
    return dataclasses.replace(best, confidence=best.confidence / len(rivals), reason=reason)


def _owner(module: str) -> str:
    """The class that a module of the JVM or .NET names last."""
    return module.replace("\\", ".").rsplit(".", 1)[-1].split("$")[0].split("+")[0].split("`")[0]
