"""Where settings come from, and the words for what is wrong with them: which key, which value, set where, what next."""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pydantic
import pydantic_settings
from pydantic import BaseModel, SecretStr
from pydantic_settings import BaseSettings

from domain import errors, work

PREFIX: Final = "FETTLE_"
NESTED: Final = "__"
CONFIG_VARIABLE: Final = "FETTLE_CONFIG"
FILE_NAME: Final = "fettle.toml"

_OTHER_VARIABLES: Final = frozenset({CONFIG_VARIABLE, work.TESTS_FIRST, "FETTLE_OPERATOR", "FETTLE_TEMPORAL_CLI"})
"""Variables of ours that are no settings: where the file is, what a verify command is told, who gives commands, which
`temporal` binary to start."""

# Kubernetes puts these into every pod beside a Service named fettle or fettle-…; FETTLE_WEB_PORT can be one of them.
_SERVICE_LINK: Final = re.compile(r"^FETTLE_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$")
_SERVICE_ADDRESS: Final = re.compile(r"^(tcp|udp|sctp)://")

_Settings = TypeVar("_Settings", bound=BaseSettings)


class Contradiction(ValueError):
    """Two settings that cannot both hold: their dotted keys, and what they do to each other."""

    def __init__(self, keys: tuple[str, str], what: str) -> None:
        super().__init__(f"{keys[0]} and {keys[1]} {what}: keep one of them")
        self.keys = keys
        self.what = what


def read_files(given: object, names: Sequence[str], *, parent: str = "") -> object:
    """`given` with the text of each `<name>_file` in `<name>`; anything but a mapping is returned as it is.

    Raises:
        Contradiction: both are given.
        ConfigurationError: the file cannot be read or is empty.
    """
    if not isinstance(given, Mapping):
        return given
    read = dict(given)
    for name in names:
        if not (file := read.get(f"{name}_file")):
            continue
        key = f"{parent}.{name}" if parent else name
        if read.get(name):
            raise Contradiction((key, f"{key}_file"), "both give the same secret")
        read[name] = read_secret(Path(str(file)).expanduser(), f"{key}_file")
    return read


def read_secret(path: Path, key: str) -> str:
    """The text of a secret file without the line end that editors and `echo` add.

    Raises:
        ConfigurationError: it cannot be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
        problem = "" if text.strip() else "is empty"
    except OSError as failure:
        problem = f"cannot be read ({failure.strerror})"
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    if problem:
        raise errors.ConfigurationError(f"{key} names {path}, which {problem}: name a file that holds the secret")
    return text


def load(model: type[_Settings], overrides: Mapping[str, object], *, default_state_dir: Path) -> _Settings:
    """Read `overrides`, the environment and the file into `model`; the earlier of them wins.

    Raises:
        ConfigurationError: with one line for each thing that is wrong.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    found = _find(given, default_state_dir)
    accepted = dict(_fields(model))
    unknown = [_unknown(key, place, accepted) for key, place in found.places() if key not in accepted]
    if unknown:
        raise errors.ConfigurationError("\n".join(unknown))
    try:
        settings = model(**_merge(_merge(found.file, _environment_values(model, found.environment)), given))
    except pydantic.ValidationError as invalid:
        lines = [_invalid(dict(error), found, accepted) for error in invalid.errors(include_url=False)]
        raise errors.ConfigurationError("\n".join(lines)) from None  # the cause's text may quote a secret
    found.check_state_dir()
    return settings


@dataclass(frozen=True)
class _Found:
    """What each source holds, before anything is judged."""

    overrides: Mapping[str, object]
    environment: Mapping[str, str]
    path: Path | None
    file: dict[str, Any]
    in_state_dir: bool
    """The file was found by way of the state directory, so it cannot say where that is."""

    def check_state_dir(self) -> None:
        """Raises ConfigurationError when the file lies in one state directory and names another."""
        named = self.file.get("state_dir")
        if self.path and self.in_state_dir and named and Path(named).expanduser().absolute() != self.path.parent:
            raise errors.ConfigurationError(
                f"state_dir is '{named}' (set in {self.path}), but that file was found in the state directory "
                f"{self.path.parent}: set {PREFIX}STATE_DIR instead, or name the file with {CONFIG_VARIABLE}"
            )

    def places(self) -> Iterator[tuple[str, str]]:
        """Every dotted key that is set, and where, in words; when a key is set twice, the place that wins is first."""
        for key in _dotted(self.overrides):
            yield key, "the command line"
        for name in self.environment:
            if name not in _OTHER_VARIABLES:
                yield name.removeprefix(PREFIX).lower().replace(NESTED, "."), f"the environment variable {name}"
        for key in _dotted(self.file):
            yield key, str(self.path)

    def place(self, key: str) -> str:
        places = list(self.places())
        exact = next((place for found, place in places if found == key), None)
        # A value inside FETTLE_FORGE='{"…": …}' has its parent's place.
        return exact or next((place for found, place in places if key.startswith(f"{found}.")), "the default")


