"""Writes mdoc(7), the language of manual pages."""

import re

from header import sentences

# Moves with each release: a page's date is part of it, and must not depend on the day it is written.
DATE = "November 25, 2026"
STRUCTS = ["dc_options", "dc_subscribe_options", "dc_message", "dc_channel_info", "dc_group_info",
           "dc_consumer_info", "dc_verify_info"]


def plain(text):
    """Text that roff takes literally."""
    text = text.replace("\\", "\\e").replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    text = text.replace("\N{HORIZONTAL ELLIPSIS}", "...").replace("\N{MULTIPLICATION SIGN}", "\\(mu")
    text = text.replace("\N{MIDDLE DOT}", "\\(pc").replace("\N{ALMOST EQUAL TO}", "\\(ti=")
    text = "".join(c if ord(c) < 128 else f"\\[u{ord(c):04X}]" for c in text)
    text = re.sub(r"(?<![\w)])-(?=[\w])", r"\\-", text)
    text = re.sub(r"(?<!\S)(?=[A-Za-z]\w*_\w)", r"\\%", text)  # names are not hyphenated
    return re.sub(r"^\.", "\\\\&.", text)


def quoted(text):
    text = plain(text).replace('"', "\\(dq")
    text = re.sub(r"(?<!\\)-", r"\\-", text)
    return f'"{text}"' if " " in text or not text else text


CLOSING = ".,:;)]?!"


class Page:
    """A page being written. `own`: names that are no link here; `parameters`: arguments of its function."""

    def __init__(self, known, own, parameters=(), markdown=False):
        self.out, self.known, self.own, self.parameters = [], known, set(own), set(parameters)
        self.seen, self.markdown = set(), markdown

    def add(self, *lines):
        self.out.extend(lines)

    def macro_of(self, word, code):
        name = word[:-2] if word.endswith("()") else word
        if name in self.known:
            if name in self.own:
                return f"Fn {name}" if name not in STRUCTS else f"Vt {name}"
            section = self.known[name]
            self.seen.add((section, name))
            return f"Xr {name} {section}"
        if re.fullmatch(r"DC_[A-Z_]+(\(\w*\))?|-E[A-Z]+[0-9A-Z]*", word):
            return "Dv " + quoted(word)
        if not code:
            return None
        if word in self.parameters:
            return f"Fa {quoted(word)}"
        return ("Va " if re.fullmatch(r"[\w*>.-]+", word) else "Ql ") + quoted(word)

    def text(self, text):
        """One sentence a line; names and `code` by macros, which stand on lines of their own."""
        if self.markdown:
            text = re.sub(r"(?<![\w*`])\*\*(.+?)\*\*(?!\w)|(?<![\w*`])\*(?=[\w\[`])([^*]+)\*(?![\w*])", lambda m: m[1] or m[2], text)
        for sentence in sentences(text):
            line = []
            for token in re.findall(r"\[[^\]]*\]\([^)]*\)\S*|[(\"*]*`[^`]*`\S*|\S+", sentence):
                macro = self.token(token)
                if macro is None:
                    line.append(token)
                    continue
                if line:
                    self.flush(line)
                self.add("." + macro)
                line = []
            self.flush(line)

    def capital(self, text):
        """A sentence's capital letter, unless it begins with a name."""
        word = re.match(r"[\w`]*", text)[0]
        if "_" in word or "`" in word or word in self.parameters:
            return text
        return text[0].upper() + text[1:]

    def flush(self, line):
        text = plain(" ".join(line))
        if text:
            self.add("\\&" + text if text[:1] in ".'" else text)

    def token(self, token):
        if match := re.fullmatch(r"\[([^\]]*)\]\(([^)]*)\)(\S*)", token):
            text, target, tail = match.groups()
            text = text.strip("`")
            if target.startswith("http"):
                return self.close(f"Lk {target} {quoted(text)}", tail)
            return self.close(f"Em {quoted(text)}", tail)
        match = re.fullmatch(r"([(\"]*)(\*\*|\*)?`([^`]*)`(\*\*|\*)?(.*)", token)
        if match:
            before, word, tail, code = match[1], match[3], match[5], True
        else:
            match = re.fullmatch(r"([(\"]*)([-\w]+(?:\(\))?(?:\(\w\))?)(.*)", token)
            if not match:
                return None
            before, word, tail, code = *match.groups(), False
        if not code and not re.fullmatch(r"['.,:;)\]?!]*s?[.,:;)]*", tail):
            return None
        macro = self.macro_of(word, code)
        if macro is None:
            return None
        macro = self.close(macro, tail)
        return f"Pf {quoted(before)} {macro}" if before else macro

    @staticmethod
    def close(macro, tail):
        while tail and tail[0] not in CLOSING:
            return f"{macro} Ns {quoted(tail)}"
        return " ".join([macro, *tail]) if all(c in CLOSING for c in tail) else f"{macro} Ns {quoted(tail)}"

    def code(self, lines, begun=False):
        self.add("" if begun else ".Bd -literal -offset indent")
        for line in lines:
            line = re.sub(r"-", r"\\-", plain(line).replace("\\-", "-").replace("\\%", ""))
            self.add(("\\&" + line) if line[:1] in (".", "'") else line)
        self.add(".Ed")

    def items(self, items, kind="-tag -width Ds"):
        """(tag macro lines or None, [paragraphs])."""
        self.add(f".Bl {kind}")
        for tag, bodies in items:
            self.add(".It" + (" " + tag if tag else ""))
            for i, body in enumerate(bodies):
                if i:
                    self.add(".Pp")
                self.text(body)
        self.add(".El")

    def tag(self, codes):
        """The tag of an item: several codes, or words."""
        words = []
        for part in re.split(r"(, )", codes):
            if part == ", ":
                words.append(",")
            elif re.fullmatch(r"DC_\w+|-E\w+", part):
                words.append("Dv " + quoted(part))
            else:
                words.append("No " + quoted(part) if not part[:1].isdigit() else quoted(part))
        return " ".join(words)


def top(page, name, section, names, summary, version):
    page.add('.\\" Generated by make man: edit src/ffi, docs/FORMAT.md or docs/snippets instead.',
             f".Dd {DATE}", f".Dt {name.upper()} {section}", f".Os disk_chan {version}", ".Sh NAME")
    for i, other in enumerate(names):
        page.add(f".Nm {other}" + (" ," if i + 1 < len(names) else ""))
    page.add(f".Nd {plain(summary)}")


def see_also(page, more):
    page.add(".Sh SEE ALSO")
    links = sorted((section, name) for section, name in page.seen | more if name not in page.own)
    for i, (section, name) in enumerate(links):
        page.add(f".Xr {name} {section}" + (" ," if i + 1 < len(links) else ""))
