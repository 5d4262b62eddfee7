// A backend in C++17: a pool of std::thread. Every instance of every operator has a mailbox; a worker
// takes one mailbox at a time, so an operator is never used by two threads, and equal keys, which the
// router sends to one instance, are processed in the order in which they arrive.
//
//     c++ -std=c++17 -shared -fPIC -fvisibility=hidden -pthread -I INCLUDE backend_example_cpp.cpp
//         -o libbackend_example_cpp.so
#include "bench_backend.h"

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

// A status on its way to `run`. It never leaves this library.
struct Failed : std::runtime_error {
    Failed(bench_status code, const std::string &text) : std::runtime_error(text), status(code) {}
    bench_status status;
};

void check(const bench_host *host, bench_status status) {
    if (status != BENCH_OK) {
        throw Failed(status, host->last_error(host));
    }
}

// Bytes of the host that free themselves.
class Bytes {
public:
    explicit Bytes(const bench_host *host) : host_(host) {}
    Bytes(Bytes &&other) noexcept : host_(other.host_), owned_(std::exchange(other.owned_, bench_owned{})) {}
    Bytes(const Bytes &) = delete;
    Bytes &operator=(Bytes &&) = delete;
    ~Bytes() { host_->release(host_, &owned_); }
    bench_owned *out() { return &owned_; }
    bench_view view() const { return bench_view_of(&owned_); }

private:
    const bench_host *host_;
    bench_owned owned_{};
};

// One instance of one operator with what waits for it.
struct Actor {
    const bench_host *host;
    uint32_t node;
    bench_host_operator *op;
    std::deque<Bytes> mailbox{};
    bool finishing = false; // finish is to be called
    bool busy = false;      // a worker has it

    Actor(const bench_host *h, uint32_t id, bench_host_operator *o) : host(h), node(id), op(o) {}
    Actor(const Actor &) = delete;
    Actor &operator=(const Actor &) = delete;
    ~Actor() { host->operator_drop(host, op); }
};

class Engine {
public:
    Engine(const bench_host *host, uint32_t parallelism) : host_(host) {
        router_ = host->router_create(host, parallelism);
        if (router_ == nullptr) {
            throw Failed(BENCH_ERROR_RUNTIME, host->last_error(host));
        }
        try {
            deploy();
            for (uint32_t i = 0; i < parallelism; i++) {
                workers_.emplace_back([this] { work(); });
            }
        } catch (...) {
            stop();
            throw;
        }
    }

    Engine(const Engine &) = delete;
    Engine &operator=(const Engine &) = delete;

    ~Engine() { stop(); }

    void run(uint32_t batch_size) {
        host_->progress(host_, "steady", "");
        while (!failed()) {
            if (host_->is_cancelled(host_)) {
                throw Failed(BENCH_ERROR_CANCELLED, "cancelled");
            }
            Bytes events(host_);
            bench_status status = host_->next_events(host_, batch_size, events.out());
            if (status == BENCH_END) {
                break;
            }
            check(host_, status);
            deliver(BENCH_FROM_SOURCES, events.view(), turn_++);
        }
        host_->progress(host_, "drain", "");
        settle();
        // A node has all its input once everything before it is finished: nodes are in that order.
        for (auto &instances : actors_) {
            for (auto &actor : instances) {
                std::lock_guard<std::mutex> lock(mutex_);
                actor->finishing = true;
                enqueue(*actor);
            }
            settle();
        }
    }

private:
    void deploy() {
        actors_.resize(host_->node_count(host_));
        for (uint32_t id = 0; id < actors_.size(); id++) {
            bench_node node{};
            check(host_, host_->node(host_, id, &node));
            if (node.role != BENCH_ROLE_OPERATOR) {
                continue;
            }
            uint32_t of = host_->router_instances(host_, router_, id);
            for (uint32_t i = 0; i < of; i++) {
                bench_host_operator *op = host_->operator_create(host_, id, i, of);
                if (op == nullptr) {
                    throw Failed(BENCH_ERROR_INVALID, host_->last_error(host_));
                }
                actors_[id].push_back(std::make_unique<Actor>(host_, id, op));
            }
        }
    }

