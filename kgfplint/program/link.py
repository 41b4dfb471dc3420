"""Linking: the outlines of all files to one Program with call edges and bound function pointers."""

import posixpath
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from kgfplint.facts import ir
from kgfplint.program.includes import Includes
from kgfplint.program.macros import Enumerators
from kgfplint.program.types import Members, Types
from kgfplint.source.tree import Files

MOST_TARGETS = 64
"""An indirect call with more targets than this is no edge: the set says nothing any more."""


class Row(Struct, gc=False, frozen=True):
    """One function of the program: what its outline says, without the calls."""

    name: str
    file: int
    line: int
    end_line: int
    flags: int
    returns: str
    params: tuple[ir.Param, ...]
    annotations: tuple[str, ...]


class CallEdge(Struct, frozen=True, order=True):
    """One call of the call graph, as a query shows it: the other function and the place of the call."""

    path: str
    line: int
    function: str
    kind: str


class Program:
    """All functions of a tree, their calls as integer arrays, and the types of the tree.

    Function numbers count through the files in order; calls of function f are the slices
    `call_names[call_start[f]:call_start[f + 1]]` (name numbers) and `call_lines` alike. `store_functions` are those that
    store something into a member of this name. `masked` has result and parameters of prototypes with a gfp_t. `handed` has
    (function, callee, place, given, line) of functions and objects handed over by name, `declared` the same of macros at
    file scope, with the file; `objects` has (file, member, function) of functions stored in globals by their initialisers,
    by the name of the global. `bound` has the functions stored in each member (see `keys`) with a line of their own file where
    that is done, 0 if others do, and `lent` (file, line) of those others, by member and function. `files` tells where its files
    are, None for a program of texts.
    """

    def __init__(self) -> None:
        """Start empty; `link` fills it."""
        self.paths: list[str] = []
        self.first: list[int] = []
        self.rows: list[Row] = []
        self.types = Types()
        self.names: dict[str, int] = {}
        self.name_list: list[str] = []
        self.defined: dict[str, list[int]] = {}
        self.macros = self.types.macros
        self.enumerators = Enumerators()
        self.exports: set[str] = set()
        self.noreturn: set[str] = set()
        self.call_start = array("q", [0])
        self.call_names = array("i")
        self.call_lines = array("i")
        self.store_functions: dict[str, array[int]] = {}
        self.masked: dict[str, tuple[str, tuple[ir.Param, ...]]] = {}
        self.indirect_start = array("q", [0])
        self.indirect_keys = array("i")
        self.indirect_lines = array("i")
        self.keys: dict[tuple[str, str], int] = {}
        self.bound: dict[int, dict[int, int]] = {}
        self.lent: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.handed: list[tuple[int, str, int, str, int]] = []
        self.declared: list[tuple[int, str, int, str, int]] = []
        self.objects: dict[str, list[tuple[int, str, int]]] = {}
        self.files: Files | None = None
        self._callers: dict[int, list[int]] | None = None
        self._params: dict[tuple[ir.Param, ...], tuple[ir.Param, ...]] = {}
        self._param: dict[ir.Param, ir.Param] = {}

    def number(self, name: str) -> int:
        """Return the number of a name, a new one for a new name."""
        known = self.names.get(name)
        if known is None:
            name = sys.intern(name)
            known = self.names[name] = len(self.name_list)
            self.name_list.append(name)
        return known

    def knows(self, name: str) -> bool:
        """Tell whether a name is a function, an object-like macro or an enumerator somewhere."""
        return name in self.defined or name in self.enumerators or name in self.macros

    def file_of(self, function: int) -> str:
        """Return the tree-relative path of the file that defines a function."""
        return self.paths[self.rows[function].file]

    def functions_of(self, file: int) -> range:
        """Return the numbers of the functions that a file defines."""
        return range(self.first[file], self.first[file + 1])

    def resolve(self, file: int, name: str) -> list[int]:
        """Return the definitions that a call of `name` in `file` may mean.

        The file's own first, then those of headers it includes, then the global ones.
        """
        found = self.defined.get(name)
        if not found:
            return []
        own = [f for f in found if self.rows[f].file == file]
        if own:
            return own
        private = ir.STATIC | ir.MACRO
        outside = [f for f in found if not (self.rows[f].flags & private and self.file_of(f).endswith(".c"))]
        if len(outside) > 1:
            headers = [f for f in outside if self.rows[f].flags & (ir.STATIC | ir.MACRO | ir.INLINE)]
            seen = [f for f in headers if self.types.includes and self.types.includes.sees(file, self.rows[f].file)]
            shared = [f for f in outside if f not in headers]
            return seen or self._nearest(file, shared) or headers
        return outside

    def _nearest(self, file: int, functions: list[int]) -> list[int]:
        """Return those of some functions that stand in the folder of a file, if any do: drivers use each other's names."""
        return [f for f in functions if self.is_beside(f, file)] or functions

    def is_beside(self, function: int, file: int) -> bool:
        """Tell whether a function is defined in the folder of a file."""
        return posixpath.dirname(self.file_of(function)) == posixpath.dirname(self.paths[file])

    def stored(self, key: int) -> Iterator[tuple[int, Sequence[tuple[int, int]]]]:
        """Yield the functions that are stored in a member, each with (file, line) of the places where: of its own file first."""
        for target, line in self.bound.get(key, {}).items():
            own = [(self.rows[target].file, line)] if line else []
            yield target, [*own, *self.lent.get((key, target), ())]

    def calls(self, function: int) -> Iterator[tuple[str, int]]:
        """Yield (callee name, line) of the direct calls of a function."""
        for at in range(self.call_start[function], self.call_start[function + 1]):
            yield self.name_list[self.call_names[at]], self.call_lines[at]

    def indirect(self, function: int) -> Iterator[tuple[int, int]]:
        """Yield (key number, line) of the indirect calls of a function."""
        for at in range(self.indirect_start[function], self.indirect_start[function + 1]):
            yield self.indirect_keys[at], self.indirect_lines[at]

    def functions_calling(self, name: str) -> list[int]:
        """Return the functions that call something named `name`."""
        if self._callers is None:
            self._callers = {}
            for function in range(len(self.rows)):
                for at in range(self.call_start[function], self.call_start[function + 1]):
                    self._callers.setdefault(self.call_names[at], []).append(function)
        number = self.names.get(name)
        return [] if number is None else self._callers.get(number, [])

    def callers_in_file(self, function: int) -> list[int]:
        """Return the other functions of its file that call something named like a function, each once."""
        row = self.rows[function]
        return [caller for caller in dict.fromkeys(self.functions_calling(row.name))
                if self.rows[caller].file == row.file and caller != function]

    def callees(self, name: str) -> list[CallEdge]:
        """Return what functions named `name` call; KeyError when there is none."""
        edges: set[CallEdge] = set()
        keys = {number: key for key, number in self.keys.items()}
        for function in self.defined[name]:
            row = self.rows[function]
            path = self.paths[row.file]
            for callee, line in self.calls(function):
                kind = "direct" if self.resolve(row.file, callee) else "unresolved"
                edges.add(CallEdge(path, line, callee, kind))
            for key, line in self.indirect(function):
                targets = self.bound.get(key, {})
                tag, member = keys[key]
                label = f"indirect {tag}.{member}"
                if not targets or len(targets) > MOST_TARGETS:
                    edges.add(CallEdge(path, line, f"({len(targets)} targets)", label))
                for target in targets if len(targets) <= MOST_TARGETS else ():
                    edges.add(CallEdge(path, line, self.rows[target].name, label))
        return sorted(edges)

    def callers(self, name: str) -> list[CallEdge]:
        """Return the calls of functions named `name`; KeyError when there is none."""
        edges: set[CallEdge] = set()
        mine = set(self.defined[name])
        for function in self.functions_calling(name):
            row = self.rows[function]
            if mine.intersection(self.resolve(row.file, name)):
                lines = [line for callee, line in self.calls(function) if callee == name]
                edges.update(CallEdge(self.paths[row.file], line, row.name, "direct") for line in lines)
        keys = {key for key, targets in self.bound.items() if mine & targets.keys() and len(targets) <= MOST_TARGETS}
        words = {number: f"indirect {tag}.{member}" for (tag, member), number in self.keys.items() if number in keys}
        for function in range(len(self.rows)) if keys else ():
            for key, line in self.indirect(function):
                if key in keys:
                    edges.add(CallEdge(self.file_of(function), line, self.rows[function].name, words[key]))
        for function, callee, _, given, line in self.handed:
            if given == name and name in self.defined and mine.intersection(self.resolve(self.rows[function].file, name)):
                edges.add(CallEdge(self.file_of(function), line, self.rows[function].name, f"handed to {callee}"))
        return sorted(edges)


