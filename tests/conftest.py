"""Every test runs on the CPU, as eight simulated devices, and offline.

Programs are compiled without LLVM's optimisations and without XLA's newer emitters of
fusions, which takes a third of the time: most run a few times on small arrays. A worker
is a core, so libraries get one thread each; more would spin while they wait for each
other.
"""

import gc
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tests.fake_gcs import BUCKET, fake_storage
from tests.tiny_models import make_tiny_bert, make_tiny_gpt2

# Before the first import of jax, or they have no effect.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_WANTED = {
    "--xla_force_host_platform_device_count": "8",
    "--xla_backend_optimization_level": "0",
    "--xla_cpu_parallel_codegen_split_count": "1",
}
# XLA ends the process at a flag that it does not know.
if Version(importlib.metadata.version("jaxlib")) < Version("0.11"):
    _WANTED["--xla_cpu_use_fusion_emitters"] = "false"
for _flag, _value in _WANTED.items():
    if _flag not in os.environ.get("XLA_FLAGS", ""):
        _flags = f"{os.environ.get('XLA_FLAGS', '')} {_flag}={_value}"
        os.environ["XLA_FLAGS"] = _flags.strip()
for _library in ("OMP", "OPENBLAS"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

MOST_MAPPINGS = 10_000

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in jobs in the background of a shell; the programs started here would inherit
    # it and never hear of Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Begins, before there are workers, the cache of compiled programs for all tests.

    It lives as long as they run: what they are told to keep elsewhere, they do.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="expertjax-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"


@pytest.fixture(autouse=True, scope="module")
def forget_programs() -> Iterator[None]:
    """Drops compiled programs before there are too many of them.

    Each is several mappings of memory, of which Linux allows a process 65,530; the next
    one would end the worker.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MOST_MAPPINGS:
        jax = importlib.import_module("jax")
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def tiny_gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random GPT-2: L = 3, D = 32. Do not change it."""
    return make_tiny_gpt2(tmp_path_factory.mktemp("models") / "tiny-gpt2")


@pytest.fixture(scope="session")
def tiny_bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a BertForMaskedLM."""
    return make_tiny_bert(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session")
def tiny_gpt2(tiny_gpt2_folder: Path) -> Any:
    """That GPT-2 as `load_model` gives it."""
    from expertjax.checkpoints.load import load_model

    return load_model(str(tiny_gpt2_folder))


@pytest.fixture(scope="session")
def tiny_bert(tiny_bert_folder: Path) -> Any:
    """That BERT as `load_model` gives it."""
    from expertjax.checkpoints.load import load_model

    return load_model(str(tiny_bert_folder))


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """`gs://...` of a fake bucket, for this process and those that it starts."""
    if importlib.util.find_spec("gcsfs") is None:
        pytest.skip("gcsfs is not installed: pip install -e '.[test]'")
    with fake_storage() as storage, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", storage.url)  # gcsfs
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", storage.url)
        patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "any")  # TensorStore
        patch.setenv("NO_GCE_CHECK", "true")
        # It would ask Google what kind of bucket it is.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        yield f"gs://{BUCKET}"
