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
