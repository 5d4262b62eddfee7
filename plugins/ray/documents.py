"""The log of documents: what broadcast inputs are given, and what of it each actor has had.

A document goes through the side stages once; its reference is an entry of the log. Nobody waits for it: an actor is
sent the entries that it has not had with the next call that it gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actors import Call, Incarnation, Instance
from common import REFS_PER_CALL, Addressed, Shared
from plan import Stage
from recovery import Recovery
from transport import Failure, Ref
from workers import Head

DOCUMENT_TRIES = 5
"""A document has no answer of its own, so losing it would make answers wrong: it goes again, whatever the retries."""


@dataclass(eq=False)
class Document:
    """An entry of the log."""

    entries: Addressed
    origin: int = 0
    data: Ref = b""
    tries: int = 0


class Documents:
    """The log."""

    def __init__(self, shared: Shared, recovery: Recovery) -> None:
        self._shared, self._recovery = shared, recovery
        self._log: list[Document] = []

    def add(self, entries: Addressed) -> None:
        """The next entry, made of what came from the host."""
        document = Document(entries)
        self._log.append(document)
        self._make(document)

    def news_for(self, instance: Instance) -> tuple[int, list[Document]]:
        """The documents that an instance was not sent yet, and the position of the first."""
        while len(self._log) - instance.documents_sent > REFS_PER_CALL:
            first, news = instance.documents_sent, self._log[instance.documents_sent :][:REFS_PER_CALL]
            instance.documents_sent += len(news)
            head = Head(tuple(document.origin for document in news), len(news), first)
            # Not watched: a loss shows at the next query.
            self._shared.actors.run(instance, head, [document.data for document in news])
        first, news = instance.documents_sent, self._log[instance.documents_sent :]
        instance.documents_sent = len(self._log)
        return first, news

    def _make(self, document: Document) -> None:
        plan, actors = self._shared.plan, self._shared.actors
        if not plan.side:
            ((node, document.data),) = document.entries
            document.origin = ~node
            return
        passed: list[tuple[Stage, Ref]] = []
        incarnations: list[Incarnation] = []
        for stage in plan.side:
            instance = actors.pick(stage, next(self._shared.turns))
            if instance is None:
                return self._shared.transport.later(lambda: self._make(document))
            given: list[tuple[int, Ref]] = [(~node, data) for node, data in document.entries if node in stage.nodes]
            given += [(before.exit, data) for before, data in passed if _feeds(before, stage)]
            head = Head(tuple(origin for origin, _ in given))
            passed.append((stage, actors.run(instance, head, [data for _, data in given])))
            incarnations.append(instance.incarnation)
        last, document.data = passed[-1]
        document.origin = last.exit
        document.tries += 1
        self._recovery.watch(_Making(incarnations, self, document), document.data)

    def charge(self, document: Document, reason: str) -> None:
        """It failed itself."""
        if document.tries < DOCUMENT_TRIES:
            self._shared.counts.retried += 1
            return self._make(document)
        self._shared.counts.lost_documents += 1
        node, data = document.entries[0]
        document.origin, document.data = node, self._shared.workload.fail(node, data, reason)

    def repeat(self, document: Document) -> None:
        """It was lost with something else."""
        self._make(document)


class _Making(Call):
    """A document on its way through the side stages."""

    def __init__(self, incarnations: list[Incarnation], documents: Documents, document: Document) -> None:
        super().__init__(incarnations)
        self._documents, self._document = documents, document

    def succeeded(self, value: Any) -> None:
        """Its reference is in the log already."""

    def failed(self, failure: Failure) -> None:
        self._documents.charge(self._document, str(failure))

    def repeat(self) -> None:
        self._documents.repeat(self._document)

    def charge(self, reason: str) -> None:
        self._documents.charge(self._document, reason)


def _feeds(before: Stage, stage: Stage) -> bool:
    return any(edge["from"] == before.exit for edge in stage.inputs)
