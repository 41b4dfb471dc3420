"""What functions do for their callers: allocate, free a parameter, change what is held. Inferred bottom-up."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from kgfplint.catalogue import CALCULATED, Alloc, Catalogue, Free
from kgfplint.context.held import lock_changes
from kgfplint.facts import ir
from kgfplint.facts.terms import NULL as NULL_POINTER
from kgfplint.facts.terms import bare, root, walk
from kgfplint.facts.words import ERROR_POINTERS
from kgfplint.gfp.policy import policy
from kgfplint.ownership.counting import counts
from kgfplint.ownership.destructors import endings
from kgfplint.ownership.frame import Frame
from kgfplint.ownership.ops import Release, Site
from kgfplint.ownership.outcomes import fails
from kgfplint.ownership.states import ERROR, MAYBE, NULL, VALID, Exit
from kgfplint.program.constants import constants_of
from kgfplint.program.definitions import GFP_TYPES, takes_mask
from kgfplint.program.leaving import leave_of
from kgfplint.program.link import Program, Row
from kgfplint.program.meaning import EMPTY, Freed, LockChange, Meaning, Summary
from kgfplint.program.settled import handed_on

ROUNDS = 8
"""Functions that call each other are analysed together at most so many times."""
_MOST_TERMS = 4
"""What is freed further below a parameter than `p->a->b->c` is not told: a function that frees a list by
calling itself would never come to an end, one that frees a tree would name all of its paths."""
_NOFAIL = ir.Name("__GFP_NOFAIL")


def telling(program: Program, catalogue: Catalogue) -> Iterator[int]:
    """Yield the functions that are analysed whatever their callees do.

    They call a primitive of the catalogue, guard(), something that is given a mask or something that never returns, or never
    return themselves, or are given a mask to look at.
    """
    marks = bytearray(len(program.name_list))
    known = policy(catalogue.version)
    masked = (row.name for row in program.rows if takes_mask(row))
    primitives = {*catalogue.primitives, *catalogue.sections, *catalogue.needs, *catalogue.counted, "guard",
                  *known.scope_functions}
    asserting = (sleeper.name for sleeper in catalogue.sleepers.values() if sleeper.gfp is not None)
    for name in {*primitives, *asserting, *program.noreturn, *masked} & program.names.keys():
        marks[program.names[name]] = 1
    for number, row in enumerate(program.rows):
        calls = range(program.call_start[number], program.call_start[number + 1])
        told = row.flags & (ir.NORETURN | ir.LEAVES) or any(param.ctype in known.carriers for param in row.params)
        if told or any(marks[program.call_names[at]] for at in calls):
            yield number


def summarise(frame: Frame) -> Summary | None:
    """Return the summary of one function under what is known of its callees, None if it does nothing of interest."""
    acquires, releases, retakes = _locks(frame)
    allocates, frees, failing = _ownership(frame)
    assigns = _assigned(frame.body, frame.row) if frame.row.flags & ir.MACRO else ()
    scopes = frame.scopes.changes if frame.touches_scopes else ()
    summary = Summary(
        allocates, frees, acquires, releases, assigns, _comes_back(frame.body, frame.file, frame.meaning), scopes, retakes,
        _hands(frame), _needs(frame) if frame.needs_memory and not frame.row.flags & ir.MACRO else (), _leave(frame),
        counts(frame), failing, endings(frame),
    )  # fmt: skip
    return None if summary == EMPTY else summary


def _leave(frame: Frame) -> ir.Return | None:
    flags = frame.row.flags
    if not flags & ir.LEAVES and (not flags & ir.MACRO or frame.body is frame.written):
        return None
    return leave_of(frame.body, frame.written, frame.row.params, bool(flags & ir.LEAVES), frame.value_of)


def _needs(frame: Frame) -> tuple[tuple[int, str], ...]:
    """The parameters that are given on as they came, to what needs memory of a kind; none where the function asks itself.

    What it gives to another function of the tree as well may go there instead, by a condition: of that nothing is told.
    """
    needs = frame.meaning.catalogue.needs
    if any(needs[name].of == "asked" for name in frame.callees & needs.keys()):
        return ()
    places = {param.name: place for place, param in enumerate(frame.row.params) if not frame.values[param.name]}
    found: dict[int, str] = {}
    others: set[int] = set()
    for call in frame.calls:
        name = call.callee.id if type(call.callee) is ir.Name else ""
        need = needs.get(name)
        wanted = {need.ptr: name} if need is not None else dict(frame.meaning.summary(frame.file, name).needs) if name else {}
        for at, arg in enumerate(call.args):
            given = bare(arg)
            if type(given) is not ir.Name or given.id not in places:
                continue
            if at in wanted:
                found.setdefault(places[given.id], wanted[at])
            elif name in frame.program.defined:
                others.add(places[given.id])
    return tuple((place, name) for place, name in sorted(found.items()) if place not in others)


def _assigned(body: ir.Body, row: Row) -> tuple[int, ...]:
    """The parameters that a macro assigns to."""
    targets = {event.target for event in _events(body) if isinstance(event, ir.Assign | ir.Call) and event.target is not None}
    return tuple(place for place, param in enumerate(row.params) if ir.Name(param.name) in targets)


def _comes_back(body: ir.Body, file: int, meaning: Meaning) -> bool:
    """Tell whether a return can be reached past the calls that do not come back."""
    if not body.blocks:
        return True
    seen, stack = {0}, [0]
    while stack:
        block = body.blocks[stack.pop()]
        for event in block.events:
            if type(event) is ir.Return:
                return True
            if type(event) is ir.Call and not meaning.returns(file, event):
                break
        else:
            fresh = [edge.to for edge in block.edges if edge.to not in seen]
            seen.update(fresh)
            stack.extend(fresh)
    return False


def _locks(frame: Frame) -> tuple[tuple[LockChange, ...], tuple[LockChange, ...], tuple[str, ...]]:
    return lock_changes(frame.locks, frame.locals) if frame.touches_locks else ((), (), ())


def _events(body: ir.Body) -> Iterator[ir.Event]:
    for block in body.blocks:
        yield from block.events


def _ownership(frame: Frame) -> tuple[Alloc | None, tuple[Freed, ...], tuple[Freed, ...]]:
    row = frame.row
    outs = [p for p in row.params if p.ctype.endswith("**")]
    makes = frame.allocates and bool(row.returns.endswith(("*", "unsigned long")) or row.flags & ir.EXPRESSION or outs)
    if not makes and not (frame.frees and row.params):
        return None, (), ()
    paths = frame.paths
    if not paths.complete or not paths.exits:
        return None, (), ()
    made = (_allocates(frame) or _hands_out(frame)) if makes else None
    return made, *_frees(frame)


def _hands_out(frame: Frame) -> Alloc | None:
    """A function that stores fresh memory of one family through a `T **` parameter, wherever it stores any."""
    row, paths = frame.row, frame.paths
    for place, param in enumerate(row.params):
        number = paths.number(ir.Deref(ir.Name(param.name)))
        origins = [origin for leave in paths.exits if (origin := leave.stored(number)) is not None]
        sites = [origin.site for origin in origins if origin.site is not None]
        if number >= 0 and sites and all(o.site is not None or o.what in ("null", "err_ptr") for o in origins):
            first = sites[0].alloc
            if all(site.alloc.family == first.family for site in sites):
                return Alloc(name=row.name, family=first.family, params=tuple(p.name for p in row.params), fails="errno",
                             zeroes=all(site.alloc.zeroes for site in sites), sleeps="never", out=place, managed=first.managed,
                             count=_unseen(_roles(sites, row, frame.meaning).get("count"), frame))
    return None


def _unseen(place: int | None, frame: Frame) -> int | None:
    """Return the place of a parameter if the function compares it with nothing but counters of loops: it may bound it else."""
    if place is None:
        return None
    counters = {event.target for event in frame.events() if type(event) is ir.Assign and event.op and event.value == ir.Number(1)}
    name = ir.Name(frame.row.params[place].name)
    terms = (term for block in frame.body.blocks for edge in block.edges if edge.condition is not None
             for term in walk(edge.condition))
    compared = any(type(term) is ir.Binary and term.op in ("<", "<=", ">", ">=") and name in walk(term)
                   and not {bare(term.left), bare(term.right)} & counters for term in terms)
    return None if compared else place


def _hands(frame: Frame) -> Alloc | None:
    """What a function hands its mask on to as it came: an allocator like all that are given it, None if it does anything else."""
    row, meaning = frame.row, frame.meaning
    place = next((place for place, param in enumerate(row.params) if param.ctype in GFP_TYPES), None)
    if place is None or row.flags & ir.MACRO or frame.values[row.params[place].name]:
        return None
    mask, found = ir.Name(row.params[place].name), list[Alloc]()
    for call in frame.calls:
        name = call.callee.id if type(call.callee) is ir.Name else ""
        if name in policy(meaning.catalogue.version).askers or not any(mask in walk(arg) for arg in call.args):
            continue
        taken = meaning.gfp_argument(row.file, name) if name else None
        if taken is None or taken >= len(call.args) or bare(call.args[taken]) != mask:
            return None
        alloc = meaning.alloc(row.file, name) or meaning.summary(row.file, name).hands
        if alloc is None:
            return None
        given = call.args[alloc.order] if alloc.order is not None and alloc.order < len(call.args) else None
        order = alloc.fixed_order if given is None else constants_of(meaning.program).value(row.file, bare(given))
        found.append(Alloc(name=alloc.name, family=alloc.family, params=(), gfp=place, fixed_order=order,
                           slab_backed=alloc.slab_backed))
    same = {(alloc.family, alloc.fixed_order) for alloc in found}
    return found[0] if len(same) == 1 else None


def _allocates(frame: Frame) -> Alloc | None:
    """A function all of whose non-failing returns are fresh memory of one family allocates it."""
    row, paths, meaning = frame.row, frame.paths, frame.meaning
    sites: list[Site] = []
    fails: set[str] = set()
    only: set[tuple[int, str] | None] = set()
    places = {param.name: place for place, param in enumerate(row.params) if not frame.values[param.name]}
    for leave in paths.exits:
        site = leave.origin.site if leave.origin is not None else None
        if site is not None and (leave.state in (MAYBE, VALID) or site.alloc.fails in ("never", "errno")):
            sites.append(site)
            if leave.state == MAYBE:
                fails.add(site.alloc.fails)
                only.add(handed_on(site.alloc, site.call, places, frame.program))
        elif leave.state == NULL or leave.event.value == NULL_POINTER:
            fails.add(site.alloc.fails if site is not None and site.alloc.fails == "null-if-atomic" else "null")
            only.add(_asked_for(leave, frame))
        elif leave.state == ERROR or _is_error(leave):
            fails.add("err_ptr")
            only.add(_asked_for(leave, frame))
        elif leave.event.value is not None:
            seen = frame.viewed(leave.event.value)
            if seen is None:
                return None
            sites.append(Site(-1, *seen))
    if not sites or len({site.alloc.family for site in sites}) != 1:
        return None
    first = sites[0]
    fails.discard("never")
    starved = any(number >= 0 and thing.state == NULL for leave in paths.exits for number, thing in leave.left.objects.items())
    never = [_never_fails(site, frame, starved) for site in sites]
    failing = fails.pop() if len(fails) == 1 and not any(never) else "never"
    gfp = next((n for n, param in enumerate(row.params) if param.ctype == "gfp_t"), None)
    mask = None
    if gfp is None:
        masks = [meaning.mask_of(row.file, site.alloc, site.call, frame.values) for site in sites]
        mask = meaning.masks.describe(masks[0]) if all(m == masks[0] and m.value is not None for m in masks) else None
    sleeps = first.alloc.sleeps if gfp is None and mask is None and first.alloc.sleeps != "gfp" else "gfp"
    made_by = Alloc(
        name=row.name, family=first.alloc.family, params=tuple(p.name for p in row.params), fails=failing,  # type: ignore[arg-type]
        zeroes=all(site.alloc.zeroes for site in sites), sleeps=sleeps, mask=mask, gfp=gfp, managed=first.alloc.managed,
        only=only.pop() if len(only) == 1 and failing != "never" else None,
        sure=_insists(frame.body, places) if failing != "never" else None,
    )
    roles = _roles(sites, row, meaning)
    if any(bare(release.argument) in [ir.Name(param.name) for param in row.params] for release in paths.releases):
        roles["ptr"] = None  # what was to be resized is freed here when that fails
    return msgspec.structs.replace(made_by, **roles)


def _asked_for(leave: Exit, frame: Frame) -> tuple[int, str] | None:
    """Return the flag, by parameter, that is set wherever a failure is returned: without it, there is no such return."""
    for number, known in leave.left.facts.items():
        fact = frame.paths.facts[number]
        if type(fact) is ir.Binary and fact.op == "&" and type(fact.left) is ir.Name and type(fact.right) is ir.Name:
            place = next((n for n, param in enumerate(frame.row.params) if param.name == fact.left.id), None)
            if place is not None and 0 in known.excluded and not frame.values[fact.left.id]:
                return place, fact.right.id
    return None


def _insists(body: ir.Body, places: Mapping[str, int]) -> tuple[int, str] | None:
    """Return the parameter that, being true, makes a function add __GFP_NOFAIL to its mask."""
    for block in body.blocks:
        for edge in block.edges:
            if edge.truth and type(edge.condition) is ir.Name and edge.condition.id in places and any(
                    type(event) is ir.Assign and event.op == "|" and _NOFAIL in walk(event.value)
                    for event in body.blocks[edge.to].events):
                return places[edge.condition.id], "true"
    return None


def _never_fails(site: Site, frame: Frame, starved: bool) -> bool:
    """Tell whether memory is always had; `starved`: some is not, where the function fails.

    One that waits for an element of a pool, and fails for want of no memory, fails by what its other callees say of the mask.
    """
    masks, mask = frame.meaning.masks, frame.meaning.mask_of(frame.file, site.alloc, site.call, frame.values)
    waits = site.alloc.fails == "null-if-atomic" and not starved and masks.may_sleep(mask) is True
    return site.alloc.fails == "never" or waits or bool(masks.has(mask, "__GFP_NOFAIL"))


def _roles(sites: Sequence[Site], row: Row, meaning: Meaning) -> dict[str, int | None]:
    """Which parameters all the allocations take as size, order and so on, and the order if it is a constant."""
    roles: dict[str, int | None] = {}
    for role in ("size", "count", "element", "order", "ptr"):
        places = [getattr(site.alloc, role) for site in sites]
        given = {site.call.args[place] for site, place in zip(sites, places, strict=True) if place is not None}
        if None not in places and len(given) == 1:
            place, value = _role(given.pop(), row, meaning)
            roles[role] = place
            if role == "order":
                roles["fixed_order"] = value if value is not None or place is not None else CALCULATED
    fixed = {site.alloc.fixed_order for site in sites}
    if len(fixed) == 1 and "order" not in roles:
        roles["fixed_order"] = fixed.pop()
    return roles


def _is_error(leave: Exit) -> bool:
    value = leave.event.value
    return isinstance(value, ir.CallResult) and isinstance(value.callee, ir.Name) and value.callee.id in ERROR_POINTERS


def _passed_on(release: Release, row: Row, meaning: Meaning) -> Free:
    """The deallocator of a release as the caller of the function sees it: which parameter or constant the order is."""
    free = release.free
    given = release.event.args[free.order] if isinstance(release.event, ir.Call) and free.order is not None else None
    if given is None:
        return free
    order, fixed = _role(given, row, meaning)
    return msgspec.structs.replace(free, order=order, fixed_order=fixed)


def _role(given: ir.Expr, row: Row, meaning: Meaning) -> tuple[int | None, int | None]:
    """Return what a function gives on: the place of its own parameter, or the value of a constant."""
    places = [place for place, param in enumerate(row.params) if bare(given) == ir.Name(param.name)]
    return (places[0], None) if places else (None, constants_of(meaning.program).value(row.file, given))


def _frees(frame: Frame) -> tuple[tuple[Freed, ...], tuple[Freed, ...]]:
    """What is freed on every path on which it is not NULL: parameters, and what is reached from them unchanged. And those
    parameters that are freed on every path that fails, and on no other.
    """
    row, paths, meaning = frame.row, frame.paths, frame.meaning
    releases: dict[ir.Expr, set[Free]] = {}
    for release in paths.releases:
        releases.setdefault(bare(release.argument), set()).add(_passed_on(release, row, meaning))
    changed = {bare(e.target) for e in frame.events() if (type(e) is ir.Assign or type(e) is ir.Call) and e.target is not None}
    names = {param.name: place for place, param in enumerate(row.params)}
    found: list[Freed] = []
    failing: list[Freed] = []
    for subject, frees in releases.items():
        place = names.get(root(subject))
        if place is None or len({free.accepts for free in frees}) != 1 or len(list(walk(subject))) > _MOST_TERMS:
            continue
        number = paths.number(subject)
        whole = isinstance(subject, ir.Name)
        unchanged = whole or not any(term in changed for term in walk(subject))
        if not unchanged:
            continue
        first = min(frees, key=lambda free: free.name)
        screened = first.accepts_err_ptr or place in paths.screened
        freed = Freed(msgspec.structs.replace(first, name=row.name, ptr=place, accepts_err_ptr=screened), subject)
        exits = [leave for leave in paths.exits if not leave.has_null_param(place)]
        if all(leave.frees_param(place) if whole else leave.frees(number) for leave in exits):
            found.append(freed)
        elif whole and not row.flags & ir.MACRO and all(
                leave.frees_param(place) is fails(leave, paths.facts, row.returns) for leave in exits):
            failing.append(freed)
    return tuple(found), tuple(failing)
