"""Makes the pages of the header and of docs/FORMAT.md."""

import re

import markdown
from header import joined, paragraphs, sentences
from mdoc import STRUCTS, Page, quoted, see_also, top

CODES = "dc_codes"

ABOUT_THREADS = re.compile(
    r"(Any thread|One thread at a time|(May b|B)locks? |Never blocks|Never waits|Never allocates|Thread-safe"
    r"|The calling thread must|From any thread|Allowed without)")


def summary_of(comment):
    first = sentences(joined(next(paragraphs(comment))))[0]
    first = re.split(r"[:;.](?: |$)", first)[0]
    first = first[0].lower() + first[1:] if not first.startswith(("DC_", "NULL")) else first
    return first.replace("`", "")


class Manual:
    def __init__(self, header, root):
        self.h, self.format = header, (root / "docs/FORMAT.md").read_text()
        m = header.macros
        self.version = ".".join(m[f"DC_VERSION_{part}"][0] for part in ("MAJOR", "MINOR", "PATCH"))
        self.codes = {n: joined(c).removeprefix("RETURN CODES. ") for n, (v, c) in m.items()
                      if n == "DC_OK" or n in ("DC_END_OF_PAGE", "DC_LAGGED", "DC_AGAIN") or n.startswith("DC_E_")}
        self.known = {**{f: 3 for f in header.functions}, **{s: 3 for s in STRUCTS}}
        self.snippets = {}
        for path in sorted((root / "docs/snippets").glob("*.c")):
            text = path.read_text()
            opening = re.match(r"/\* For (.*?): (.*?) \*/\n", text, re.S)
            if not opening:
                raise SystemExit(f"manual: {path}: begins with no \"/* For calls: what it shows */\"")
            body = text[opening.end():].strip().split("\n")
            for call in opening[1].split():
                if call not in header.functions:
                    raise SystemExit(f"manual: {path}: there is no {call}")
                self.snippets.setdefault(call, []).append((" ".join(opening[2].split()), body))

    def inherited(self, name):
        return re.search(r"Codes as of (\w+)", joined(self.h.functions[name][2]))

    def code_items(self, page, name):
        """The list of a call's codes; a code that has a meaning of its own there, and then its general one."""
        items = []
        for block in paragraphs(self.h.functions[name][2]):
            if not block[0].startswith("- "):
                continue
            text = joined(block)[2:]
            tag, colon, body = text.partition(": ")
            if not colon:  # "-EACCES and others of the operating system."
                tag, body = re.match(r"((?:-E\w+(?:, )?)+) (.*)", text).groups()
            tags = tag.split(", ")
            bodies = [page.capital(body)]
            for code in tags:
                if code in self.codes and code not in ("DC_OK", "DC_E_ARGUMENT"):
                    which = f"{code}, in general" if len(tags) > 1 else "In general"
                    text = self.codes[code].removeprefix("Positive, from receiving calls only: ")
                    bodies.append(f"{which}: {text[0].lower() if text[1:2] != 'C' else text[0]}{text[1:]}")
            items.append((page.tag(tag), bodies))
        return items

    def function(self, name):
        kind, arguments, comment = self.h.functions[name]
        parameters = [re.search(r"\w+$", a)[0] for a in arguments]
        page = Page(self.known, [name], parameters)
        top(page, name, 3, [name], summary_of(comment), self.version)
        page.add(".Sh LIBRARY")
        page.text("disk_chan, "
                  + re.search(r"Link with (.*?)\. ", joined(self.h.overview) + " ")[1].rstrip(".") + ".")
        page.add(".Sh SYNOPSIS", ".In disk_chan.h", f".Ft {quoted(kind)}")
        if arguments:
            page.add(f".Fo {name}", *[f'.Fa "{a}"' for a in arguments], ".Fc")
        else:
            page.add(f".Fn {name} void")

        page.add(".Sh DESCRIPTION")
        threads, codes, begun = [], [], False
        for block in paragraphs(comment):
            text = joined(block)
            if block[0].startswith("- "):
                continue
            if text.startswith("Codes as of"):
                codes.append(text)
                continue
            if all(line.rstrip().endswith(";") for line in block):
                page.code(block)
                continue
            rest = []
            for sentence in sentences(text):
                (threads if ABOUT_THREADS.match(sentence) else rest).append(sentence)
            if rest:
                if begun:
                    page.add(".Pp")
                begun = True
                page.text(" ".join(rest))

        # What the overview says of every call that takes a handle.
        general = next(joined(b) for b in paragraphs(self.h.overview) if b[0].startswith("Every call that takes a handle"))
        takes_handle = any(re.match(r"(const )?dc_(channel|producer|consumer) \*\w", a) for a in arguments)
        if kind == "int":
            page.add(".Sh RETURN VALUES")
            for text in codes:
                page.text(text)
            items = self.code_items(page, name)
            if items:
                page.items(items)
            while (match := self.inherited(name)):
                name = match[1]
                page.add(".Pp", "As of", f".Xr {name} 3 :")
                page.seen.add((3, name))
                page.parameters |= {re.search(r"\w+$", a)[0] for a in self.h.functions[name][1]}
                page.items(self.code_items(page, name))
            if takes_handle:
                page.add(".Pp")
                page.text(general)
                page.items([(page.tag(c), [self.codes[c]]) for c in ("DC_E_FORKED", "DC_E_INTERNAL")])
        elif kind != "void":
            page.add(".Sh RETURN VALUES")
            page.text(sentences(joined(next(paragraphs(comment))))[0])
        if threads:
            page.add(".Sh THREADS AND BLOCKING")
            page.text(" ".join(threads))
        (name,) = page.own
        if name in self.snippets:
            page.add(".Sh EXAMPLES")
            for i, (what, body) in enumerate(self.snippets[name]):
                if i:
                    page.add(".Pp")
                page.text(what)
                page.code(body)
        structs = {(3, s) for s in STRUCTS for a in arguments if re.search(rf"\b{s}\b", a)}
        see_also(page, structs | {(7, "disk_chan")} | ({(3, CODES)} if kind == "int" else set()))
        return page

    def struct(self, name):
        comment, fields = self.h.structs[name]
        page = Page(self.known, [name])
        top(page, name, 3, [name], summary_of(comment), self.version)
        page.add(".Sh SYNOPSIS", ".In disk_chan.h", ".Bd -literal", f"typedef struct {name} {{")
        page.add(*[f"    {quoted(f).strip(chr(34))};" for f, _ in fields], f"}} {name};", ".Ed", ".Sh DESCRIPTION")
        for i, block in enumerate(paragraphs(comment)):
            if i:
                page.add(".Pp")
            page.text(joined(block))
        page.add(".Ss Fields")
        page.items([("Va " + quoted(re.search(r"\w+$", f)[0]),
                     [t[0].upper() + t[1:] if (t := re.sub(r"^(\d+): ", r"Offset \1: ", joined(c))) else t])
                    for f, c in fields])
        wanted = [(n, v, c) for n, (v, c) in self.h.macros.items() if self.belongs(n, c) == name]
        if wanted:
            page.add(".Ss Constants")
            page.items([("Dv " + quoted(n), [self.constant(c)]) for n, _, c in wanted])
        users = {(3, f) for f, (_, args, _) in self.h.functions.items() if any(re.search(rf"\b{name}\b", a) for a in args)}
        see_also(page, users | {(7, "disk_chan")})
        return page

    @staticmethod
    def constant(comment):
        text = re.sub(r"^(OPTIONS|MESSAGES)\. ", "", joined(comment))
        text = re.sub(r"^`[^`]*`(?: of `?\w+`?)?(, and dc_seek|( \(default\)))?:? ", lambda m: "" if m[2] else "", text)
        default = "(default)" in joined(comment)
        return text[0].upper() + text[1:] + (" The default." if default else "")

    def belongs(self, name, comment):
        text = joined(comment)
        if name.startswith("DC_VERSION") or name in self.codes:
            return None
        if name.startswith("DC_MESSAGE"):
            return "dc_message"
        if name.startswith(("DC_ACK", "DC_EARLIEST", "DC_LATEST", "DC_AUTO", "DC_GROUP_NAME", "DC_LAST")):
            return "dc_subscribe_options"
        return "dc_options" if text else None

    def codes_page(self):
        names = list(self.codes)
        page = Page(self.known, [CODES, *names])
        top(page, CODES, 3, [CODES, *names], "what a call returned, and what to do", self.version)
        page.add(".Sh SYNOPSIS", ".In disk_chan.h", ".Sh DESCRIPTION")
        body, inside = [], False
        for line in self.h.overview:
            if re.fullmatch(r"[A-Z][A-Z, ]+", line):
                inside = line == "RETURN CODES"
            elif inside:
                body.append(line)
        self.overview_body(page, body)
        page.add(".Sh RETURN VALUES")
        page.items([(page.tag(n) + f" Pq {quoted(self.h.macros[n][0].strip('()'))}", [text]) for n, text in self.codes.items()])
        see_also(page, {(3, "dc_error_name"), (3, "dc_strerror"), (3, "dc_last_error"), (7, "disk_chan")})
        return page

    # ---- disk_chan(7) -----------------------------------------------------------------------------

    def overview_body(self, page, lines):
        """Paragraphs, programs (indented by 4), lists in two columns, and bullets."""
        first, bullets = True, []
        for block in paragraphs(lines):
            if block[0].startswith("- "):
                bullets.append(joined(block)[2:])
                continue
            if bullets:
                page.items([(None, [b]) for b in bullets], "-bullet")
                bullets = []
                first = False
            if all(l.startswith("    ") for l in block):
                more = page.out[-1] == ".Ed" and page.out.pop()  # a program that has an empty line
                page.code([l[4:] for l in block], begun=bool(more))
                continue
            if self.two_columns(page, block):
                first = False
                continue
            if not first:
                page.add(".Pp")
            page.text(joined(block))
            first = False
        if bullets:
            page.items([(None, [b]) for b in bullets], "-bullet")

    def two_columns(self, page, block):
        """`term   text`, the text going on in its column. Lines before the first term are a paragraph."""
        at = next((m.end(1) for l in block if (m := re.match(r"((?:  )?\S+(?: \S+)* {2,})\S", l))), None)
        if at is None:
            return False
        lead, items, after = [], [], []
        indent = "  " if any(l.startswith("  ") and not l.startswith(" " * at) for l in block) else ""
        for line in block:
            body = line[len(indent):] if line.startswith(indent) else None
            if after or (items and body is None):
                after.append(line)
            elif body is not None and (m := re.match(r"(\S+(?: \S+)*) {2,}(\S.*)", body)) and len(indent) + m.start(2) == at:
                if items and items[-1][1] == []:
                    items[-1] = (items[-1][0], [m[2]])
                else:
                    items.append((m[1], [m[2]]))
            elif line.startswith(" " * at) and items:
                items[-1][1].append(line.strip())
            elif body is not None and not line.startswith(" " * (len(indent) + 1)) and not indent and not lead:
                items.append((body, []))
            else:
                lead.append(line)
        if not items:
            return False
        if lead:
            if not page.out[-1].startswith((".Sh", ".Ss")):
                page.add(".Pp")
            page.text(joined(lead))
        terms = [(("Dv " if t.startswith("DC_") else "Sy ") + quoted(t), [" ".join(b)]) for t, b in items]
        page.items(terms)
        if after:
            page.add(".Pp")
            page.text(joined(after))
        return True

    def concepts(self):
        page = Page(self.known, ["disk_chan"])
        title = self.h.overview[0]
        top(page, "disk_chan", 7, ["disk_chan"], title.split(" - ")[1], self.version)
        page.add(".Sh SYNOPSIS", ".In disk_chan.h", ".Sh DESCRIPTION")
        sections, name = {"": []}, ""
        for line in self.h.overview[1:]:
            if re.fullmatch(r"[A-Z][A-Z ,-]+", line):
                name = line
                sections[name] = []
            else:
                sections[name].append(line)
        self.overview_body(page, [l for l in sections.pop("") if "This file is the manual" not in l and "edit it there" not in l])
        caveats = sections.pop("CAVEATS")  # behind SEE ALSO, by custom
        for name, lines in sections.items():
            page.add(f".Sh {name}")
            self.overview_body(page, lines)
        page.add(".Sh CALLS")
        for title, test in (("Version and errors", lambda f: not self.about(f)), ("Channel", lambda f: self.about(f) == "channel"),
                            ("Producer", lambda f: self.about(f) == "producer"),
                            ("Consumer", lambda f: self.about(f) == "consumer")):
            page.add(f".Ss {title}")
            page.items([(f"Xr {f} 3", [summary_of(c[2]) + "."]) for f, c in self.h.functions.items() if test(f)])
        page.add(".Ss Structs")
        page.items([(f"Xr {s} 3", [summary_of(self.h.structs[s][0]) + "."]) for s in STRUCTS])
        page.seen |= {(3, s) for s in STRUCTS}
        page.add(".Sh SEE ALSO", ".Xr dc_codes 3 ,", ".Xr dc_open 3 ,", ".Xr disk_chan 5", ".Sh CAVEATS")
        self.overview_body(page, caveats)
        return page

    def about(self, name):
        if name in ("dc_version", "dc_version_string", "dc_strerror", "dc_error_name", "dc_last_error"):
            return None
        first = (self.h.functions[name][1] or [""])[0]
        match = re.search(r"dc_(channel|producer|consumer) \*", first)
        if name in ("dc_producer_open",):
            return "producer"
        if name == "dc_subscribe":
            return "consumer"
        return match[1] if match else "channel"

    def pages(self):
        pages = {f"man3/{f}.3": self.function(f) for f in self.h.functions}
        pages.update({f"man3/{s}.3": self.struct(s) for s in STRUCTS})
        pages[f"man3/{CODES}.3"] = self.codes_page()
        pages["man7/disk_chan.7"] = self.concepts()
        page = Page(self.known, ["disk_chan"], markdown=True)
        title = re.match(r"# (.*)", self.format)[1]
        top(page, "disk_chan", 5, ["disk_chan"], title[0].lower() + title[1:], self.version)
        page.add(".Sh DESCRIPTION")
        markdown.to_mdoc(page, self.format.split("\n", 1)[1])
        page.add(".Sh SEE ALSO", ".Xr disk_chan 7")
        pages["man5/disk_chan.5"] = page
        files = {}
        for path, page in pages.items():
            tables = any(line == ".TS" for line in page.out)
            files[path] = ("'\\\" t\n" if tables else "") + "\n".join(page.out) + "\n"
        for code in self.codes:
            files[f"man3/{code}.3"] = f".so man3/{CODES}.3\n"
        return files
