"""Builds concept folders from every source."""

import dataclasses
from pathlib import Path

from expertjax.building.archives import read_notices
from expertjax.building.build_wordnet import find_topics
from expertjax.building.data_report import describe
from expertjax.building.drafts import Draft, Drafts, choose
from expertjax.building.draw import draw_concepts
from expertjax.building.folders import (
    DEFINITIONS,
    read_folders,
    write_definitions,
)
from expertjax.building.homographs import find_homographs
from expertjax.building.inventory import FlatInventory, Inventory, WordNetInventory
from expertjax.building.semcor import read_semcor
from expertjax.building.senses import count_unclear, find_senses
from expertjax.building.settings import BuildSettings
from expertjax.building.tables import read_table
from expertjax.building.tagged import index_sentences
from expertjax.building.wordnet import read_licence, read_wordnet
from expertjax.building.write import check_target, write_concepts
from expertjax.building.wsd_xml import read_wsd
from expertjax.concepts.files import Concept
from expertjax.errors import InputError
from expertjax.home import user_path

SOURCES = ("semcor", "wordnet", "wsd", "table", "selfcond")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where concepts are built from.

    Attributes:
      kind: of SOURCES.
      inputs: folder, archive or file; several for selfcond alone.
      wordnet: WordNet's folder, to group sense keys by synset (semcor, wsd).
      roots: sense keys of the topics (wordnet).

    Raises:
      InputError: these do not fit each other.
    """

    kind: str
    inputs: tuple[str, ...]
    wordnet: str | None = None
    roots: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in SOURCES:
            raise InputError(
                f"--source={self.kind}: expected one of {', '.join(SOURCES)}"
            )
        if len(self.inputs) != 1 and (self.kind != "selfcond" or not self.inputs):
            raise InputError(
                f"--input is given {len(self.inputs)} times; expected once (several "
                "folders are merged by --source=selfcond)"
            )
        if self.roots and self.kind != "wordnet":
            raise InputError(f"--roots is for --source=wordnet, not {self.kind}")
        if self.wordnet and self.kind not in ("semcor", "wsd"):
            raise InputError(f"--wordnet is for semcor and wsd, not {self.kind}")


def build_folder(
    source: Source,
    out: str | Path,
    settings: BuildSettings,
    tasks_out: str | Path | None = None,
    overwrite: bool = False,
    report: bool = True,
) -> tuple[list[Concept], list[Concept]]:
    """Builds the concepts of `source` and writes them to `out`.

    Args:
      source: where they come from.
      out: the folder to make: concepts, licences of the source, `definitions.csv`
        where the source has definitions, and `report.md`.
      settings: which concepts, how many sentences.
      tasks_out: a second folder, for the concepts held out as tasks.
      overwrite: replace concept folders that are there already.
      report: write `report.md`.

    Returns:
      The concepts, and those held out as tasks, which have as many negatives as
      positives.

    Raises:
      InputError: the source, a setting or a folder cannot be used.
    """
    if bool(settings.tasks_share) != bool(tasks_out):
        raise InputError("--tasks_share and --tasks_out: give both or neither")
    folders = [user_path(out).absolute()]
    folders += [user_path(tasks_out).absolute()] if tasks_out else []
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError(f"--tasks_out={tasks_out} is --out; name another folder")
    for folder in folders:
        check_target(folder, overwrite)
    drafts = read_drafts(source, settings)
    chosen = choose(drafts, settings)
    drafts.left_out["concepts held out as tasks"] += len(chosen[1])
    built = []
    for part, kind in zip(chosen, ("Concepts", "Held-out tasks"), strict=True):
        built.append(draw_concepts(part, drafts.texts, settings, kind != "Concepts"))
    for folder, part, concepts in zip(folders, chosen, built, strict=False):
        kind = "Concepts" if folder == folders[0] else "Held-out tasks"
        notices = dict(drafts.notices)
        if any(draft.definition for draft in part):
            notices[DEFINITIONS] = write_definitions(part)
        if report:
            title = f"{kind} from {drafts.source}"
            notices["report.md"] = describe(
                concepts, part, settings, drafts.left_out, title
            )
        write_concepts(concepts, folder, drafts.source, overwrite, notices)
    return built[0], built[1]


def read_drafts(source: Source, settings: BuildSettings) -> Drafts:
    """All concepts of `source` that have enough positives.

    Raises:
      InputError: the source cannot be read or does not fit the settings.
    """
    path = source.inputs[0]
    if source.kind == "selfcond":
        return read_folders(source.inputs, settings)
    if source.kind == "table":
        return read_table(path, settings)
    if source.kind == "wordnet":
        return _read_wordnet(source, settings)
    return _read_tagged(source, settings)


def _read_wordnet(source: Source, settings: BuildSettings) -> Drafts:
    if settings.kinds != ("sense",):
        raise InputError("--source=wordnet builds --kinds=sense only")
    path = source.inputs[0]
    wordnet = read_wordnet(path)
    drafts = find_topics(wordnet, settings, source.roots)
    drafts.notices["LICENSE.wordnet.txt"] = read_licence(path)
    return drafts


def _read_tagged(source: Source, settings: BuildSettings) -> Drafts:
    path = source.inputs[0]
    if settings.hyponyms and not source.wordnet:
        raise InputError("--hyponyms needs --wordnet=FOLDER, which says what they are")
    if source.kind == "semcor":
        sentences = read_semcor(path, settings.part_letters)
    else:
        sentences = read_wsd(path)
    corpus = index_sentences(sentences, settings)
    notices = {
        f"{source.kind}.{name}": text for name, text in read_notices(path).items()
    }
    inventory: Inventory
    if source.wordnet:
        inventory = WordNetInventory(read_wordnet(source.wordnet))
        notices["LICENSE.wordnet.txt"] = read_licence(source.wordnet)
    else:
        keys = {key: None for senses in corpus.tagged for key in senses}
        inventory = FlatInventory(keys)
    count_unclear(corpus, inventory)
    drafts: list[Draft] = []
    if "sense" in settings.kinds:
        drafts += find_senses(corpus, inventory, settings)
    if "homograph" in settings.kinds:
        drafts += find_homographs(corpus, inventory, settings)
    return Drafts(source.kind, corpus.texts, drafts, corpus.left_out, notices)
