/*
 * A plugin in C that misbehaves as HOSTILE says: <phase>:<what>. Without the variable it behaves: it
 * runs the whole graph in one thread.
 */
#define _GNU_SOURCE
#include "bench_backend.h"

#include "greedy.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *wish(const char *phase) {
    const char *wish = getenv("HOSTILE");
    size_t len = strlen(phase);
    return wish != NULL && strncmp(wish, phase, len) == 0 && wish[len] == ':' ? wish + len + 1 : "";
}

static int wants(const char *phase, const char *what) {
    return strcmp(wish(phase), what) == 0;
}

static void ignore_signals(void) {
    for (int number = 1; number < 32; number++) {
        signal(number, SIG_IGN);
    }
}

/* In a session of its own, so that no process group names it. It has its name once this returns. */
static void child(void) {
    char *words[] = {"sleep", "62.5", NULL};
    posix_spawnattr_t apart;
    posix_spawnattr_init(&apart);
    posix_spawnattr_setflags(&apart, POSIX_SPAWN_SETSID);
    posix_spawnp(NULL, words[0], NULL, &apart, words, environ);
    posix_spawnattr_destroy(&apart);
}

static void misbehave(const char *phase) {
    const char *what = wish(phase);
    if (strcmp(what, "abort") == 0) {
        abort();
    } else if (strcmp(what, "segfault") == 0) {
        raise(SIGSEGV);
    } else if (strcmp(what, "exit0") == 0) {
        _exit(0);
    } else if (strcmp(what, "hang") == 0) {
        for (;;) {
            pause();
        }
    } else if (strcmp(what, "sigkill") == 0) {
        raise(SIGKILL);
    } else if (strcmp(what, "handlers") == 0) {
        ignore_signals();
    } else if (strcmp(what, "deaf") == 0) {
        ignore_signals();
        for (;;) {
            pause();
        }
    } else if (strcmp(what, "children") == 0) {
        for (int i = 0; i < 50; i++) {
            child();
        }
    } else if (strcmp(what, "outlive") == 0) {
        child();
    } else {
        replace(phase);
    }
}

__attribute__((constructor)) static void constructor(void) {
    misbehave("load");
}

/* What the lies below need to know of frames: length, kind, and how far it is to the next. */
static size_t frame_size(const uint8_t *frame) {
    uint32_t body;
    uint16_t spans;
    memcpy(&body, frame, 4);
    memcpy(&spans, frame + 6, 2);
    return 40 + (size_t)body + 32 * (size_t)spans;
}

/* The same frames, last first: what a runtime that lets records overtake each other may do. */
static uint8_t *backwards(bench_view batch) {
    uint8_t *turned = malloc(batch.len + 1);
    for (size_t at = 0; at < batch.len;) {
        size_t size = frame_size(batch.data + at);
        memcpy(turned + batch.len - at - size, batch.data + at, size);
        at += size;
    }
    return turned;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The time as the process reads it: a sixtieth of what passes. */
static uint64_t slow_since = 0;

static int slow_clock(clockid_t clock, struct timespec *time) {
    long failed = syscall(SYS_clock_gettime, clock, time);
    uint64_t now = (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
    now = clock == CLOCK_MONOTONIC ? slow_since + (now - slow_since) / 60 : now;
    time->tv_sec = (time_t)(now / 1000000000u);
    time->tv_nsec = (long)(now % 1000000000u);
    return (int)failed;
}

/* Writes a jump to the slow clock over a function. */
static void put_slow_clock(uint8_t *code) {
    uintptr_t page = (uintptr_t)code & ~(uintptr_t)4095;
    uintptr_t to = (uintptr_t)slow_clock;
    if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) {
        perror("mprotect");
        return;
    }
#if defined(__x86_64__)
    uint8_t jump[12] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0}; /* mov rax, to; jmp rax */
    memcpy(jump + 2, &to, 8);
#else
    uint32_t jump[4] = {0x58000050, 0xd61f0200}; /* ldr x16, +8; br x16 */
    memcpy(jump + 2, &to, 8);
#endif
    memcpy(code, jump, sizeof jump);
    __builtin___clear_cache((char *)code, (char *)code + sizeof jump);
}

