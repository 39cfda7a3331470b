#!/usr/bin/env python3
"""links.py SOURCE: no link of a document leads nowhere, nor one of the HTML reference (where mandoc is)."""

import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

root = Path(sys.argv[1])
sys.dont_write_bytecode = True
sys.path.insert(0, str(root / "scripts/manual"))
import markdown  # noqa: E402

bad = []


def anchors(path):
    return {markdown.anchor(title) for kind, *block in markdown.blocks(path.read_text()) if kind == "heading" for title in block[1:]}


documents = [p for p in [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("models/*.md"), *root.glob("tests/c/*.md")]]
checked = 0
for document in documents:
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.S | re.M)
    for address in re.findall(r"\]\(([^)\s]+)\)", text):
        if address.startswith(("http:", "https:")):
            continue
        checked += 1
        path, _, anchor = address.partition("#")
        to = document if not path else document.parent / path
        if not to.exists():
            bad.append(f"{document.relative_to(root)}: {address}: nothing there")
        elif anchor and to.suffix == ".md" and anchor not in anchors(to):
            bad.append(f"{document.relative_to(root)}: {address}: no such heading")


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.hrefs, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        if tag in ("a", "link") and "href" in attrs:
            self.hrefs.append(attrs["href"])
        if tag == "img":
            self.hrefs.append(attrs["src"])


if shutil.which("mandoc"):
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        subprocess.run([sys.executable, root / "scripts/manual", "--html", out], check=True)
        pages = {p.name: Links(p.read_text()) for p in out.glob("*.html")}
        if len(pages) < 60:
            bad.append(f"only {len(pages)} pages")
        found, todo = set(), ["index.html"]
        while todo:  # whatever can be reached from the index
            name = todo.pop()
            if name not in found and name in pages:
                found.add(name)
                todo += [h.partition("#")[0] for h in pages[name].hrefs]
        bad += [f"{n}: no link leads there" for n in sorted(set(pages) - found) if not n.startswith("DC_")]
        for name, page in pages.items():
            for href in page.hrefs:
                path, _, anchor = href.partition("#")
                if href.startswith(("http:", "https:")):
                    continue
                checked += 1
                if path and not (out / path).exists():
                    bad.append(f"{name}: {href}: nothing there")
                elif anchor and anchor not in pages[path or name].ids:
                    bad.append(f"{name}: {href}: no such anchor")

for line in bad:
    print(f"links: {line}")
if bad:
    sys.exit(1)
if not shutil.which("mandoc"):
    print("SKIPPED: no mandoc here, so the HTML reference is not made (package mandoc)")
print(f"links: {checked}, none leads nowhere")
