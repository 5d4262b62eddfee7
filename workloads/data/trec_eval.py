"""Makes trec_eval.json: rankings, judgements, and the figures that trec_eval gives them.

python3 trec_eval.py > trec_eval.json, with pytrec-eval-terrier 0.5.11 (trec_eval 9.0.8) installed.
"""

import json
import random
from typing import Any

import pytrec_eval

MEASURES = {"ndcg_cut.10", "recall.100", "recip_rank"}


Judgements = dict[str, dict[str, int]]
Run = dict[str, list[str]]
Case = dict[str, Any]


def figures(qrels: Judgements, run: Run) -> dict[str, float]:
    # Ranks are all that a ranking is: what is equal in score stands in the order in which it was given. MRR is
    # cut at 10, which trec_eval does not do. A query that failed has no results, which -c counts as 0.
    scored = {query: {doc: float(-rank) for rank, doc in enumerate(docs)} for query, docs in run.items()}
    top = {query: dict(list(docs.items())[:10]) for query, docs in scored.items()}
    whole = pytrec_eval.RelevanceEvaluator(qrels, MEASURES).evaluate(scored)
    cut = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(top)
    asked = [query for query in run if query in qrels]

    def mean(rows: dict[str, dict[str, float]], name: str) -> float:
        return sum(rows.get(query, {}).get(name, 0.0) for query in asked) / len(asked)

    return {
        "ndcg_cut_10": mean(whole, "ndcg_cut_10"),
        "recall_100": mean(whole, "recall_100"),
        "recip_rank": mean(cut, "recip_rank"),
        "num_q": len(asked),
    }


def case(name: str, corpus: list[str], qrels: Judgements, run: Run) -> Case:
    return {"name": name, "corpus": corpus, "qrels": qrels, "run": run, "expected": figures(qrels, run)}


def drawn(name: str, seed: int, documents: int, queries: int, grades: list[int], missing: int = 0) -> Case:
    random.seed(seed)
    corpus = [f"d{number}" for number in range(documents)]
    judged = corpus + [f"gone{number}" for number in range(missing)]
    qrels: Judgements = {}
    run: Run = {}
    for number in range(queries):
        query = f"q{number}"
        qrels[query] = {doc: random.choice(grades) for doc in random.sample(judged, 12)}
        ranked = random.sample(corpus, random.choice([3, 40, min(120, documents)]))
        # Half of the judged documents are drawn to the front.
        front = [doc for doc in random.sample(sorted(qrels[query]), 6) if doc in corpus]
        run[query] = front + [doc for doc in ranked if doc not in front]
    return case(name, corpus, qrels, run)


def main() -> None:
    base = drawn("binary", 1, 130, 12, [0, 1])
    corpus, qrels, run = base["corpus"], base["qrels"], base["run"]
    failed = {query: ([] if number % 4 == 0 else docs) for number, (query, docs) in enumerate(run.items())}
    some = {query: docs for number, (query, docs) in enumerate(run.items()) if number < 7}
    unjudged = run | {"stranger": corpus[:5]}
    cases = [
        base,
        drawn("graded", 2, 40, 12, [0, 1, 2, 3]),
        drawn("negative scores", 3, 40, 12, [-2, -1, 0, 1, 2]),
        drawn("judged documents that the corpus lacks", 4, 40, 12, [0, 1, 2], missing=30),
        drawn("nothing relevant for most queries", 5, 40, 12, [0] * 30 + [1]),
        case("queries that failed", corpus, qrels, failed),
        case("some of the queries", corpus, qrels, some),
        case("a query without judgements", corpus, qrels, unjudged),
        case("more than ten relevant", corpus, {"q": {f"d{n}": 1 for n in range(30)}}, {"q": corpus[5:60]}),
        case("first found at rank eleven", corpus, {"q": {"d10": 1}}, {"q": corpus[:30]}),
    ]
    print(json.dumps(cases, separators=(",", ":")))


main()