/* The function of the vDSO that everybody reads the time with. */
static void replace_clock(void) {
    const uint8_t *base = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);
    const ElfW(Ehdr) *head = (const ElfW(Ehdr) *)base;
    const ElfW(Shdr) *sections = (const ElfW(Shdr) *)(base + head->e_shoff);
    slow_since = now_ns();
    for (int i = 0; i < head->e_shnum; i++) {
        if (sections[i].sh_type != SHT_DYNSYM) {
            continue;
        }
        const ElfW(Sym) *symbols = (const ElfW(Sym) *)(base + sections[i].sh_offset);
        const char *names = (const char *)(base + sections[sections[i].sh_link].sh_offset);
        for (size_t at = 0; at < sections[i].sh_size / sizeof(ElfW(Sym)); at++) {
            const char *name = names + symbols[at].st_name;
            if (strcmp(name, "__vdso_clock_gettime") != 0 && strcmp(name, "__kernel_clock_gettime") != 0) {
                continue;
            }
            put_slow_clock((uint8_t *)base + symbols[at].st_value);
        }
    }
}

/* A result whose spans say what the wish wants: start and time inside are the first two fields of each. */
static uint8_t *respanned(const uint8_t *frame, size_t *size) {
    uint8_t *other = malloc(*size);
    uint32_t body;
    memcpy(other, frame, *size);
    memcpy(&body, frame, 4);
    if (wants("run", "spans_none")) {
        *size = 40 + (size_t)body;
        memset(other + 6, 0, 2);
    }
    if (wants("run", "spans_few")) {
        *size -= 32;
        uint16_t spans;
        memcpy(&spans, other + 6, 2);
        spans--;
        memcpy(other + 6, &spans, 2);
    }
    for (size_t at = 40 + (size_t)body; at < *size; at += 32) {
        uint64_t start = now_ns(), busy = wants("run", "spans_wrap") ? UINT64_MAX : 1000;
        if (wants("run", "spans_wrap") || wants("run", "spans_now") || wants("run", "replay_now")) {
            memcpy(other + at, &start, 8);
            memcpy(other + at + 8, &busy, 6);
        }
    }
    return other;
}

/* Answers of an earlier run of the same queries, from the file KEPT. */
static uint8_t *kept = NULL;
static size_t kept_size = 0;

static void keep(const uint8_t *frame, size_t size) {
    FILE *file = fopen(getenv("KEPT"), "ab");
    fwrite(frame, 1, size, file);
    fclose(file);
}

static void remember(void) {
    FILE *file = fopen(getenv("KEPT"), "rb");
    kept = malloc((size_t)64 << 20);
    kept_size = fread(kept, 1, (size_t)64 << 20, file);
    fclose(file);
}

/* The answer to the query of this number, without any work. */
static bench_status replay(const bench_host *host, const uint8_t *query) {
    for (size_t at = 0; at < kept_size; at += frame_size(kept + at)) {
        if (memcmp(kept + at + 8, query + 8, 8) == 0) {
            size_t size = frame_size(kept + at);
            uint8_t *other = respanned(kept + at, &size);
            bench_view one = {other, size};
            bench_status status = host->emit(host, one);
            free(other);
            return status;
        }
    }
    return BENCH_OK;
}

static bench_status replay_all(const bench_host *host, bench_view events) {
    bench_status status = BENCH_OK;
    for (size_t at = 0; at < events.len && status == BENCH_OK; at += frame_size(events.data + at)) {
        int is_query = events.data[at + 4] == 0 && events.data[at + 5] == 0;
        status = is_query ? replay(host, events.data + at) : BENCH_OK;
    }
    return status;
}