def link(files: Iterable[tuple[str, ir.FileFacts]]) -> Program:
    """Return the Program of (tree-relative path, facts) pairs; the order of the pairs is the order of functions."""
    program = Program()
    includes: dict[int, tuple[str, ...]] = {}
    pending: list[tuple[int, tuple[ir.Binding, ...]]] = []
    indirect: list[tuple[int, tuple[tuple[str, str, int], ...]]] = []
    for path, facts in files:
        file = len(program.paths)
        program.paths.append(path)
        program.first.append(len(program.rows))
        includes[file] = tuple(map(sys.intern, facts.includes))
        _add_types(program, file, facts)
        for function in facts.functions:
            _add_function(program, file, function, indirect)
        if facts.bindings:
            pending.append((file, facts.bindings))
        for macro, place, name, line in facts.declared:
            program.declared.append((file, sys.intern(macro), place, sys.intern(name), line))
    program.first.append(len(program.rows))
    program._params.clear()
    program._param.clear()
    program.types.includes = Includes(program.paths, includes)
    _bind(program, pending)
    _link_indirect(program, indirect)
    program.handed = [handed for handed in program.handed if handed[3] in program.defined or handed[3] in program.objects]
    program.declared = [given for given in program.declared if given[3] in program.defined]
    return program


def _add_types(program: Program, file: int, facts: ir.FileFacts) -> None:
    types = program.types
    for record in facts.records:
        if record.tag:
            types.records.setdefault(sys.intern(record.tag), []).append(Members(file, record))
    for name, ctype in facts.typedefs:
        if ctype != name:
            types.typedefs.setdefault(name, []).append((file, sys.intern(ctype)))
    for name, ctype, _ in facts.globals:
        known = types.globals.setdefault(name, [])
        if not known or known[-1][1] != ctype:
            known.append((file, sys.intern(ctype)))
    for name, returns, params in facts.prototypes:
        types.add_result(file, name, sys.intern(returns))
        if any("gfp_t" in param.ctype for param in params):
            program.masked[name] = returns, params
    macros = program.macros
    for name, value in facts.macros:
        macros.add(file, name, value)
    for name, value in facts.enumerators:
        program.enumerators.add(file, name, value)
    program.exports.update(facts.exports)
    program.noreturn.update(facts.noreturn)