    void stop() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stopping_ = true;
        }
        changed_.notify_all();
        for (auto &worker : workers_) {
            worker.join();
        }
        workers_.clear();
        actors_.clear();
        host_->router_drop(host_, router_);
    }

    // Routes a batch: results to the sink, the rest into mailboxes.
    void deliver(uint32_t from, bench_view batch, uint32_t turn) {
        std::unique_ptr<bench_deliveries, Dropper> out(host_->route(host_, router_, from, batch, turn),
                                                       Dropper{host_});
        if (!out) {
            throw Failed(BENCH_ERROR_INVALID, host_->last_error(host_));
        }
        size_t count = host_->deliveries_count(host_, out.get());
        for (size_t i = 0; i < count; i++) {
            uint32_t node = 0, instance = 0;
            Bytes bytes(host_);
            check(host_, host_->deliveries_take(host_, out.get(), i, &node, &instance, bytes.out()));
            if (actors_[node].empty()) {
                check(host_, host_->emit(host_, bytes.view()));
                continue;
            }
            std::lock_guard<std::mutex> lock(mutex_);
            Actor &actor = *actors_[node][instance];
            actor.mailbox.push_back(std::move(bytes));
            enqueue(actor);
        }
    }

    // With the mutex held: makes sure that a worker will come by.
    void enqueue(Actor &actor) {
        if (!actor.busy) {
            actor.busy = true;
            active_++;
            ready_.push_back(&actor);
            changed_.notify_one();
        }
    }

    void work() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            changed_.wait(lock, [this] { return stopping_ || !ready_.empty(); });
            if (stopping_) {
                return;
            }
            Actor &actor = *ready_.front();
            ready_.pop_front();
            uint32_t turn = turn_++;
            if (!actor.mailbox.empty()) {
                Bytes input = std::move(actor.mailbox.front());
                actor.mailbox.pop_front();
                lock.unlock();
                attempt([&] { step(actor, &input, turn); });
            } else {
                actor.finishing = false;
                lock.unlock();
                attempt([&] { step(actor, nullptr, turn); });
            }
            lock.lock();
            if (!error_ && (!actor.mailbox.empty() || actor.finishing)) {
                ready_.push_back(&actor);
            } else {
                actor.busy = false;
                active_--;
                idle_.notify_all();
            }
        }
    }

    // Processes a batch, or finishes when there is none.
    void step(Actor &actor, const Bytes *input, uint32_t turn) {
        Bytes output(host_);
        check(host_, input != nullptr
                         ? host_->operator_process(host_, actor.op, input->view(), output.out())
                         : host_->operator_finish(host_, actor.op, output.out()));
        deliver(actor.node, output.view(), turn);
    }

    template <typename Call> void attempt(Call call) {
        try {
            call();
        } catch (...) {
            std::lock_guard<std::mutex> lock(mutex_);
            if (!error_) {
                error_ = std::current_exception();
            }
        }
    }

    bool failed() {
        std::lock_guard<std::mutex> lock(mutex_);
        return error_ != nullptr;
    }

    // Waits until nothing is under way.
    void settle() {
        std::unique_lock<std::mutex> lock(mutex_);
        idle_.wait(lock, [this] { return active_ == 0 || error_; });
        if (error_) {
            std::rethrow_exception(error_);
        }
    }

    struct Dropper {
        const bench_host *host;
        void operator()(bench_deliveries *deliveries) const { host->deliveries_drop(host, deliveries); }
    };

    const bench_host *host_;
    bench_host_router *router_ = nullptr;
    std::vector<std::vector<std::unique_ptr<Actor>>> actors_{}; // by node
    std::vector<std::thread> workers_{};
    std::mutex mutex_{};
    std::condition_variable changed_{}; // something is ready, or all is over
    std::condition_variable idle_{};    // an actor came to rest
    std::deque<Actor *> ready_{};
    size_t active_ = 0;
    std::atomic<uint32_t> turn_{0};
    std::exception_ptr error_{};
    bool stopping_ = false;
};

// No exception leaves this function.
bench_status run(bench_self *, const bench_spec *spec, const bench_host *host, bench_result *result) {
    if (spec->nodes > 1) {
        bench_say(result->error, "this example runs in one process and cannot use several nodes");
        bench_say(result->remedy, "leave --nodes at 1");
        return BENCH_ERROR_UNSUPPORTED;
    }
    try {
        host->progress(host, "deploy", "");
        Engine engine(host, spec->parallelism);
        engine.run(spec->batch_size);
        return BENCH_OK;
    } catch (const Failed &failed) {
        bench_say(result->error, failed.what());
        return failed.status;
    } catch (const std::exception &error) {
        bench_say(result->error, error.what());
        return BENCH_ERROR_PANIC;
    } catch (...) {
        bench_say(result->error, "an exception that is no std::exception");
        return BENCH_ERROR_PANIC;
    }
}

bench_status create(bench_self **, bench_text *) {
    return BENCH_OK;
}

bench_status is_available(bench_self *, bench_text *detail, bench_text *) {
    bench_say(detail, "std::thread");
    return BENCH_OK;
}

// bench.options/1: the settings of your own that users give as --backend-option KEY=VALUE, which you find in
// spec->extra. This backend has none, so that the host refuses all; one would be
// [{"name": "mode", "meaning": "how to run", "default": "fast", "values": ["fast", "safe"]}].
bench_status extension(bench_self *, const char *id, const char *, bench_text *answer) {
    if (std::strcmp(id, "bench.options/1") != 0) {
        return BENCH_END;
    }
    bench_say(answer, "[]");
    return BENCH_OK;
}

const bench_backend_v1 backend = {
    BENCH_BACKEND_HEADER, "example_cpp", "1.0.0", create, is_available, run, extension, nullptr,
};

} // namespace

extern "C" const bench_backend_v1 *bench_backend_entry_v1(void) {
    return &backend;
}
