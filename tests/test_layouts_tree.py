"""Layouts of structs of a real kernel against gcc: KGFPLINT_TREE names its root; without it these tests are skipped.

Only structs that stand alone are compared: gcc accepts their definition behind nothing but the kernel's basic types.
"""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kgfplint.source.layouts import Layouts, abi_of, declarations
from kgfplint.source.layouts_files import blanked, definitions_in
from kgfplint.source.words import rules

TREE = Path(os.environ.get("KGFPLINT_TREE", ""))
pytestmark = pytest.mark.skipif(not os.environ.get("KGFPLINT_TREE"), reason="KGFPLINT_TREE names no kernel tree")

COMPILERS = {
    "x86_64": ["gcc", "-m64"], "i386": ["gcc", "-m32"], "arm": ["arm-linux-gnueabihf-gcc"], "arm64": ["aarch64-linux-gnu-gcc"],
}  # fmt: skip
FOLDERS = ("include/uapi", "include/linux", "drivers/scsi", "drivers/net/wireless", "drivers/infiniband", "fs", "net")
WANTED = 250
WORDS = """
typedef _Bool bool;
#define __KERNEL__ 1
#define __LITTLE_ENDIAN_BITFIELD 1
#define __packed __attribute__((packed))
#define __aligned(x) __attribute__((aligned(x)))
#define __counted_by(x)
"""
BLANK = ("__user", "__iomem", "__rcu", "__percpu", "__force", "__bitwise", "__private", "__randomize_layout", "__kernel")
NUMBER = re.compile(r"\s\.(?:long|word)\s+(\d+)|\s\.(zero|space)\s+\d+")


def prelude(arch: str) -> str:
    """Definitions of the types that rules/abi.toml has, for gcc."""
    lines = [WORDS, *(f"#define {word}" for word in BLANK)]
    for basic, names in rules("abi.toml")["types"].items():
        if basic != "_Bool" and not (basic == "__int128" and abi_of(arch).pointer == 4):
            lines += (f"typedef {'unsigned ' if re.match('_*(?:u|le|be)', name) else ''}{basic} {name};"
                      for name in names if " " not in name)
    lines += (f"typedef {basic} {name} __attribute__((aligned({align})));"
              for name, (basic, align) in rules("abi.toml")["aligned_types"].items())
    return "\n".join(lines)


def structs() -> Iterator[tuple[str, str, str, int]]:
    """Yield (path, type, definition, #pragma pack in force) of structs and unions that the tree defines once, in any order."""
    files = sorted(path for folder in FOLDERS for path in (TREE / folder).rglob("*.[ch]"))
    random.Random(20).shuffle(files)
    for path in files:
        text = blanked(path.read_text(errors="replace"))
        for tag in dict.fromkeys(re.findall(r"\b(?:struct|union)\s+(\w+)\s*\{", text)):
            found = list(definitions_in(text, tag))
            if len(found) == 1:
                yield str(path.relative_to(TREE)), f"{found[0][0].split()[0]} {tag}", *found[0]


@pytest.mark.parametrize("arch", COMPILERS)
def test_structs_of_the_tree(arch: str):
    compiler = COMPILERS[arch]
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no {compiler[0]}")
    start, compared, exact = prelude(arch), 0, 0
    for path, ctype, text, pack in structs():
        pragma = f"#pragma pack({pack})\n" if pack else ""
        asked = f"const unsigned int asked[] = {{ sizeof({ctype}), __builtin_offsetof(struct {{ char c; {ctype} x; }}, x) }};"
        made = subprocess.run([*compiler, "-w", "-S", "-x", "c", "-o", "-", "-"], capture_output=True, text=True,
                              input=f"{start}\n{pragma}{text}\n#pragma pack()\n{asked}")
        if made.returncode:
            continue
        size, align = (int(number or 0) for number, _ in NUMBER.findall(made.stdout[made.stdout.index("asked:"):]))
        layouts = Layouts(abi_of(arch), declarations(text, pack))
        found = layouts.sizeof(ctype), layouts.alignof(ctype)
        for bounds, value in zip(found, (size, align), strict=True):
            low, high = bounds or (value, value)
            assert low <= value <= (value if high is None else high), (path, ctype, found)
        compared += 1
        exact += found[0] is not None and found[0].exact == size
        if compared == WANTED:
            break
    assert compared == WANTED
    assert exact >= 0.97 * WANTED
