"""What the studio's page does, without the page: one model, asked by several people."""

import collections
import contextlib
import dataclasses
import shutil
import tempfile
import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from expertjax.analysis.expertise import Expertise
from expertjax.capturing.again import captured_settings, captured_units
from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.models.unit_edits import UnitEdit
from expertjax.runtime.host_memory import return_freed_memory
from expertjax.workshop.find import KEY, Found, Library, find
from expertjax.workshop.limits import MOST_KEPT
from expertjax.workshop.look import Looker
from expertjax.workshop.running import Runner, Tell
from expertjax.workshop.saving import command, save, snippet
from expertjax.workshop.steer import Steering, Wish, arms_of_edit, make_arms

YOURS = "the sentences under Find"
T = TypeVar("T")


class Written(NamedTuple):
    """Three texts, on their way or complete.

    Attributes:
      texts: the continuations.
      perplexity: of each whole text; None while they are written.
      file: the ZIP file that reproduces them, once they are complete.
      snippet: Python that does.
      command: the command line that does.
    """

    texts: Sequence[str]
    perplexity: Sequence[float] | None = None
    file: Path | None = None
    snippet: str = ""
    command: str = ""


class Studio:
    """A model, concepts to begin with, and what was found and written lately.

    Attributes:
      model: the model.
      library: concepts whose sentences can be taken.
      looker: looks at texts.
      place: a folder of its own, which `close` removes.
      num_writing: texts that are being written now, three at a time.
    """

    def __init__(
        self,
        model: Model,
        expertise: Expertise | None = None,
        memory_bytes: int = 2**29,
    ) -> None:
        """Nothing is run yet.

        Args:
          model: any; one that is not causal cannot steer.
          expertise: a result of this model, or None.
          memory_bytes: the most that remembered responses take.

        Raises:
          InputError: the result is another model's.
        """
        settings = None
        if expertise is not None:
            _check_same(model, expertise)
            if "import" not in expertise.folder.read_run():
                settings = captured_settings(expertise.folder)
        self.model, self._expertise = model, expertise
        self._runner = Runner(model, settings, memory_bytes)
        self.library = Library(expertise)
        self.looker = Looker(self._runner, self.library)
        self._own = tempfile.TemporaryDirectory(prefix="expertjax-studio-")
        self.place = Path(self._own.name)
        self._found: collections.OrderedDict[str, Found] = collections.OrderedDict()
        self._files: collections.OrderedDict[str, None] = collections.OrderedDict()
        self.num_writing = 0

    def close(self) -> None:
        """Removes what was kept."""
        self._own.cleanup()

    @property
    def num_units(self) -> int:
        """Units of the model."""
        return self._runner.table.num_units

    @property
    def concepts(self) -> list[str]:
        """Whose units can steer: what was typed, and the loaded result's."""
        return [YOURS, *(self._expertise.names if self._expertise else ())]

    def find(
        self, positives: Sequence[str], negatives: Sequence[str], tell: Tell | None
    ) -> str:
        """Finds units, and keeps what was found under the name that is returned.

        Raises:
          InputError: see `workshop.find.find`.
        """
        name, folder = self._new()
        try:
            place = folder / self.model.name
            found = find(self._runner, positives, negatives, place, tell)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            return_freed_memory()  # each request runs in another thread
        self._keep(self._found, name, found)
        return name

    def found(self, name: str) -> Found:
        """What was kept under a name.

        Raises:
          InputError: nothing was, or it has gone.
        """
        found = self._found.get(name)
        if found is None:
            raise InputError(
                "There are no units yet: give sentences under Find, and press the "
                "button there."
            )
        self._found.move_to_end(name)
        return found

    def write(
        self, name: str, whose: str, wish: Wish, edit_file: Path | None = None
    ) -> Generator[Written, None, None]:
        """Writes three texts; given after each token, and once they are complete.

        Args:
          name: of what was found.
          whose: one of `concepts`.
          wish: what is to be written; its concept is filled in.
          edit_file: an edit that was saved, in place of a concept's.

        Raises:
          InputError: see `make_arms`, `arms_of_edit` and `Steering`.
        """
        if edit_file is not None:
            edits = arms_of_edit(self.model, UnitEdit.load(edit_file))
        else:
            expertise, concept = self._source(name, whose)
            wish = dataclasses.replace(wish, concept=concept)
            edits = make_arms(expertise, wish)
        steering = Steering(self.model, wish, edits)
        self.num_writing += 1
        try:
            texts: list[str] = []
            for texts in steering:
                yield Written(texts)
        finally:
            self.num_writing -= 1
        table = steering.table()
        _, folder = self._new()
        file = folder / "steered.zip"
        folder.mkdir()
        save(file, self.model, wish, edits, table)
        self._keep(self._files, folder.name, None)
        yield Written(
            list(table["continuation"]),
            list(table["perplexity"]),
            file,
            snippet(self.model, wish),
            command(self.model, wish),
        )

    def _source(self, name: str, whose: str) -> tuple[Expertise, str]:
        if self._expertise is not None and whose in self._expertise.names:
            number = self._expertise.names.index(whose)
            return self._expertise, str(self._expertise.concepts["concept"][number])
        return self.found(name).expertise, KEY

    def _new(self) -> tuple[str, Path]:
        name = uuid.uuid4().hex
        return name, self.place / name

    def _keep(
        self, kept: "collections.OrderedDict[str, T]", name: str, what: T
    ) -> None:
        """The newest `MOST_KEPT` stay, files and all."""
        kept[name] = what
        while len(kept) > MOST_KEPT:
            oldest, _ = kept.popitem(last=False)
            with contextlib.suppress(OSError):
                shutil.rmtree(self.place / oldest)


def _check_same(model: Model, expertise: Expertise) -> None:
    captured_units(expertise.folder, model)
    capture = expertise.folder.read_run()["capture"]
    wanted = capture["weights_sha256"]  # imported results do not know
    if wanted is not None and wanted != model.weights_sha256:
        raise InputError(
            f"{expertise.folder.path}: is the result of {capture['model']}, whose "
            f"weights (or dtype) are not those of {model.path}"
        )
