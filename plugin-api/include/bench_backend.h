/*
 * bench_backend.h - a backend for bench in C, C++, Zig, or anything that can export a C function.
 *
 * A plugin is a shared library `libbackend_<name>.so` that exports one function,
 *
 *     const bench_backend_v1 *bench_backend_entry_v1(void);
 *
 * which returns a static table. Rust authors use the crate bench-plugin-api instead; both entries
 * lead to the same host code. ABI 1 is frozen: tables only ever grow at their end, and say their size.
 *
 * What a backend does: read events (next_events), route them (route), hand each batch to the operator
 * instance it is for (operator_process), route what that writes, and hand what reaches the sink to
 * emit. When the events end, finish every operator, in the order of the nodes, each once all input of
 * it is processed. Batches are opaque; nothing of them needs to be read.
 *
 * OWNERSHIP is told by the type's name:
 *   const char *    UTF-8 with a NUL. As an argument: borrowed for the length of the call. As a
 *                   result or member: valid as long as the function or struct says.
 *   bench_view      bytes that are borrowed: as an argument for the length of the call.
 *   bench_owned     bytes that you own: give them back with host->release, once, from any thread.
 *   bench_text      where to write text to; borrowed for the length of the call. Copies at once.
 *   bench_host_operator, bench_host_router, bench_deliveries
 *                   objects of the host that you own: drop each with its own function, before run
 *                   returns.
 *   bench_self      an object of the plugin: made by create, given back to drop.
 * The host never frees what the plugin allocated, nor the other way round.
 *
 * THREADS: the functions of bench_host may be called from any number of threads at once until run
 * returns; end your threads before. An operator is used by one thread at a time, a router by many.
 * The host calls is_available, run and extension of one bench_self from any thread, and drop once
 * nothing else runs.
 *
 * ERRORS are a status other than BENCH_OK. Of a host function, last_error has the message. A C++
 * exception must not leave a function of the table: the process would end.
 */
#ifndef BENCH_BACKEND_H
#define BENCH_BACKEND_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "benchbe1" */
#define BENCH_BACKEND_MAGIC 0x31656268636e6562ull
#define BENCH_BACKEND_ABI 1u
/* Version of the API this header belongs to; goes into the table. */
#define BENCH_API_VERSION "0.1.0"

/* What a call came to. Each error has its own exit code of bench. */
typedef int32_t bench_status;
#define BENCH_OK 0
#define BENCH_ERROR_RUNTIME 1     /* the runtime behind the backend failed; any unknown status too */
#define BENCH_ERROR_UNAVAILABLE 2 /* it is missing */
#define BENCH_ERROR_UNSUPPORTED 3 /* the backend cannot do what the spec asks */
#define BENCH_ERROR_CANCELLED 4   /* the user stopped the run */
#define BENCH_ERROR_PANIC 5       /* an exception or assertion that the plugin caught itself */
#define BENCH_ERROR_INVALID 6     /* an argument was wrong */
#define BENCH_END 100             /* no error: nothing more, or no such thing */

typedef struct bench_view {
    const uint8_t *data; /* may be null when len is 0 */
    size_t len;
} bench_view;

typedef struct bench_owned {
    const uint8_t *data; /* may be null when len is 0 */
    size_t len;
    void *token; /* the host's; null when there is nothing to release */
} bench_owned;

static inline bench_view bench_view_of(const bench_owned *bytes) {
    bench_view view;
    view.data = bytes->data;
    view.len = bytes->len;
    return view;
}

typedef struct bench_text bench_text;
struct bench_text {
    void *context;
    /* Appends len bytes of UTF-8; what is not is replaced. One thread at a time. */
    void (*append)(bench_text *text, const char *data, size_t len);
};

/* Appends a C string. `text` may be null. */
static inline void bench_say(bench_text *text, const char *string) {
    if (text != NULL && string != NULL) {
        text->append(text, string, strlen(string));
    }
}

typedef struct bench_pair {
    const char *key;
    const char *value;
} bench_pair;

/* What to run. Everything in it lives until run returns. */
typedef struct bench_spec {
    uint32_t size;        /* sizeof(bench_spec) of the host */
    uint32_t parallelism; /* operator-level parallelism, at least 1 */
    uint64_t total_items; /* queries the source will emit */
    uint32_t batch_size;  /* what to ask next_events for: equal for every backend */
    uint32_t nodes;       /* worker nodes, at least 1 */
    const char *workload;
    const char *scheduler;   /* fifo, load_aware, default: a hint */
    const bench_pair *extra; /* everything else: seed, temp_dir, run_id, ... */
    size_t extra_count;
} bench_spec;

