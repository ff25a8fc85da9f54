"""What all Python tests share. tests/run.sh says where the build is (RF_BUILD) and whether it is a sanitized one."""
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / d) for d in ("golden", "api", "fault", "e2e")]  # their helpers: fixtures.py; conftest.py; bad_files.py; program.py


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: seconds to minutes; left out of the sanitizer pass")


@pytest.fixture(scope="session")
def build():
    return pathlib.Path(os.environ.get("RF_BUILD", ROOT / "build")).resolve()


@pytest.fixture(scope="session")
def emulator(build):
    """The folder of the emulated drivers, for LD_LIBRARY_PATH."""
    path = build / "src/backend/gpu/emulator"
    if not (path / "libcuda.so.1").exists():
        pytest.skip("the emulated drivers are not built (-Dtests=true)")
    return path


@pytest.fixture(scope="session")
def models():
    """{name: path} of the trained models; a test that needs a missing one is skipped."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = pathlib.Path(os.environ.get("RF_TEST_MODELS") or os.path.join(home, "rocmforge-test-models"))
    files = {"qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "gemma-3-270m": "gemma-3-270m-q4_k_m.gguf"}

    def get(name):
        if not (folder / files[name]).exists():
            pytest.skip("no real model (make test-models fetches it)")
        return folder / files[name]

    return get
