"""What only a test of KUnit meets is no error."""

from kgfplint.config import Settings
from kgfplint.engine import run

CODE = """
#include <linux/slab.h>
#include <kunit/test.h>

struct item { int id; };

static void item_test_id(struct kunit *test)
{
	struct item *item = kunit_kzalloc(test, sizeof(*item), GFP_KERNEL);

	item->id = 1;
	KUNIT_EXPECT_EQ(test, item->id, 1);
}

static int item_id(struct test *test)
{
	struct item *item = kzalloc(sizeof(*item), GFP_KERNEL);

	item->id = 1;
	return keep(item);
}
"""


def test_an_unchecked_allocation_in_a_kunit_test_is_a_note(tmp_path):
    (tmp_path / "item.c").write_text(CODE, encoding="utf-8")
    report = run([tmp_path], Settings(severity="note", jobs=1, cache=False))
    told = {finding.function: finding.severity.name for finding in report.findings if finding.code == "KGF301"}
    assert told == {"item_test_id": "NOTE", "item_id": "ERROR"}
