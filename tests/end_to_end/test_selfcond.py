"""`--compat=selfcond` against an independent computation in torch and sklearn.

The computation follows the description of the reference: pad on the right with
the end token to seq_len, attention mask given, maximum over all positions,
percentiles by numpy, average precision by scikit-learn.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import bounds
from tests.data import REPOSITORY, data_folder

SEQ_LEN = 64
COLUMNS = ["ap", "off_mean", "on_p50", "on_p90", "layer", "unit", "uuid"]
COLUMNS += ["concept", "group"]


def program(name: str, *flags: str) -> None:
    command = [sys.executable, "-m", f"binaries.{name}", *flags]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)


def sentences_of(concept: Path, num: int) -> tuple[list[str], list[int]]:
    content = json.loads(concept.read_text("utf-8"))["sentences"]
    random = np.random.RandomState(1234)
    texts, labels = [], []
    for label in ("negative", "positive"):
        pick = range(len(content[label]))
        if num < len(content[label]):
            pick = random.choice(len(content[label]), num, replace=False)
        texts += [content[label][i] for i in pick]
        labels += [int(label == "positive")] * len(pick)
    return texts, labels


def torch_responses(folder: Path, texts: list[str]) -> tuple[dict, list[int]]:
    """Layer name -> [units, sentences], and which sentences were not too long."""
    torch = pytest.importorskip("torch")
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder).float().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    outputs: dict[str, list] = {}

    def hook(name):
        return lambda module, args, out: outputs.setdefault(name, []).append(
            out.max(dim=1).values.numpy()
        )

    for name, module in model.named_modules():
        if type(module).__name__ == "Conv1D":
            module.register_forward_hook(hook(f"{name}:0"))
    ids = [tokenizer.encode(text) for text in texts]
    kept = [i for i, row in enumerate(ids) if len(row) <= SEQ_LEN]
    end = tokenizer.eos_token_id
    padded = np.array([ids[i] + [end] * (SEQ_LEN - len(ids[i])) for i in kept])
    mask = np.array([[1] * len(ids[i]) + [0] * (SEQ_LEN - len(ids[i])) for i in kept])
    with torch.no_grad():
        for start in range(0, len(kept), 50):
            part = slice(start, start + 50)
            model(
                input_ids=torch.tensor(padded[part]),
                attention_mask=torch.tensor(mask[part]),
            )
    return {k: np.concatenate(v).T for k, v in outputs.items()}, kept


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """(exported table, info, labels, torch responses) on the shipped model."""
    pytest.importorskip("torch")
    football = data_folder("onesec") / "football"
    model = REPOSITORY / "expertjax" / "assets" / "models" / "gpt2_wordnet"
    out = tmp_path_factory.mktemp("compat")
    program(
        "find_experts",
        f"--model={model}",
        f"--concepts={football}",
        f"--out={out / 'results'}",
        f"--seq_len={SEQ_LEN}",
        "--num_per_concept=400",
        "--compat=selfcond",
    )
    program(
        "export_expertise", f"--results={out / 'results'}", f"--out={out / 'export'}"
    )
    name = "football-1_04_00__"
    folder = out / "export" / "gpt2_wordnet" / "sense" / name / "expertise"
    texts, labels = sentences_of(football / "sense" / f"{name}.json", 400)
    responses, kept = torch_responses(model, texts)
    table = pd.read_csv(folder / "expertise.csv")
    info = json.loads((folder / "expertise_info.json").read_text())
    return table, info, np.array(labels)[kept], responses


def test_average_precision_agrees(result) -> None:
    from sklearn.metrics import average_precision_score

    table, _, labels, responses = result
    wanted = np.concatenate(
        [
            [average_precision_score(labels, unit) for unit in responses[layer]]
            for layer in sorted(responses)
        ]
    )
    difference = np.abs(table["ap"].to_numpy() - wanted)
    share = (difference <= 1e-4).mean()
    print(f"share of units with |dAP| <= 1e-4: {share:.5f}; max {difference.max():.2e}")
    assert share >= 0.999


def test_forcing_values_agree(result) -> None:
    table, _, labels, responses = result
    stacked = np.concatenate([responses[layer] for layer in sorted(responses)])
    wanted = {
        "on_p50": np.percentile(stacked[:, labels == 1], 50, axis=1),
        "on_p90": np.percentile(stacked[:, labels == 1], 90, axis=1),
        "off_mean": stacked[:, labels == 0].mean(1),
    }
    # Relative to the spread of the unit's responses where a value is about zero.
    spread = stacked.std(1)
    allowed = bounds.forward(table["layer"].nunique() // 4, table["unit"].max() + 1)
    for name, values in wanted.items():
        error = np.abs(table[name] - values) / np.maximum(np.abs(values), spread)
        print(f"{name}: largest relative difference {error.max():.2e}")
        assert error.max() <= allowed


def test_files_have_the_references_form(result) -> None:
    table, info, _, responses = result
    layers = sorted(responses)
    widths = [len(responses[layer]) for layer in layers]
    assert list(table.columns) == COLUMNS
    assert list(table["layer"]) == list(np.repeat(layers, widths))
    assert list(table["unit"]) == [i for width in widths for i in range(width)]
    assert list(table["uuid"]) == list(range(len(table)))
    assert set(table["concept"]) == {"football-1_04_00__"}
    assert set(table["group"]) == {"sense"}
    assert list(info) == [
        "concept",
        "group",
        "max_ap",
        "layer_names",
        "total_neurons",
        "neurons_at_ap",
    ]
    assert info["layer_names"] == layers
    assert info["total_neurons"] == len(table)
    assert info["max_ap"] == pytest.approx(table["ap"].max())
    thresholds = np.linspace(0.5, 1, 501)
    assert list(info["neurons_at_ap"]) == [f"{t:0.5f}" for t in thresholds]
    wanted = [int((table["ap"] > t).sum()) for t in thresholds]
    # Thresholds may fall on an AP that CSV rounds.
    assert np.abs(np.array(list(info["neurons_at_ap"].values())) - wanted).max() <= 1
