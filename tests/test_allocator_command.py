"""`kgfplint model`: what it prints, and what it refuses."""

import json

import pytest

from kgfplint.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["model", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_answer_in_words(capsys: pytest.CaptureFixture[str]):
    code, out, err = run(capsys, "kmalloc", "4100", "--arch", "arm64", "--gfp", "GFP_ATOMIC")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert (code, err) == (0, "")
    for line in ("from kmalloc-8k", "real size 8192 bytes, 4092 of them wasted (49 %)", "order 3, 4 objects in 32768 bytes",
                 "alignment 8 bytes", "may sleep no"):
        assert line in lines
    assert any(line.startswith("may fail yes") for line in lines)
    assert any(line.startswith("rather use") for line in lines)


def test_the_answer_as_json(capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "vmalloc", "6K", "--format", "json", "--kernel", "6.1", "--page-size", "64K", "--arch", "arm64")
    answer = json.loads(out)
    assert code == 0
    assert answer["kernel"] == {"arch": "arm64", "version": "6.1", "page_size": 65536, "slab": "slub", "cpus": 4}
    assert (answer["size"], answer["real"], answer["waste"], answer["contiguous"]) == (6144, 65536, 59392, False)
    assert answer["outcome"]["may_sleep"] is True and answer["advice"]


@pytest.mark.parametrize(("words", "told"), [
    (["kmalloc", "0x1000"], "4096 bytes"), (["kvmalloc", "1M"], "not physically"), (["pages", "2"], "16384 bytes"),
    (["percpu", "10", "--align", "16"], "16 bytes"), (["dma", "3M"], "4194304 bytes"), (["kmalloc", "0"], "ZERO_SIZE_PTR"),
    (["cache", "100", "--hwcache-align"], "64 bytes"), (["kmalloc", "5M"], "KMALLOC_MAX_SIZE"),
    (["kmalloc", "97", "--slab", "slab", "--kernel", "6.1", "--arch", "arm64"], "kmalloc-128"),
    (["kmalloc", "97", "--slab", "slob", "--kernel", "6.1.176"], "slob"),
])  # fmt: skip
def test_all_allocators(capsys: pytest.CaptureFixture[str], words: list[str], told: str):
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert told in out


@pytest.mark.parametrize("words", [
    ["kmalloc", "many"], ["kmalloc"], ["malloc", "1"], ["kmalloc", "1", "--kernel", "six"], ["kmalloc", "1", "--gfp", "GFP_MINE"],
    ["kmalloc", "1", "--gfp", "GFP_KERNEL |"], ["kmalloc", "1", "--slab", "slab"], ["kmalloc", "1", "--page-size", "5000"],
    ["kmalloc", "1", "--arch", "vax"], ["pages", "4096"], ["cache", "0"], ["cache", "16M"], ["cache", "8", "--align", "3"],
    ["kmalloc", "1" * 30], ["kmalloc", "1", "--slab", "slob", "--kernel", "6.4"], ["kmalloc", "1", "--cpus", "0"],
])  # fmt: skip
def test_bad_input_is_one_clear_line(capsys: pytest.CaptureFixture[str], words: list[str]):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("kgfplint: ") and err.count("\n") == 1
