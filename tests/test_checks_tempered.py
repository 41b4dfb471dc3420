"""What is an error, and what only a warning: code that tests run or that runs once, and what may do no harm by its size."""

import pytest

from kgfplint.config import Settings
from kgfplint.engine import run

HEAD = "".join(f"#include <linux/{name}.h>\n" for name in ("slab", "module", "io", "err", "mm"))
TWICE = "\tvoid *p = kmalloc(8, GFP_KERNEL);\n\n\tkfree(p);\n\tkfree(p);\n"
LOCAL = f"static void twice(void)\n{{\n{TWICE}}}\n"


def told(folder, name, code, rule):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + code, encoding="utf-8")
    report = run([folder], Settings(severity="note", jobs=1, cache=False))
    return {finding.function: finding.severity.name for finding in report.findings if finding.code == rule}


@pytest.mark.parametrize("name", ["lib/test_item.c", "mm/kasan/kasan_test_c.c", "drivers/demo/item_kunit.c",
                                  "drivers/demo/tests/item.c", "drivers/misc/lkdtm/item.c", "kernel/item-test.c"])
def test_what_a_test_breaks_is_a_warning(tmp_path, name):
    assert told(tmp_path, name, LOCAL, "KGF406") == {"twice": "WARNING"}


@pytest.mark.parametrize(("name", "mark", "severity"), [
    ("drivers/demo/item.c", "", "WARNING"), ("drivers/demo/item.c", "__init ", "NOTE"), ("lib/test_item.c", "", "NOTE"),
])
def test_advice_in_a_test_is_a_note(tmp_path, name, mark, severity):
    code = f"static void {mark}large(void)\n{{\n\tchar *p = kmalloc(SZ_128K, GFP_KERNEL);\n\n\tkfree(p);\n}}\n"
    assert told(tmp_path, name, code, "KGF505") == {"large": severity}


@pytest.mark.parametrize("name", ["net/bpf/test_run.c", "drivers/net/demo_selftest.c", "drivers/demo/latest.c"])
def test_what_only_sounds_like_a_test_is_an_error(tmp_path, name):
    assert told(tmp_path, name, LOCAL, "KGF406") == {"twice": "ERROR"}


def test_what_runs_once_is_a_warning(tmp_path):
    code = f"""
static void first_of_all(void)
{{
{TWICE}}}

static void second(void)
{{
{TWICE}	first_of_all();
}}

static int __init item_init(void)
{{
{TWICE}	second();
	return 0;
}}
module_init(item_init);
"""
    assert told(tmp_path, "drivers/demo/item.c", code, "KGF406") == {
        "first_of_all": "WARNING", "second": "WARNING", "item_init": "WARNING"}


def test_what_others_call_as_well_is_an_error(tmp_path):
    code = f"""
struct item_ops {{ void (*reset)(void); }};

static void by_probe(void)
{{
{TWICE}}}

static void stored(void)
{{
{TWICE}}}

void global(void)
{{
{TWICE}}}

static void again(int n)
{{
{TWICE}	if (n)
		again(n - 1);
}}

static const struct item_ops ops = {{ .reset = stored }};

static int item_probe(struct device *dev)
{{
	by_probe();
	return 0;
}}

static int __init item_init(void)
{{
	by_probe();
	stored();
	global();
	return 0;
}}
"""
    assert told(tmp_path, "drivers/demo/item.c", code, "KGF406") == {
        "by_probe": "ERROR", "stored": "ERROR", "global": "ERROR", "again": "ERROR"}


def test_what_comes_round_again_is_a_note(tmp_path):
    code = """
int item_use(void *p, int order);

int retried(int order)
{
	void *p = NULL;

retry:
	while (order > 1) {
		p = (void *)__get_free_pages(GFP_KERNEL, order);
		if (p)
			break;
		order--;
	}
	if (!p)
		return -ENOMEM;
	if (item_use(p, order)) {
		free_pages((unsigned long)p, order);
		order /= 2;
		goto retry;
	}
	free_pages((unsigned long)p, order);
	return 0;
}

int onward(int order)
{
	void *p = (void *)__get_free_pages(GFP_KERNEL, order);
	int ret = item_use(p, order);

	if (ret)
		free_pages((unsigned long)p, order);
	while (order--)
		ret |= item_use(NULL, order);
	free_pages((unsigned long)p, 0);
	return ret;
}
"""
    assert told(tmp_path, "drivers/demo/item.c", code, "KGF406") == {"retried": "NOTE", "onward": "ERROR"}


def test_an_error_pointer_that_is_left_alone_is_a_warning(tmp_path):
    code = """
void *item_map(struct device *dev, unsigned long where)
{
	void *base = ioremap(where, 64);

	return base ?: ERR_PTR(-ENOMEM);
}

int item_mapped(struct device *dev)
{
	void *base = ERR_PTR(-ENODEV);

	if (dev)
		base = ioremap(0, 64);
	iounmap(base);
	return 0;
}

int item_made(struct device *dev)
{
	void *base = ERR_PTR(-ENODEV);

	if (dev)
		base = kmalloc(64, GFP_KERNEL);
	kfree(base);
	return 0;
}
"""
    assert told(tmp_path, "drivers/demo/item.c", code, "KGF409") == {"item_mapped": "WARNING", "item_made": "ERROR"}


def test_only_a_local_surely_loses_what_is_resized(tmp_path):
    code = """
struct item { char *text; };

int item_member(struct item *item, size_t n)
{
	item->text = krealloc(item->text, n, GFP_KERNEL);
	return item->text ? 0 : -ENOMEM;
}

int item_local(size_t n)
{
	char *text = kmalloc(8, GFP_KERNEL);

	text = krealloc(text, n, GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	kfree(text);
	return 0;
}
"""
    assert told(tmp_path, "drivers/demo/item.c", code, "KGF408") == {"item_member": "WARNING", "item_local": "ERROR"}


def test_memory_of_either_kind_is_no_sure_mismatch(tmp_path):
    code = """
struct item { void **slots; };

int item_open(struct item *item, int n)
{
	item->slots = kvmalloc_array(n, sizeof(void *), GFP_KERNEL);
	return item->slots ? 0 : -ENOMEM;
}

void item_close(struct item *item)
{
	kfree(item->slots);
}

struct other { void **slots; };

int other_open(struct other *other, int n)
{
	other->slots = vmalloc_array(n, sizeof(void *));
	return other->slots ? 0 : -ENOMEM;
}

void other_close(struct other *other)
{
	kfree(other->slots);
}
"""
    assert told(tmp_path, "drivers/demo/item.c", code, "KGF401") == {"item_close": "WARNING", "other_close": "ERROR"}
