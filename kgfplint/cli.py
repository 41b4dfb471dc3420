"""The command line: click commands, and how failures are told and exit codes chosen.

Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 the run failed, 130 interrupted, 141 the reader of
standard output went away.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from kgfplint import __version__, engine, fixes, queries, runs, sending
from kgfplint import baseline as baselines
from kgfplint.baseline import BaselineError
from kgfplint.cache import cache
from kgfplint.catalogue import CatalogueError, rules_directory
from kgfplint.checks import UnknownRule, all_checks, find, select
from kgfplint.config import ConfigError, Settings, load
from kgfplint.console import abandon_output, is_terminal, print_stats, showing, write
from kgfplint.facts.index import Progress
from kgfplint.facts.store import StoreError
from kgfplint.guide import guide
from kgfplint.modelcommand import model
from kgfplint.program import CallEdge, Program
from kgfplint.report import FORMATS, Report, render, seen_from
from kgfplint.report.github import append_summary
from kgfplint.revisions import ChangeError, Request, is_patch, read_patch
from kgfplint.source.tree import find_root

Command = TypeVar("Command", bound=Callable[..., Any])

FAILURES = (ConfigError, CatalogueError, UnknownRule, StoreError, ChangeError, BaselineError, engine.RunError)
"""What a user can mend; str of each is one line."""
CLEAN, FINDINGS, FAILED, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141


class DefaultGroup(click.Group):
    """A group whose first word may be a path or an option of `check`: `kgfplint drivers/net`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `check` before arguments that do not begin with a command."""
        if not args:
            raise click.UsageError("no paths given (see 'kgfplint --help')")
        if args[0] not in self.commands and args[0] not in ("--help", "-h", "--version"):
            args = ["check", *args]
        return super().parse_args(ctx, args)


@click.group(cls=DefaultGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def kgfplint() -> None:
    """Check memory allocation in Linux kernel C, without building it.

    `kgfplint PATH...` is short for `kgfplint check PATH...`; see `kgfplint check --help`.
    """


def reading(command: Command) -> Command:
    """Add the options of every command that reads a tree."""
    for option in (
        click.option("--jobs", "-j", type=int, metavar="N", help="Processes to use; 0 is one per processor."),
        click.option("--scope", type=click.Choice(["tree", "paths"]),
                     help="What of a kernel tree is read: all (the default), or only the paths and the headers they include."),
        click.option("--executor", metavar="URL", help="Read files on a Dask cluster: dask://HOST:PORT."),
        click.option("--kernel", metavar="VERSION", help="Kernel version, such as 6.1 (default: the tree's own)."),
        click.option("--rules", multiple=True, metavar="DIR", help="A folder with more data on interfaces."),
        click.option("--no-cache", "cache", flag_value=False, type=bool, default=None,
                     help="Keep no facts for the next run."),
    ):
        command = option(command)
    return command


SEVERITIES = click.Choice(["error", "warning", "note"])


@kgfplint.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--diff", metavar="REV", help="Report what the work tree newly breaks since a commit.")
@click.option("--staged", is_flag=True, help="Report what is staged for commit and newly breaks something.")
@click.option("--patch", metavar="FILE", help="Report what a patch or a mailbox of patches (- is standard input) newly breaks.")
@click.option("--format", type=click.Choice(FORMATS), help="Format of the report (default: text).")
@click.option("--terse", is_flag=True, help="One line for each finding, as checkpatch writes them: --format terse.")
@click.option("--severity", type=SEVERITIES, help="Least severity to report (default: warning).")
@click.option("--fail-on", type=SEVERITIES, help="Least severity that makes the exit code 1 (default: warning).")
@click.option("--select", multiple=True, metavar="RULES", help="Only these rules, by code or name, comma separated.")
@click.option("--ignore", multiple=True, metavar="RULES", help="Not these rules.")
@click.option("--baseline", metavar="FILE", help="Do not report the findings that this file knows.")
@click.option("--update-baseline", is_flag=True, help="Add all that is found to the baseline, and drop from it what is fixed.")
@click.option("--reason", default=baselines.REASON, metavar="TEXT", help="Why what is added to the baseline may stay.")
@click.option("--fix", is_flag=True, help="Mend what can be mended, and report the rest.")
@click.option("--dry-run", is_flag=True, help="With --fix: print what it would change as a diff, and change nothing.")
@click.option("--stats", is_flag=True, help="Print what was read, and how long it took, to standard error.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), help="Colours (default: on a terminal).")
@click.option("--relative-to", metavar="FOLDER", help="Paths in the report start here (default: the root of the tree).")
@click.option("--output", "-o", metavar="FILE", help="Write the report to FILE, not to standard output.")
@reading
@click.pass_context
def check(ctx: click.Context, /, paths: Sequence[str], stats: bool, output: str | None, terse: bool, update_baseline: bool,
          reason: str, relative_to: str | None, fix: bool, dry_run: bool, diff: str | None, staged: bool, patch: str | None,
          **options: Any) -> None:
    """Lint the C files below each PATH of a kernel tree or of an out-of-tree module.

    With --diff, --staged or --patch, PATH defaults to the whole tree that the current folder lies in. PATH may be -, for
    a patch or C code on standard input.
    """
    paths, source = _standard_input(paths)
    if terse:
        options["format"] = "terse"
    request = _request(diff, staged, patch, source)
    if not (paths or request or source is not None):
        raise click.UsageError("no paths given")
    paths = paths or [str(find_root(Path.cwd()))]
    settings = _settings(paths, options)
    if update_baseline and (request or fix or not settings.baseline):
        raise click.UsageError("--update-baseline needs --baseline, and no --diff, --staged, --patch or --fix")
    if not reason.strip():
        raise click.UsageError("--reason: what stays in a baseline needs a reason")
    if (dry_run and not fix) or (fix and (request or source is not None)):
        raise click.UsageError("--dry-run needs --fix, and --fix a tree: no --diff, --staged or --patch")
    known = baselines.read(Path(settings.baseline)) if settings.baseline and not update_baseline else {}
    with showing() as progress:
        if fix:
            report, mended = runs.run_fixes([Path(path) for path in paths], settings, progress)
        elif request:
            report = runs.run_change([Path(path) for path in paths], settings, request, progress)
        elif update_baseline:
            report = _with_new_baseline(paths, settings, reason, progress)
        elif source is not None:
            report = runs.run_text(source, settings, progress)
        elif known:
            report = _telling_fixed(paths, settings, known, progress, stats)
        else:
            report = engine.run([Path(path) for path in paths], settings, progress, measure=stats)
    if fix and dry_run:
        write((line for one in mended for line in fixes.diff(*one)), output)
        ctx.exit(FINDINGS if mended else _code(report, settings))
    if fix:
        runs.write(Path(report.root), mended)
        print(f"kgfplint: {len(mended)} files mended", file=sys.stderr)
    report = replace(report, findings=baselines.unknown(report.findings, known))
    if relative_to:
        report = seen_from(report, relative_to)
    _tell(report, settings, output)
    if stats:
        print_stats(report.stats)
    ctx.exit(_code(report, settings))


def _tell(report: Report, settings: Settings, output: str | None) -> None:
    """Write a report to a file or to standard output, and what belongs to its format beside it."""
    colour = settings.color == "always" or (settings.color == "auto" and not output and is_terminal(sys.stdout))
    write(render(settings.format, report, colour), output)
    if settings.format == "github":
        append_summary(report)


def _code(report: Report, settings: Settings) -> int:
    worst = report.worst()
    return FINDINGS if worst is not None and worst >= settings.failing else CLEAN


def _request(diff: str | None, staged: bool, patch: str | None, source: bytes | None) -> Request | None:
    """Return the change that the options, or a patch on standard input, ask about."""
    found = [Request(commit=diff)] if diff else []
    found += [Request(staged=True)] if staged else []
    found += [Request(patch=read_patch(patch, sys.stdin.buffer if patch == "-" else None))] if patch else []
    found += [Request(patch=("-", source))] if source is not None and is_patch(source) else []
    if len(found) > 1:
        raise click.UsageError("--diff, --staged and --patch exclude each other")
    return found[0] if found else None


def _scoped(paths: Sequence[str], settings: Settings, progress: Progress,
            measure: bool = False) -> tuple[Report, baselines.Scope]:
    """Lint for findings of any severity, and tell what was looked at, as a baseline needs to know it."""
    report = engine.run([Path(path) for path in paths], msgspec.structs.replace(settings, severity="note"), progress, measure)
    targets = [os.path.relpath(os.path.realpath(path), report.root) for path in paths]
    return report, baselines.Scope(targets, {check.RULE.name for check in select(settings.select, settings.ignore)})


def _telling_fixed(paths: Sequence[str], settings: Settings, known: Mapping[str, baselines.Entry], progress: Progress,
                   measure: bool) -> Report:
    """Lint, and tell on standard error how much of the baseline is fixed."""
    report, scope = _scoped(paths, settings, progress, measure)
    if done := baselines.fixed(report.findings, known, scope):
        print(f"kgfplint: {settings.baseline}: {len(done)} fixed since; --update-baseline drops what is fixed", file=sys.stderr)
    return replace(report, findings=tuple(finding for finding in report.findings if finding.severity >= settings.reported))


def _with_new_baseline(paths: Sequence[str], settings: Settings, reason: str, progress: Progress) -> Report:
    """Bring the baseline up to date, tell how on standard error, and return the report, in which all is known."""
    path = Path(settings.baseline)
    known = baselines.read(path) if path.exists() else {}
    report, scope = _scoped(paths, settings, progress)
    done = baselines.updated(report.findings, settings.reported, known, scope, reason)
    baselines.write(path, done.entries)
    print(f"kgfplint: {path}: {done.added} added, {done.kept} kept, {done.dropped} fixed and dropped", file=sys.stderr)
    return replace(report, findings=())


def _standard_input(paths: Sequence[str]) -> tuple[Sequence[str], bytes | None]:
    """Return the paths but `-`, and standard input if that was among them."""
    others = [path for path in paths if path != "-"]
    return others, sys.stdin.buffer.read() if len(others) < len(paths) else None


@kgfplint.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--baseline", metavar="FILE", help="The baseline, if it is not in the settings.")
@reading
def baseline(paths: Sequence[str], **options: Any) -> None:
    """Print what of the baseline is fixed since, below the PATHs."""
    settings = _settings(paths, options)
    if not settings.baseline:
        raise click.UsageError("no baseline given; use --baseline FILE")
    known = baselines.read(Path(settings.baseline))
    with showing() as progress:
        report, scope = _scoped(paths, settings, progress)
    done = baselines.fixed(report.findings, known, scope)
    looked = sum(scope.covers(entry) for entry in known.values())
    write([*(f"{entry.path}: {entry.rule} in {entry.function or 'the file'}: fixed (known since {entry.added}: {entry.reason})\n"
              for entry in done), f"{looked} known, {len(done)} of them fixed\n"])


@kgfplint.command()
@click.option("--format", type=click.Choice(["text", "markdown"]), default="text", help="A list, or one document with all pages.")
def rules(format: str) -> None:
    """List all rules."""
    listed = [check.RULE for check in all_checks().values()]
    if format == "text":
        write(f"{rule.code}  {rule.name:30} {rule.severity.label:8} {rule.summary}\n" for rule in listed)
        return
    write(["# Rules\n\n| code | name | severity | |\n|---|---|---|---|\n",
           *("| {} |\n".format(" | ".join(word.replace("|", "\\|") for word in (
               rule.code, rule.name, rule.severity.label, rule.summary))) for rule in listed),
           *(re.sub("^#+ ", r"#\g<0>", f"\n{_page(rule.code)}", flags=re.M) for rule in listed)])


@kgfplint.command()
@click.argument("rule")
def explain(rule: str) -> None:
    """Explain RULE (a code or a name): what it says, why, examples, how to fix it."""
    write([_page(find(rule).RULE.code)])


def _page(code: str) -> str:
    return (rules_directory() / "pages" / f"{code}.md").read_text(encoding="utf-8")


@kgfplint.command()
@click.argument("function")
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@reading
def callers(function: str, paths: Sequence[str], **options: Any) -> None:
    """Print where FUNCTION is called from, below the PATHs."""
    _print_calls(function, paths, options, lambda program: program.callers(function))


@kgfplint.command()
@click.argument("function")
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@reading
def callees(function: str, paths: Sequence[str], **options: Any) -> None:
    """Print what FUNCTION calls, below the PATHs."""
    _print_calls(function, paths, options, lambda program: program.callees(function))


@kgfplint.command()
@click.argument("function")
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@reading
def context(function: str, paths: Sequence[str], **options: Any) -> None:
    """Print which contexts reach FUNCTION, with a chain for each, or the evidence that it may sleep."""
    paths = paths or ["."]
    with showing() as progress:
        lines = list(queries.contexts(function, [Path(path) for path in paths], _settings(paths, options), progress))
    write(lines)


@kgfplint.command()
@click.argument("place", metavar="PATH:LINE")
@reading
def why(place: str, **options: Any) -> None:
    """Print everything known about the findings at PATH:LINE."""
    settings = _settings([place.rpartition(":")[0] or "."], {**options, "severity": "note"})
    with showing() as progress:
        lines = list(queries.why(place, settings, progress))
    write(lines)


@kgfplint.command()
@click.argument("fingerprint")
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--output", "-o", metavar="FILE", help="Write the mail to FILE, not to standard output.")
@reading
def patch(fingerprint: str, paths: Sequence[str], output: str | None, **options: Any) -> None:
    """Print a mail with the patch that mends the finding with FINGERPRINT, for `git am` and `git send-email`.

    The PATHs (default: the whole tree that the current folder lies in) are those that were linted: the same run is made again.
    """
    paths = paths or [str(find_root(Path.cwd()))]
    with showing() as progress:
        mail = sending.run_patch(fingerprint, [Path(path) for path in paths], _settings(paths, options), progress)
    write([mail], output)


@kgfplint.command()
@reading
def lsp(**options: Any) -> None:
    """Serve an editor on standard input and output: findings, contexts and masks as you write (Language Server Protocol).

    A text is judged by the headers that it includes; when it is opened or saved also by its whole tree, once that was linted.
    """
    try:
        from kgfplint.editor.server import serve  # nobody else waits for it to load
    except ModuleNotFoundError as error:
        raise engine.RunError(f"{error.name} is missing; install kgfplint[lsp]") from error
    serve(_given(options))


kgfplint.add_command(cache)
kgfplint.add_command(guide)
kgfplint.add_command(model)


def _print_calls(function: str, paths: Sequence[str], options: dict[str, Any],
                 ask: Callable[[Program], Iterable[CallEdge]]) -> None:
    paths = paths or ["."]
    settings = _settings(paths, options)
    with showing() as progress, engine.survey([Path(path) for path in paths], settings, progress) as found:
        try:
            edges = list(ask(engine.linked(found, progress)))
        except KeyError:
            raise engine.RunError(f"{function}: no such function in what was read below {', '.join(paths)}") from None
    write(f"{edge.path}:{edge.line}: {edge.function} ({edge.kind})\n" for edge in edges)


def _settings(paths: Sequence[str], options: dict[str, Any]) -> Settings:
    """Return the settings, with the options that were given put over file and environment."""
    return load(Path(paths[0]), _given(options))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, by setting name."""
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None and value != ()}
    for name in ("select", "ignore"):
        if name in given:
            given[name] = [word.strip() for words in given[name] for word in words.split(",") if word.strip()]
    return given


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; every user error is one line on standard error."""
    logging.basicConfig(format="kgfplint: %(message)s", level=logging.WARNING, force=True)
    try:
        done = kgfplint.main(args, prog_name="kgfplint", standalone_mode=False)
        return done if isinstance(done, int) else CLEAN
    except FAILURES as error:
        return _fail(str(error))
    except click.ClickException as error:
        return _fail(error.format_message())
    except SystemExit:  # how click says that nobody reads standard output any more
        return PIPE_CLOSED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except OSError as error:
        abandon_output()
        return _fail(f"{error.filename or 'standard output'}: {error.strerror}")
    except Exception as error:  # exit code 1 would mean findings
        traceback.print_exc()
        return _fail(f"internal error, please report it: {type(error).__name__}: {error}")


def _fail(message: str) -> int:
    print("kgfplint:", re.sub(r"\s*\n\s*", " ", message), file=sys.stderr)
    return FAILED
