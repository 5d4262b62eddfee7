"""Makes quality.json: a collection with stored vectors, and what pytrec_eval says of its rankings by cosine.

python3 quality.py > quality.json, with pytrec-eval-terrier 0.5.11 installed. Components are whole numbers of
which the largest is 127, so that rounding to 8 bits changes nothing.
"""

import json
import math
import random

import pytrec_eval

DOCUMENTS, QUERIES, DIMENSION = 40, 9, 8
random.seed(7)


def vector() -> list[int]:
    values = [random.randint(1, 126) for _ in range(DIMENSION)]
    values[random.randrange(DIMENSION)] = 127
    return values


def cosine(a: list[int], b: list[int]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


docs = {f"d{number}": (f"document number{number}", vector()) for number in range(DOCUMENTS)}
# Equal vectors: they stand in the order of the corpus.
docs["d31"] = ("document number31", docs["d4"][1])
queries = {f"q{number}": (f"query about number{number}", vector()) for number in range(QUERIES)}

lines = ["query-id\tcorpus-id\tscore"]
qrels = {}
for query in list(queries)[:-2]:
    near = sorted(docs, key=lambda doc: -cosine(queries[query][1], docs[doc][1]))
    judged = random.sample(near[:12], 5) + random.sample(near[12:], 3)
    qrels[query] = {doc: random.choice([0, 1, 1, 2, 3, -1]) for doc in judged}
    # Judged, and not in the corpus.
    qrels[query][f"gone{query}"] = 1
    lines += [f"{query}\t{doc}\t{score}.0" for doc, score in qrels[query].items()]
# Nothing is relevant here; the ninth query has no judgement at all.
qrels["q7"] = {"d1": 0, "d2": 0}
lines += ["q7\td1\t0", "q7\td2\t0", "q7\td2\t0", "q99\td1\t1"]
refused = "q3"

run = {}
for query, (_, wanted) in queries.items():
    rows = sorted(range(DOCUMENTS), key=lambda row: (-cosine(wanted, list(docs.values())[row][1]), row))
    names = [list(docs)[row] for row in rows]
    run[query] = {} if query == refused else {doc: float(-rank) for rank, doc in enumerate(names)}
top = {query: dict(list(docs.items())[:10]) for query, docs in run.items()}
whole = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.100"}).evaluate(run)
cut = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(top)


def mean(rows: dict[str, dict[str, float]], name: str) -> float:
    return sum(row[name] for row in rows.values()) / len(qrels)


print(
    json.dumps(
        {
            "files": {
                "corpus.jsonl": "\n".join(json.dumps({"_id": doc, "text": text}) for doc, (text, _) in docs.items()),
                "queries.jsonl": "\n".join(
                    json.dumps({"_id": query, "text": text}) for query, (text, _) in queries.items()
                ),
                "qrels/test.tsv": "\n".join(lines),
            },
            "vectors": dict([*docs.values(), *queries.values()]),
            "refused": queries[refused][0],
            "expected": {
                "recall_at_k": mean(whole, "recall_100"),
                "mrr_at_10": mean(cut, "recip_rank"),
                "ndcg_at_10": mean(whole, "ndcg_cut_10"),
                "judged_queries": len(qrels),
            },
        },
        separators=(",", ":"),
    )
)
