"""Makes a folder in BEIR form of one of the old test collections, as they are passed on.

    python to_beir.py smart DOCUMENTS QUERIES JUDGEMENTS FOLDER   # Cranfield, CISI, CACM, Medline
    python to_beir.py npl DOCUMENTS QUERIES JUDGEMENTS FOLDER     # Vaswani, also called NPL

The files are what their distributors call cran.all.1400, CISI.ALL, cacm.all or doc-text, with their queries and
judgements. Nothing is fetched. Cranfield numbers the queries of its judgements by their places, so that
`--queries-by-place` goes with it.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path


def smart(text: str) -> Iterator[tuple[str, str, str]]:
    """Id, title and text of every entry: `.I` begins one, `.T` its title and `.W` its text."""
    for entry in re.split(r"^\.I\s+", text, flags=re.M)[1:]:
        number, _, rest = entry.partition("\n")
        fields: dict[str, str] = {}
        name = ""
        for line in rest.splitlines():
            mark = re.fullmatch(r"\.([A-Z])\s*", line)
            if mark:
                name = mark[1]
            else:
                fields[name] = f"{fields.get(name, '')} {line}"
        title, body = (" ".join(fields.get(field, "").split()) for field in "TW")
        # Cranfield's texts begin with their titles.
        body = body.removeprefix(title).strip() if title else body
        if number.strip().isdigit():
            yield number.strip(), title, body


def npl(text: str) -> Iterator[tuple[str, str, str]]:
    """Entries that end with a slash on a line of its own and begin with their number."""
    for entry in re.split(r"/[ \t]*$", text, flags=re.M):
        number, _, body = entry.strip().partition("\n")
        if number.strip().isdigit():
            yield number.strip(), "", " ".join(body.split()).lower()


def smart_judgements(text: str) -> Iterator[tuple[str, str, int]]:
    """A query and a relevant document in a line; whatever follows is no degree of relevance."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 2:
            yield str(int(fields[0])), str(int(fields[1])), 1


def npl_judgements(text: str) -> Iterator[tuple[str, str, int]]:
    """The number of a query, then its documents."""
    for entry in re.split(r"/[ \t]*$", text, flags=re.M):
        fields = entry.split()
        for document in fields[1:]:
            yield fields[0], document, 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=["smart", "npl"])
    for name in ["documents", "queries", "judgements", "folder"]:
        parser.add_argument(name, type=Path)
    parser.add_argument("--queries-by-place", action="store_true")
    args = parser.parse_args()
    entries = smart if args.form == "smart" else npl
    judged = smart_judgements if args.form == "smart" else npl_judgements

    def read(path: Path) -> str:
        return path.read_text("utf-8", "replace")

    folder: Path = args.folder
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as corpus:
        for number, title, text in entries(read(args.documents)):
            print(json.dumps({"_id": number, "title": title, "text": text}), file=corpus)
    with (folder / "queries.jsonl").open("w") as queries:
        for place, (number, title, text) in enumerate(entries(read(args.queries)), 1):
            name = str(place) if args.queries_by_place else str(int(number))
            print(json.dumps({"_id": name, "text": f"{title} {text}".strip()}), file=queries)
    judgements = sorted(set(judged(read(args.judgements))), key=lambda one: (int(one[0]), int(one[1])))
    with (folder / "qrels" / "test.tsv").open("w") as qrels:
        print("query-id\tcorpus-id\tscore", file=qrels)
        for query, document, gain in judgements:
            print(f"{query}\t{document}\t{gain}", file=qrels)


if __name__ == "__main__":
    main()
