"""Which form of a rule is how severe: the forms that hardly ever harm anybody are notes."""

import pytest

from kgfplint.config import Settings
from kgfplint.engine import run

TESTED_ELSEWHERE = """
static int item_add(struct list *list, bool many)
{
	struct item *item = kzalloc(sizeof(*item), GFP_KERNEL);

	if (many && !item)
		return -ENOMEM;
	item->id = 1;
	return keep(list, item);
}
"""
POINTERS = """
struct head { struct item *first; };
struct wide { int a; long b, c; };

static void *heads_new(void)
{
	struct TAG *heads = kmalloc(sizeof(struct TAG *), GFP_KERNEL);

	return heads;
}
"""
BOOT = """
static int __init item_init(void)
{
	struct item *item = kzalloc(sizeof(*item), GFP_KERNEL);

	item->id = 1;
	return keep(NULL, item);
}
"""
UNNAMED = """
static struct item *item_new(void)
{
	struct item *item = kzalloc(sizeof(*item), GFP_KERNEL);

	if (!item)
		return NULL;
	device_initialize(&item->dev);
	if (fill(item)) {
		kfree(item);
		return NULL;
	}
	return item;
}
"""
NAMED = UNNAMED.replace("if (fill", "dev_set_name(&item->dev, \"item\");\n\tif (fill")
PARAMETER = """
static char *text_grow(char *text, size_t n)
{
	text = krealloc(text, n, GFP_KERNEL);
	return text;
}
"""
MEMBER = """
static int text_grow(struct item *item, size_t n)
{
	item->text = krealloc(item->text, n, GFP_KERNEL);
	return item->text ? 0 : -ENOMEM;
}
"""
ALTERNATIVE = """
static int text_put(size_t n)
{
	char few[16], *text = few;

	if (n > sizeof(few)) {
		text = kmalloc(n, GFP_KERNEL);
		if (!text)
			return -ENOMEM;
	}
	fill(text);
	if (n > 16)
		kfree(text);
	return 0;
}
"""
MOVED = """
static int text_walk(size_t n)
{
	char *text = kmalloc(n, GFP_KERNEL);

	if (!text)
		return -ENOMEM;
	for (; n; n--, text++)
		fill(text);
	kfree(text);
	return 0;
}
"""
RAW = """
static raw_spinlock_t lock;

static void ANNOTATION item_early(struct list *list)
{
	raw_spin_lock(&lock);
	keep(list, kmalloc(16, GFP_NOWAIT));
	raw_spin_unlock(&lock);
}
"""
PAGE = """
static struct page *taken;

static int page_keep(struct item *item)
{
	item->page = alloc_page(GFP_KERNEL_ACCOUNT);
	return item->page ? 0 : -ENOMEM;
}

static long page_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct item *item = file->private_data;

	item->page = alloc_page(GFP_KERNEL);
	return item->page ? 0 : -ENOMEM;
}

static const struct file_operations page_ops = { .unlocked_ioctl = page_ioctl };
"""
HEAD = """
#include <linux/slab.h>

struct item { int id; struct device dev; char *text; struct page *page; };
"""


@pytest.mark.parametrize(("code", "text", "severity"), [
    ("KGF301", TESTED_ELSEWHERE, "NOTE"),
    ("KGF301", BOOT, "NOTE"),
    ("KGF401", UNNAMED, "NOTE"),
    ("KGF401", NAMED, "WARNING"),
    ("KGF408", PARAMETER, "NOTE"),
    ("KGF408", MEMBER, "WARNING"),
    ("KGF409", ALTERNATIVE, "NOTE"),
    ("KGF409", MOVED, "WARNING"),
    ("KGF106", RAW.replace("ANNOTATION ", ""), "WARNING"),
    ("KGF106", RAW.replace("ANNOTATION", "__init"), "NOTE"),
    ("KGF206", PAGE, "NOTE"),
    ("KGF506", POINTERS.replace("TAG", "head"), "NOTE"),
    ("KGF506", POINTERS.replace("TAG", "wide"), "ERROR"),
])
def test_a_form_of_a_rule_has_its_severity(tmp_path, code, text, severity):
    (tmp_path / "item.c").write_text(HEAD + text, encoding="utf-8")
    report = run([tmp_path], Settings(severity="note", jobs=1, cache=False, select=(code,)))
    assert [finding.severity.name for finding in report.findings] == [severity]
