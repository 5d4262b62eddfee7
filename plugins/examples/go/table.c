/* The table that bench reads. Every function of it is in Go, which waits in the first call until its runtime runs. */
#include "_cgo_export.h"

static bench_status create(bench_self **self, bench_text *error) {
    (void)self;
    (void)error;
    return goCreate();
}

static bench_status is_available(bench_self *self, bench_text *detail, bench_text *remedy) {
    (void)self;
    return goIsAvailable(detail, remedy);
}

static bench_status run(bench_self *self, const bench_spec *spec, const bench_host *host, bench_result *result) {
    (void)self;
    return goRun((bench_spec *)spec, (bench_host *)host, result);
}

static bench_status extension(bench_self *self, const char *id, const char *request, bench_text *answer) {
    (void)self;
    (void)request;
    return goExtension((char *)id, answer);
}

static const bench_backend_v1 backend = {
    BENCH_BACKEND_HEADER, "example_go", "1.0.0", create, is_available, run, extension, NULL,
};

const bench_backend_v1 *bench_backend_entry_v1(void) {
    return &backend;
}
