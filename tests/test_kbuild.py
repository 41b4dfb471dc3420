"""`make C=1 CHECK=kgfplint-kbuild`, with a Makefile that calls $(CHECK) as the kernel's own does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kgfplint.kbuild import main

ROOT = Path(__file__).parent.parent
BAD = "int f(size_t n)\n{\n\tvoid *p = vmalloc(n);\n\n\tif (!p)\n\t\treturn -ENOMEM;\n\tkfree(p);\n\treturn 0;\n}\n"
RULES = """
CHECKFLAGS := -D__linux__ -Dlinux -D__STDC__ -Wbitwise -Wno-return-void $(CF)
c_flags = -Wp,-MMD,$(@D)/.x.d -nostdinc -I$(srctree)/include -include $(srctree)/include/kconfig.h -D__KERNEL__ \\
  -DKBUILD_MODNAME='"f"' --param=allow-store-data-races=0 -mcmodel=kernel

lib/%.o: $(srctree)/lib/%.c
	mkdir -p $(@D)
	$(if $(C),$(CHECK) $(CHECKFLAGS) $(c_flags) $<)
	touch $@
"""


@pytest.fixture
def tree(tmp_path) -> Path:
    for path, text in (("Kconfig", ""), ("Makefile", "VERSION = 6\nPATCHLEVEL = 6\nsrctree ?= .\n" + RULES), ("lib/f.c", BAD)):
        (tmp_path / "src" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / path).write_text(text)
    return tmp_path / "src"


def make(folder, *args):
    command = f"env PYTHONPATH={ROOT} {sys.executable} -c 'import sys; from kgfplint.kbuild import main; sys.exit(main())'"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    words = ["make", "-s", "C=1", f"CHECK={command}", *args]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_build_tells_and_goes_on(tree):
    code, said = make(tree, "lib/f.o")
    assert code == 0 and (tree / "lib/f.o").exists()
    assert said.startswith("lib/f.c:7:2: error: ")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_build_in_another_folder(tree, tmp_path):
    (tmp_path / "out").mkdir()
    code, said = make(tmp_path / "out", "-f", "../src/Makefile", "srctree=../src", "lib/f.o")
    assert code == 0, said
    assert (tmp_path / "out/lib/f.o").exists()
    assert said.startswith("../src/lib/f.c:7:2: error: ") and "\n    ../src/lib/f.c:3:" in said


HEADERS = [path for path in sorted(Path("/lib/modules").glob("*/build")) if (path / "Makefile").is_file()]
MODULE = """#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "demo.h"

static int __init demo_init(void)
{
	void *p = vmalloc(DEMO_SIZE);

	if (!p)
		return -ENOMEM;
	kfree(p);
	return 0;
}
module_init(demo_init);
MODULE_LICENSE("GPL");
"""


@pytest.mark.skipif(not HEADERS or not shutil.which("gcc"), reason="no headers of a kernel, or no gcc, to build a module with")
@pytest.mark.parametrize("inside", [False, True], ids=["from the kernel", "from the module"])
def test_a_module_with_the_real_kbuild(tmp_path, inside):
    """The CHECK of a real kernel's Makefiles; what else they say of the module is not our concern."""
    module = tmp_path / "module"
    module.mkdir()
    for name, text in (("Makefile", "obj-m := demo.o\n"), ("demo.h", "#define DEMO_SIZE 4096\n"), ("demo.c", MODULE)):
        (module / name).write_text(text)
    place = [f"M={module}"] if not inside else ["-C", str(HEADERS[-1]), f"M={module}"]
    code, said = make(module if inside else HEADERS[-1], *place, "demo.o" if inside else "modules", "KBUILD_MODPOST_WARN=1")
    line = MODULE.splitlines().index("\tkfree(p);") + 1
    assert f"demo.c:{line}:2: error: " in said and "KGF401 mismatched-free" in said
    assert "internal error" not in said and "kgfplint: " not in said
    assert code == 0 and (module / "demo.o").exists(), said


@pytest.mark.parametrize("args", [[], ["-v"], ["-DX", "none.c"], ["x.mod.c"], ["x.S"]])
def test_what_it_cannot_do_breaks_no_build(args, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(args) == 0
    said = capsys.readouterr()
    assert said.out == "" and said.err == ("kgfplint: none.c: no such file or directory\n" if "none.c" in args else "")


def test_not_even_a_mistake_of_ours_breaks_a_build(tree, monkeypatch, capsys):
    monkeypatch.setattr("kgfplint.kbuild.run", lambda *_: 1 / 0)
    assert main([str(tree / "lib/f.c")]) == 0
    assert "internal error" in capsys.readouterr().err


def test_settings_come_from_the_environment(tree, monkeypatch, capsys):
    monkeypatch.chdir(tree)
    monkeypatch.setenv("KGFPLINT_IGNORE", "KGF401")
    assert main(["-O2", "lib/f.c"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("KGFPLINT_IGNORE", "KGF999")
    assert main(["-O2", "lib/f.c"]) == 0
    assert "KGF999" in capsys.readouterr().err
