"""The settings of a run: a file, then the environment, then the options, each over the former.

The file is `kgfplint.toml`, or `pyproject.toml` with a `[tool.kgfplint]` table, the first one found
upward from what is linted, else from the current folder. A key that we do not know is an error: a
misspelt setting must not pass for one that holds.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from kgfplint.findings import Severity

Word = Literal["error", "warning", "note"]
Format = Literal["text", "terse", "json", "jsonl", "sarif", "github", "gitlab", "rdjson", "checkstyle", "junit", "html"]


class ConfigError(Exception):
    """A setting is wrong; str is one line that names the file, variable or option."""


class Settings(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """Every setting by its name.

    `baseline` "" is none, `jobs` 0 is one per processor, `executor` "" is this machine, `kernel` "" is what the tree says;
    with `scope` "paths" no more of a kernel tree is read than the paths given and what they include.
    """

    format: Format = "text"
    severity: Word = "warning"
    fail_on: Word = "warning"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    jobs: int = 0
    executor: str = ""
    kernel: str = ""
    rules: tuple[str, ...] = ()
    baseline: str = ""
    cache: bool = True
    scope: Literal["tree", "paths"] = "tree"
    color: Literal["auto", "always", "never"] = "auto"

    def __post_init__(self) -> None:
        """Check what the types do not say; ValueError names the setting."""
        if self.jobs < 0:
            raise ValueError("expected 0 or more")
        if self.executor:
            parse_executor(self.executor)
        if self.kernel:
            parse_version(self.kernel)

    @property
    def reported(self) -> Severity:
        """The least severity that is reported."""
        return Severity.parse(self.severity)

    @property
    def failing(self) -> Severity:
        """The least severity that makes a run fail."""
        return Severity.parse(self.fail_on)

    @property
    def version(self) -> tuple[int, int] | None:
        """The kernel version asked for, None for the tree's own."""
        return parse_version(self.kernel) if self.kernel else None


_FIELDS = {field.encode_name: field.name for field in msgspec.structs.fields(Settings)}
_LISTS = {"select", "ignore", "rules"}


def parse_version(text: str) -> tuple[int, int]:
    """Return `6.1` or `6.1.176` as (6, 1); ValueError for anything else."""
    parts = text.removeprefix("v").split(".")
    if len(parts) < 2 or not all(part.isdecimal() for part in parts[:2]):
        raise ValueError(f"expected a version such as 6.1, not {text!r}")
    return int(parts[0]), int(parts[1])


def parse_executor(text: str) -> tuple[str, int]:
    """Return `dask://HOST:PORT` as (HOST, PORT), an IPv6 address with its brackets; ValueError for anything else."""
    if found := re.fullmatch(r"dask://([^\s/:@\[\]]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})/?", text):
        host, port = found[1], int(found[2])
        if 0 < port < 1 << 16:
            return host, port
    raise ValueError(f"expected dask://HOST:PORT, not {text!r}")


def load(start: Path, options: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings for linting `start`; `options` are those given, by setting name.

    Raises ConfigError, whose str names where the wrong setting stands.
    """
    values: dict[str, Any] = {}
    path = _find(start) or _find(Path.cwd())
    if path is not None:
        values.update(_checked(_read(path), path, path.parent))
    for name in _FIELDS:
        variable = f"KGFPLINT_{name.upper().replace('-', '_')}"
        # KGFPLINT_CACHE names the folder of the store.
        if name != "cache" and (text := environment.get(variable)):
            values.update(_checked({name: _split(text) if name in _LISTS else text}, variable))
    for name, value in options.items():
        values.update(_checked({name: value}, f"--{name}"))
    return msgspec.convert(values, Settings, strict=False)


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _find(start: Path) -> Path | None:
    start = start.absolute()
    for folder in (start, *start.parents):
        if (own := folder / "kgfplint.toml").is_file():
            return own
        if (shared := folder / "pyproject.toml").is_file() and "kgfplint" in _load(shared).get("tool", {}):
            return shared
    return None


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from error


def _read(path: Path) -> dict[str, Any]:
    document = _load(path)
    table = document if path.name == "kgfplint.toml" else document["tool"]["kgfplint"]
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.kgfplint: expected a table")
    return table


def _checked(values: Mapping[str, Any], source: Path | str, base: Path | None = None) -> dict[str, Any]:
    """Return the settings of one source in their types; `base` is where its relative folders start."""
    done = {}
    for name, value in values.items():
        if name not in _FIELDS:
            raise ConfigError(f"{source}: unknown setting {name!r}")
        try:
            # Strings become numbers only where they are all that a source has.
            one = msgspec.convert({name: value}, Settings, strict=isinstance(source, Path))
        except msgspec.ValidationError as error:
            reason = str(error).partition(" - at ")[0]
            raise ConfigError(f"{source}: {name}: {reason}" if base else f"{source}: {reason}") from error
        done[name] = getattr(one, _FIELDS[name])
    if base is not None and "rules" in done:
        done["rules"] = tuple(str(base / folder) for folder in done["rules"])
    if base is not None and done.get("baseline"):
        done["baseline"] = str(base / done["baseline"])
    return done