def _find(overrides: Mapping[str, object], default_state_dir: Path) -> _Found:
    environment = {
        name.upper(): value
        for name, value in os.environ.items()
        if name.upper().startswith(PREFIX) and value and not _is_service_link(name.upper(), value)
    }
    named = environment.get(CONFIG_VARIABLE)
    state_dir = Path(str(overrides.get("state_dir") or environment.get(f"{PREFIX}STATE_DIR") or default_state_dir))
    path = Path(named or state_dir / FILE_NAME).expanduser().absolute()
    if not named and not path.exists():
        return _Found(overrides, environment, None, {}, False)
    return _Found(overrides, environment, path, _read_toml(path, named=bool(named)), not named)


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.match(name)) or (name.endswith("_PORT") and bool(_SERVICE_ADDRESS.match(value)))


def _read_toml(path: Path, *, named: bool) -> dict[str, Any]:
    origin = f"{CONFIG_VARIABLE} names" if named else "The state directory holds"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise errors.ConfigurationError(
            f"{origin} {path}, which cannot be read ({failure.strerror}): correct the path or its permissions"
        ) from failure
    except ValueError as failure:  # also bytes that are not UTF-8; TOMLDecodeError says the line, never its text
        raise errors.ConfigurationError(f"{origin} {path}, which is not TOML ({failure}): correct it") from failure


def _environment_values(model: type[BaseSettings], environment: Mapping[str, str]) -> dict[str, Any]:
    source = pydantic_settings.EnvSettingsSource(model)
    source.env_vars = {name.lower(): value for name, value in environment.items() if name not in _OTHER_VARIABLES}
    try:
        return source()
    except pydantic_settings.SettingsError as failure:
        raise errors.ConfigurationError(
            f"A {PREFIX}* variable for a group of settings is not JSON ({failure}): give a JSON object, or one "
            f"variable for each key, such as {PREFIX}FORGE{NESTED}API_URL"
        ) from None


def _fields(model: type[BaseModel], parent: str = "") -> Iterator[tuple[str, bool]]:
    """Every dotted key of `model`, groups included, and whether its value is a secret."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield parent + name, True  # a whole group may hold secrets
            yield from _fields(annotation, f"{parent}{name}.")
        else:
            yield parent + name, SecretStr.__name__ in repr(annotation)


def _unknown(key: str, place: str, accepted: Mapping[str, bool]) -> str:
    """The value is not shown: a misspelt `token` holds a token."""
    close = difflib.get_close_matches(key, accepted, n=1)
    as_variable = place.endswith(f" {_variable(key)}")
    said = _variable(key) if as_variable else key
    if not close:
        return f"{said} (set in {place}) is no setting: remove it; the settings are {', '.join(accepted)}"
    return f"{said} (set in {place}) is no setting: did you mean {_variable(close[0]) if as_variable else close[0]}?"


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", NESTED).upper()


def _invalid(error: dict[str, Any], found: _Found, accepted: Mapping[str, bool]) -> str:
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Contradiction):
        first, second = (f"{key} (set in {found.place(key)})" for key in cause.keys)
        return f"{first} and {second} {cause.what}: keep one of them"
    key = ".".join(map(str, error["loc"]))
    if key not in accepted:  # only by way of a JSON group or an override
        return _unknown(key, found.place(key), accepted)
    value = "a secret" if accepted[key] else f"'{error['input']}'"
    if expected := error.get("ctx", {}).get("expected"):
        words = re.findall(r"'([^']+)'", str(expected))
        close = difflib.get_close_matches(str(error["input"]), words, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{key} is {value} (set in {found.place(key)}): accepted values are {', '.join(words)}{hint}"
    return f"{key} is {value} (set in {found.place(key)}), which is not accepted: {error['msg']}"


def _dotted(values: Mapping[str, object], parent: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _dotted(value, f"{parent}{key}.")
        else:
            yield parent + key


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merge(under[key], over[key]) for key in under.keys() & over.keys() if _are_groups(under, over, key)}
    return {**under, **over, **both}


def _are_groups(under: Mapping[str, Any], over: Mapping[str, Any], key: str) -> bool:
    return isinstance(under[key], Mapping) and isinstance(over[key], Mapping)
