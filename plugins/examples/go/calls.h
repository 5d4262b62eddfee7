/* Go cannot call a function pointer: each function of bench_host that the backend uses, as one that it can. */
#ifndef CALLS_H
#define CALLS_H

#include "bench_backend.h"

static inline const char *host_last_error(const bench_host *host) { return host->last_error(host); }
static inline void host_release(const bench_host *host, bench_owned *bytes) { host->release(host, bytes); }
static inline uint32_t host_node_count(const bench_host *host) { return host->node_count(host); }
static inline bench_status host_node(const bench_host *host, uint32_t id, bench_node *node) {
    return host->node(host, id, node);
}
static inline bench_status host_next_events(const bench_host *host, uint32_t max_items, bench_owned *events) {
    return host->next_events(host, max_items, events);
}
static inline bench_status host_emit(const bench_host *host, const bench_owned *batch) {
    return host->emit(host, bench_view_of(batch));
}
static inline bench_host_operator *host_operator_create(const bench_host *host, uint32_t node) {
    return host->operator_create(host, node, 0, 1);
}
static inline bench_status host_operator_process(const bench_host *host, bench_host_operator *op,
                                                 const bench_owned *batch, bench_owned *output) {
    return host->operator_process(host, op, bench_view_of(batch), output);
}
static inline bench_status host_operator_finish(const bench_host *host, bench_host_operator *op,
                                                bench_owned *output) {
    return host->operator_finish(host, op, output);
}
static inline void host_operator_drop(const bench_host *host, bench_host_operator *op) {
    host->operator_drop(host, op);
}
static inline bench_host_router *host_router_create(const bench_host *host) {
    return host->router_create(host, 1);
}
static inline void host_router_drop(const bench_host *host, bench_host_router *router) {
    host->router_drop(host, router);
}
static inline bench_deliveries *host_route(const bench_host *host, const bench_host_router *router,
                                           uint32_t node, const bench_owned *batch, uint32_t turn) {
    return host->route(host, router, node, bench_view_of(batch), turn);
}
static inline size_t host_deliveries_count(const bench_host *host, const bench_deliveries *out) {
    return host->deliveries_count(host, out);
}
static inline bench_status host_deliveries_take(const bench_host *host, bench_deliveries *out, size_t index,
                                                uint32_t *node, uint32_t *instance, bench_owned *batch) {
    return host->deliveries_take(host, out, index, node, instance, batch);
}
static inline void host_deliveries_drop(const bench_host *host, bench_deliveries *out) {
    host->deliveries_drop(host, out);
}
static inline void host_progress(const bench_host *host, const char *phase) {
    host->progress(host, phase, "");
}
static inline void host_metric(const bench_host *host, const char *name, const char *json) {
    host->metric(host, name, json);
}
static inline int32_t host_is_cancelled(const bench_host *host) { return host->is_cancelled(host); }
static inline void text_say(bench_text *text, const char *string, size_t len) {
    if (text != NULL) {
        text->append(text, string, len);
    }
}

#endif /* CALLS_H */
