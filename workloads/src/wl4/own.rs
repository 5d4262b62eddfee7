//! The shards that this machine has because their operators are here.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::params::Params;
use super::shared::{Databases, Recipe, Share};
use crate::workload::{OpenSpec, WorkloadError};

/// How a share is built.
pub type Build = Box<dyn Fn(&OpenSpec, Share) -> Result<(), WorkloadError> + Send + Sync>;

/// Shards by their number, opened once, when the first operator of one is made.
pub struct Own {
    spec: OpenSpec,
    build: Build,
    open: Mutex<BTreeMap<u32, Databases>>,
}

impl Own {
    pub fn new(spec: OpenSpec, build: Build) -> Self {
        Self { spec, build, open: Mutex::default() }
    }

    /// A shard of both databases; built now where this machine lacks it.
    ///
    /// # Errors
    /// When it can be neither opened nor built.
    pub fn shard(&self, shard: u32) -> Result<Databases, WorkloadError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(&shard) {
            return Ok(known.clone());
        }
        let params: Params = self.spec.params.read()?;
        let recipe = Recipe::of(&self.spec, &params, None, self.spec.served.as_ref());
        let (folder, share) = (self.spec.cache_dir.join(recipe.folder()), Share::Shard(shard));
        let found = match recipe.databases_of(&folder, share) {
            Ok(found) => found,
            Err(_) => {
                (self.build)(&self.spec, share)?;
                recipe.databases_of(&folder, share)?
            }
        };
        open.insert(shard, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, VecDeque};
    use std::path::Path;

    use bench_dataflow::frame::{self, Header, frames};
    use bench_dataflow::graph::Role;
    use bench_dataflow::route::Router;

    use super::*;
    use crate::instance::Instance;
    use crate::list;
    use crate::open::{OpenWorkload, prepare};
    use crate::parameters::{CORPUS, Values};

    const DOCUMENTS: u32 = 300;

    fn spec(params: Values, placed: bool, cache: &Path) -> OpenSpec {
        let corpus = list::default().corpus(&params, cache).unwrap();
        OpenSpec {
            workload: list::default().name().into(),
            seed: 42,
            num_tasks: 30,
            params,
            corpus_digest: corpus.map(|corpus| corpus.digest().to_owned()),
            served: None,
            key: None,
            placed,
            cache_dir: cache.to_owned(),
        }
    }

    fn params(settings: &[(&str, &str)]) -> Values {
        let params = Params {
            vdb_shards: 3,
            vdb1_corpus_size: DOCUMENTS,
            vdb2_corpus_size: DOCUMENTS,
            embedding_dimension: 128,
            join_window_seconds: 5.0,
            ..Params::default()
        };
        let mut values = Values::of(&params);
        for (name, value) in settings {
            list::default().parameters().set_text(&mut values, name, value).unwrap();
        }
        values
    }

    /// The answers, and of each query the digest of what each operator wrote.
    type Written = (BTreeMap<u64, Vec<u8>>, BTreeSet<(u64, u16, u64)>);

