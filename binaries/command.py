"""One command for all programs: `expertjax COMMAND --FLAG=VALUE ...`.

Each command is a program of this package, with its flags; `expertjax COMMAND --help`
shows them.
"""

import difflib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import expertjax
from binaries.usage import call_as

# Without what `expertjax.EXAMPLE_MODEL` imports.
_ASSETS = Path(expertjax.__file__).parent / "assets"
_QUICKSTART = (
    f"--model={_ASSETS / 'models' / 'gpt2_wordnet'}",
    f"--concepts={_ASSETS / 'concepts' / 'wordnet_topics'}",
    "--out=out/quickstart",
    "--gamma=0.8",
)
# Command -> the program, what it does, and flags that come first.
COMMANDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "quickstart": ("find_experts", "the main job on what ships", _QUICKSTART),
    "find": ("find_experts", "the main job: capture, score, report", ()),
    "capture": ("capture_responses", "responses of every unit to every sentence", ()),
    "score": ("score_experts", "scores responses that were captured", ()),
    "analyze": ("analyze_experts", "reports, rankings, concepts that share", ()),
    "steer": ("generate_text", "a model writes while units are edited", ()),
    "parity": ("measure_parity", "how many units make two sides equal", ()),
    "probe": ("probe_models", "how well models generalize: linear probes", ()),
    "build-concepts": ("build_concepts", "concept folders from corpora and tables", ()),
    "import": ("import_expertise", "results of ml-selfcond and lang_neuron", ()),
    "export": ("export_expertise", "results as CSV, Parquet, ml-selfcond", ()),
    "convert": ("convert_checkpoint", "Hugging Face to Orbax", ()),
    "train": ("train_lm", "trains small GPT-2s", ()),
    "studio": ("studio", "a local page: find units, look, steer", ()),
    "benchmark": ("benchmark", "speed and agreement, beside peers", ()),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one program as `python -m binaries.NAME` does.

    Args:
      argv: command and flags; by default those of the process.
    """
    command, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in ("--help", "-h", "help"):
        print(_usage())
        return
    if command not in COMMANDS:
        print(f"error: {command}: {_unknown(command)}", file=sys.stderr)
        sys.exit(2)
    program, _, first = COMMANDS[command]
    call_as(f"expertjax {'find' if command == 'quickstart' else command}")
    sys.argv = [f"expertjax {command}", *first, *rest]
    runpy.run_module(f"binaries.{program}", run_name="__main__", alter_sys=True)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {does}" for name, (_, does, _) in COMMANDS.items()]
    return "\n".join(
        [
            "expertjax COMMAND --FLAG=VALUE ...",
            "",
            *lines,
            "",
            "expertjax COMMAND --help shows its flags; expertjax quickstart is a",
            "good beginning.",
        ]
    )


def _unknown(command: str) -> str:
    """What to write instead."""
    near = difflib.get_close_matches(command, COMMANDS, 1)
    near = near or [name for name, row in COMMANDS.items() if row[0] == command]
    hint = f"did you mean {near[0]}?" if near else "see expertjax --help"
    return f"no such command; {hint}"


if __name__ == "__main__":
    main()