static uint64_t results = 0;

/* Emits a batch of results, after doing to it what the wish says. */
static bench_status emit(const bench_host *host, bench_view batch) {
    bench_status status = BENCH_OK;
    for (size_t at = 0; at < batch.len && status == BENCH_OK;) {
        const uint8_t *frame = batch.data + at;
        size_t size = frame_size(frame);
        bench_view one = {frame, size};
        at += size;
        results += frame[5] != 2;
        if (wants("run", "drop") && results == 5) {
            results++;
            continue;
        }
        if (wants("run", "duplicate") && results == 5) {
            status = host->emit(host, one);
        }
        if (wants("run", "invent") && results == 5) {
            uint8_t *other = malloc(size);
            memcpy(other, frame, size);
            memset(other + 8, 0x7f, 8);
            bench_view made_up = {other, size};
            status = host->emit(host, made_up);
            free(other);
        }
        if (wants("run", "digest") && size > 48) {
            /* The answer's id stays; a letter of what it says does not. */
            uint8_t *other = malloc(size);
            uint32_t body;
            memcpy(&body, frame, 4);
            memcpy(other, frame, size);
            for (size_t i = 40 + 12; i < 40 + body; i++) {
                if (other[i] >= 'a' && other[i] < 'z') {
                    other[i]++;
                    break;
                }
            }
            bench_view changed = {other, size};
            status = host->emit(host, changed);
            free(other);
            continue;
        }
        if (wants("run", "renumber")) {
            /* Each pair of answers under each other's number, as if matched by order of arrival. */
            uint8_t *other = malloc(size);
            memcpy(other, frame, size);
            other[8] ^= 1;
            bench_view renumbered = {other, size};
            status = host->emit(host, renumbered);
            free(other);
            continue;
        }
        if (wants("run", "keep")) {
            keep(frame, size);
        }
        if (strncmp(wish("run"), "spans_", 6) == 0) {
            uint8_t *other = respanned(frame, &size);
            bench_view changed = {other, size};
            status = host->emit(host, changed);
            free(other);
            continue;
        }
        if (wants("run", "workers") || (wants("run", "reasons") && results % 2 == 0)) {
            uint8_t *other = wants("run", "workers") ? with_workers(frame, size, &size) : with_reason(frame, &size);
            bench_view grown = {other, size};
            status = host->emit(host, grown);
            free(other);
            continue;
        }
        if (wants("run", "garbage") && results == 5) {
            bench_view noise = {(const uint8_t *)"noise", 5};
            return host->emit(host, noise);
        }
        if (status == BENCH_OK) {
            status = host->emit(host, one);
        }
    }
    return status;
}

static bench_status deliver(const bench_host *host, bench_host_router *router, bench_host_operator **operators,
                            uint32_t node, bench_view batch) {
    uint8_t *turned = wants("run", "reorder") ? backwards(batch) : NULL;
    if (turned != NULL) {
        batch.data = turned;
    }
    bench_deliveries *out = host->route(host, router, node, batch, 0);
    free(turned);
    bench_status status = out == NULL ? BENCH_ERROR_INVALID : BENCH_OK;
    for (size_t i = 0; status == BENCH_OK && i < host->deliveries_count(host, out); i++) {
        uint32_t to, instance;
        bench_owned input = {NULL, 0, NULL}, output = {NULL, 0, NULL};
        status = host->deliveries_take(host, out, i, &to, &instance, &input);
        if (status == BENCH_OK && operators[to] == NULL) {
            status = emit(host, bench_view_of(&input));
        } else if (status == BENCH_OK) {
            status = host->operator_process(host, operators[to], bench_view_of(&input), &output);
            if (status == BENCH_OK) {
                status = deliver(host, router, operators, to, bench_view_of(&output));
            }
        }
        host->release(host, &input);
        host->release(host, &output);
    }
    host->deliveries_drop(host, out);
    return status;
}

