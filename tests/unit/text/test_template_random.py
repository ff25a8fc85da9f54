"""Seeded random expressions and templates, against Jinja2. RF_TEST_SEED and RF_TEST_N override seed and number."""
import os
import pathlib
import random
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import template_oracle as oracle  # noqa: E402
from template_oracle import VARS  # noqa: E402

pytestmark = pytest.mark.skipif(not oracle.find_cli(), reason="template_cli is not built")

NAMES = [n for n in VARS if n != "huge"] + ["nothing", "x"]
LITERALS = ["0", "1", "2", "-1", "7", "1.5", "0.0", "-2.5", "''", "'a'", "'Hello'", "' x '", "'a,b'", "'é中'", "'<b>'", "true", "false",
            "none", "[]", "[1, 2, 3]", "['b', 'a']", "{}", "{'a': 1}", "()", "(1, 'x')"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping", "sequence",
         "iterable", "callable", "odd", "even", "lower", "upper", "divisibleby(2)", "eq(1)", "gt(1)", "in([1, 'a'])", "sameas(none)"]
FILTERS = ["abs", "capitalize", "center(9)", "count", "default('d')", "default(1, true)", "dictsort", "e", "first", "float", "int",
           "int(7)", "items|list", "join", "join(', ')", "last", "length", "list", "lower", "map('string')|list", "max", "min",
           "replace('a', 'bb')", "reverse|list", "round", "round(1)", "safe", "select|list", "reject|list", "select('number')|list",
           "sort", "string", "striptags", "sum", "title", "tojson", "tojson(indent=1)", "trim", "truncate(5)", "unique|list", "upper",
           "urlencode", "wordcount", "batch(2)|list", "slice(2)|list", "indent", "map(attribute='a')|list", "selectattr('a')|list",
           "wordwrap(6)", "filesizeformat", "xmlattr", "forceescape", "tojson(indent=2, sort_keys=true)", "tojson(ensure_ascii=true)",
           "tojson(separators=(',', ':'))", "groupby('a')|list", "groupby('a', default='w')|map('first')|list", "sort(attribute='a', reverse=true)",
           "sum(attribute='a')", "dictsort(true, 'value')", "map('tojson')|join", "unique(attribute='a')|list", "pprint", "attr('a')", "rejectattr('a')|list"]
METHODS = ["upper()", "lower()", "strip()", "title()", "capitalize()", "split()", "split(',')", "split('l', 1)", "rsplit('l', 1)",
           "replace('l', 'L')", "startswith('H')", "endswith('d')", "find('l')", "count('l')", "get('a')", "keys()|list", "items()|list",
           "values()|list", "index(1)", "splitlines()", "lstrip()", "rstrip('d')", "zfill(5)", "isdigit()", "isalpha()", "partition('l')",
           "rpartition('l')", "center(8, '*')", "ljust(7)", "join(['a', 'b'])", "format(1)", "swapcase()", "copy()", "a", "name", "x", "append(1)"]


LOOPS = ["{{ loop.index }}", "{{ loop.first }}{{ loop.last }}", "{{ loop.cycle('o', 'p', 'q') }}", "{{ loop.changed(x) }}", "{{ loop.previtem }}",
         "{{ loop.nextitem is defined }}", "{{ loop.revindex }}/{{ loop.length }}", "{{ loop.depth }}", "{% if loop.index > 2 %}{% break %}{% endif %}",
         "{% if loop.first %}{% continue %}{% endif %}"]
