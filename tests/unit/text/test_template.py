"""Our chat template interpreter against Jinja2, byte for byte."""
import json
import pathlib
import time

import pytest
import template_oracle as oracle

pytestmark = pytest.mark.skipif(not oracle.find_cli(), reason="template_cli is not built")

SHARED = sorted((oracle.SHARED / "templates").glob("*.jinja"))
OWN = sorted((oracle.HERE / "templates").glob("*.jinja"))


@pytest.fixture(scope="module")
def ours():
    o = oracle.Ours()
    yield o
    o.close()


def compare(ours, source, variables, name=""):
    want = oracle.expected(source, variables)
    got = ours.ask(source, variables)
    assert got[0] == want[0], f"{name}: expected {want}, got {got[:2]}"
    if want[0] == "ok":
        assert got[1] == want[1], name
    else:
        assert got[1].startswith("chat template"), got[1]
        assert "\n" not in got[1]
    return got


@pytest.mark.parametrize("path", SHARED + OWN, ids=lambda p: p.stem)
def test_conversations(ours, path):
    source = path.read_text()
    n_ok = 0
    for name, variables in oracle.cases():
        n_ok += compare(ours, source, variables, name)[0] == "ok"
    assert n_ok > 0


def test_shared_are_there():
    if not SHARED:
        pytest.skip("no templates beside the repository")