/* Calls the host long after run has returned. */
static void *forgotten(void *host_of_a_run) {
    const bench_host *host = host_of_a_run;
    for (int i = 0; i < 200; i++) {
        bench_owned events = {NULL, 0, NULL};
        host->log(host, 3, "hostile", "still here");
        host->is_cancelled(host);
        if (i > 100) {
            host->next_events(host, 1, &events);
            host->release(host, &events);
        }
        usleep(1000);
    }
    return NULL;
}

static bench_status run(bench_self *self, const bench_spec *spec, const bench_host *host,
                        bench_result *result) {
    (void)self;
    misbehave("run");
    host->log(host, 3, "hostile", wants("run", "invalid_utf8") ? "caf\xe9 \xff\xfe" : "café");
    if (wants("run", "invalid_utf8")) {
        bench_say(result->error, "broken \xff text");
        return BENCH_ERROR_RUNTIME;
    }
    be_greedy(host);
    if (wants("run", "log_files") || wants("run", "log_link") || wants("run", "long_error")) {
        char *text = letters(wants("run", "long_error") ? (size_t)40 << 20 : 3);
        bench_say(result->error, text);
        bench_say(result->remedy, text);
        free(text);
        return BENCH_ERROR_RUNTIME;
    }
    if (wants("run", "clock")) {
        replace_clock();
    }
    if (wants("run", "clock_of_libc")) {
        slow_since = now_ns();
        put_slow_clock((uint8_t *)dlsym(RTLD_DEFAULT, "clock_gettime"));
    }
    int replays = wants("run", "replay") || wants("run", "replay_now") || wants("run", "early");
    if (replays) {
        remember();
    }
    if (wants("run", "status")) {
        return 4711;
    }
    if (wants("run", "nan_metric")) {
        host->metric(host, "speed", "NaN");
    }
    if (wants("run", "infinite_metric")) {
        host->metric(host, "speed", "Infinity");
    }
    if (wants("run", "huge_metric")) {
        size_t size = (size_t)100 << 20;
        char *text = malloc(size + 1);
        memset(text, 'x', size);
        text[0] = text[size - 1] = '"';
        text[size] = 0;
        host->metric(host, "story", text);
        free(text);
    }
    if (wants("run", "forgotten_thread")) {
        pthread_t thread;
        pthread_create(&thread, NULL, forgotten, (void *)host);
        pthread_detach(thread);
    }
    bench_host_operator *operators[64] = {NULL};
    bench_host_router *router = host->router_create(host, 1);
    uint32_t nodes = host->node_count(host);
    bench_status status = router == NULL || nodes > 64 ? BENCH_ERROR_INVALID : BENCH_OK;
    for (uint32_t id = 0; status == BENCH_OK && id < nodes; id++) {
        bench_node node;
        status = host->node(host, id, &node);
        if (status == BENCH_OK && node.role == BENCH_ROLE_OPERATOR) {
            operators[id] = host->operator_create(host, id, 0, 1);
            status = operators[id] == NULL ? BENCH_ERROR_INVALID : BENCH_OK;
        }
    }
    results = 0;
    if (status == BENCH_OK && wants("run", "early")) {
        bench_view first = {kept, frame_size(kept)};
        status = host->emit(host, first);
    }
    while (status == BENCH_OK) {
        bench_owned events = {NULL, 0, NULL};
        status = host->next_events(host, spec->batch_size, &events);
        if (status == BENCH_OK && replays) {
            status = replay_all(host, bench_view_of(&events));
        } else if (status == BENCH_OK) {
            status = deliver(host, router, operators, BENCH_FROM_SOURCES, bench_view_of(&events));
        }
        host->release(host, &events);
    }
    status = status == BENCH_END ? BENCH_OK : status;
    for (uint32_t turn = 0; status == BENCH_OK && turn < nodes; turn++) {
        uint32_t id = wants("run", "finish_backwards") ? nodes - 1 - turn : turn;
        if (operators[id] != NULL) {
            bench_owned output = {NULL, 0, NULL};
            status = host->operator_finish(host, operators[id], &output);
            if (status == BENCH_OK) {
                status = deliver(host, router, operators, id, bench_view_of(&output));
            }
            host->release(host, &output);
        }
    }
    if (status != BENCH_OK) {
        bench_say(result->error, host->last_error(host));
    }
    for (uint32_t id = 0; id < 64; id++) {
        host->operator_drop(host, operators[id]);
    }
    host->router_drop(host, router);
    if (wants("run", "count")) {
        result->items_processed = 7;
    }
    if (wants("run", "infinite_time")) {
        result->elapsed_seconds = INFINITY;
    }
    return status;
}