/* What a run came to. The host fills it in beforehand with "not stated". */
typedef struct bench_result {
    uint32_t size; /* sizeof(bench_result) of the host */
    uint32_t reserved;
    uint64_t items_processed; /* results emitted; leave it, and the host's own count is used */
    double elapsed_seconds;   /* leave it, and the host's own clock is used */
    bench_text *error;        /* when run fails: why, one sentence */
    bench_text *remedy;       /* when run fails: the command or change that mends it */
} bench_result;

#define BENCH_ROLE_SOURCE 0u   /* the host emits its events */
#define BENCH_ROLE_OPERATOR 1u /* created with operator_create, run by the backend */
#define BENCH_ROLE_SINK 2u     /* what is routed here goes to emit */

#define BENCH_STATE_NONE 0u      /* nothing that changes: any instance may take any record, and take it again */
#define BENCH_STATE_BROADCAST 1u /* built from a broadcast input: right again once it has seen that input again */
#define BENCH_STATE_KEYED 2u     /* one entry a key, at the instance that owns the key */
#define BENCH_STATE_GLOBAL 3u    /* one state for the whole stream, so one instance */

/* A node of the graph. Nodes are numbered from 0 in topological order. */
typedef struct bench_node {
    uint32_t id;
    uint32_t role;
    uint32_t max_parallelism; /* most instances that still give the right answer; 0: any number */
    uint32_t blocking;        /* 1 when it waits on the network and deserves a thread of its own */
    const char *name;         /* valid until run returns */
} bench_node;

typedef struct bench_host_operator bench_host_operator;
typedef struct bench_host_router bench_host_router;
typedef struct bench_deliveries bench_deliveries;

/* `node` argument of route for events that come from next_events. */
#define BENCH_FROM_SOURCES UINT32_MAX

typedef struct bench_host bench_host;
struct bench_host {
    uint32_t abi;  /* BENCH_BACKEND_ABI */
    uint32_t size; /* sizeof(bench_host) of the host; a member beyond it does not exist */
    void *context;

    /* Message of the last failure in this thread. Valid until the next call in this thread. */
    const char *(*last_error)(const bench_host *host);
    /* Gives bytes back. Afterwards they are empty; releasing empty bytes does nothing. */
    void (*release)(const bench_host *host, bench_owned *bytes);

    /* The graph as JSON, valid until run returns; null on failure. */
    const char *(*graph_json)(const bench_host *host);
    /* The same without JSON: number of nodes, and one of them. */
    uint32_t (*node_count)(const bench_host *host);
    bench_status (*node)(const bench_host *host, uint32_t id, bench_node *node);

    /* Waits for the next events: at most max_items queries with the documents between them.
     * BENCH_OK: *events is yours. BENCH_END: there are no more. The first call starts the clock. */
    bench_status (*next_events)(const bench_host *host, uint32_t max_items, bench_owned *events);
    /* Hands results to the sink, which stamps the time. */
    bench_status (*emit)(const bench_host *host, bench_view batch);

    /* Creates instance `instance` of `of` of an operator. Null on failure. */
    bench_host_operator *(*operator_create)(const bench_host *host, uint32_t node, uint32_t instance,
                                            uint32_t of);
    /* Processes a batch; *output is yours. A record that fails comes out as a tombstone, which travels
     * like data. */
    bench_status (*operator_process)(const bench_host *host, bench_host_operator *op, bench_view batch,
                                     bench_owned *output);
    /* Flushes it, once, when all its inputs have ended; *output is yours. */
    bench_status (*operator_finish)(const bench_host *host, bench_host_operator *op, bench_owned *output);
    void (*operator_drop)(const bench_host *host, bench_host_operator *op); /* null is allowed */

