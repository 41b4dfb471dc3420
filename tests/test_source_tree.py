"""The tree: root, version, files, and which hold code."""

from pathlib import Path

import pytest

from kgfplint.source.tree import discover, find_root, has_code, kernel_version


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    (tmp_path / "Kconfig").touch()
    (tmp_path / "Makefile").write_text("# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n")
    for name in ("drivers/b.c", "drivers/a.h", "drivers/net/c.c", "drivers/readme.txt", "fs/d.c"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("int x;\n")
    (tmp_path / "drivers/Makefile").write_text("obj-y += b.o\n")
    (tmp_path / "drivers/Kconfig").touch()
    return tmp_path


def test_root_is_the_versioned_folder(kernel: Path) -> None:
    assert find_root(kernel / "drivers/net/c.c") == kernel.resolve()
    assert find_root(kernel / "drivers") == kernel.resolve()
    assert kernel_version(kernel) == (6, 12)


def test_root_of_a_module_is_its_folder(tmp_path: Path) -> None:
    (tmp_path / "m.c").touch()
    assert find_root(tmp_path / "m.c") == tmp_path.resolve()
    assert kernel_version(tmp_path) is None


def test_files_are_sorted_and_unique(kernel: Path) -> None:
    found = list(discover(kernel, [kernel / "fs", kernel / "drivers", kernel / "drivers/b.c"]))
    assert found == ["drivers/a.h", "drivers/b.c", "drivers/net/c.c", "fs/d.c"]


def test_links_count_once_and_do_not_loop(kernel: Path) -> None:
    (kernel / "drivers/loop").symlink_to(kernel / "drivers")
    (kernel / "drivers/a_link.c").symlink_to(kernel / "fs/d.c")
    (kernel / "drivers/gone.c").symlink_to(kernel / "nowhere.c")
    assert list(discover(kernel, [kernel])) == ["drivers/a.h", "drivers/b.c", "drivers/net/c.c", "fs/d.c"]
    assert list(discover(kernel, [kernel / "drivers"])) == [
        "drivers/a.h",
        "drivers/a_link.c",
        "drivers/b.c",
        "drivers/net/c.c",
    ]


def test_a_missing_path_is_told(kernel: Path) -> None:
    with pytest.raises(OSError):
        list(discover(kernel, [kernel / "nothing"]))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", False),
        (b"/* only */\n// words\n", False),
        (b"#ifndef A\n#define A 0x1 /* one\n line */\n#define B (A + \\\n\t2)\n#include <x.h>\n#endif\n", False),
        (b"#define F(x) kfree(x)\n", True),
        (b"#define A 1\nint x;\n", True),
        (b"#define A 1 // it's /* no comment\nint x;\n", True),
        (b'#define GLOB "/*"\nint x;\n', True),
        (b"/* unclosed", False),
        (b"\xff", True),
    ],
)
def test_has_code(data: bytes, code: bool) -> None:
    assert has_code(data) is code


def test_has_code_is_quick_to_give_up() -> None:
    for piece in (b"/*", b"#\\\n", b"#define A /", b"/", b"\\"):
        has_code(piece * 200_000)
