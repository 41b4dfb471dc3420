"""Values from outside of the kernel: where they come in, how far they may reach, and what bounds them on the way.

    found = sizes_from_outside(unit, asked)     # for expressions of calls: their values there

Forward over the control flow graph of one function, with the conditions on its edges: `if (n > MAX) return` bounds n, as do
min(), masks, and a type of a byte. Where values come in is data: rules/taint.toml.
"""
