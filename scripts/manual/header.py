"""Reads include/disk_chan.h: the overview, and every function, macro and struct with its comment."""

import re


class Header:
    """The overview, and every function, macro and struct with its comment (a list of lines)."""

    def __init__(self, text):
        overview, rest = text.split("*/", 1)
        self.overview = [line[3:] if line.startswith(" * ") else "" for line in overview.split("\n")[1:]]
        self.functions, self.macros, self.structs, self.handles = {}, {}, {}, {}
        comment, lines = [], iter(rest.split("\n"))
        for line in lines:
            if line.startswith("// "):
                comment.append(line[3:])
            elif line == "//":
                comment.append("")
            elif line.startswith("DC_API"):
                while not line.endswith(";"):
                    line += " " + next(lines).strip()
                self.function(line, comment)
                comment = []
            elif line.startswith("#define DC_") and comment:
                name, value = re.match(r"#define (\w+(?:\(\w\))?) (.*)", line).groups()
                self.macros[name] = (value, comment)
                comment = []
            elif match := re.match(r"typedef struct (\w+) \1;", line):
                self.handles[match[1]] = comment
                comment = []
            elif match := re.match(r"typedef struct (\w+) \{", line):
                self.structs[match[1]] = (comment, self.fields(lines))
                comment = []
            elif not line.startswith(" "):
                comment = []

    def function(self, line, comment):
        line = re.sub(r"^DC_API (DC_WARN_UNUSED )?", "", line).replace("struct dc_", "dc_")
        kind, name, arguments = re.match(r"(.*?)(\w+)\((.*)\);", line).groups()
        arguments = [] if arguments == "void" else [a.strip() for a in arguments.split(",")]
        self.functions[name] = (kind.strip(), arguments, comment)

    @staticmethod
    def fields(lines):
        fields, comment = [], []
        for line in lines:
            if line.startswith("}"):
                return fields
            line = line.strip()
            if line.startswith("//"):
                comment.append(line[2:].strip())
            else:
                fields.append((line.rstrip(";"), comment))
                comment = []


def paragraphs(lines):
    """Blocks of lines between empty ones; the items of a list apart."""
    block = []
    for line in list(lines) + [""]:
        if block and (not line.strip() or line.startswith("- ")):
            yield block
            block = []
        if line.strip():
            block.append(line)


def joined(block):
    return " ".join(line.strip() for line in block)


def sentences(text):
    return re.split(r"(?<=[.:?!])(?<!e\.g\.) +(?=[A-Z`(])", text) if text else []
