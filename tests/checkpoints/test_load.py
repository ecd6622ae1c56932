"""Loading: what is needed, what is refused, what is not imported."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import Model, load_model, params_digest
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from tests.tiny_models import SENTENCES, make_tiny_bert, make_tiny_gpt2


@pytest.fixture(params=["gpt2", "bert"])
def folder(request: Any, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    original = request.getfixturevalue(f"tiny_{request.param}_folder")
    return Path(shutil.copytree(original, tmp_path / request.param))


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_knows_its_name_and_parts(folder: Path) -> None:
    model = load_model(str(folder))
    assert model.name == model.family.name == folder.name
    assert model.path == folder
    assert model.num_layers == 3
    linear = [site for site in model.sites if site.is_linear]
    assert len(linear) == {"gpt2": 4, "bert": 6}[model.name]
    assert load_model(f"{folder}/", name="other").name == "other"


def test_put_moves_every_parameter(folder: Path) -> None:
    paths: list[str] = []
    told: list[tuple[int, int]] = []

    def put(path: str, value: np.ndarray) -> Any:
        paths.append(path)
        return jnp.asarray(value, jnp.bfloat16)

    model = load_model(str(folder), put=put, tell=lambda *count: told.append(count))
    assert told == [(i + 1, len(paths)) for i in range(len(paths))]
    assert sorted(paths) == sorted(".".join(p) for p, _ in model.params.flat_state())
    leaves = [variable[...] for _, variable in model.params.flat_state()]
    assert all(leaf.dtype == jnp.bfloat16 for leaf in leaves)


@pytest.mark.parametrize("make", [make_tiny_gpt2, make_tiny_bert])
def test_a_base_model_has_the_same_blocks(make, tmp_path: Path) -> None:
    """transformers saves a model without a head without the prefix."""
    architecture = {make_tiny_gpt2: "GPT2Model", make_tiny_bert: "BertModel"}[make]
    folder = make(tmp_path / "m", architecture=architecture)
    model = load_model(str(folder))
    assert not getattr(model.config, "masked_lm_head", False)
    module = nnx.merge(model.graphdef, model.params)
    out = module(Inputs.of(np.ones((1, 4), int), np.ones((1, 4), int)))
    assert out.hidden.shape == (1, 4, 32)
    if model.family.name == "bert":
        with pytest.raises(InputError, match="no masked language model head"):
            module.logits(out.hidden)


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json") as error:
        load_model(str(folder))
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[1]", '"gpt2"', "\xff\xfe"])
def test_a_config_that_is_no_json_object(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, "latin-1")
    with pytest.raises(InputError, match="JSON") as error:
        load_model(str(folder))
    assert str(folder / "config.json") in str(error.value)


def test_a_config_of_another_size(folder: Path) -> None:
    name = "n_layer" if folder.name == "gpt2" else "num_hidden_layers"
    edit_json(folder / "config.json", **{name: 4})
    with pytest.raises(InputError, match=r"no tensor fills .* of layer\(s\) 3"):
        load_model(str(folder))


def test_an_unknown_family_is_refused_before_the_weights(folder: Path) -> None:
    edit_json(folder / "config.json", model_type="mamba")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="model_type 'mamba' is not known"):
        load_model(str(folder))


def test_no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(InputError, match="no tokenizer") as error:
        load_model(str(folder))
    assert str(folder) in str(error.value)


def test_half_a_tokenizer(tiny_gpt2_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_gpt2_folder, tmp_path / "m"))
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    with pytest.raises(InputError, match=r"no tokenizer; expected .* and merges\.txt"):
        load_model(str(folder))


def test_a_damaged_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text()[:500])
    with pytest.raises(InputError, match="no tokenizer can be loaded"):
        load_model(str(folder))


def test_the_tokenizer_is_that_of_transformers(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = load_model(str(folder)).tokenizer
    assert ours.is_fast
    assert ours(SENTENCES)["input_ids"] == theirs(SENTENCES)["input_ids"]
    for name in ("bos", "eos", "pad", "cls", "sep"):
        mine = getattr(ours, f"{name}_token_id")
        assert mine == getattr(theirs, f"{name}_token_id")


def test_special_tokens_that_only_the_config_names(tiny_gpt2_folder, tmp_path) -> None:
    """So it is on the hub: gpt2's tokenizer_config.json holds a length only."""
    folder = Path(shutil.copytree(tiny_gpt2_folder, tmp_path / "m"))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 64}')
    tokenizer = load_model(str(folder)).tokenizer
    assert tokenizer.eos_token == tokenizer.bos_token == "<|endoftext|>"
    assert tokenizer.eos_token_id == 0
    assert tokenizer.pad_token is None


def test_slow_files_are_enough(tiny_bert_folder: Path, tmp_path: Path) -> None:
    """Old folders hold a vocabulary and no tokenizer.json."""
    folder = Path(shutil.copytree(tiny_bert_folder, tmp_path / "m"))
    fast = load_model(str(folder)).tokenizer
    tokens = sorted(fast.get_vocab(), key=fast.get_vocab().get)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    slow = load_model(str(folder)).tokenizer
    assert slow(SENTENCES)["input_ids"] == fast(SENTENCES)["input_ids"]


@pytest.mark.parametrize(
    "model",
    ["no-such-org/no-such-model", "nosuchmodel", "a b", "../nowhere", "/no/folder"],
)
def test_a_model_that_cannot_be_had(model: str) -> None:
    with pytest.raises(InputError, match=f"^--model={model}: "):
        load_model(model)


def test_a_file_is_no_model(folder: Path) -> None:
    path = folder / "model.safetensors"
    with pytest.raises(InputError, match="is a file; give the folder"):
        load_model(str(path))


def test_loading_needs_and_imports_no_torch(folder: Path) -> None:
    code = """
import sys
from expertjax.checkpoints.load import load_model
model = load_model(sys.argv[1])
assert model.tokenizer("a ball")["input_ids"]
assert "torch" not in sys.modules, "torch was imported"
sys.modules["torch"] = None  # from here on it cannot be
load_model(sys.argv[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_digest_sees_every_bit(tiny_gpt2: Model) -> None:
    digest = params_digest(tiny_gpt2.params)
    for path, variable in tiny_gpt2.params.flat_state():
        value = np.array(variable[...])
        value.flat[-1] = np.nextafter(value.flat[-1], np.inf)
        flat = dict(tiny_gpt2.params.flat_state()) | {path: variable.replace(value)}
        assert params_digest(nnx.State.from_flat_path(flat)) != digest, path
    assert params_digest(tiny_gpt2.params) == digest
