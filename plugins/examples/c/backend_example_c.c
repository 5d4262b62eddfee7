/*
 * A backend in C: the whole graph in one thread, one instance of every operator.
 *
 *     cc -std=c11 -shared -fPIC -fvisibility=hidden -I INCLUDE backend_example_c.c -o libbackend_example_c.so
 */
#include "bench_backend.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const bench_host *host;
    bench_host_router *router;
    bench_host_operator **operators; /* by node; null for sources and sinks */
    uint32_t nodes;
    uint32_t turn;
} pipeline;

/* Routes what `node` wrote, and hands every batch on, depth first, until it reaches the sink. */
static bench_status deliver(pipeline *all, uint32_t node, bench_view batch) {
    const bench_host *host = all->host;
    bench_deliveries *out = host->route(host, all->router, node, batch, all->turn++);
    if (out == NULL) {
        return BENCH_ERROR_INVALID;
    }
    bench_status status = BENCH_OK;
    size_t count = host->deliveries_count(host, out);
    for (size_t i = 0; i < count && status == BENCH_OK; i++) {
        uint32_t to = 0, instance = 0;
        bench_owned input = {NULL, 0, NULL}, output = {NULL, 0, NULL};
        status = host->deliveries_take(host, out, i, &to, &instance, &input);
        if (status == BENCH_OK && all->operators[to] == NULL) {
            status = host->emit(host, bench_view_of(&input));
        } else if (status == BENCH_OK) {
            status = host->operator_process(host, all->operators[to], bench_view_of(&input), &output);
            if (status == BENCH_OK) {
                status = deliver(all, to, bench_view_of(&output));
            }
        }
        host->release(host, &input);
        host->release(host, &output);
    }
    host->deliveries_drop(host, out);
    return status;
}

/* Makes the router and one instance of every operator. */
static bench_status open_pipeline(pipeline *all, const bench_host *host) {
    all->host = host;
    all->nodes = host->node_count(host);
    all->router = host->router_create(host, 1);
    all->operators = calloc(all->nodes, sizeof *all->operators);
    if (all->router == NULL || all->operators == NULL) {
        return BENCH_ERROR_RUNTIME;
    }
    for (uint32_t id = 0; id < all->nodes; id++) {
        bench_node node;
        bench_status status = host->node(host, id, &node);
        if (status != BENCH_OK) {
            return status;
        }
        if (node.role == BENCH_ROLE_OPERATOR) {
            all->operators[id] = host->operator_create(host, id, 0, 1);
            if (all->operators[id] == NULL) {
                return BENCH_ERROR_INVALID;
            }
        }
    }
    return BENCH_OK;
}

static void close_pipeline(pipeline *all) {
    for (uint32_t id = 0; all->operators != NULL && id < all->nodes; id++) {
        all->host->operator_drop(all->host, all->operators[id]);
    }
    free(all->operators);
    all->host->router_drop(all->host, all->router);
}

/* Reads until the events end. */
static bench_status process(pipeline *all, uint32_t batch_size) {
    const bench_host *host = all->host;
    for (;;) {
        if (host->is_cancelled(host)) {
            return BENCH_ERROR_CANCELLED;
        }
        bench_owned events = {NULL, 0, NULL};
        bench_status status = host->next_events(host, batch_size, &events);
        if (status != BENCH_OK) {
            return status == BENCH_END ? BENCH_OK : status;
        }
        status = deliver(all, BENCH_FROM_SOURCES, bench_view_of(&events));
        host->release(host, &events);
        if (status != BENCH_OK) {
            return status;
        }
    }
}

/* Flushes every operator once, in the order of the nodes. */
static bench_status finish(pipeline *all) {
    const bench_host *host = all->host;
    for (uint32_t id = 0; id < all->nodes; id++) {
        if (all->operators[id] == NULL) {
            continue;
        }
        bench_owned output = {NULL, 0, NULL};
        bench_status status = host->operator_finish(host, all->operators[id], &output);
        if (status == BENCH_OK) {
            status = deliver(all, id, bench_view_of(&output));
        }
        host->release(host, &output);
        if (status != BENCH_OK) {
            return status;
        }
    }
    return BENCH_OK;
}

static bench_status run(bench_self *self, const bench_spec *spec, const bench_host *host,
                        bench_result *result) {
    (void)self;
    if (spec->nodes > 1) {
        bench_say(result->error, "this example runs in one process and cannot use several nodes");
        bench_say(result->remedy, "leave --nodes at 1");
        return BENCH_ERROR_UNSUPPORTED;
    }
    pipeline all = {NULL, NULL, NULL, 0, 0};
    host->progress(host, "deploy", "");
    bench_status status = open_pipeline(&all, host);
    if (status == BENCH_OK) {
        host->progress(host, "steady", "");
        status = process(&all, spec->batch_size);
    }
    if (status == BENCH_OK) {
        host->progress(host, "drain", "");
        status = finish(&all);
    }
    if (status == BENCH_OK) {
        char turns[16];
        snprintf(turns, sizeof turns, "%u", (unsigned)all.turn);
        host->metric(host, "batches_routed", turns);
    } else {
        bench_say(result->error, host->last_error(host));
    }
    close_pipeline(&all);
    return status;
}

static bench_status create(bench_self **self, bench_text *error) {
    (void)self;
    (void)error;
    return BENCH_OK;
}

static bench_status is_available(bench_self *self, bench_text *detail, bench_text *remedy) {
    (void)self;
    (void)remedy;
    bench_say(detail, "one thread of C");
    return BENCH_OK;
}

/* bench.options/1: the settings of your own that users give as --backend-option KEY=VALUE, which you find in
 * spec->extra. This backend has none, so that the host refuses all; one would be
 * [{"name": "mode", "meaning": "how to run", "default": "fast", "values": ["fast", "safe"]}]. */
static bench_status extension(bench_self *self, const char *id, const char *request, bench_text *answer) {
    (void)self;
    (void)request;
    if (strcmp(id, "bench.options/1") != 0) {
        return BENCH_END;
    }
    bench_say(answer, "[]");
    return BENCH_OK;
}

static const bench_backend_v1 backend = {
    BENCH_BACKEND_HEADER, "example_c", "1.0.0", create, is_available, run, extension, NULL,
};

const bench_backend_v1 *bench_backend_entry_v1(void) {
    return &backend;
}
