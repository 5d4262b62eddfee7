/*
 * A runtime with two worker processes, in which the operator `embed_q` runs; the others run here. What it does when a
 * worker is lost, or what it says of nodes, is in HOSTILE:
 *
 *   lost:again    sends the batch to the other worker (also without the variable)
 *   lost:say      ends the run, and says why
 *   lost:mumble   ends the run, and does not say why
 *   lost:ignore   goes on as if nothing had been lost
 *   lost:wait     waits for the answer for ever
 *   nodes:take    takes any number of nodes without a word
 *   nodes:one     says that there were three, all of this one process
 *   nodes:invent  says that there were three, of processes that do not exist
 *   nodes:idle    says that there were three, of which one had nothing to do
 */
#define _GNU_SOURCE
#include "bench_backend.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 2
#define NODES 64

struct worker {
    pid_t process;
    int channel;
};

static struct worker workers[WORKERS];
static bench_host_operator *operators[NODES];
static uint32_t remote = NODES; /* the operator that runs in the workers */
static int lost = 0;

static int wants(const char *wish) {
    const char *given = getenv("HOSTILE");
    return given != NULL && strcmp(given, wish) == 0;
}

/* All or nothing: 0 once the other side is gone. */
static int transfer(int channel, void *data, size_t size, int sending) {
    for (char *at = data; size > 0;) {
        ssize_t moved = sending ? send(channel, at, size, MSG_NOSIGNAL) : recv(channel, at, size, 0);
        if (moved <= 0) {
            return 0;
        }
        at += moved;
        size -= (size_t)moved;
    }
    return 1;
}

static int say(int channel, bench_view batch) {
    uint64_t size = batch.len;
    return transfer(channel, &size, sizeof size, 1) && transfer(channel, (void *)(uintptr_t)batch.data, batch.len, 1);
}

