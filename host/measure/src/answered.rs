//! One result as it came: what it says, found out before anybody has to wait for the sink.

use bench_dataflow::frame::{Frame, Kind, Span, spans};
use bench_workloads::operator::Tombstone;
use bench_workloads::records::{Answer, Call};
use bench_workloads::schedule::query_key;
use bench_workloads::seal;
use sha2::{Digest, Sha256};

use super::item::Item;
use super::ledger::Pending;
use super::proof::Proof;

/// The first result that came for a query.
#[derive(Debug)]
pub struct Answered {
    pub item: Item,
    /// Or why there is none. Its query is that of the item.
    pub answer: Result<Answer, String>,
    /// Why it is not the work of this run's operators.
    pub unproven: Option<String>,
}

/// What is read of a result besides its answer, in the memory of the one before it.
#[derive(Debug)]
pub struct Room {
    /// The spans that operators of the run left on it.
    pub spans: Vec<Span>,
    stages: Vec<u64>,
    nodes: usize,
}

impl Room {
    /// For results of a graph of so many nodes.
    #[must_use]
    pub fn of(nodes: usize) -> Self {
        Self { spans: Vec::new(), stages: Vec::new(), nodes }
    }

    /// Gives back what `answered` took from here.
    pub fn reuse(&mut self, answered: Answered) {
        self.stages = answered.item.stages;
    }
}

impl Answered {
    /// Reads what came at `now_ns` for a query, and the spans that operators of this run left on it. Without a proof
    /// spans and answers are taken as they come.
    pub fn read(
        frame: &Frame<'_>,
        pending: &Pending,
        now_ns: u64,
        proof: Option<&Proof>,
        room: &mut Room,
    ) -> Self {
        let mut after: &[u8] = &[];
        let mut answer = match frame.header.kind {
            Kind::Data => postcard::take_from_bytes::<Answer>(frame.body)
                .map_err(|cause| format!("the answer is unreadable: {cause}"))
                .and_then(|(answer, rest)| {
                    after = rest;
                    of_its_query(answer, frame.header.seq, pending)
                }),
            _ => Err(reason(frame)),
        };
        let mut stages = std::mem::take(&mut room.stages);
        stages.clear();
        stages.resize(room.nodes, 0);
        let unproven = own_spans(frame, &answer, proof, &mut stages, &mut room.spans);
        if !after.is_empty() {
            // Times are no part of what was answered, by which stages are compared with those of other runs.
            let (whole, said) = (frame.body, &frame.body[..frame.body.len() - after.len()]);
            let whole = seal::digest(whole);
            stages.iter_mut().filter(|wrote| **wrote == whole).for_each(|wrote| *wrote = seal::digest(said));
        }
        let item = Item {
            query_id: match &mut answer {
                Ok(answer) => std::mem::take(&mut answer.query_id),
                Err(_) => format!("#{}", frame.header.seq),
            },
            ok: answer.is_ok(),
            digest: answer.as_ref().map_or([0; 32], digest),
            intended_ns: pending.intended_ns,
            emitted_ns: pending.emitted_ns,
            answered_ns: now_ns,
            timed: pending.timed,
            stages,
            call: Call::after(after).filter(|_| answer.is_ok()),
            wordless: answer.as_ref().is_ok_and(|answer| answer.response.trim().is_empty()),
        };
        Self { item, answer, unproven }
    }
}

/// Reads the spans that operators of this run left on an answer, and what each node wrote. Returns what is wrong with
/// the answer where it is not their work.
fn own_spans(
    frame: &Frame<'_>,
    answer: &Result<Answer, String>,
    proof: Option<&Proof>,
    stages: &mut [u64],
    own: &mut Vec<Span>,
) -> Option<String> {
    let (seq, all) = (frame.header.seq, spans(frame.spans));
    own.clear();
    own.extend(all.iter().filter(|span| proof.is_none_or(|proof| proof.admits(seq, span))).map(Span::read));
    for span in &*own {
        if let Some(stage) = stages.get_mut(usize::from(span.node)) {
            *stage = span.digest;
        }
    }
    match (all.len() - own.len(), answer) {
        (0, Ok(_)) => proof?.lacking(frame, stages),
        (0, Err(_)) => None,
        // One under the number of another query bears that one's seals.
        (_, Err(reason)) if frame.header.kind == Kind::Data => Some(reason.clone()),
        (foreign, _) => Some(format!("it bears {foreign} spans that no operator of this run left on it")),
    }
}

/// An answer under the number of another query would lend that query its time.
fn of_its_query(answer: Answer, seq: u64, pending: &Pending) -> Result<Answer, String> {
    if query_key(&answer.query_id) == pending.key {
        return Ok(answer);
    }
    Err(format!(
        "query number {seq} got the answer to {:?}: a runtime may reorder records, not renumber them",
        answer.query_id
    ))
}

fn reason(frame: &Frame<'_>) -> String {
    match postcard::from_bytes::<Tombstone>(frame.body) {
        Ok(tombstone) => format!("node {}: {}", tombstone.node, tombstone.reason),
        Err(_) => "failed without a reason".to_owned(),
    }
}

/// SHA-256 over what an answer says: its text and its final ranking.
fn digest(answer: &Answer) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(answer.response.as_bytes());
    for id in &answer.ranking {
        hasher.update([0]);
        hasher.update(id.as_bytes());
    }
    hasher.finalize().into()
}
