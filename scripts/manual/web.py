"""A browsable reference: the pages by mandoc, README.md and docs/ beside them, an index."""

import html
import re
import shutil
import subprocess

import markdown
from mdoc import STRUCTS
from pages import CODES, summary_of

GUIDES = ["QUICKSTART", "EVENT_LOOPS", "DURABILITY", "SIZING", "SPEED", "TROUBLESHOOTING", "BACKUP", "VERSIONING",
          "MIGRATING", "ALTERNATIVES", "FORMAT", "CONCURRENCY", "RELIABILITY", "TESTING"]  # and then whatever else is in docs/

STYLE = """body { max-width: 60em; margin: 2em auto; padding: 0 1em; font-family: sans-serif; line-height: 1.45; color: #222; background: #fff }
table.head, table.foot { width: 100%; color: #666; font-size: 85% } td.head-vol { text-align: center } td.head-rtitle, td.foot-os { text-align: right }
pre, code, .Fn, .Fa, .Va, .Dv, .Vt, .Ft { font-family: monospace } pre { background: #f4f4f2; padding: .7em 1em; overflow-x: auto; line-height: 1.3 }
table.tbl { border-collapse: collapse; margin: 1em 0 } .tbl td, .tbl th { border: 1px solid #ccc; padding: .25em .6em; vertical-align: top; text-align: left }
h1.Sh { font-size: 125% } h2.Ss { font-size: 108% } .Bl-tag > dt { margin-top: .7em } a { color: #05c } img { max-width: 100%; background: #fff } a.permalink { color: inherit; text-decoration: none }
.Nm, .Fn { font-style: normal; font-weight: bold } nav { font-size: 90% } .calls td { padding: .1em 1em .1em 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { background: #16181a; color: #ddd } pre { background: #222528 } a { color: #7ab8ff } .tbl td, .tbl th { border-color: #444 } }
"""


def document(title, body):
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
            '<meta name="viewport" content="width=device-width">\n<link rel="stylesheet" href="style.css">\n</head>\n<body>\n'
            f'<nav><a href="index.html">disk_chan</a></nav>\n{body}</body>\n</html>\n')


class Web:
    def __init__(self, manual, root, out):
        self.manual, self.root, self.out = manual, root, out
        self.files = manual.pages()
        for path in sorted((root / "man/man1").glob("*.1")):
            self.files[f"man1/{path.name}"] = path.read_text()
        self.pages = {path.split("/")[1] + ".html" for path in self.files}
        others = sorted({p.stem for p in (root / "docs").glob("*.md")} - set(GUIDES))
        guides = [("README", root / "README.md")] + [(g, root / f"docs/{g}.md") for g in GUIDES + others]
        guides += [(g, root / f"{g}.md") for g in ("SECURITY", "CHANGELOG")]
        self.guides = {name: path for name, path in guides if path.exists()}

    def mandoc(self, source, title):
        done = subprocess.run(["mandoc", "-T", "html", "-O", "fragment,toc,man=%N.%S.html"], input=source.encode(),
                              capture_output=True, check=False)
        if done.returncode > 3:
            raise SystemExit(f"manual: mandoc on {title}: {done.stderr.decode()}")
        # Only to pages that are here.
        body = re.sub(r'<a class="Xr" href="([^"]*)">(.*?)</a>', lambda m: m[0] if m[1] in self.pages else m[2], done.stdout.decode())
        return document(title, body)

    def target(self, address, code=False):
        """Where a link of a guide leads here; None: to no page of ours, so it is none."""
        if code:
            return next((f"{address}.{s}.html" for s in "31" if f"{address}.{s}.html" in self.pages), None)
        if address.startswith(("http", "#")):
            return address
        path, _, anchor = address.partition("#")
        name = path.rsplit("/", 1)[-1]
        if name.endswith(".svg"):
            return f"plots/{name}"
        if name == "disk_chan.h":
            return "disk_chan.7.html"
        if name.endswith(".md") and name[:-3] in self.guides and path.count("/") <= 1:
            return name[:-3] + ".html" + (f"#{anchor}" if anchor else "")
        return None

    def write(self):
        self.out.mkdir(parents=True, exist_ok=True)
        for old in self.out.glob("*.html"):
            old.unlink()
        (self.out / "style.css").write_text(STYLE)
        shutil.copytree(self.root / "docs/plots", self.out / "plots", dirs_exist_ok=True)
        for path, source in self.files.items():
            name = path.split("/")[1]
            if source.startswith(".so "):
                to = source.split()[1].split("/")[1] + ".html"
                text = (f'<!DOCTYPE html>\n<meta charset="utf-8">\n<meta http-equiv="refresh" content="0; url={to}">\n'
                        f'<title>{name}</title>\n<a href="{to}">{to}</a>\n')
            else:
                text = self.mandoc(source, name)
            (self.out / f"{name}.html").write_text(text)
        titles = {}
        for name, path in self.guides.items():
            text = path.read_text()
            titles[name] = markdown.bare(re.search(r"^# (.*)", text, re.M)[1])
            (self.out / f"{name}.html").write_text(document(titles[name], markdown.to_html(text, self.target)))
        (self.out / "index.html").write_text(self.index(titles))

    def index(self, titles):
        header = self.manual.h

        def rows(pairs):
            rows = "".join(f'<tr><td><a href="{a}">{html.escape(n)}</a></td><td>{html.escape(t)}</td></tr>\n' for a, n, t in pairs)
            return f'<table class="calls">\n{rows}</table>\n'

        manual = [("disk_chan.7.html", "disk_chan(7)", "the concepts"), ("disk_chan.5.html", "disk_chan(5)", "the bytes on disk"),
                  (f"{CODES}.3.html", f"{CODES}(3)", "return codes and their remedies")]
        manual += [(p.split("/")[1] + ".html", f"{p.split('/')[1][:-2]}(1)", "the command-line tool") for p in self.files if p.startswith("man1/")]
        calls = [(f"{f}.3.html", f"{f}(3)", summary_of(c[2])) for f, c in header.functions.items()]
        structs = [(f"{s}.3.html", f"{s}(3)", summary_of(header.structs[s][0])) for s in STRUCTS]
        guides = [(f"{n}.html", t, "") for n, t in titles.items()]
        title = header.overview[0].split(" - ")[1]
        return document("disk_chan", f"<h1>disk_chan {self.manual.version}: {html.escape(title)}</h1>\n<h2>Manual</h2>\n{rows(manual)}"
                        f"<h2>Guides</h2>\n{rows(guides)}<h2>Calls</h2>\n{rows(calls)}<h2>Structs</h2>\n{rows(structs)}")
