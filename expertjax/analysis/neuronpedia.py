"""Experts as files that Neuronpedia imports.

A line is a row of a table of its database. Fields are those of its `schema.prisma`, and
those that have to be given there are here; see docs/dashboards.md.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from expertjax.analysis.dashboards import (
    DashboardSettings,
    Source,
    concepts_of,
    features_of,
    short,
    sources,
)
from expertjax.analysis.expertise import Expertise


def write_neuronpedia(
    expertise: Expertise, folder: Path, tokens: pd.DataFrame, how: DashboardSettings
) -> None:
    """Writes for every source what Neuronpedia imports as `<model id>/<source>`.

    `release.jsonl`, `model.jsonl`, `sourceset.jsonl`, `source.jsonl`, and gzipped
    `features/`, `activations/` and `explanations/batch-0.jsonl.gz`. No line says when
    it was written, so that equal results are equal bytes.

    Args:
      expertise: a finished result.
      folder: that there is, for the files.
      tokens: from `capturing.excited_tokens`.
      how: see there.
    """
    for source in sources(expertise, how):
        place = folder / source.name
        place.mkdir()
        for name, row in _about(expertise, source, how).items():
            (place / f"{name}.jsonl").write_bytes(_lines([row]))
        features = list(features_of(expertise, source, tokens))
        rows = {
            "features": [_neuron(source, feature, how) for feature in features],
            "activations": [
                _activation(source, feature, number, how)
                for feature in features
                for number in range(len(feature["activations"]))
            ],
            "explanations": list(_explanations(expertise, source, how)),
        }
        for name, some in rows.items():
            (place / name).mkdir()
            packed = gzip.compress(_lines(some), mtime=0)
            (place / name / "batch-0.jsonl.gz").write_bytes(packed)


def _about(
    expertise: Expertise, source: Source, how: DashboardSettings
) -> dict[str, dict[str, Any]]:
    """The files that hold one line each."""
    run = expertise.folder.read_run()["capture"]
    of_all = {"creatorId": how.creator_id, "visibility": "PUBLIC"}
    named = of_all | {"creatorName": how.creator, "urls": []}
    title = f"Expert units of {source.model}, found by expertjax"
    notes = (
        f"Units of {source.site} of layer {source.layer} that are among the best of a "
        "concept by average precision (expertjax), not features of a sparse "
        "autoencoder. Histogram and density are of responses to whole sentences "
        f"({run['pooling']} over tokens); density is the share above 0."
    )
    return {
        "release": {"name": how.release, "description": title} | named,
        "model": of_all
        | {
            "id": source.model,
            "displayName": expertise.folder.name,
            "displayNameShort": expertise.folder.name,
            "layers": run["num_layers"],
            "neuronsPerLayer": 0,
            "owner": "",
        },
        "sourceset": named
        | {
            "modelId": source.model,
            "name": source.source_set,
            "description": f"{title}: {source.site}",
            "releaseName": how.release,
        },
        "source": of_all
        | {
            "id": source.name,
            "modelId": source.model,
            "setName": source.source_set,
            "num_prompts": run["num_sentences"],
            "num_tokens_in_prompt": run["seq_len"],
            "notes": notes,
        },
    }


def _place(source: Source, index: int) -> dict[str, str]:
    return {"modelId": source.model, "layer": source.name, "index": str(index)}


def _neuron(
    source: Source, feature: dict[str, Any], how: DashboardSettings
) -> dict[str, Any]:
    """A line of `features`."""
    theirs = ("pos_", "neg_", "frac_", "freq_hist_")
    return {
        **_place(source, feature["feature_index"]),
        "creatorId": how.creator_id,
        "sourceSetName": source.source_set,
        "maxActApprox": max(0.0, feature["activations"][0]["bin_max"]),  # as theirs
        **{name: value for name, value in feature.items() if name.startswith(theirs)},
    }


def _activation(
    source: Source, feature: dict[str, Any], number: int, how: DashboardSettings
) -> dict[str, Any]:
    """A line of `activations`."""
    place, activation = (
        _place(source, feature["feature_index"]),
        feature["activations"][number],
    )
    values, at = activation["values"], activation["qualifying_token_index"]
    return {
        "id": _identifier(*place.values(), number),
        **place,
        "creatorId": how.creator_id,
        "tokens": activation["tokens"],
        "values": values,
        "maxValue": values[at],
        "maxValueTokenIndex": at,
        "minValue": min(values),
        "binMin": activation["bin_min"],
        "binMax": activation["bin_max"],
        "binContains": activation["bin_contains"],
        "qualifyingTokenIndex": at,
    }


def _explanations(
    expertise: Expertise, source: Source, how: DashboardSettings
) -> Iterator[dict[str, Any]]:
    """Lines of `explanations`: the concepts that each unit is an expert of.

    No type of explanation is named: Neuronpedia refuses those that it does not know.
    """
    for row in concepts_of(expertise, source).to_dict("records"):
        name = expertise.names[expertise.row(row["concept"])]
        place = _place(source, row["feature_index"])
        yield {
            "id": _identifier(*place.values(), row["concept"]),
            **place,
            "authorId": how.creator_id,
            "description": f"{name} (expertjax AP {row['ap']:.2f})",
            "scoreV1": short(row["ap"]),
            "notes": f"expertjax AP: the unit is number {row['rank']} of the concept "
            f"{row['concept']} by average precision, {row['ap']:.3f}, with a 95% "
            f"interval from {row['ap_low']:.3f} to {row['ap_high']:.3f}; nobody and no "
            "model has read its texts.",
        }


def _identifier(*parts: str | int) -> str:
    """Of the form of a cuid; the same for the same row of the same model."""
    return "c" + hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
