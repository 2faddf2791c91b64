"""Why a connection was refused: the word for the evidence, and the sentence for whoever reads the answer."""

import enum


class Why(enum.StrEnum):
    """The reason of a decision, as it stands in the evidence."""

    LISTED = "listed"
    """The host is on the allow-list."""
    MODEL = "model"
    """A model request, the key is put in."""
    NOT_LISTED = "not_listed"
    FORGE = "forge"
    """The forge, whatever the lists say: the worker pushes, an agent never does."""
    IP_LITERAL = "ip_literal"
    NAME = "name"
    """No plain host name: other letters than a to z, an escape, or an impossible label."""
    ADDRESS = "address"
    """The name leads to an address that is not public, or to none."""
    SERVER_NAME = "server_name"
    """What came through the tunnel was not TLS to the host that was asked for."""
    SCHEME = "scheme"
    PATH = "path"
    """The model's key is not for this path."""
    CREDENTIALS = "credentials"
    """Neither the turn's password nor its placeholder key was shown."""
    MALFORMED = "malformed"
    EVIDENCE_FULL = "evidence_full"
    """No more decisions can be recorded, so none is made."""
    UNREACHABLE = "unreachable"
    """Allowed, but nobody answered."""


class Denied(Exception):
    """The proxy does not connect.

    Attributes:
        why: For the evidence.
        status: The HTTP status that the client gets.
    """

    def __init__(self, why: Why, sentence: str, status: int = 403) -> None:
        super().__init__(sentence)
        self.why = why
        self.status = status
