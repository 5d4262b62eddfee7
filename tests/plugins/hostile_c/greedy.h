/*
 * What a plugin can make grow, and what it can leave where the host looks.
 */
#ifndef GREEDY_H
#define GREEDY_H

#include "bench_backend.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int wants(const char *phase, const char *what);
static const char *wish(const char *phase);

/* A text of so many letters. */
static char *letters(size_t count) {
    char *text = malloc(count + 1);
    memset(text, 'x', count);
    text[count] = 0;
    return text;
}

/* A file of the runner's, by its name: the first of the call's temporary directories holds them. */
static void scratch_file(const char *name, char *path, size_t size) {
    const char *folder = getenv("BENCH_SCRATCH_0");
    snprintf(path, size, "%s/%s", folder == NULL ? "/nonexistent" : folder, name);
}

/* Puts something else in the place of a file: <what>_items or <what>_hlog. */
static void replace(const char *phase) {
    static const char *const names[][2] = {{"_items", "items.bin"}, {"_hlog", "latency.hlog"}};
    const char *what = wish(phase);
    for (size_t i = 0; i < 2; i++) {
        const char *end = strstr(what, names[i][0]);
        char path[4096];
        if (end == NULL) {
            continue;
        }
        scratch_file(names[i][1], path, sizeof path);
        unlink(path);
        if (strncmp(what, "fifo", 4) == 0) {
            mkfifo(path, 0600);
        } else if (strncmp(what, "link", 4) == 0) {
            /* What belongs to nobody but the user. */
            const char *secret = getenv("SECRET");
            if (symlink(secret == NULL ? "/nonexistent" : secret, path) != 0) {
                perror("symlink");
            }
        } else if (strncmp(what, "folder", 6) == 0) {
            mkdir(path, 0700);
        } else if (strncmp(what, "huge", 4) == 0) {
            FILE *file = fopen(path, "w");
            if (file != NULL && ftruncate(fileno(file), (off_t)1 << 40) != 0) {
                perror("ftruncate");
            }
            if (file != NULL) {
                fclose(file);
            }
        }
    }
}

/* A result with 60,000 more spans, each of a worker that nobody has seen. */
static uint8_t *with_workers(const uint8_t *frame, size_t size, size_t *grown) {
    enum { MORE = 60000, SPAN = 32 };
    static uint32_t worker = 1u << 31;
    uint16_t spans;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t start = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    memcpy(&spans, frame + 6, 2);
    uint8_t *out = calloc(1, size + MORE * SPAN);
    memcpy(out, frame, size);
    for (size_t i = 0; i < MORE; i++) {
        uint8_t *span = out + size + i * SPAN;
        worker++;
        memcpy(span, &start, 8);
        memcpy(span + 24, &worker, 4);
        span[28] = 1; /* a node */
    }
    spans = (uint16_t)(spans + MORE);
    memcpy(out + 6, &spans, 2);
    *grown = size + MORE * SPAN;
    return out;
}

/* The same query as one that failed, for a reason of its own with 100,000 letters. */
static uint8_t *with_reason(const uint8_t *frame, size_t *size) {
    enum { LETTERS = 100000, BODY = 1 + 3 + LETTERS };
    static unsigned number = 0;
    uint32_t body = BODY;
    uint8_t *out = malloc(40 + BODY);
    memcpy(out, frame, 40);
    memcpy(out, &body, 4);
    out[5] = 1; /* failed */
    out[6] = out[7] = 0;
    out[40] = 2; /* a node, and how long the text is in groups of seven bits */
    out[41] = (LETTERS & 0x7f) | 0x80;
    out[42] = ((LETTERS >> 7) & 0x7f) | 0x80;
    out[43] = LETTERS >> 14;
    memset(out + 44, 'x', LETTERS);
    snprintf((char *)out + 44, 12, "%u", number++);
    out[44 + strlen((char *)out + 44)] = ' ';
    *size = 40 + BODY;
    return out;
}

/* Talks without a pause. */
static void *chatter(void *host_of_a_run) {
    const bench_host *host = host_of_a_run;
    for (;;) {
        host->log(host, 5, "hostile", "on and on");
    }
    return NULL;
}

/* Before the stream begins. */
static void be_greedy(const bench_host *host) {
    if (wants("run", "log_flood")) {
        char *text = letters(64 << 10);
        for (int i = 0; i < 1500; i++) {
            host->log(host, 4, "hostile", text);
        }
        free(text);
    }
    if (wants("run", "warn_flood")) {
        char *text = letters(64 << 10);
        for (int i = 0; i < 500; i++) {
            host->log(host, 2, "hostile", text);
        }
        free(text);
    }
    if (wants("run", "warn_codes")) {
        host->log(host, 2, "hos\x1b[2Jtile", "\x1b]0;mine\x07 all is well\r\xe2\x80\xae");
    }
    if (wants("run", "long_words")) {
        char *text = letters((size_t)40 << 20);
        host->log(host, 4, text, text);
        host->progress(host, text, text);
        free(text);
    }
    if (wants("run", "many_metrics")) {
        for (int i = 0; i < 100000; i++) {
            char name[16];
            snprintf(name, sizeof name, "%d", i);
            host->metric(host, name, "1");
        }
    }
    if (wants("run", "deep_metric")) {
        char *text = letters(240);
        memset(text, '[', 120);
        memset(text + 120, ']', 120);
        host->metric(host, "deep", text);
        free(text);
    }
    if (wants("run", "log_files") || wants("run", "log_link")) {
        size_t size = 64 << 20;
        char *request = malloc(size);
        const char *secret = getenv("SECRET");
        char link[4096];
        scratch_file("engine.err", link, sizeof link);
        if (secret != NULL && symlink(secret, link) != 0) {
            perror("symlink");
        }
        size_t len = (size_t)snprintf(request, size, "{\"files\":[\"%s\"", link);
        for (int i = 0; wants("run", "log_files") && i < 100000; i++) {
            len += (size_t)snprintf(request + len, size - len, ",\"/**/%d\",\"/*/*/*/*/*/*/*/%d\"", i, i);
        }
        snprintf(request + len, size - len, "]}");
        host->extension(host, "bench.logs/1", request, NULL);
        free(request);
    }
    if (wants("run", "chatter")) {
        for (int i = 0; i < 4; i++) {
            pthread_t thread;
            pthread_create(&thread, NULL, chatter, (void *)host);
        }
        for (;;) {
            pause();
        }
    }
}

#endif