def _add_function(
    program: Program, file: int, function: ir.Function, indirect: list[tuple[int, tuple[tuple[str, str, int], ...]]],
) -> None:
    number = len(program.rows)
    name = sys.intern(function.name)
    params = program._params.get(function.params)
    if params is None:
        params = program._params[function.params] = tuple(program._param.setdefault(one, one) for one in function.params)
    row = Row(name, file, function.line, function.end_line, function.flags, sys.intern(function.returns), params,
              function.annotations)
    program.rows.append(row)
    program.defined.setdefault(name, []).append(number)
    program.types.add_result(file, name, row.returns)
    if function.flags & ir.MACRO:
        program.types.add_macro(file, name, row.params)
    names = program.names
    for callee, line in function.calls:
        known = names.get(callee)
        program.call_names.append(program.number(callee) if known is None else known)
        program.call_lines.append(line)
    program.call_start.append(len(program.call_names))
    for member in function.stored:
        found = program.store_functions.get(member)
        if found is None:
            found = program.store_functions[sys.intern(member)] = array("i")
        found.append(number)
    if function.indirect:
        indirect.append((number, function.indirect))
    for callee, place, given, line in function.handed:
        program.handed.append((number, sys.intern(callee), place, sys.intern(given), line))


def _bind(program: Program, pending: list[tuple[int, tuple[ir.Binding, ...]]]) -> None:
    """Bind stored names that are functions to their (struct tag, member)."""
    for file, bindings in pending:
        for binding in bindings:
            if binding.function not in program.defined:
                continue
            targets = [t for t in program.resolve(file, binding.function) if not program.rows[t].flags & ir.MACRO]
            if not targets:
                continue
            tag, member = program.types.owner(file, binding.owner, binding.path)
            if tag and member:
                key = program.keys.setdefault((tag, member), len(program.keys))
                slot = program.bound.setdefault(key, {})
                for target in targets:
                    own = program.rows[target].file == file
                    slot[target] = slot.get(target) or (binding.line if own else 0)
                    if not own:
                        program.lent.setdefault((key, target), []).append((file, binding.line))
                    if binding.inside.startswith("="):
                        program.objects.setdefault(binding.inside[1:], []).append((file, member, target))


def _link_indirect(program: Program, indirect: list[tuple[int, tuple[tuple[str, str, int], ...]]]) -> None:
    """Resolve the roots of indirect calls and lay them out next to the functions."""
    at = 0
    for function, row in enumerate(program.rows):
        if at < len(indirect) and indirect[at][0] == function:
            for root, path, line in indirect[at][1]:
                tag, member = program.types.owner(row.file, root, path)
                if tag and member:
                    program.indirect_keys.append(program.keys.setdefault((tag, member), len(program.keys)))
                    program.indirect_lines.append(line)
            at += 1
        program.indirect_start.append(len(program.indirect_keys))