    /// What comes of a run on one thread.
    fn written(spec: &OpenSpec) -> Written {
        let workload = OpenWorkload::with_texts(spec.clone()).unwrap();
        let (graph, mut written) = (workload.graph(), Written::default());
        let router = Router::new(graph.clone(), 1);
        let operator = |id| workload.operator(id, 0, 1).unwrap();
        let mut operators: Vec<Option<Instance>> =
            graph.nodes.iter().map(|node| (node.role == Role::Operator).then(|| operator(node.id))).collect();
        let mut events = Vec::new();
        for event in workload.schedule().unwrap() {
            let event = event.unwrap();
            let header = Header { watermark_ns: event.header.event_time_ns, ..event.header };
            frame::push(&mut events, header, &event.body, b"");
        }
        let mut waiting = VecDeque::from(router.route_events(&events, 0).unwrap());
        for finished in 0..=graph.nodes.len() {
            while let Some(delivery) = waiting.pop_front() {
                if let Some(operator) = &mut operators[delivery.node as usize] {
                    let mut output = Vec::new();
                    operator.process(&delivery.batch, &mut output).unwrap();
                    waiting.extend(router.route(delivery.node, &output, 0).unwrap());
                    continue;
                }
                for frame in frames(&delivery.batch).map(Result::unwrap) {
                    let seq = frame.header.seq;
                    written.0.insert(seq, frame.body.to_vec());
                    written.1.extend(frame.spans().map(|span| (seq, span.node, span.digest)));
                }
            }
            if let Some(Some(operator)) = operators.get_mut(finished) {
                let mut output = Vec::new();
                operator.finish(&mut output).unwrap();
                waiting.extend(router.route(finished as u32, &output, 0).unwrap());
            }
        }
        written
    }

    /// With everything on one machine, and with each shard made where its operator is, in another cache.
    fn is_the_same_placed(settings: &[(&str, &str)]) {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let whole = spec(params(settings), false, here.path());
        prepare(&whole, &mut |_| ()).unwrap();
        let placed = spec(params(settings), true, there.path());
        prepare(&placed, &mut |_| ()).unwrap();
        let expected = written(&whole);
        assert_eq!(expected.0.len(), 30);
        assert!(written(&placed) == expected, "{settings:?}");
    }

    #[test]
    fn answers_are_the_same_to_the_last_operator_whoever_has_the_shards() {
        is_the_same_placed(&[]);
        is_the_same_placed(&[("bm25_corpus_idf", "true"), ("stemmer", "english")]);
        is_the_same_placed(&[
            ("bm25_corpus_idf", "true"),
            ("embedder", "hash"),
            ("vdb_filter_threshold", "0"),
        ]);
    }

    #[test]
    fn so_they_are_for_real_text_in_whole_documents_and_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let line = |id: u64, words: u64| {
            let words: Vec<String> =
                (0..words).map(|word| format!("wing{}", (id + word * word) % 97)).collect();
            format!("{{\"_id\": \"{id}\", \"text\": \"{}.\"}}\n", words.join(" "))
        };
        let file = |name: &str, lines: u64, words| {
            let text: String = (0..lines).map(|id| line(id, words)).collect();
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        file("corpus.jsonl", 120, 40);
        file("queries.jsonl", 10, 4);
        let corpus = list::default().parameters().flags.iter().find(|flag| flag.name == CORPUS).unwrap();
        let mut settings = vec![("corpus", folder.path().to_str().unwrap())];
        settings.extend(corpus.also);
        is_the_same_placed(&settings);
        settings.push(("chunk_tokens", "15"));
        is_the_same_placed(&settings);
    }

    #[test]
    fn a_machine_has_the_shards_of_its_own_operators_and_no_others() {
        let cache = tempfile::tempdir().unwrap();
        let placed = spec(params(&[("bm25_corpus_idf", "true")]), true, cache.path());
        prepare(&placed, &mut |_| ()).unwrap();
        let workload = OpenWorkload::new(placed).unwrap();
        let shards = || {
            let folder = std::fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
            let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
            let mut names: Vec<String> = files.map(|name| name.into_string().unwrap()).collect();
            names.retain(|name| name.starts_with("vdb") && name.ends_with(".idx"));
            names.sort();
            names
        };
        for node in workload.graph().operators().filter(|node| node.affinity.is_none()) {
            workload.operator(node.id, 0, 1).unwrap();
        }
        assert_eq!(shards(), [""; 0]);
        let second = workload.graph().node("vdb1_shard1").unwrap().id;
        for _ in 0..2 {
            workload.operator(second, 0, 1).unwrap();
            assert_eq!(shards(), ["vdb1.1-of-3.idx", "vdb2.1-of-3.idx"]);
        }
    }
}
