// A plugin in C++ that throws where HOSTILE says: <phase>:throw. An exception must never leave a
// function of the table; this one lets it.
#include "bench_backend.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace {

void misbehave(const std::string &phase) {
    const char *wish = std::getenv("HOSTILE");
    if (wish != nullptr && wish == phase + ":throw") {
        throw std::runtime_error("hostile on purpose");
    }
}

// Thrown by the dynamic loader's call of a constructor.
const struct Loading {
    Loading() { misbehave("load"); }
} loading;

bench_status create(bench_self **, bench_text *) {
    misbehave("create");
    return BENCH_OK;
}

bench_status is_available(bench_self *, bench_text *detail, bench_text *) {
    misbehave("is_available");
    bench_say(detail, "hostile C++ 1.0");
    return BENCH_OK;
}

bench_status run(bench_self *, const bench_spec *, const bench_host *, bench_result *result) {
    misbehave("run");
    bench_say(result->error, "it only throws");
    return BENCH_ERROR_UNSUPPORTED;
}

bench_status extension(bench_self *, const char *, const char *, bench_text *) {
    misbehave("extension");
    return BENCH_END;
}

void drop(bench_self *) {
    misbehave("drop");
}

const bench_backend_v1 backend = {
    BENCH_BACKEND_HEADER, "hostile_cpp", "1.0.0", create, is_available, run, extension, drop,
};

} // namespace

extern "C" const bench_backend_v1 *bench_backend_entry_v1(void) {
    return &backend;
}
