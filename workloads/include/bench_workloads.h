/*
 * bench_workloads.h - the operators of bench's workloads, for engines whose workers are other
 * processes or other languages.
 *
 * A workload is a graph of operators (bench_workload_graph, JSON). What travels along its edges are
 * frames; a batch is a concatenation of frames. A frame is, little endian:
 *
 *   offset size field
 *        0    4 body length in bytes
 *        4    1 port: output port when written by an operator, input port when read by one
 *        5    1 kind: 0 data, 1 failed (tombstone), 2 heartbeat
 *        6    2 number of spans
 *        8    8 sequence number
 *       16    8 partition key
 *       24    8 event time in nanoseconds (signed)
 *       32    8 watermark in nanoseconds (signed)
 *       40    . body, then 32 bytes per span
 *
 * An engine never looks at bodies. It hands batches to operators and routes what they write:
 * bench_route knows the graph, the partitioning and the ports. Tombstones and heartbeats travel like
 * data and must not be dropped.
 *
 * Ownership: every object is freed by its own function, once. Bytes that a function hands out belong
 * to the object they came from. Strings handed out belong to the library.
 *
 * Threads: a workload and a router may be used from any number of threads at once; an operator by
 * one thread at a time; batches by one thread at a time. No function starts a thread.
 *
 * Errors: null or a non-zero status; bench_last_error() then has the message for this thread.
 */
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_WORKLOADS_ABI 1u

/* `node` argument of bench_route for events from the sources. */
#define BENCH_EVENTS UINT32_MAX

typedef struct bench_workload bench_workload;
typedef struct bench_operator bench_operator;
typedef struct bench_router bench_router;
typedef struct bench_batches bench_batches;

/* Version of this ABI; refuse any but BENCH_WORKLOADS_ABI. */
uint32_t bench_workloads_abi(void);

/* Message of the last failure in this thread. Valid until the next call in this thread. */
const char *bench_last_error(void);

/* Opens a workload from the JSON "open" object that the host's extension bench.workloads/1 gives,
 * and maps its prepared indexes. Null on failure. */
bench_workload *bench_workload_open(const char *open_json);

/* What is being built, for people; `context` is as it was given. */
typedef void (*bench_prepare_progress)(void *context, const char *what);

/* Builds the indexes that the JSON needs and its "cache_dir" lacks: for a worker on another machine, whose
 * "cache_dir" is a folder of there. Of several processes of a machine the first builds, the others wait.
 * `progress` may be null. Returns 0 on success. */
int32_t bench_workload_prepare(const char *open_json, bench_prepare_progress progress, void *context);

/* Closes a workload. Operators and routers made from it stay usable. Null is allowed. */
void bench_workload_close(bench_workload *workload);

/* The graph as JSON. Valid while the workload is open. */
const char *bench_workload_graph(const bench_workload *workload);

#define BENCH_ROLE_SOURCE 0u   /* the host emits its events */
#define BENCH_ROLE_OPERATOR 1u /* created with bench_operator_new, run by the engine */
#define BENCH_ROLE_SINK 2u     /* what is routed here goes back to the host */

#define BENCH_STATE_NONE 0u      /* nothing that changes: any instance may take any record, and take it again */
#define BENCH_STATE_BROADCAST 1u /* built from a broadcast input: right again once it has seen that input again */
#define BENCH_STATE_KEYED 2u     /* one entry a key, at the instance that owns the key */
#define BENCH_STATE_GLOBAL 3u    /* one state for the whole stream, so one instance */

/* What an engine needs to know of a node to place it. The graph's JSON has all there is. */
typedef struct bench_node_facts {
    uint32_t role;            /* BENCH_ROLE_* */
    uint32_t state;           /* BENCH_STATE_* */
    uint32_t max_parallelism; /* most instances that still give the right answer; 0: any number */
    uint32_t blocking;        /* 1 when it waits on the network and deserves a thread of its own */
    const char *name;         /* valid while the workload is open */
} bench_node_facts;

/* The graph without JSON: number of nodes (in topological order), and one of them. 0 on success. */
uint32_t bench_workload_node_count(const bench_workload *workload);
int32_t bench_workload_node(const bench_workload *workload, uint32_t node, bench_node_facts *facts);

/* Chains: runs of operators that one bench_operator may fuse. Every operator is in one. The nodes of chain
 * `index` are valid while the workload is open; null on failure. Where state begins or ends, an engine that
 * can run a stateless operator again had better cut a chain. */
size_t bench_workload_chain_count(const bench_workload *workload);
const uint32_t *bench_workload_chain(const bench_workload *workload, size_t index, size_t *count);

/* Creates instance `instance` of `of` of a chain of `count` nodes, each feeding the next alone
 * (often just one node). Null on failure. In a run on several machines a node with "affinity" builds
 * what it reads here and now, where this machine lacks it. */
bench_operator *bench_operator_new(const bench_workload *workload, const uint32_t *nodes, size_t count,
                                   uint32_t instance, uint32_t of);

/* Processes a batch in order. *output belongs to the operator and is valid until its next call.
 * A record that fails becomes a tombstone in the output. Returns 0 on success. */
int32_t bench_operator_process(bench_operator *op, const uint8_t *batch, size_t len,
                               const uint8_t **output, size_t *output_len);

/* Flushes the operator, once, after the last batch of all its inputs. Otherwise as above. */
int32_t bench_operator_finish(bench_operator *op, const uint8_t **output, size_t *output_len);

/* Frees an operator. Null is allowed. */
void bench_operator_free(bench_operator *op);

/* A router for the workload's graph, with up to `parallelism` instances of each node. */
bench_router *bench_router_new(const bench_workload *workload, uint32_t parallelism);

/* Frees a router. Null is allowed. */
void bench_router_free(bench_router *router);

/* Number of instances of `node`; 0 when there is no such node. */
uint32_t bench_router_instances(const bench_router *router, uint32_t node);

/* Routes what `node` wrote, or events from the host when `node` is BENCH_EVENTS. Records that may go
 * to any instance stay together and go to instance `turn % instances`. Null on failure. */
bench_batches *bench_route(const bench_router *router, uint32_t node, const uint8_t *batch, size_t len,
                           uint32_t turn);

/* Tombstones for a batch that was lost on its way into `node`: one entry, to be routed as if `node`
 * had written it. Null on failure. */
bench_batches *bench_fail(const bench_workload *workload, uint32_t node, const uint8_t *batch, size_t len,
                          const char *reason);

/* The batch as `node` would read it if every record had failed before it: one entry, to be given to `node`. For
 * an operator that is still there and pairs, orders or counts: it must see each record, and bench_fail would
 * answer twice what it holds the other half of. Null on failure. */
bench_batches *bench_fail_input(const bench_workload *workload, uint32_t node, const uint8_t *batch,
                                size_t len, const char *reason);

/* Number of batches. */
size_t bench_batches_count(const bench_batches *batches);

/* Batch `index`: where it goes, and its bytes, valid until the batches are freed. 0 on success. */
int32_t bench_batches_get(const bench_batches *batches, size_t index, uint32_t *node, uint32_t *instance,
                          const uint8_t **data, size_t *len);

/* Frees batches. Null is allowed. */
void bench_batches_free(bench_batches *batches);

#ifdef __cplusplus
}
#endif

#endif /* BENCH_WORKLOADS_H */
