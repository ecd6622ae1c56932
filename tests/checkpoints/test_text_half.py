"""Language models of multimodal folders, against the whole models of transformers."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from expertjax.checkpoints.load import load_model, save_huggingface
from expertjax.checkpoints.text_half import MULTIMODAL, text_attributes, text_key
from expertjax.errors import InputError
from tests import bounds
from tests.models.parity import batch, compiled_once, errors, forward_of
from tests.tiny_models import byte_level_bpe, randomize
from tests.torch_reference import Reference, run_torch

TEXT = {
    "vocab_size": 270,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
QWEN_VISION = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "out_hidden_size": 32,
    "patch_size": 4,
    "fullatt_block_indexes": [0],
}
ROPE = {"rope_type": "default", "rope_theta": 50.0, "mrope_section": [1, 1, 2]}
# Class of transformers, config of the text, config of the rest.
WHOLES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "gemma3": (
        "Gemma3ForConditionalGeneration",
        {"head_dim": 16, "sliding_window": 4, "sliding_window_pattern": 2},
        {"vision_config": VISION, "mm_tokens_per_image": 4},
    ),
    "llava": (
        "LlavaForConditionalGeneration",
        {"model_type": "llama", "attention_bias": True},
        {"vision_config": VISION | {"model_type": "clip_vision_model"}},
    ),
    "mistral3": (
        "Mistral3ForConditionalGeneration",
        {"model_type": "mistral", "head_dim": 16, "sliding_window": 4},
        {
            "vision_config": VISION | {"model_type": "pixtral", "head_dim": 8},
            "tie_word_embeddings": False,
        },
    ),
    "qwen2_5_vl": (
        "Qwen2_5_VLForConditionalGeneration",
        {"rope_parameters": ROPE, "rms_norm_eps": 1e-2},
        {"vision_config": QWEN_VISION},
    ),
}


def make(folder: Path, kind: str) -> Any:
    """Writes a tiny model as transformers does; returns it."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    name, text, rest = WHOLES[kind]
    architecture = getattr(transformers, name)
    config = architecture.config_class(text_config=TEXT | text, **rest)
    config._attn_implementation = "eager"
    model = architecture(config).eval()
    randomize(model, 0)
    model.save_pretrained(folder)
    byte_level_bpe(TEXT["vocab_size"]).save_pretrained(folder)
    return model


def rename(folder: Path, new: Callable[[str], str]) -> None:
    """Gives the tensors of a folder other names."""
    path = folder / "model.safetensors"
    save_file({new(key): value for key, value in load_file(path).items()}, path)


def as_of_today(key: str) -> str:
    """The names of the modules of transformers 5, which it does not save by."""
    for old, today in (
        ("language_model.lm_head", "lm_head"),
        ("language_model.model", "model.language_model"),
        ("model.", "model.language_model."),
        ("vision_tower", "model.vision_tower"),
        ("multi_modal_projector", "model.multi_modal_projector"),
        ("visual", "model.visual"),
    ):
        if key.startswith(old):
            return today + key.removeprefix(old)
    return key


def test_all_are_tried() -> None:
    assert set(WHOLES) == MULTIMODAL


@pytest.mark.parametrize("names", ["as saved", "of today"])
@pytest.mark.parametrize("kind", WHOLES)
def test_the_language_model_computes_what_it_does_in_the_whole(
    kind: str, names: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = make(tmp_path / "m", kind)
    if names == "of today":
        rename(tmp_path / "m", as_of_today)
    with caplog.at_level(logging.WARNING):
        model = load_model(str(tmp_path / "m"))
    [line] = [r.getMessage() for r in caplog.records if "multimodal" in r.getMessage()]
    seeing = "visual" if kind == "qwen2_5_vl" else "multi_modal_projector, vision_tower"
    assert f"tensors of its other parts ({seeing}) are left out" in line
    tokens, mask = batch(model, "right")
    part = whole.model.language_model
    reference = run_torch(part, tokens, mask, model.sites, model.num_layers)
    logits = logits_of(whole, tokens, mask)
    reference = Reference(reference.sites, reference.hidden, logits)
    ours = compiled_once(forward_of(model))(tokens, mask, None)
    found = errors(ours, reference, mask)
    assert "logits" in found
    allowed = bounds.of_model(model)
    assert {k: v for k, v in found.items() if not v <= allowed} == {}
    assert model.readout is not None


def logits_of(whole: Any, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        given = {"input_ids": tokens, "attention_mask": mask}
        return whole(**{k: torch.tensor(v) for k, v in given.items()}).logits.numpy()


@pytest.mark.parametrize("kind", WHOLES)
def test_what_is_saved_is_a_plain_language_model(kind: str, tmp_path: Path) -> None:
    whole = make(tmp_path / "m", kind)
    model = load_model(str(tmp_path / "m"))
    save_huggingface(model, tmp_path / "saved")
    if kind == "qwen2_5_vl":  # which transformers has no class for
        again = load_model(str(tmp_path / "saved"))
        assert again.config == model.config
        return
    transformers = pytest.importorskip("transformers")
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    tokens, mask = batch(model, "right")
    real = mask.astype(bool)
    found, wanted = (logits_of(each, tokens, mask)[real] for each in (plain, whole))
    bounds.assert_outputs(found, wanted, bounds.of_model(model))


def test_old_configs_of_qwen_are_flat(tmp_path: Path) -> None:
    make(tmp_path / "m", "qwen2_5_vl")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    nested = load_model(str(tmp_path / "m")).config
    text = config.pop("text_config")
    text.pop("model_type")
    text |= {"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}
    text |= {"rope_theta": text.pop("rope_parameters")["rope_theta"]}
    path.write_text(json.dumps(text | config))
    assert load_model(str(tmp_path / "m")).config == nested


def test_what_the_whole_says_holds_for_its_language_model() -> None:
    text = {"vocab_size": 9, "eos_token_id": 3}
    whole = {"model_type": "gemma3", "text_config": text, "eos_token_id": [1, 2]}
    found = text_attributes(whole | {"mm_tokens_per_image": 256, "foo": 1})
    own = {"model_type": "gemma3_text", "tie_word_embeddings": True, "foo": 1}
    assert found == text | own
    for kind, tied in (("llava", True), ("mistral3", True), ("qwen2_5_vl", False)):
        text = {"tie_word_embeddings": True}
        found = text_attributes({"model_type": kind, "text_config": text})
        assert found is not None and found["tie_word_embeddings"] == tied
    assert text_attributes({"model_type": "gpt2", "text_config": {}}) is None


def test_names_of_tensors() -> None:
    for key in ("model.vision_tower.x", "visual.y", "multi_modal_projector.z"):
        assert text_key(key) is None
    for key in ("model.language_model.norm.weight", "language_model.norm.weight"):
        assert text_key(key) == "model.norm.weight"
    assert text_key("language_model.lm_head.weight") == "lm_head.weight"
    assert text_key("model.norm.weight") == "model.norm.weight"
    assert text_key("score.weight") == "score.weight"  # a head's


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"quantization_config": {"bits": 4}}, "quant_method None is not read"),
        ({"text_config": {"model_type": "mamba"}}, "model_type 'mamba' is not known"),
        ({"text_config": 3}, "model_type 'llava' is not known"),
    ],
)
def test_what_is_not_understood_is_refused(
    change: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    make(tmp_path / "m", "llava")
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError) as error:
        load_model(str(tmp_path / "m"))
    assert problem in str(error.value)
