"""The packed table of macros against a dictionary of lists."""

from hypothesis import given
from hypothesis import strategies as st

from kgfplint.program.macros import Macros

NAMES = st.sampled_from([f"MACRO_{n}" for n in range(40)]) | st.text(max_size=6)


@given(st.lists(st.tuples(st.integers(0, 9), NAMES, st.text(max_size=8)), max_size=300), st.lists(NAMES, max_size=20))
def test_it_is_a_dictionary_of_lists(definitions, others):
    macros, model = Macros(), {}
    for file, name, text in definitions:
        macros.add(file, name, text)
        model.setdefault(name, []).append((file, text))
        assert macros.get(name) == model[name]
    for name in [*model, *others]:
        assert macros.get(name) == model.get(name, [])
        assert (name in macros) is (name in model)
    assert dict(macros.items()) == model


def test_it_grows():
    macros = Macros()
    for n in range(20_000):
        macros.add(n % 7, f"REG_{n}", hex(n))
    assert all(macros.get(f"REG_{n}") == [(n % 7, hex(n))] for n in range(20_000))
    assert "REG_20000" not in macros and len(list(macros.items())) == 20_000


def test_halves_of_surrogate_pairs_come_back():
    macros = Macros()
    macros.add(1, "\ud83d", "\udcff")
    assert macros.get("\ud83d") == [(1, "\udcff")]
