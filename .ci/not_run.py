"""Prints which tests of a JUnit file were skipped, and why."""

import ast
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree


def reasons(file: Path) -> dict[str, list[str]]:
    """Why -> names of the tests, in the order in which they stand in the file."""
    found = defaultdict(list)
    for test in ElementTree.parse(file).iter("testcase"):
        name = ".".join(filter(None, (test.get("classname"), test.get("name"))))
        for skipped in test.iter("skipped"):
            why = skipped.get("message", "no reason given")
            if why == "collection skipped":  # a whole file; the text says why
                _, _, why = ast.literal_eval(skipped.text or "")
                why = why.removeprefix("Skipped: ")
            if skipped.get("type") != "pytest.xfail":
                found[why].append(name)
    return dict(found)


def main(file: Path) -> None:
    """Prints a line for each reason and for each test."""
    if not file.exists():
        print("Tests not run: all; there is no record of them")
        return
    found = reasons(file)
    print(f"Tests not run: {sum(map(len, found.values()))}")
    for why, names in found.items():
        print(f"  {why}")
        for name in names:
            print(f"    {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
