"""Formats of the standard library: CSV, XML, pickle, configuration files, dates, paths."""

from __future__ import annotations

import ast
import configparser
import csv
import datetime
import io
import os
import pickle
import sqlite3
import tempfile
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree


def csv_files() -> int:
    """A table written, read back as dicts, filtered, written again."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "name", "city", "amount"])
    writer.writerows((i, f"name {i}", f"city {i % 50}", i * 1.5) for i in range(12_000))
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    chosen = [row for row in rows if float(row["amount"]) > 500]
    again = io.StringIO()
    other = csv.DictWriter(again, ["id", "name", "city", "amount"])
    other.writeheader()
    other.writerows(chosen)
    return len(again.getvalue())


def xml_trees() -> int:
    """A document built, written, parsed, searched."""
    root = ElementTree.Element("catalogue")
    for i in range(3_000):
        item = ElementTree.SubElement(root, "item", id=str(i), kind=f"k{i % 9}")
        ElementTree.SubElement(item, "name").text = f"thing {i}"
        ElementTree.SubElement(item, "price", currency="EUR").text = str(i / 4)
    text = ElementTree.tostring(root, encoding="unicode")
    read = ElementTree.fromstring(text)
    chosen = [item.findtext("name") for item in read.iter("item") if item.get("kind") == "k3"]
    total = sum(float(price.text or 0) for price in read.findall("./item/price"))
    return len(chosen) + int(total)


def pickles() -> int:
    """Nested containers and instances pickled and read back."""
    day = datetime.date(2024, 2, 29)
    data = [
        {
            "id": i,
            "when": day + datetime.timedelta(days=i % 900),
            "pair": (i, str(i)),
            "set": {i, 1},
        }
        for i in range(5_000)
    ]
    size = 0
    for protocol in (4, 5):
        written = pickle.dumps(data, protocol)
        data = pickle.loads(written)
        size += len(written)
    return size


def configurations() -> int:
    """Configuration files put together and parsed; dates read and written."""
    text = "\n".join(
        f"[part{i}]\nname = value {i}\nwhen = 2024-03-{i % 28 + 1:02}T10:00:00\nsize = {i}"
        for i in range(800)
    )
    parser = configparser.ConfigParser()
    parser.read_string(text)
    moments = [datetime.datetime.fromisoformat(parser[name]["when"]) for name in parser.sections()]
    out = io.StringIO()
    parser.write(out)
    shown = [moment.strftime("%d %B %Y") for moment in moments for _ in range(5)]
    return len(out.getvalue()) + len(set(shown))


def syntax_trees() -> int:
    """A module parsed into a syntax tree, walked, compiled, unparsed."""
    source = "\n".join(
        f"def f{i}(a, b={i}):\n    x = [a * {i} for a in range(b) if a % 2]\n    return x or None"
        for i in range(300)
    )
    tree = ast.parse(source)
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    code = compile(tree, "generated.py", "exec")
    return len(names) + len(code.co_consts) + len(ast.unparse(tree))


def databases() -> int:
    """A database in memory: rows in, joined, grouped, out."""
    with sqlite3.connect(":memory:") as db:
        db.execute("create table person (id integer primary key, name text, city integer)")
        db.execute("create table visit (person integer, day integer, spent real)")
        db.executemany(
            "insert into person values (?, ?, ?)", ((i, f"p{i}", i % 30) for i in range(4_000))
        )
        db.executemany(
            "insert into visit values (?, ?, ?)",
            ((i % 4_000, i % 365, i / 8) for i in range(30_000)),
        )
        rows = db.execute(
            "select city, name, sum(spent) from person join visit on person.id = visit.person "
            "group by name order by city"
        ).fetchall()
        all_rows = db.execute("select * from visit").fetchall()
    db.close()
    return len(rows) + len(all_rows)


def paths() -> int:
    """A tree of small files made, walked twice, read; and paths taken apart."""
    found = 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for i in range(12):
            folder = root / f"d{i}" / "inner"
            folder.mkdir(parents=True)
            for j in range(12):
                (folder / f"f{j}.txt").write_text(f"{i} {j}\n" * 20)
        for _ in range(3):
            found += sum(len(files) for _, _, files in os.walk(root))
            found += sum(len(path.read_text().split()) for path in root.rglob("*.txt"))
    pure = [PurePosixPath("/a/b") / f"c{i}" / "d.tar.gz" for i in range(6_000)]
    return found + len({path.parent.name + path.stem + "".join(path.suffixes) for path in pure})
