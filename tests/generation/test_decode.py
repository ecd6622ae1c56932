"""Decoding against torch with hooks, on every causal family."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.generation import decode
from expertjax.generation.decode import Decoder, Job
from expertjax.generation.sampling import Sampling
from expertjax.models.attention import Inputs
from expertjax.models.edits import Edit, Probe
from expertjax.models.registry import FAMILIES
from expertjax.models.sites import UnitTable
from tests import bounds
from tests.models.parity import CASES, Case, make_case
from tests.torch_experts import is_router, watching
from tests.torch_reference import forcing

# One of each family: what its variants do differently is in the parity tests.
CAUSAL = [
    name
    for name in CASES
    if "-" not in name
    and any(
        name.split("-")[0] in (family.name, *family.model_types)
        for family in FAMILIES
        if family.causal
    )
]
# Learned positions, rotary ones, distances as biases, local layers, experts.
FEW = ("gpt2", "llama", "bloom", "gemma3", "mixtral")
NEW, PROMPT = 50, 5
GREEDY = Sampling(0.0, 0, 1.0, 1.0)


@pytest.fixture(scope="module", params=CAUSAL)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Case:
    pytest.importorskip("torch")
    return make_case(request.param, tmp_path_factory.mktemp("decode") / "model")


@pytest.fixture(scope="module", params=FEW)
def few(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    pytest.importorskip("torch")
    return make_case(request.param, tmp_path_factory.mktemp("decode") / "model").model


def forced_edit(model: Model, k: int) -> tuple[Edit, dict[tuple[str, int], float]]:
    """k random units forced to random values, for ours and for torch."""
    table = UnitTable.build(model.sites, model.num_layers)
    random = np.random.default_rng(k)
    units = random.choice(table.num_units, k, replace=False)
    values = random.normal(0, 2, k).astype(np.float32)
    edit = Edit.from_units(model.sites, model.num_layers, table, units, 0.0, values)
    names = zip(table.module[units], table.index[units], strict=True)
    return edit, dict(zip(names, values.tolist(), strict=True))


def job_of(
    starts: Any, edits: list[Edit], choice: Any, sampling: Sampling = GREEDY
) -> Job:
    return Job(
        start=jnp.asarray(starts),
        keys=jax.vmap(jax.random.key)(jnp.arange(len(starts))),
        edit=Edit.stack(edits) if edits else None,
        choice=jnp.asarray(choice),
        sampling=sampling,
        stop_tokens=jnp.array([-1]),
        pad_id=jnp.int32(0),
    )


def write(
    model: Model,
    prompts: np.ndarray,
    job: Job,
    new: int = NEW,
    edit_prompt: bool = True,
) -> np.ndarray:
    decoder = Decoder(model, edit_prompt)
    state = decoder.advance(decoder.begin(prompts, job, new), job, new)
    return np.asarray(state.written)


def greedy_by_torch(
    case: Case, prompt: np.ndarray, forced: dict[tuple[str, int], float], new: int
) -> tuple[list[int], list[float]]:
    """Beside each token, how clearly it was the likeliest."""
    import torch

    modules = dict(case.torch.named_modules())

    def force(name: str) -> Any:
        units = {
            index: value for (where, index), value in forced.items() if where == name
        }

        def hook(module: Any, inputs: Any, output: Any) -> Any:
            output = output.clone()
            output[..., list(units)] = torch.tensor(list(units.values()))
            return output

        return hook

    names = {name for name, _ in forced}
    handles = [
        modules[name].register_forward_hook(force(name))
        for name in names
        if name in modules and not is_router(modules[name])
    ]
    with watching(case.torch, forcing(forced), {}):  # routers and experts
        out = case.torch.generate(
            torch.tensor(prompt[None]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
        )
    for handle in handles:
        handle.remove()
    of_token = [logits[0].numpy() for logits in out.logits]
    best = [np.sort(logits)[-2:] / logits.std() for logits in of_token]
    return out.sequences[0, len(prompt) :].tolist(), [float(b - a) for a, b in best]


def test_greedy_tokens_are_those_of_torch_with_hooks(case: Case) -> None:
    """Left-padded, batched, with a cache, for 0, 10 and 50 forced units at once."""
    model = case.model
    most = getattr(model.config, "max_positions", None) or 10**6
    new = min(NEW, most - PROMPT)
    random = np.random.default_rng(0)
    prompt = random.integers(1, model.config.vocab_size, PROMPT)
    edits, hooks = zip(*(forced_edit(model, k) for k in (0, 10, 50)), strict=True)
    padding = 3
    prompts = np.zeros((3, padding + PROMPT), np.int32)
    prompts[:, padding:] = prompt
    job = job_of([padding] * 3, list(edits), [0, 1, 2])
    ours = write(model, prompts, job, new)
    for row, forced in enumerate(hooks):
        wanted, margins = greedy_by_torch(case, prompt, forced, new)
        got = ours[row].tolist()
        same = [a == b for a, b in zip(got, wanted, strict=True)]
        # Where two tokens are as likely as can be told in float32, either is right.
        if not all(same):
            first = same.index(False)
            allowed = 2 * bounds.of_model(model)
            assert margins[first] < allowed, (row, first, margins[first])


def test_the_cache_changes_nothing(few: Model) -> None:
    model = few
    random = np.random.default_rng(1)
    prompt = random.integers(1, model.config.vocab_size, (1, PROMPT)).astype(np.int32)
    edit, _ = forced_edit(model, 10)
    got = write(model, prompt, job_of([0], [edit], [0]), 12)[0]

    @jax.jit
    def likeliest(tokens: Any, mask: Any, edit: Edit) -> Any:
        module = nnx.merge(model.graphdef, model.params)
        return module.logits(module(Inputs.of(tokens, mask), Probe(edit)).hidden)

    tokens = np.concatenate([prompt, got[None]], axis=1)
    for i, token in enumerate(got):
        mask = np.arange(tokens.shape[1])[None] < PROMPT + i
        logits = np.asarray(likeliest(tokens, mask, edit))[0, PROMPT + i - 1]
        allowed = 2 * bounds.of_model(model) * logits.std()
        assert logits.max() - logits[token] < allowed


def test_batched_and_padded_is_single(few: Model) -> None:
    model = few
    random = np.random.default_rng(2)
    lengths, width = (2, 5, 7, 1), 8
    prompts = np.zeros((len(lengths), width), np.int32)
    for row, length in enumerate(lengths):
        ids = random.integers(1, model.config.vocab_size, length)
        prompts[row, width - length :] = ids
    edits = [forced_edit(model, k)[0] for k in (0, 10)]
    choice = [0, 1, 1, 0]
    starts = [width - length for length in lengths]
    sampling = Sampling(0.9, 0, 0.9, 1.2)
    together = write(model, prompts, job_of(starts, edits, choice, sampling), 10)
    for row in (1, 2):  # with another prompt, another edit, another key
        alone = job_of([0], [edits[choice[row]]], [0], sampling)
        alone = alone._replace(keys=jax.vmap(jax.random.key)(jnp.array([row])))
        single = write(model, prompts[row : row + 1, starts[row] :], alone, 10)
        np.testing.assert_array_equal(together[row], single[0])


def test_edits_of_new_tokens_only_leave_the_prompt(tiny_gpt2: Model) -> None:
    edit, _ = forced_edit(tiny_gpt2, 10)
    prompts = np.random.default_rng(0).integers(1, 300, (8, 6)).astype(np.int32)
    same = [0] * 8
    plain = write(tiny_gpt2, prompts, job_of(same, [], same))
    job = job_of(same, [edit], same)
    everywhere = write(tiny_gpt2, prompts, job)
    new_only = write(tiny_gpt2, prompts, job, edit_prompt=False)
    # The first is chosen from the prompt alone.
    np.testing.assert_array_equal(new_only[:, 0], plain[:, 0])
    assert (new_only != plain).any() and (new_only != everywhere).any()


def test_a_text_ends_after_a_stop_token(tiny_gpt2: Model) -> None:
    prompt = np.array([[5, 9, 23, 4], [7, 7, 8, 1]], np.int32)
    job = job_of([0, 0], [], [0, 0], Sampling(1.0, 0, 1.0, 1.0))
    whole = write(tiny_gpt2, prompt, job)
    stop = int(whole[0, 10])
    cut = write(tiny_gpt2, prompt, job._replace(stop_tokens=jnp.array([stop, -1])))
    for row in range(2):
        there = np.flatnonzero(whole[row] == stop)
        end = there[0] + 1 if len(there) else NEW
        np.testing.assert_array_equal(cut[row, :end], whole[row, :end])
        assert (cut[row, end:] == 0).all()


def test_other_edits_and_sampling_do_not_compile_anew(tiny_gpt2: Model) -> None:
    prompt = np.array([[5, 9, 23, 4]], np.int32)
    sizes = []
    for k, sampling in ((10, GREEDY), (20, Sampling(0.7, 5, 0.8, 1.1))):
        job = job_of([0], [forced_edit(tiny_gpt2, k)[0]], [0], sampling)
        write(tiny_gpt2, prompt, job, 8)
        sizes.append((decode._begin._cache_size(), decode._advance._cache_size()))
    assert sizes[0] == sizes[1]


def test_an_encoder_cannot_write(tiny_bert: Model) -> None:
    with pytest.raises(InputError, match=r"tiny-bert: .* family bert does not write"):
        Decoder(tiny_bert)


def test_more_tokens_than_positions_are_refused(tiny_gpt2: Model) -> None:
    with pytest.raises(InputError, match=r"--max_new_tokens=61: .* only 64 positions"):
        write(tiny_gpt2, np.ones((1, 4), np.int32), job_of([0], [], [0]), 61)
    # Padding takes no position.
    write(tiny_gpt2, np.ones((1, 9), np.int32), job_of([5], [], [0]), 60)


def test_every_causal_family_is_tried() -> None:
    tried = {CASES[name][1].get("architecture", "GPT2LMHeadModel") for name in CAUSAL}
    assert len(tried) >= sum(family.causal for family in FAMILIES)