/* What a leak takes, and what a runtime takes the first times and then no more. */
static void take(void) {
    static int times = 0;
    static void *volatile kept; /* or the compiler would see that nobody reads it */
    times++;
    int warming = wants("create", "warm") && times <= 400;
    if ((wants("create", "descriptors") || warming) && times % 10 == 0) {
        dup(0);
    }
    if (wants("create", "memory") || warming) {
        kept = malloc(64 << 10);
        memset(kept, 1, 64 << 10);
    }
}

static bench_status create(bench_self **self, bench_text *error) {
    (void)self;
    misbehave("create");
    take();
    if (wants("create", "refuse")) {
        bench_say(error, "no licence found");
        return BENCH_ERROR_UNAVAILABLE;
    }
    return BENCH_OK;
}

static bench_status is_available(bench_self *self, bench_text *detail, bench_text *remedy) {
    (void)self;
    misbehave("is_available");
    bench_say(detail, wants("is_available", "invalid_utf8") ? "caf\xe9" : "hostile C 1.0");
    if (wants("is_available", "long")) {
        char *text = letters((size_t)40 << 20);
        bench_say(detail, text);
        bench_say(remedy, text);
        free(text);
    }
    return BENCH_OK;
}

static bench_status extension(bench_self *self, const char *id, const char *request, bench_text *answer) {
    (void)self;
    (void)request;
    if (wants("extension", "invalid_utf8") && strcmp(id, "bench.requirements/1") == 0) {
        bench_say(answer, "{\"caf\xe9");
        return BENCH_OK;
    }
    if (wants("extension", "long") && strcmp(id, "bench.requirements/1") == 0) {
        char *text = letters((size_t)40 << 20);
        text[0] = text[((size_t)40 << 20) - 1] = '"';
        bench_say(answer, text);
        free(text);
        return BENCH_OK;
    }
    return BENCH_END;
}

static void drop(bench_self *self) {
    (void)self;
    misbehave("drop");
    if (wants("run", "forgotten_thread")) {
        usleep(300000);
    }
}

const bench_backend_v1 *bench_backend_entry_v1(void) {
    /* Each lie about the table is a table of its own. */
    static bench_backend_v1 table = {
        BENCH_BACKEND_HEADER, "hostile_c", "1.0.0", create, is_available, run, extension, drop,
    };
    if (wants("table", "null")) {
        return NULL;
    }
    table.magic ^= wants("table", "magic");
    table.abi += wants("table", "abi");
    table.pointer_bits /= wants("table", "bits") ? 2 : 1;
    table.size /= wants("table", "short") ? 2 : 1;
    if (wants("table", "older")) {
        table.api_version = "0.0.9";
    }
    if (wants("table", "newer")) {
        table.api_version = "7.0.0";
    }
    if (wants("table", "no_run")) {
        table.run = NULL;
    }
    if (wants("table", "no_name")) {
        table.name = NULL;
    }
    if (wants("table", "invalid_utf8")) {
        table.name = "caf\xe9";
    }
    if (wants("table", "long_version")) {
        table.plugin_version = letters((size_t)40 << 20);
    }
    if (wants("table", "control")) {
        table.name = "../\x1b[2Jevil";
    }
    return &table;
}