    /* A router that gives each node up to `parallelism` instances. Null on failure. */
    bench_host_router *(*router_create)(const bench_host *host, uint32_t parallelism);
    /* Number of instances of a node: what to create, and the `of` to create them with. */
    uint32_t (*router_instances)(const bench_host *host, const bench_host_router *router, uint32_t node);
    /* Routes what `node` wrote, or events when node is BENCH_FROM_SOURCES. Records that may go to any
     * instance go to instance `turn % instances`: count turn up. Null on failure. */
    bench_deliveries *(*route)(const bench_host *host, const bench_host_router *router, uint32_t node,
                               bench_view batch, uint32_t turn);
    void (*router_drop)(const bench_host *host, bench_host_router *router); /* null is allowed */

    size_t (*deliveries_count)(const bench_host *host, const bench_deliveries *deliveries);
    /* Takes delivery `index` out: where it goes, and its batch, which is yours. Each once. */
    bench_status (*deliveries_take)(const bench_host *host, bench_deliveries *deliveries, size_t index,
                                    uint32_t *node, uint32_t *instance, bench_owned *batch);
    void (*deliveries_drop)(const bench_host *host, bench_deliveries *deliveries); /* null is allowed */

    /* Says which phase the backend is in: start-up, deploy, steady, drain, teardown. */
    void (*progress)(const bench_host *host, const char *phase, const char *detail);
    /* level: 1 error, 2 warning, 3 info, 4 debug, 5 trace. */
    void (*log)(const bench_host *host, uint8_t level, const char *target, const char *message);
    /* A fact for the record; `json` is a JSON text such as "3" or "\"text\"". */
    void (*metric)(const bench_host *host, const char *name, const char *json);
    /* 1 once the run has to end at once; return BENCH_ERROR_CANCELLED then. */
    int32_t (*is_cancelled)(const bench_host *host);
    /* Calls a host extension such as bench.workloads/1. BENCH_END when the host does not have it. */
    bench_status (*extension)(const bench_host *host, const char *id, const char *request,
                              bench_text *answer);

    /* What the operator keeps between records, one of BENCH_STATE_*; BENCH_STATE_NONE where there is no such
     * node. A host that is older has a `size` without it. */
    uint32_t (*node_state)(const bench_host *host, uint32_t id);
};

typedef struct bench_self bench_self;

/* What bench_backend_entry_v1 returns: static, read-only, valid as long as the library is loaded. */
typedef struct bench_backend_v1 {
    uint64_t magic;        /* BENCH_BACKEND_MAGIC */
    uint32_t abi;          /* BENCH_BACKEND_ABI */
    uint32_t size;         /* sizeof(bench_backend_v1) */
    uint32_t pointer_bits; /* 8 * sizeof(void *) */
    uint32_t reserved;     /* 0 */
    const char *api_version;    /* BENCH_API_VERSION */
    const char *name;           /* the file is libbackend_<name>.so; a-z, 0-9 and _ */
    const char *plugin_version; /* the plugin's own */

    /* Makes the backend; starts nothing. *self may stay null when there is nothing to keep. */
    bench_status (*create)(bench_self **self, bench_text *error);
    /* BENCH_OK, and the runtime's version in detail; or BENCH_ERROR_UNAVAILABLE, what is missing in
     * detail and the command that mends it in remedy. Light, may be called often, starts nothing. */
    bench_status (*is_available)(bench_self *self, bench_text *detail, bench_text *remedy);
    /* Runs the workload. */
    bench_status (*run)(bench_self *self, const bench_spec *spec, const bench_host *host,
                        bench_result *result);
    /* Answers an extension such as bench.requirements/1; BENCH_END when there is no such thing. The
     * member may be null. Answer bench.options/1 with the --backend-option that you take, or "[]": the
     * host then refuses all others. Its form is in docs/plugin-author.md. */
    bench_status (*extension)(bench_self *self, const char *id, const char *request, bench_text *answer);
    /* Ends the backend. May be null. */
    void (*drop)(bench_self *self);
} bench_backend_v1;

/* Fills in the first members of the table. */
#define BENCH_BACKEND_HEADER                                                                          \
    BENCH_BACKEND_MAGIC, BENCH_BACKEND_ABI, (uint32_t)sizeof(bench_backend_v1),                       \
        (uint32_t)(8 * sizeof(void *)), 0, BENCH_API_VERSION

#if defined(_WIN32)
#define BENCH_EXPORT __declspec(dllexport)
#else
#define BENCH_EXPORT __attribute__((visibility("default")))
#endif

BENCH_EXPORT const bench_backend_v1 *bench_backend_entry_v1(void);

#ifdef __cplusplus
}
#endif

#endif /* BENCH_BACKEND_H */
