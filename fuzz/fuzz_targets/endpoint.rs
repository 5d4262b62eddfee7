//! What a service answers: vectors in the order of the texts, a text, or a fault whose words fit on a line of a
//! terminal. The first byte is how many texts were sent.
#![no_main]

use std::sync::LazyLock;

use bench_workloads::text::endpoint::{Endpoint, Patience};
use libfuzzer_sys::fuzz_target;

static ENDPOINT: LazyLock<Endpoint> =
    LazyLock::new(|| Endpoint::new("http://127.0.0.1:9/v1", "a-model", Patience::default()).unwrap());

fuzz_target!(|bytes: &[u8]| {
    let Some((&texts, answer)) = bytes.split_first() else { return };
    let texts = usize::from(texts).max(1);
    let said = match ENDPOINT.read_embeddings(answer, texts) {
        Err(fault) => fault.to_string(),
        Ok(embedded) => {
            assert_eq!(embedded.vectors.len(), texts);
            let dimension = embedded.vectors[0].len();
            assert!(dimension > 0 && embedded.vectors.iter().all(|vector| vector.len() == dimension));
            assert!(embedded.vectors.iter().flatten().all(|number| number.is_finite()));
            String::new()
        }
    };
    assert!(!said.chars().any(char::is_control), "{said:?}");
    if let Err(fault) = ENDPOINT.read_chat(answer) {
        assert!(!fault.to_string().chars().any(char::is_control), "{fault}");
    }
});