/* The bytes are the caller's to free; their first eight are room for nothing. */
static uint8_t *hear(int channel, size_t *len) {
    uint64_t size;
    if (!transfer(channel, &size, sizeof size, 0)) {
        return NULL;
    }
    uint8_t *bytes = malloc(size + 8);
    *len = size;
    if (!transfer(channel, bytes, size, 0)) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

static void work(const bench_host *host, int channel) {
    size_t len;
    for (uint8_t *bytes; (bytes = hear(channel, &len)) != NULL; free(bytes)) {
        bench_owned output = {NULL, 0, NULL};
        bench_view input = {bytes, len};
        if (host->operator_process(host, operators[remote], input, &output) != BENCH_OK ||
            !say(channel, bench_view_of(&output))) {
            break;
        }
        host->release(host, &output);
    }
    _exit(0);
}

static void start_workers(const bench_host *host) {
    for (int i = 0; i < WORKERS; i++) {
        int ends[2];
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
        workers[i].process = fork();
        if (workers[i].process == 0) {
            for (int other = 0; other < i; other++) {
                close(workers[other].channel);
            }
            close(ends[0]);
            work(host, ends[1]);
        }
        close(ends[1]);
        workers[i].channel = ends[0];
    }
}

static void end_worker(struct worker *worker) {
    if (worker->channel >= 0) {
        close(worker->channel);
        worker->channel = -1;
        waitpid(worker->process, NULL, 0);
    }
}

/* In a worker; NULL when none is left or the answer will not come. */
static uint8_t *remotely(bench_view batch, size_t *len, bench_text *error) {
    for (int i = 0; i < WORKERS; i++) {
        if (workers[i].channel < 0) {
            continue;
        }
        if (say(workers[i].channel, batch)) {
            uint8_t *bytes = hear(workers[i].channel, len);
            if (bytes != NULL) {
                return bytes;
            }
        }
        end_worker(&workers[i]);
        lost++;
        while (wants("lost:wait")) {
            pause();
        }
        if (wants("lost:say")) {
            bench_say(error, "a worker process was killed, and what it held is lost");
            return NULL;
        }
        if (wants("lost:mumble")) {
            bench_say(error, "something went wrong");
            return NULL;
        }
        if (wants("lost:ignore")) {
            *len = 0;
            return calloc(1, 8);
        }
    }
    bench_say(error, "every worker process was killed");
    return NULL;
}

static bench_status deliver(const bench_host *host, bench_host_router *router, uint32_t node, bench_view batch,
                            bench_text *error) {
    bench_deliveries *out = host->route(host, router, node, batch, 0);
    bench_status status = out == NULL ? BENCH_ERROR_INVALID : BENCH_OK;
    for (size_t i = 0; status == BENCH_OK && i < host->deliveries_count(host, out); i++) {
        uint32_t to, instance;
        bench_owned input = {NULL, 0, NULL}, output = {NULL, 0, NULL};
        status = host->deliveries_take(host, out, i, &to, &instance, &input);
        if (status == BENCH_OK && to == remote) {
            size_t len = 0;
            uint8_t *bytes = remotely(bench_view_of(&input), &len, error);
            bench_view answer = {bytes, len};
            status = bytes == NULL ? BENCH_ERROR_RUNTIME : deliver(host, router, to, answer, error);
            free(bytes);
        } else if (status == BENCH_OK && operators[to] == NULL) {
            status = host->emit(host, bench_view_of(&input));
        } else if (status == BENCH_OK) {
            status = host->operator_process(host, operators[to], bench_view_of(&input), &output);
            if (status == BENCH_OK) {
                status = deliver(host, router, to, bench_view_of(&output), error);
            }
        }
        host->release(host, &input);
        host->release(host, &output);
    }
    host->deliveries_drop(host, out);
    return status;
}

/* What it says of nodes, true or not. */
static void report_nodes(const bench_host *host) {
    char name[64] = "", said[512];
    gethostname(name, sizeof name - 1);
    int own = getpid();
    const char *form = "{\"a\": {\"calls\": 9, \"processes\": [%d], \"host\": \"%s\"}, "
                       "\"b\": {\"calls\": 9, \"processes\": [%d], \"host\": \"%s\"}, "
                       "\"c\": {\"calls\": %d, \"processes\": [%d], \"host\": \"%s\"}}";
    int invented = wants("nodes:invent") ? 4000000 : 0;
    int calls = wants("nodes:idle") ? 0 : 9;
    int second = invented ? invented : own, third = invented ? invented + 1 : own;
    if (wants("nodes:one") || invented || !calls) {
        if (!calls) {
            second = (int)workers[0].process;
        }
        snprintf(said, sizeof said, form, own, name, second, name, calls, third, name);
        host->metric(host, "nodes", said);
    }
}

static bench_status run(bench_self *self, const bench_spec *spec, const bench_host *host, bench_result *result) {
    (void)self;
    const char *wish = getenv("HOSTILE");
    if (spec->nodes > 1 && (wish == NULL || strncmp(wish, "nodes:", 6) != 0)) {
        bench_say(result->error, "its workers are processes of one machine: it cannot use several nodes");
        bench_say(result->remedy, "leave --nodes at 1");
        return BENCH_ERROR_UNSUPPORTED;
    }
    bench_host_router *router = host->router_create(host, 1);
    uint32_t nodes = host->node_count(host);
    bench_status status = router == NULL || nodes > NODES ? BENCH_ERROR_INVALID : BENCH_OK;
    for (uint32_t id = 0; status == BENCH_OK && id < nodes; id++) {
        bench_node node;
        operators[id] = NULL;
        status = host->node(host, id, &node);
        if (status == BENCH_OK && node.role == BENCH_ROLE_OPERATOR) {
            operators[id] = host->operator_create(host, id, 0, 1);
            status = operators[id] == NULL ? BENCH_ERROR_INVALID : BENCH_OK;
            remote = strcmp(node.name, "embed_q") == 0 ? id : remote;
        }
    }
    host->progress(host, "deploy", "");
    start_workers(host);
    while (status == BENCH_OK) {
        bench_owned events = {NULL, 0, NULL};
        status = host->next_events(host, spec->batch_size, &events);
        if (status == BENCH_OK) {
            status = deliver(host, router, BENCH_FROM_SOURCES, bench_view_of(&events), result->error);
        }
        host->release(host, &events);
    }
    status = status == BENCH_END ? BENCH_OK : status;
    for (uint32_t id = 0; status == BENCH_OK && id < nodes; id++) {
        if (operators[id] != NULL && id != remote) {
            bench_owned output = {NULL, 0, NULL};
            status = host->operator_finish(host, operators[id], &output);
            if (status == BENCH_OK) {
                status = deliver(host, router, id, bench_view_of(&output), result->error);
            }
            host->release(host, &output);
        }
    }
    report_nodes(host);
    for (int i = 0; i < WORKERS; i++) {
        end_worker(&workers[i]);
    }
    for (uint32_t id = 0; id < nodes && id < NODES; id++) {
        host->operator_drop(host, operators[id]);
    }
    host->router_drop(host, router);
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
    bench_say(detail, "two workers in C 1.0");
    return BENCH_OK;
}

const bench_backend_v1 *bench_backend_entry_v1(void) {
    static const bench_backend_v1 table = {
        BENCH_BACKEND_HEADER, "workers_c", "1.0.0", create, is_available, run, NULL, NULL,
    };
    return &table;
}
