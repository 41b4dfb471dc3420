"""Which functions a call may mean: those of the same architecture, driver and struct, of all that have its name or member."""

import posixpath
from collections.abc import Collection, Sequence

from kgfplint.context.distances import MOST_TARGETS, home_of
from kgfplint.context.flow import Site
from kgfplint.context.steps import Reached
from kgfplint.program.link import Program


class Meant:
    """Chooses among the functions of a program that calls may mean."""

    def __init__(self, program: Program) -> None:
        """Number the members that operations are stored in."""
        self.program = program
        self._members = {number: member for (_, member), number in program.keys.items()}
        self._tags = {number: tag for (tag, _), number in program.keys.items()}

    def together(self, state: Reached, target: int) -> bool:
        """Tell whether a target lies in the folder of the function that calls it, or of the root."""
        folders = set(map(posixpath.dirname, (self.program.file_of(state.function), *self.homes(state))))
        return posixpath.dirname(self.program.file_of(target)) in folders

    def homes(self, state: Reached) -> Collection[str]:
        """Return the file of the root of a chain, or those that register it where none stands beside it: they share its code."""
        root = state.hop.chain()[0]
        own = self.program.file_of(root.function)
        users = [path for path in (self.program.paths[file] for file in root.files) if path.endswith(".c")]
        folder = posixpath.dirname(own)
        return [own] if not users or any(posixpath.dirname(path) == folder for path in users) else users

    def near(self, state: Reached, targets: Sequence[int]) -> Sequence[int]:
        """Return the targets of an indirect call that a chain from its root can mean.

        What a driver calls through code that all share comes back to its own functions, not to those of its siblings.
        """
        if len(targets) < 2:
            return targets
        path = self.program.file_of
        homes = self.homes(state)
        if own := [target for target in targets if path(target) in homes]:
            return own
        folders = set(map(posixpath.dirname, homes))
        if posixpath.dirname(path(state.function)) in folders:
            return targets
        if own := [target for target in targets if posixpath.dirname(path(target)) in folders]:
            return own
        above = set(map(posixpath.dirname, folders))
        return [target for target in targets if posixpath.dirname(posixpath.dirname(path(target))) not in above]

    def targets(self, function: int, site: Site) -> Sequence[int]:
        """Return the functions that an indirect call may mean, none if they are too many."""
        for key, line in self.program.indirect(function):
            if line == site.line and self._members[key].rpartition(".")[2] == site.name:
                targets = self.program.bound.get(key, {})
                homes = ("", home_of(self.program.file_of(function)))
                fitting = [target for target in targets
                           if home_of(self.program.file_of(target)) in homes and self._one_struct(function, target, key)]
                return fitting if len(fitting) <= MOST_TARGETS else ()
        return ()

    def _one_struct(self, caller: int, target: int, key: int) -> bool:
        """Tell whether caller and target can mean the same struct: several drivers may use one tag."""
        types, rows = self.program.types, self.program.rows
        places = {members.file for members in types.records.get(self._tags[key], ())}
        if len(places) < 2 or types.includes is None:
            return True
        ends = rows[caller].file, rows[target].file
        return any(all(types.includes.sees(end, place) for end in ends) for place in places)

    def general(self, file: int, targets: Sequence[int]) -> Sequence[int]:
        """Return the functions that a call may mean, without those of one architecture where there are others."""
        if len(targets) < 2:
            return targets
        home = home_of(self.program.paths[file])
        return [target for target in targets if home_of(self.program.file_of(target)) in ("", home)]
