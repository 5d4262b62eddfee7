/* A healthy plugin that is called what its file is called, whatever that is; one called `hanging` never answers. */
#define _GNU_SOURCE
#include "bench_backend.h"

#include <dlfcn.h>
#include <unistd.h>

static char name[65] = "many";

static bench_status create(bench_self **self, bench_text *error) {
    (void)self;
    (void)error;
    return BENCH_OK;
}

static bench_status is_available(bench_self *self, bench_text *detail, bench_text *remedy) {
    (void)self;
    (void)remedy;
    while (strcmp(name, "hanging") == 0) {
        pause();
    }
    bench_say(detail, "one of many");
    return BENCH_OK;
}

static bench_status run(bench_self *self, const bench_spec *spec, const bench_host *host, bench_result *result) {
    (void)self;
    (void)spec;
    (void)host;
    bench_say(result->error, "it is only there to be listed");
    return BENCH_ERROR_UNSUPPORTED;
}

static const bench_backend_v1 backend = {
    BENCH_BACKEND_HEADER, name, "1.0.0", create, is_available, run, NULL, NULL,
};

const bench_backend_v1 *bench_backend_entry_v1(void) {
    Dl_info info;
    if (dladdr((const void *)&backend, &info) != 0) {
        const char *file = strrchr(info.dli_fname, '/');
        file = file == NULL ? info.dli_fname : file + 1;
        const char *stem = strncmp(file, "libbackend_", 11) == 0 ? file + 11 : file;
        size_t len = strcspn(stem, ".");
        if (len < sizeof name) {
            memcpy(name, stem, len);
            name[len] = 0;
        }
    }
    return &backend;
}
