"""The words of one revision's files, file by file and definition by definition, kept up to date as files change."""

from array import array
from collections import Counter
from collections.abc import Mapping

from codegraph import facts, postings, tokens


class Index:
    """Files of one role (sources, or tests) of one revision.

    Chunks (a definition's own lines, or the rest of a file) are the documents; a file's counts are the sums of its
    chunks', so that one list serves both.
    """

    def __init__(self) -> None:
        self.chunks = postings.Postings()
        self.names = postings.Postings()
        self.facts: dict[str, facts.Facts] = {}
        self.slots: dict[str, int] = {}
        self.paths: list[str] = []
        self.file_lengths: array[int] = array("I")
        self.chunk_slot: array[int] = array("I")
        self.chunk_definition: array[int] = array("i")
        self.definers: dict[str, Counter[str]] = {}
        self._chunks_of: dict[str, range] = {}
        self._called: dict[str, frozenset[str]] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def mean_file_length(self) -> float:
        """Mean count of tokens of a file, at least 1."""
        return max(1.0, self._total / len(self.facts)) if self.facts else 1.0

    def add(self, path: str, known: facts.Facts) -> None:
        """Take a file, in the place of what stood at that path."""
        self.remove(path)
        slot = len(self.paths)
        self.paths.append(path)
        self.slots[path] = slot
        first = len(self.chunk_slot)
        length = 0
        last = len(known.chunks) - 1
        for place, words in enumerate(known.chunks):
            number = self.chunks.add(tokens.of_counts(words))
            length += self.chunks.lengths[number]
            self.chunk_slot.append(slot)
            self.chunk_definition.append(place if place < last else -1)
        self._chunks_of[path] = range(first, len(self.chunk_slot))
        self.file_lengths.append(length)
        self._total += length
        leaves = [each.name.rsplit(".", 1)[-1] for each in known.definitions]
        self.names.add(tokens.of_words(leaves))
        for leaf in leaves:
            held = self.definers.get(name := leaf.lower())
            if held is None:
                held = self.definers[name] = Counter()
            held[path] += 1
        self.facts[path] = known

    def remove(self, path: str) -> None:
        """Forget the file at a path, if there is one."""
        known = self.facts.pop(path, None)
        if known is None:
            return
        self._called.pop(path, None)
        slot = self.slots.pop(path)
        for number in self._chunks_of.pop(path):
            self.chunks.remove(number)
        self.names.remove(slot)
        self._total -= self.file_lengths[slot]
        for leaf in {each.name.rsplit(".", 1)[-1].lower() for each in known.definitions}:
            held = self.definers[leaf]
            del held[path]
            if not held:
                del self.definers[leaf]

    def chunks_of(self, path: str) -> range:
        """Numbers of a file's chunks: one a definition in their order, then the rest."""
        return self._chunks_of[path]

    def called_names(self, path: str) -> frozenset[str]:
        """Names that a file calls anywhere."""
        held = self._called.get(path)
        if held is None:
            known = self.facts[path]
            held = self._called[path] = frozenset(known.calls).union(*(each.calls for each in known.definitions))
        return held

    def update(self, wanted: Mapping[str, facts.Facts]) -> None:
        """Hold exactly these files, touching only those that differ."""
        for path in sorted(self.facts.keys() - wanted.keys()):
            self.remove(path)
        for path in sorted(wanted):
            if self.facts.get(path) is not wanted[path]:
                self.add(path, wanted[path])
        if len(self.paths) > 2 * len(self.facts) + 64:
            self._make_anew()

    def _make_anew(self) -> None:
        held = self.facts
        self.__init__()  # type: ignore[misc] # the same object, emptied: holders of it must see the new lists
        for path in sorted(held):
            self.add(path, held[path])
