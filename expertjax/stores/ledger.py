"""Which blocks of a store are finished.

A block counts only when its own small file exists, which is written after the
data have been committed. A store counts only when all of its blocks do and the
ledger has been closed.
"""

import json
import re
from pathlib import Path

from expertjax.errors import InputError
from expertjax.stores.paths import make_folder, names, write_atomically

_CLOSED = "_SUCCESS"


class Ledger:
    """The finished blocks of one store."""

    def __init__(self, folder: Path) -> None:
        """Opens the ledger; the folder is made when the first block is marked."""
        self._folder = folder

    def finished(self) -> set[int]:
        """The blocks that have been committed."""
        there = (re.fullmatch(r"(\d{6,})\.json", name) for name in names(self._folder))
        return {int(match[1]) for match in there if match}

    def mark(self, block: int, start: int, stop: int) -> None:
        """Notes that a block (rows or columns start to stop) has been committed."""
        make_folder(self._folder)
        content = {"block": block, "start": start, "stop": stop}
        write_atomically(self._path(block), json.dumps(content))

    def close(self, num_blocks: int) -> None:
        """Notes that the store is complete.

        Raises:
          InputError: a block is missing.
        """
        self._check_blocks(num_blocks)
        write_atomically(self._folder / _CLOSED, json.dumps({"num_blocks": num_blocks}))

    @property
    def is_closed(self) -> bool:
        """Is the store complete?"""
        return (self._folder / _CLOSED).is_file()

    def reopen(self) -> None:
        """Takes back `close`, before anything of the store is changed."""
        (self._folder / _CLOSED).unlink(missing_ok=True)

    def require_closed(self, store: Path) -> None:
        """Refuses a store that is not complete.

        Raises:
          InputError: names the store and what is missing or damaged.
        """
        if not self.is_closed:
            raise InputError(
                f"{store}: incomplete (no {self._folder / _CLOSED}); run the same "
                "command again to finish it"
            )
        path = self._folder / _CLOSED
        try:
            num_blocks = int(json.loads(path.read_text())["num_blocks"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path}: damaged ({error!r}); remove it and run the same command again"
            ) from error
        self._check_blocks(num_blocks)

    def _check_blocks(self, num_blocks: int) -> None:
        there = self.finished()
        missing = [i for i in range(num_blocks) if i not in there]
        if missing:
            raise InputError(
                f"{self._path(missing[0])}: the mark of a finished block is missing "
                f"({len(missing)} of {num_blocks}); remove the folder's {_CLOSED} "
                "and run the same command again"
            )

    def _path(self, block: int) -> Path:
        return self._folder / f"{block:06d}.json"
