"""Series: the checkpoints that one training run left behind, step by step."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from expertjax.checkpoints.find import checkpoint_name, find_checkpoint, snapshot_of
from expertjax.checkpoints.gguf_file import find_gguf
from expertjax.checkpoints.readers import has_weights
from expertjax.checkpoints.tokenizer import tokenizer_digest
from expertjax.errors import InputError
from expertjax.home import user_path

_STEP = re.compile(r"(?:step|checkpoint)[-_]?(\d+)")


@dataclasses.dataclass(frozen=True)
class Member:
    """One model of those that a user names.

    Attributes:
      name: what it is to be called.
      path: of its checkpoint, as `find_checkpoint` gives it.
      tokenizer: the folder to load its tokenizer from, the same for all members
        that have the same; None where it is the checkpoint's own.
    """

    name: str
    path: Path
    tokenizer: Path | None = None


def expand(model: str, name: str | None = None) -> list[Member]:
    """The models behind one `--model`.

    A folder without weights whose subfolders are called `step-1000`, `step1000` or
    `checkpoint-1000` stands for all of these; their names are the folder's and the
    step. "repo@first,second" stands for revisions of a repository on the hub.

    Args:
      model: a checkpoint (see `find_checkpoint`) or such a series.
      name: of the model or the series, by default that of its folder.

    Returns:
      in the order of the steps, or of the revisions.

    Raises:
      InputError: a checkpoint is not there, two are of the same step.
    """
    folder = snapshot_of(user_path(model))
    if folder.is_dir() and (steps := _steps(folder)):
        places = [*(path for _, path in steps), folder]
        return [
            Member(
                f"{name or checkpoint_name(model)}-{step}",
                find_checkpoint(str(path)),
                _tokenizer(path, places),
            )
            for step, path in steps
        ]
    repo, _, revisions = model.partition("@")
    if "," in revisions and not folder.exists():
        return [
            Member(
                f"{name or checkpoint_name(repo)}-{revision}",
                find_checkpoint(f"{repo}@{revision}"),
            )
            for revision in revisions.split(",")
        ]
    return [Member(name or checkpoint_name(model), find_checkpoint(model))]


def _steps(folder: Path) -> list[tuple[int, Path]]:
    """(step, its folder) in order; none where the folder is a checkpoint itself."""
    if has_weights(folder) or find_gguf(folder) is not None:
        return []
    found = sorted(
        (int(match[1]), path)
        for path in folder.iterdir()
        if path.is_dir() and (match := _STEP.fullmatch(path.name))
    )
    for (step, path), (other, twin) in itertools.pairwise(found):
        if step == other:
            raise InputError(
                f"{folder}: {path.name} and {twin.name} are of the same step"
            )
    return found


def _tokenizer(member: Path, places: Sequence[Path]) -> Path | None:
    """The first place that has the member's tokenizer, or any if it has none."""
    if find_gguf(member) is not None:
        return None
    own = tokenizer_digest(member)
    digests = ((place, tokenizer_digest(place)) for place in places)
    return next(
        (place for place, digest in digests if digest and own in ("", digest)), None
    )