TREE = "[[1, [[2, []], [3, [[4, []]]]]], [5, []]]"
HEAD = ("{% macro m1(a) %}[{{ a }}]{{ varargs }}{% endmacro %}{% macro m2(a, b=2) %}{{ a }}-{{ b }}{{ kwargs }}{% endmacro %}"
        "{% macro m3(x) %}<{{ caller(x, 7) }}>{{ caller() if x else '' }}{% endmacro %}")


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def expression(self, depth):
        r = self.r
        kind = r.randrange(16) if depth > 0 else r.randrange(2)
        sub = lambda: self.expression(depth - 1)  # noqa: E731
        if kind == 0:
            return r.choice(LITERALS)
        if kind == 1:
            return r.choice(NAMES)
        if kind in (2, 3, 4):
            return f"({sub()} {r.choice(BINARY)} {sub()})"
        if kind == 5:
            return f"{sub()} {r.choice(BINARY)} {sub()}"
        if kind in (6, 7):
            return f"({sub()})|{r.choice(FILTERS)}"
        if kind == 8:
            return f"({sub()} is {r.choice(['', 'not '])}{r.choice(TESTS)})"
        if kind in (9, 10):
            return f"({sub()}).{r.choice(METHODS)}"
        if kind == 11:
            return f"({sub()} if {sub()} else {sub()})"
        if kind == 12:
            part = lambda: r.choice(["", "", "0", "1", "-1", "2", "-3", "9"])  # noqa: E731
            step = r.choice(["", "", ":2", ":-1", ":-2"])
            return f"({sub()})[{part()}:{part()}{step}]"
        if kind == 13:
            return f"({sub()})[{sub()}]"
        if kind == 14:
            return r.choice([f"[{sub()}, {sub()}]", f"{{'k': {sub()}, 1: {sub()}}}", f"({sub()}, {sub()})"])
        return r.choice([f"(not {sub()})", f"(-({sub()}))", f"('%s|%5s' % ({sub()}, {sub()}))", f"'{{}}/{{:>4}}'.format({sub()}, {sub()})"])

    def statements(self, depth):
        r = self.r
        out = []
        for _ in range(r.randrange(1, 4)):
            b, e = r.choice(["{%", "{%-", "{%+"]), r.choice(["%}", "-%}", "%}"])
            body = self.statements(depth - 1) if depth > 0 else "t"
            ex = self.expression(1)
            out.append(r.choice([
                f"{{{{ {ex} }}}}", f"{{{{- {ex} -}}}}", " text\n", "  \n  ", "x", f"{{# {ex} #}}\n",
                f"{b} if {ex} {e}\n {body}\n{b} else {e}{body}{b} endif {e}\n",
                f"{b} for x in {ex} {e}{body}{{{{ loop.index }}}}{b} endfor {e}\n",
                f"{b} for x in words if x {e}\n  {body}{b} else {e}none{b} endfor {e}",
                f"{b} set x = {ex} {e}\n", f"{b} set x {e}{body}{b} endset {e}{{{{ x }}}}",
                f"{b} macro mm(a, x=1) {e}{body}{{{{ a }}}}{b} endmacro {e}{{{{ mm({ex}) }}}}",
                f"{b} for x in {ex} {e}{r.choice(LOOPS)}{body}{b} endfor {e}",
                f"{b} for k, x in {r.choice(['[[1, 2], [3, 4]]', '{1: 2}|items', '{1: 2}.items()', ex])} {e}{body}{b} endfor {e}",
                f"{b} for x in {TREE} recursive {e}{{{{ x[0] }}}}{{{{ loop.depth }}}}({{{{ loop(x[1]) }}}}){body}{b} endfor {e}",
                f"{b} call{r.choice(['', '(i)', '(i, j=2)', '(i, j)'])} m3({ex}) {e}{body}{b} endcall {e}",
                f"{{{{ m1({ex}, 5) }}}}", f"{{{{ m2({ex}, z=3) }}}}", f"{{{{ m2({ex}) }}}}", "\r\n", "{%- raw %} {{ x }}{% endraw %}",
                f"{b} set x, k = {r.choice(['1, 2', ex])} {e}{{{{ k }}}}", f"{b} set x | trim | upper {e}{body}{b} endset {e}{{{{ x }}}}",
                f"{b} generation {e}{body}{b} endgeneration {e}",
                f"{b} with x = {ex} {e}{body}{b} endwith {e}", f"{b} filter upper {e}{body}{b} endfilter {e}\n",
                f"{b} set ns = namespace(v={ex}) {e}{b} for x in [1, 2] {e}{b} set ns.v = x {e}{{{{ x }}}}{b} endfor {e}{{{{ ns.v }}}}",
            ]))
        return "".join(out)


def unpredictable(text):
    """Python shows addresses of these."""
    return " at 0x" in text or "<generator" in text or "object>" in text


def run(make, n, seed):
    """Left out: integers beyond 64 bits (ours is an error) and slices of what has none, where Jinja's answer depends on
    whether it could fold the expression at compile time (ours is an error always)."""
    ours, bad, n_ok = oracle.Ours(), [], 0
    for i in range(n):
        source = make(Maker(seed * 1000003 + i))
        want = oracle.expected(source, VARS)
        got = ours.ask(source, VARS)
        if want[0] == "ok" and unpredictable(want[1]):
            continue
        if got[0] == "error" and ("64-bit" in got[1] or "cannot be sliced so" in got[1]):
            continue
        n_ok += want[0] == "ok"
        if got[0] != want[0] or (want[0] == "ok" and got[1] != want[1]):
            bad.append(f"{source!r}\n    want {want}\n    got  {got[:2]}")
    ours.close()
    print(f"seed {seed}: {n} templates, {n_ok} rendered, {len(bad)} differ")
    assert not bad, f"{len(bad)} differences\n" + "\n".join(bad[:40])
    assert n_ok > n // 10


SEED = int(os.environ.get("RF_TEST_SEED", "20260101"))
N = int(os.environ.get("RF_TEST_N", "1500"))


def test_expressions():
    run(lambda m: "{{ " + m.expression(3) + " }}", N, SEED)


def test_statements():
    run(lambda m: HEAD + m.statements(2), N // 3, SEED)
