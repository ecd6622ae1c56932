"""What the quick start's time goes to, the first time and the second.

Taken from outside: the program's bars are read as they come. The second run finds the
programs that the first has compiled.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from binaries.command import COMMANDS

_BAR = re.compile(r"([a-z ]+?) gpt2_wordnet\b[^|]*:\s+\d+%")
_BAR_LENGTH = 40  # at most, of what a bar says up to there


def phases_table() -> pd.DataFrame:
    """Runs the quick start twice, with compiled programs kept in a folder of its own.

    Returns:
      a row for each phase, in their order: `seconds` and `cpu_seconds` of the first
      run and of the second. A phase is a bar, from where the one before has ended;
      "start" is what is before the first bar is shown, "rest" what is after the last.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runs = [_run(folder, folder / f"{i}") for i in range(2)]
    phases = dict.fromkeys(phase for run in runs for phase in run)
    return pd.DataFrame(
        [
            {
                "phase": phase,
                **{
                    f"{what}, {which}": round(run.get(phase, (0.0, 0.0))[i], 1)
                    for which, run in zip(("first", "second"), runs, strict=True)
                    for i, what in enumerate(("s", "CPU s"))
                },
            }
            for phase in [*(p for p in phases if p != "all"), "all"]
        ]
    )


def _run(cache: Path, out: Path) -> dict[str, tuple[float, float]]:
    """Phase -> seconds, and seconds of all cores."""
    module, _, arguments = COMMANDS["quickstart"]
    command = [sys.executable, "-m", f"binaries.{module}", *arguments]
    command += [f"--out={out}", f"--compile_cache={cache / 'compiled'}"]
    start = time.perf_counter()
    marks: dict[str, tuple[float, float]] = {}  # phase -> its last sign of life
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as program:
        assert program.stderr is not None
        said = ""
        while piece := os.read(program.stderr.fileno(), 65536):
            now, cpu = time.perf_counter() - start, _cpu_seconds(program.pid)
            said += piece.decode(errors="replace")
            for bar in _BAR.finditer(said):
                if not marks:
                    marks["start"] = now, cpu
                marks[bar[1]] = now, cpu
            said = said[-_BAR_LENGTH:]
        _, status, used = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
    if program.returncode:
        raise RuntimeError(f"the quick start ended with status {program.returncode}")
    whole = time.perf_counter() - start, used.ru_utime + used.ru_stime
    marks["rest"] = whole
    found, before = {}, (0.0, 0.0)
    for phase, (when, cpu) in marks.items():
        found[phase] = when - before[0], cpu - before[1]
        before = when, cpu
    return found | {"all": whole}


def _cpu_seconds(pid: int) -> float:
    """Of a process so far; 0 where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
