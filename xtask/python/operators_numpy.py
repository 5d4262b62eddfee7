"""The formulas of Workload4's operators in numpy, on the data that the Rust benchmark wrote down.

    operators_numpy.py FOLDER [--quick]

reads FOLDER/meta.json and the raw arrays beside it, does each operator's work, checks that the result
is the one that the Rust operator gave, times it, and prints JSON.

Vectors are held here as a numpy program holds them: 32-bit floats of unit length, prepared before the
clock starts. Texts are split into words, and words hashed, before the clock starts wherever the Rust
side keeps them prepared too. Where numpy has nothing to offer (walks, batches, templates) it is plain
Python, with lists and dictionaries rather than arrays when these are faster.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

STOP_WORDS = frozenset(
    (
        "the a an and or but in on at to for of with is are was were be been being "
        "what which who when where why how its it"
    ).split()
)

Row = dict[str, float]
"""A line of the table."""
Hit = tuple[int, int, float, tuple[int, ...]]
"""Node, depth, relevance, and the path to it."""

# Our scores come from 8-bit integers in f64; these from 32-bit floats.
TOLERANCE = 2e-6


class Mismatch(Exception):
    """The two implementations did different work."""


def expect(fine: object, what: str) -> None:
    if not fine:
        raise Mismatch(what)


def same_scores(scores: np.ndarray, expected: list[float], what: str) -> None:
    """Equal scores in order: 32 bits cannot always tell which of two documents is ahead."""
    expect(len(scores) == len(expected), f"{what}: {len(scores)} results instead of {len(expected)}")
    expect(np.allclose(scores, expected, rtol=0, atol=TOLERANCE), f"{what}: other scores")


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """All cosines in 64 bits, of vectors of whole numbers: exact but for the last rounding."""
    rows, others = rows.astype(float), others.astype(float)
    return (rows @ others.T) / np.sqrt(np.outer((rows**2).sum(axis=1), (others**2).sum(axis=1)))


class Clock:
    """Repeats calls until the median settles."""

    def __init__(self, quick: bool) -> None:
        self.seconds = 0.06 if quick else 0.5

    def time(self, cases: int, call: Callable[[int], object], per: int = 1) -> Row:
        for case in range(min(cases, 4)):
            call(case)
        samples: list[float] = []
        start, case = time.perf_counter(), 0
        while len(samples) < 25 or time.perf_counter() - start < self.seconds:
            begin = time.perf_counter_ns()
            call(case)
            samples.append((time.perf_counter_ns() - begin) / 1e3 / per)
            case = (case + 1) % cases
        return summary(samples)


def summary(samples: list[float]) -> Row:
    return {
        "median_us": round(statistics.median(samples), 3),
        "min_us": round(min(samples), 3),
        "samples": len(samples),
    }


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length; a zero row stays zero."""
    rows = rows.astype(np.float32)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def words(text: str) -> list[str]:
    """The words of a text: lower case, without stop words and words of two letters."""
    found = re.findall(r"\w+", text.lower())
    return [word for word in found if len(word) > 2 and word not in STOP_WORDS]


# Semantic join ---------------------------------------------------------------------------------


