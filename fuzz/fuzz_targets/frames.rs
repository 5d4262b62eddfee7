//! Batches from a plugin: read to the end or to the first malformed frame, routed without a panic, and
//! what is read is pushed back as the same bytes.
#![no_main]

use bench_dataflow::frame::{frames, push};
use bench_dataflow::route::Router;
use bench_workloads::list;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let read: Result<Vec<_>, _> = frames(bytes).collect();
    if let Ok(read) = &read {
        let mut again = Vec::new();
        for frame in read {
            push(&mut again, frame.header, frame.body, frame.spans);
        }
        assert_eq!(again, bytes);
    }
    let workload = list::default();
    let router = Router::new(workload.graph(&workload.parameters().defaults()).unwrap(), 3);
    assert_eq!(router.route_events(bytes, 1).is_ok(), read.is_ok());
    for node in 0..router.graph().nodes.len() as u32 {
        assert_eq!(router.route(node, bytes, 2).is_ok(), read.is_ok());
    }
});
