//! The questions of a collection.

use std::collections::HashMap;
use std::collections::hash_map;

use sha2::Sha256;

use super::entry::Entry;
use super::lines::each_line;
use super::remark::{Oddity, Remarks};
use super::source::Source;
use super::{CorpusError, CorpusQuery};

/// All that have a text, each once.
pub fn load(
    source: &Source,
    digest: &mut Sha256,
    remarks: &mut Remarks,
) -> Result<Vec<CorpusQuery>, CorpusError> {
    let mut queries: Vec<CorpusQuery> = Vec::new();
    let mut seen: HashMap<String, (String, u64)> = HashMap::new();
    each_line(source, digest, |line| {
        let Entry { id, text, .. } = Entry::of(line.text)?;
        let place = || format!("{} ({id:?})", source.place(line.number));
        match seen.entry(id.clone()) {
            hash_map::Entry::Occupied(earlier) => {
                let (other, at) = earlier.get();
                if *other != text {
                    return Err(format!(
                        "_id {id:?} stands in line {at} with another text: keep one of them"
                    ));
                }
                remarks.note(Oddity::RepeatedQuery, place);
            }
            hash_map::Entry::Vacant(first) => {
                first.insert((text.clone(), line.number));
                if text.trim().is_empty() {
                    remarks.note(Oddity::QueryWithoutText, place);
                } else {
                    queries.push(CorpusQuery { id, text });
                }
            }
        }
        Ok(())
    })?;
    match (queries.is_empty(), seen.len()) {
        (false, _) => Ok(queries),
        (true, 0) => Err(source.error(None, "it holds no queries")),
        (true, all) => {
            Err(source.error(None, &format!("none of its {all} queries has words in its field `text`")))
        }
    }
}
