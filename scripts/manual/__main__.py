"""Writes the manual. Nothing is said here: section 3 and disk_chan(7) are include/disk_chan.h, disk_chan(5) is
docs/FORMAT.md, the examples are docs/snippets/.

    python3 scripts/manual              writes man/man3, man/man5, man/man7
    python3 scripts/manual --check      fails where what lies there is not what would be written
    python3 scripts/manual --html DIR   a browsable reference: these pages, man/man1, README.md, docs/ (needs mandoc)
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True

from header import Header  # noqa: E402
from pages import Manual  # noqa: E402
from web import Web  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
MAN = ROOT / "man"


def main(arguments):
    manual = Manual(Header((ROOT / "include/disk_chan.h").read_text()), ROOT)
    if len(arguments) == 2 and arguments[0] == "--html":
        Web(manual, ROOT, Path(arguments[1])).write()
        return
    files = manual.pages()
    there = {f"{d}/{p.name}" for d in ("man3", "man5", "man7") for p in (MAN / d).glob("*")}
    if arguments == ["--check"]:
        wrong = [p for p in sorted(files) if p not in there or (MAN / p).read_text() != files[p]]
        wrong += [f"{p} (of nothing)" for p in sorted(there - set(files))]
        if wrong:
            sys.exit("manual: man/ differs from what the header, docs/FORMAT.md and docs/snippets say (make man): " + ", ".join(wrong))
        return
    if arguments:
        sys.exit(__doc__)
    for path in there - set(files):
        (MAN / path).unlink()
    for path, text in files.items():
        (MAN / path).parent.mkdir(parents=True, exist_ok=True)
        (MAN / path).write_text(text)


main(sys.argv[1:])