class Ring:
    """The documents of the window: rows of unit length that the newest overwrites."""

    def __init__(self, rows: np.ndarray, times: np.ndarray, capacity: int) -> None:
        self.capacity = capacity
        self.rows = np.zeros((capacity, rows.shape[1]), np.float32)
        self.times = np.full(capacity, np.iinfo(np.int64).min)
        self.number = np.zeros(capacity, np.int64)
        self.count = 0
        for row, at in zip(rows, times, strict=False):
            self.append(row, at)

    def append(self, row: np.ndarray, at: int) -> None:
        row = row.astype(np.float32)
        norm = math.sqrt(float(row @ row))
        slot = self.count % self.capacity
        np.divide(row, norm if norm > 0 else 1, out=self.rows[slot])
        self.times[slot] = at
        self.number[slot] = self.count
        self.count += 1

    def query(
        self, q: np.ndarray, now: float, window: int, threshold: float, most: int
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Documents with `now - window <= time <= now` and a cosine of at least the threshold."""
        norm = math.sqrt(float(q @ q))
        scores = self.rows @ (q / (norm if norm > 0 else 1))
        near = np.nonzero((scores >= threshold) & (self.times >= now - window) & (self.times <= now))[0]
        order = near[np.lexsort((self.number[near], -scores[near]))][:most]
        kept = scores[order]
        return self.number[order], kept, float(kept.mean()) if len(kept) else 0.0


def join(data: Data, clock: Clock) -> None:
    params, queries = data.params, data.array("queries").astype(np.float32)
    window, appended, times = data.array("window"), data.array("appended"), data.array("doc_times").ravel()
    span = round(params["join_window_seconds"] * 1e9)
    threshold, most = params["join_threshold"], params["join_max_matches"]
    still = unit(window)
    unit_queries = unit(queries)
    data.rows["product_window"] = clock.time(len(queries), lambda case: still @ unit_queries[case])

    similarity = cosines(np.concatenate([window, appended]), data.array("queries"))

    def exact(k: int, now: float) -> list[str]:
        """The same, slowly and without rounding, as names."""
        seen = times[: len(window) + k + 1]
        scores = similarity[: len(seen), k % len(queries)]
        near = np.nonzero((scores >= threshold) & (seen >= now - span) & (seen <= now))[0]
        return [f"d_{number:06}" for number in near[np.lexsort((near, -scores[near]))][:most]]

    def series(check: bool) -> list[float]:
        ring = Ring(window, times, len(window) + 1)
        samples = []
        # As in the Rust timing, vectors arrive as what an embedder hands over.
        for k, row in enumerate(appended):
            now = times[len(window) + k]
            begin = time.perf_counter_ns()
            ring.append(row, now)
            _, scores, mean = ring.query(queries[k % len(queries)], now, span, threshold, most)
            samples.append((time.perf_counter_ns() - begin) / 1e3)
            if check:
                expected = data.facts["join"][k]
                same_scores(scores, expected["scores"], f"join {k}")
                expect(abs(mean - expected["mean"]) <= TOLERANCE, f"join {k}: other mean")
                expect(exact(k, now) == expected["ids"], f"join {k}: other documents")
        return samples

    series(True)
    data.rows["join_moving"] = summary(series(False) + series(False))


# Vector search ---------------------------------------------------------------------------------


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """The k best rows, best first; equal scores by row."""
    top = np.argpartition(-scores, k)[:k]
    return top[np.lexsort((top, -scores[top]))]


def search(data: Data, clock: Clock) -> None:
    facts, index, queries = data.facts["search"], unit(data.array("index")), unit(data.array("queries"))
    k, together = facts["top_k"], facts["together"]
    groups = [queries[at : at + together] for at in range(0, len(queries), together)]

    def one(case: int) -> Any:
        scores = index @ queries[case]
        top = best(scores, k)
        return top, scores[top]

    def many(case: int) -> list[tuple[np.ndarray, np.ndarray]]:
        scores = groups[case] @ index.T
        tops = [best(row, k) for row in scores]
        return [(top, row[top]) for top, row in zip(tops, scores, strict=True)]

    similarity = cosines(data.array("queries"), data.array("index"))
    for case, expected in enumerate(facts["expected"]):
        same_scores(one(case)[1], expected["scores"], f"search {case}")
        same_scores(many(case // together)[case % together][1], expected["scores"], f"search of many {case}")
        order = np.lexsort((np.arange(len(index)), -similarity[case]))[:k]
        expect(order.tolist() == expected["rows"], f"search {case}: other documents")
    data.rows["product_index"] = clock.time(len(queries), lambda case: index @ queries[case])
    data.rows["search_1"] = clock.time(len(queries), one)
    data.rows["search_16"] = clock.time(len(groups), many, per=together)


# Graph memory ----------------------------------------------------------------------------------


def graph(data: Data, clock: Clock) -> None:
    params, facts = data.params, data.facts["graph"]
    nodes, queries = unit(data.array("nodes")), unit(data.array("queries"))
    least = params["graph_edge_weight_threshold"]
    edges = [[(to, weight) for to, weight in out if weight >= least] for out in facts["edges"]]
    depth_limit, node_limit = params["graph_max_depth"], params["graph_max_nodes"]
    beam = params["graph_bfs_beam_width"]

    def recall(case: int) -> list[Hit]:
        return walk(nodes @ queries[case])

    def walk(array: np.ndarray) -> list[Hit]:
        """Breadth first from the most similar nodes; of each node's neighbours the best are queued."""
        starts = np.lexsort((np.arange(len(array)), -array))[:beam]
        similarity = array.tolist()
        queue: deque[Hit] = deque((node, 0, similarity[node], ()) for node in starts.tolist())
        visited = [False] * len(similarity)
        hits: list[Hit] = []
        while queue and len(hits) < node_limit:
            node, depth, relevance, path = queue.popleft()
            if visited[node]:
                continue
            visited[node] = True
            path = (*path, node)
            hits.append((node, depth, relevance, path))
            if depth >= depth_limit:
                continue
            scored = [(-(0.7 * similarity[to] + 0.3 * weight), to) for to, weight in edges[node]]
            scored.sort()
            for score, to in scored[:beam]:
                if not visited[to]:
                    queue.append((to, depth + 1, (relevance * depth - score) / (depth + 1), path))
        return hits

    arrays = [(np.array([to for to, _ in out], int), np.array([weight for _, weight in out])) for out in edges]

    def recall_arrays(case: int) -> list[Hit]:
        return walk_arrays(nodes @ queries[case])

    def walk_arrays(similarity: np.ndarray) -> list[Hit]:
        """The same with numpy at every step, as the original does it: slower on so few neighbours."""
        starts = np.lexsort((np.arange(len(similarity)), -similarity))[:beam]
        queue: deque[Hit] = deque((node, 0, similarity[node], ()) for node in starts)
        visited = np.zeros(len(similarity), bool)
        hits: list[Hit] = []
        while queue and len(hits) < node_limit:
            node, depth, relevance, path = queue.popleft()
            if visited[node]:
                continue
            visited[node] = True
            path = (*path, int(node))
            hits.append((node, depth, relevance, path))
            if depth >= depth_limit:
                continue
            to, weights = arrays[node]
            scores = 0.7 * similarity[to] + 0.3 * weights
            order = np.lexsort((to, -scores))[:beam]
            order = order[~visited[to[order]]]
            for next_node, score in zip(to[order], (relevance * depth + scores[order]) / (depth + 1), strict=True):
                queue.append((next_node, depth + 1, score, path))
        return hits

    # Equal texts have equal scores, and 32 bits would tell them apart: the check is made with 64.
    similarities = cosines(data.array("queries"), data.array("nodes"))
    for case, expected in enumerate(facts["expected"]):
        hits = walk(similarities[case])
        again = [hit[3] for hit in walk_arrays(similarities[case])]
        expect([hit[3] for hit in hits] == again, f"graph {case}: lists and arrays differ")
        expect([hit[0] for hit in hits] == expected["nodes"], f"graph {case}: other nodes")
        expect([hit[1] for hit in hits] == expected["depths"], f"graph {case}: other depths")
        expect([list(hit[3]) for hit in hits] == expected["paths"], f"graph {case}: other paths")
        relevance = [hit[2] for hit in hits]
        expect(np.allclose(relevance, expected["relevance"], atol=TOLERANCE), f"graph {case}: other relevance")
    data.rows["graph_bfs"] = clock.time(len(queries), recall)
    data.rows["graph_bfs_arrays"] = clock.time(len(queries), recall_arrays)


# Deduplication ---------------------------------------------------------------------------------


def dedup(data: Data, clock: Clock, name: str) -> None:
    """DBSCAN at two samples: the components of the graph of pairs within eps."""
    cases, similar = data.facts[name], 1.0 - data.params["dbscan_eps"]
    ends = np.cumsum([len(case["scores"]) for case in cases])
    points = list(np.split(unit(data.array(name)), ends[:-1]))
    ids = [(case["nodes"], case["docs"], case["scores"]) for case in cases]

    def one(case: int) -> Any:
        rows, (nodes, docs, scores) = points[case], ids[case]
        n = len(rows)
        near = np.triu(rows @ rows.T >= similar, 1)
        parent = list(range(n))

        def root(point: int) -> int:
            while parent[point] != point:
                parent[point] = parent[parent[point]]
                point = parent[point]
            return point

        for pair in np.argwhere(near).tolist():
            low, high = sorted(map(root, pair))
            parent[high] = low
        members: dict[int, list[int]] = {}
        for point in range(n):
            members.setdefault(root(point), []).append(point)
        keep, clustered = [True] * n, [False] * n
        clusters = 0
        for group in members.values():
            if len(group) > 1:
                clusters += 1
                champion = max(group, key=lambda point: (scores[point], -point))
                for point in group:
                    clustered[point] = True
                    keep[point] = point == champion
        first = len(nodes)
        left = [docs[i] for i in range(len(docs)) if keep[first + i]]
        flags = [clustered[first + i] for i in range(len(docs)) if keep[first + i]]
        return (
            [node for node, stays in zip(nodes, keep, strict=False) if stays],
            left,
            flags,
            clusters,
            keep.count(False),
        )

    for case, facts in enumerate(cases):
        nodes, docs, flags, clusters, removed = one(case)
        expected = facts["expected"]
        expect(nodes == expected["nodes"] and docs == expected["docs"], f"{name} {case}: other survivors")
        expect(flags == expected["clustered"], f"{name} {case}: other clusters")
        counts = (expected["clusters"], expected["removed"])
        expect((clusters, removed) == counts, f"{name} {case}: {clusters}, {removed} instead of {counts}")
    data.rows[name] = clock.time(len(cases), one)
    data.rows[name]["points"] = round(sum(map(len, points)) / len(points), 1)


# Rerank and MMR --------------------------------------------------------------------------------


def rerank(data: Data, clock: Clock) -> None:
    weights, keep = data.params["rerank_score_weights"], data.params["rerank_top_k"]
    mix = np.array([weights[name] for name in ("semantic", "freshness", "diversity", "authority", "coverage")])
    cases = []
    for case in data.facts["rerank_50"]:
        docs = case["docs"]
        cases.append(
            {
                "now": case["now_s"],
                "query": case["query"],
                "keys": np.array([doc["key"] for doc in docs]),
                "semantic": np.array([doc["score"] for doc in docs]),
                "clustered": np.array([doc["clustered"] for doc in docs]),
                "time": np.array([math.nan if doc["timestamp_s"] is None else doc["timestamp_s"] for doc in docs]),
                "citations": np.array([doc["citations"] for doc in docs], float),
                "centrality": np.array([doc["centrality"] for doc in docs]),
                "sources": [doc["source"] for doc in docs],
                "words": [frozenset(words(doc["text"])) for doc in docs],
            }
        )

    def one(number: int) -> Any:
        case = cases[number]
        age = (case["now"] - case["time"]) / 3600.0
        fresh = np.where(np.isnan(age), 1.0, np.clip(np.exp2(-age / 24.0), 0.0, 1.0))
        diverse = np.where(case["clustered"], 0.6, 0.8)
        claims = np.array(
            [0.9 if "authoritative" in text or "verified" in text else 0.5 for text in map(str.lower, case["sources"])]
        )
        known = (case["citations"] > 0) | (case["centrality"] > 0)
        earned = 0.5 * np.minimum(case["citations"] / 100, 1) + 0.5 * np.minimum(case["centrality"], 1)
        authority = np.where(known, earned, claims)
        terms = frozenset(words(case["query"]))
        covered = np.array([len(terms & doc) for doc in case["words"]]) / len(terms) if terms else 0.5
        scores = np.stack([case["semantic"], fresh, diverse, authority, covered], axis=1) @ mix
        order = np.lexsort((case["keys"], -scores))[:keep]
        return case["keys"][order], scores[order]

    for number, case in enumerate(data.facts["rerank_50"]):
        keys, scores = one(number)
        expected = case["expected"]
        same_scores(scores, [e[1] for e in expected], f"rerank {number}")
        expect(keys.tolist() == [e[0] for e in expected], f"rerank {number}: another order")
    data.rows["rerank_50"] = clock.time(len(cases), one)


def mmr(data: Data, clock: Clock) -> None:
    share, k = data.params["mmr_lambda"], data.params["mmr_final_k"]
    cases = data.facts["mmr_15"]
    points = unit(data.array("mmr_15")).reshape(len(cases), -1, data.array("mmr_15").shape[1])
    relevance = [np.array(case["relevance"]) for case in cases]
    docs = [case["docs"] for case in cases]

    def one(case: int) -> Any:
        rows, relevant = points[case], share * relevance[case]
        similarity = rows @ rows.T
        closest = np.zeros(len(rows))
        left = np.ones(len(rows), bool)
        chosen: list[int] = []
        while len(chosen) < k:
            value = np.where(left, relevant - (1 - share) * closest, -np.inf)
            pick = int(value.argmax())
            left[pick] = False
            chosen.append(pick)
            np.maximum(closest, similarity[pick], out=closest)
        return [docs[case][pick] for pick in chosen]

    for number, case in enumerate(cases):
        expect(one(number) == case["expected"], f"mmr {number}: another order")
    data.rows["mmr_15"] = clock.time(len(cases), one)


# Keywords --------------------------------------------------------------------------------------


def counted(text: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words(text):
        counts[word] = counts.get(word, 0) + 1
    return counts


def bm25_scores(
    terms: list[str], docs: list[dict[str, int]], lengths: np.ndarray, k1: float = 1.5, b: float = 0.75
) -> np.ndarray:
    """Scores of the docs (dictionaries of counts), with frequencies taken from the docs themselves."""
    tf = np.array([[doc.get(term, 0) for term in terms] for doc in docs], float).reshape(len(docs), len(terms))
    df = (tf > 0).sum(axis=0)
    idf = np.where(df > 0, np.log((len(docs) - df + 0.5) / (df + 0.5) + 1), 0.0)
    mean = lengths.mean() if len(lengths) and lengths.sum() > 0 else 1.0
    length = k1 * (1 - b + b * lengths / mean)
    return (idf * tf * (k1 + 1) / (tf + length[:, None])).sum(axis=1)


def bm25(data: Data, clock: Clock) -> None:
    weight = data.params["bm25_weight"]
    cases = []
    for case in data.facts["bm25_20"]:
        docs = [counted(text) for text in case["texts"]]
        lengths = np.array([sum(doc.values()) for doc in docs], float)
        cases.append((words(case["query"]), docs, lengths, np.array(case["scores"])))

    def one(case: int) -> Any:
        terms, docs, lengths, scores = cases[case]
        keywords = bm25_scores(terms, docs, lengths)
        greatest = keywords.max()
        return (1 - weight) * scores + weight * (keywords / greatest if greatest > 0 else keywords)

    for number, case in enumerate(data.facts["bm25_20"]):
        expect(np.allclose(one(number), case["expected"], rtol=0, atol=1e-9), f"bm25 {number}: other scores")
    data.rows["bm25_20"] = clock.time(len(cases), one)


def generate(data: Data, clock: Clock) -> None:
    """An answer out of the context's sentences, the best by BM25 first, up to a number of words."""
    cases, most = data.facts["generate"], data.params["llm_max_tokens"]

    def one(number: int) -> Any:
        case = cases[number]
        question, context = case["question"], case["context"]
        prompt = (
            "Answer the question using only the context below.\n\nContext:\n"
            + "\n\n".join(context)
            + f"\n\nQuestion: {question}\nAnswer:"
        )
        len(prompt.split())
        pieces = [piece.strip() for text in context for piece in re.findall(r"[^.?!]*[.?!]|[^.?!]+", text)]
        pieces = [piece for piece in pieces if piece]
        docs = [counted(piece) for piece in pieces]
        lengths = np.array([sum(doc.values()) for doc in docs], float)
        scores = bm25_scores(words(question), docs, lengths)
        answer: list[str] = []
        for piece in np.lexsort((np.arange(len(pieces)), -scores)):
            if len(answer) >= most:
                break
            answer += pieces[piece].split()[: most - len(answer)]
        return " ".join(answer)

    for number, case in enumerate(cases):
        expect(one(number) == case["expected"], f"generate {number}: another answer")
    data.rows["generate"] = clock.time(len(cases), one)


# Sources and embedding -------------------------------------------------------------------------


def sources(data: Data, clock: Clock) -> None:
    """Texts from templates. The random stream is numpy's, so these texts are others of the same kind."""
    vocabulary = data.facts["vocabulary"]
    categories, types, filler = vocabulary["categories"], vocabulary["types"], vocabulary["filler"]
    by_category = {
        name: [topic["terms"] for topic in vocabulary["topics"] if topic["category"] == name] for name in categories
    }
    fitting: dict[tuple[str, str, str | None], list[Any]] = {}
    for kind in ("queries", "documents"):
        for template in vocabulary[kind]:
            key = (kind, template["category"], template["type"])
            fitting.setdefault(key, []).append(template["parts"])
    type_steps = np.cumsum(vocabulary["type_weights"]).tolist()
    category_steps = np.cumsum(vocabulary["category_weights"]).tolist()
    random = np.random.default_rng(42)

    def draw(steps: list[float]) -> int:
        x = random.random() * steps[-1]
        return next(index for index, step in enumerate(steps) if x < step)

    def text(kind: str, signature: int, others: int) -> str:
        of = types[draw(type_steps)] if kind == "queries" else None
        category = categories[draw(category_steps)]
        topics = by_category[category]
        terms = topics[int(random.integers(len(topics)))]
        templates = fitting[kind, category, of]
        parts = templates[int(random.integers(len(templates)))]
        chosen = {
            "signature": [terms[i] for i in random.permutation(len(terms))[:signature]],
            "filler": [filler[i] for i in random.choice(len(filler), others, replace=False)],
        }
        return "".join(part if of == "text" else chosen[of][part] for of, part in parts)

    def a_text(kind: str, signature: int, others: int, _: int) -> str:
        return text(kind, signature, others)

    for row, kind, signature, others in (("generate_query", "queries", 4, 4), ("generate_doc", "documents", 8, 22)):
        expect(len(words(text(kind, signature, others))) == signature + others, f"{row}: another length")
        data.rows[row] = clock.time(1, partial(a_text, kind, signature, others))


def embed(data: Data, clock: Clock) -> None:
    facts, dim = data.facts["embed"], data.params["embedding_dimension"]
    known = {word: tuple(entry) for word, entry in facts["words"].items()}
    directions = []
    for topic in facts["directions"]:
        signs = np.array(topic["signs"], float)
        directions.append((np.array(topic["places"]), signs / math.sqrt(len(signs))))

    def one(text: str) -> Any:
        total = np.zeros(dim)
        topics: dict[int, int] = {}
        for word in words(text):
            place, sign, topic = known[word]
            total[place] += sign
            if topic is not None:
                topics[topic] = topics.get(topic, 0) + 1
        for topic, count in sorted(topics.items()):
            places, marks = directions[topic]
            total[places] += count * marks
        largest = np.abs(total).max()
        if largest == 0:
            return np.zeros(dim, np.int8)
        scaled = total * (127.0 / largest)
        # Halves away from zero, where numpy's own rounding goes to the even number.
        return np.copysign(np.floor(np.abs(scaled) + 0.5), scaled).astype(np.int8)

    def of(texts: list[str], case: int) -> np.ndarray:
        return one(texts[case])

    for row, texts in (("embed_query", data.facts["query_texts"]), ("embed_doc", facts["docs"])):
        for number, expected in enumerate(data.array(row)):
            expect(np.array_equal(one(texts[number]), expected), f"{row} {number}: another vector")
        data.rows[row] = clock.time(len(texts), partial(of, texts))


# Merge and batches -----------------------------------------------------------------------------


def merge(data: Data, clock: Clock) -> None:
    cases, most = data.facts["merge"], data.params["merge_top_k"]

    def one(number: int) -> Any:
        case = cases[number]
        union: dict[int, float] = {}
        for key, score, blend in sorted(case["one"] + case["two"], key=lambda hit: (-hit[1], hit[0])):
            union.setdefault(key, blend if blend else score)
        return [key for key, _ in sorted(union.items(), key=lambda hit: (-hit[1], hit[0]))[:most]]

    for number, case in enumerate(cases):
        expect(one(number) == case["expected"], f"merge {number}: another order")
    data.rows["merge"] = clock.time(len(cases), one)


def batches(data: Data, clock: Clock) -> None:
    """Batches per category, then over all: by size or by event time, in the order of the sequence."""
    params, facts = data.params, data.facts["batches"]
    items = sorted(facts["items"])
    small, small_ns = params["category_batch_size"], params["category_batch_timeout_ms"] * 1_000_000
    large, large_ns = params["global_batch_size"], params["global_batch_timeout_ms"] * 1_000_000

    def run(_: int) -> list[list[int]]:
        open_batches: dict[int, tuple[float, list[int]]] = {}
        pending: list[int] = []
        out: list[list[int]] = []
        first = 0.0

        def cut() -> None:
            out.append(pending[:large])
            del pending[:large]

        def fire_large(now: float) -> None:
            while pending and first + large_ns <= now:
                cut()

        def take(batch: list[int], now: float) -> None:
            nonlocal first
            fire_large(now)
            if not pending:
                first = now
            pending.extend(batch)
            while len(pending) >= large:
                cut()

        def fire_small(now: float) -> None:
            while open_batches:
                at, category = min((held[0] + small_ns, category) for category, held in open_batches.items())
                if at > now:
                    break
                take(open_batches.pop(category)[1], at)

        order = {name: number for number, name in enumerate(data.facts["vocabulary"]["categories"])}
        for seq, now, category in items:
            fire_small(now)
            held = open_batches.setdefault(order[category], (now, []))
            held[1].append(seq)
            if len(held[1]) >= small:
                take(open_batches.pop(order[category])[1], now)
        fire_small(math.inf)
        fire_large(math.inf)
        return out

    expect(run(0) == [batch["items"] for batch in facts["expected"]], "batches: other members")
    data.rows["batches"] = clock.time(1, run, per=len(items))


# The sink --------------------------------------------------------------------------------------


def sink(data: Data, clock: Clock) -> None:
    """One line of JSON and one of CSV, with the files opened for each record as the original does."""
    folder = data.folder / "sink"
    folder.mkdir(exist_ok=True)
    record = {f"value_{number}": number * 1.5 for number in range(20)}

    def one(_: int) -> Any:
        with open(folder / "metrics.jsonl", "a") as lines:
            lines.write(json.dumps(record) + "\n")
        with open(folder / "metrics.csv", "a") as rows:
            rows.write(",".join(f"{value:.2f}" for value in record.values()) + "\n")

    data.rows["sink"] = clock.time(1, one)


class Data:
    def __init__(self, folder: str) -> None:
        self.folder = pathlib.Path(folder)
        meta = json.loads((self.folder / "meta.json").read_text())
        self.arrays, self.facts = meta["arrays"], meta["facts"]
        self.params = self.facts["params"]
        self.rows: dict[str, Row] = {}

    def array(self, name: str) -> np.ndarray:
        entry = self.arrays[name]
        return np.fromfile(self.folder / entry["file"], entry["dtype"]).reshape(entry["shape"])


def attempt(part: Callable[[Data, Clock], None], data: Data, clock: Clock) -> list[str]:
    """Times an operator; says where the two implementations differ."""
    try:
        part(data, clock)
    except Mismatch as mismatch:
        return [str(mismatch)]
    return []


def main() -> None:
    data, clock = Data(sys.argv[1]), Clock("--quick" in sys.argv)
    mismatches: list[str] = []
    work: list[Callable[[Data, Clock], None]] = [
        join,
        search,
        graph,
        rerank,
        mmr,
        bm25,
        sources,
        embed,
        merge,
        batches,
        generate,
        sink,
    ]
    work[3:3] = [partial(dedup, name=name) for name in ("dedup_60", "dedup_200")]
    for part in work:
        mismatches += attempt(part, data, clock)
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    print(
        json.dumps(
            {
                "numpy": np.__version__,
                "python": sys.version.split()[0],
                "blas": f"{blas.get('name')} {blas.get('version')}",
                "threads": os.environ.get("OPENBLAS_NUM_THREADS"),
                "mismatches": mismatches,
                "rows": data.rows,
            }
        )
    )


if __name__ == "__main__":
    main()
