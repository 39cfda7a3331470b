"""Reads as much of Markdown as docs/ uses, and writes it as mdoc(7) or HTML."""

import html
import re

from header import joined
from mdoc import plain

ITEM = r"(- |\d+\. )"


def blocks(text):
    """("heading", level, text), ("code", lines), ("table", rows), ("list", ordered, items), ("quote", text), ("text", text)."""
    lines, i = text.split("\n"), 0

    def until(start, test):
        end = start
        while end < len(lines) and not test(lines[end]):
            end += 1
        return end

    while i < len(lines):
        line = lines[i]
        if not line.strip():
            i += 1
        elif match := re.match(r"(#+) (.*)", line):
            yield "heading", len(match[1]), match[2]
            i += 1
        elif line.startswith("```"):
            end = until(i + 1, lambda l: l.startswith("```"))
            yield "code", lines[i + 1:end]
            i = end + 1
        elif line.startswith("    "):
            end = until(i, lambda l: l.strip() and not l.startswith("    "))
            yield "code", "\n".join(l[4:] for l in lines[i:end]).rstrip("\n").split("\n")
            i = end
        elif line.startswith("|"):
            end = until(i, lambda l: not l.startswith("|"))
            yield "table", [[c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", row)[1:-1]] for row in lines[i:end]]
            i = end
        elif line.startswith("> "):
            end = until(i, lambda l: not l.startswith(">"))
            yield "quote", joined(l[1:] for l in lines[i:end])
            i = end
        elif re.match(ITEM, line):
            end = until(i, lambda l: not l.strip() or not re.match(ITEM + "|  ", l))
            items = []
            for l in lines[i:end]:
                if match := re.match(ITEM, l):
                    items.append(l[match.end():])
                else:
                    items[-1] += " " + l.strip()
            if "](#" not in items[0] or len(items) < 3:  # else a table of contents
                yield "list", line[0] != "-", items
            i = end
        else:
            end = until(i, lambda l: not l.strip() or re.match(r"#+ |```|\||" + ITEM.replace("d+", "d+(?=\\. [^\\[])"), l))
            end = max(end, i + 1)
            yield "text", joined(lines[i:end])
            i = end


def bare(text):
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`|(?<!\w)\*+(?=\w)|(?<=\w)\*+(?!\w)", "", text))


# ---- mdoc ------------------------------------------------------------------------------------------

def to_mdoc(page, text):
    first = True
    for kind, *block in blocks(text):
        if kind == "heading":
            level, title = block
            title = bare(title)
            page.add(f".Sh {plain(title.upper())}" if level <= 2 else f".Ss {plain(title)}")
        elif kind == "code":
            page.code(block[0])
        elif kind == "table":
            if not first:
                page.add(".Pp")
            table(page, block[0])
        elif kind == "list":
            ordered, items = block
            page.items([(None, [item]) for item in items], "-enum" if ordered else "-bullet")
        elif kind == "quote":
            page.add(".Bd -filled -offset indent")
            page.text(block[0])
            page.add(".Ed")
        elif block[0].count("](#") < 3:  # else a table of contents
            if not first:
                page.add(".Pp")
            page.text(block[0])
        first = kind == "heading"


def table(page, rows):
    head, body = rows[0], rows[2:]
    columns = range(len(head))
    cells = [[bare(c) for c in row] for row in [head] + body]
    longest = [max(len(row[k]) for row in cells) for k in columns]
    # What cannot be broken; long paths can.
    word = [max(len(w) for row in cells for w in re.split(r" |(?<=/)(?=.{20})", row[k])) for k in columns]
    widths, narrow = longest[:], [k for k in columns if longest[k] <= 14]
    left = 70 - 3 * (len(head) - 1) - sum(longest[k] for k in narrow)
    rest = sorted((k for k in columns if k not in narrow), key=lambda k: longest[k])
    for i, k in enumerate(rest):  # the narrower ones first; what they leave goes to the others
        share = left * min(longest[k], 120) // sum(min(longest[j], 120) for j in rest[i:])
        widths[k] = min(longest[k], max(share, word[k]))
        left -= widths[k]

    def cell(text):
        text = re.sub(r"(?<=/)(?=\S{20})", r"\\:", plain(text))
        return "\\&" + text if text[:1] in (".", "'") or not text else text

    page.add(".TS")
    form = " ".join("l" if k in narrow else f"lw({widths[k]}n)" for k in columns) + "."
    if any(head):
        page.add(" ".join(["lb"] * len(head)), form, "\t".join(cell(c) for c in cells[0]))
    else:
        page.add(form)
    for row in cells[1:]:
        page.add("\t".join(cell(c) if k in narrow else f"T{{\n{cell(c)}\nT}}" for k, c in enumerate(row)))
    page.add(".TE")


# ---- HTML ------------------------------------------------------------------------------------------

def anchor(title):
    """As the sites that show Markdown make them."""
    return re.sub(r"[^\w\- ]", "", bare(title).lower()).replace(" ", "-")


def inline(text, target):
    """`target` turns a link's address into that of a page here."""
    out = []
    for part in re.split(r"(`[^`]*`|!?\[(?:[^\]`]|`[^`]*`)*\]\([^)]*\))", text):
        if part.startswith("`"):
            code = html.escape(part[1:-1])
            page = target(part[1:-1].removesuffix("()"), code=True)
            out.append(f'<a href="{page}"><code>{code}</code></a>' if page else f"<code>{code}</code>")
        elif match := re.fullmatch(r"!\[(.*)\]\(([^)]*)\)", part):
            out.append(f'<img src="{html.escape(target(match[2]))}" alt="{html.escape(match[1])}">')
        elif match := re.fullmatch(r"\[(.*)\]\(([^)]*)\)", part):
            page = target(match[2])
            label = inline(match[1], lambda *_, **__: None)
            out.append(f'<a href="{html.escape(page)}">{label}</a>' if page else label)
        else:
            part = html.escape(part, quote=False)
            part = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", part)
            part = re.sub(r"(?<![\w*])\*(?=\w)([^*]+)\*(?![\w*])", r"<i>\1</i>", part)
            out.append(part)
    text = "".join(out)
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)  # around code


def to_html(text, target):
    out = []
    for kind, *block in blocks(text):
        if kind == "heading":
            level, title = block
            out.append(f'<h{level} id="{anchor(title)}">{inline(title, lambda *_, **__: None)}</h{level}>')
        elif kind == "code":
            out.append("<pre>" + html.escape("\n".join(block[0])) + "</pre>")
        elif kind == "table":
            out.append('<table class="tbl">')
            for k, row in enumerate(block[0]):
                if k == 1 or (k == 0 and not any(row)):
                    continue
                tag = "th" if k == 0 else "td"
                out.append("<tr>" + "".join(f"<{tag}>{inline(c, target)}</{tag}>" for c in row) + "</tr>")
            out.append("</table>")
        elif kind == "list":
            tag = "ol" if block[0] else "ul"
            out.append(f"<{tag}>" + "".join(f"<li>{inline(item, target)}</li>\n" for item in block[1]) + f"</{tag}>")
        elif kind == "quote":
            out.append(f"<blockquote>{inline(block[0], target)}</blockquote>")
        else:
            out.append(f"<p>{inline(block[0], target)}</p>")
    return "\n".join(out) + "\n"
