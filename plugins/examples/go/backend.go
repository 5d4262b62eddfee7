// A backend in Go: the whole graph in one goroutine, one instance of every operator.
package main

// #cgo CFLAGS: -std=c11 -Wall -Wextra -I${SRCDIR}/include
// #include "calls.h"
import "C"

import (
	"fmt"
	"runtime"
	"strconv"
)

// A failure is an error of the host or of this backend: what kind it is, and one sentence.
type failure struct {
	status  C.bench_status
	message string
}

func (f *failure) Error() string { return f.message }

// A pipeline is one run: what was made for it, and whom to ask.
type pipeline struct {
	host      *C.bench_host
	router    *C.bench_host_router
	operators []*C.bench_host_operator // by node; nil for sources and sinks
	turn      C.uint32_t
}

// The error of a status. It reads the message of this thread's last failure, which is why run is locked to a thread.
func (p *pipeline) failed(status C.bench_status) error {
	if status == C.BENCH_OK {
		return nil
	}
	return &failure{status, C.GoString(C.host_last_error(p.host))}
}

// Makes the router and one instance of every operator.
func (p *pipeline) open() error {
	if p.router = C.host_router_create(p.host); p.router == nil {
		return p.failed(C.BENCH_ERROR_RUNTIME)
	}
	p.operators = make([]*C.bench_host_operator, C.host_node_count(p.host))
	for id := range p.operators {
		var node C.bench_node
		if err := p.failed(C.host_node(p.host, C.uint32_t(id), &node)); err != nil {
			return err
		}
		if node.role != C.BENCH_ROLE_OPERATOR {
			continue
		}
		if p.operators[id] = C.host_operator_create(p.host, C.uint32_t(id)); p.operators[id] == nil {
			return p.failed(C.BENCH_ERROR_INVALID)
		}
	}
	return nil
}

func (p *pipeline) close() {
	for _, operator := range p.operators {
		C.host_operator_drop(p.host, operator)
	}
	C.host_router_drop(p.host, p.router)
}

// Routes what a node wrote, and hands every batch on, depth first, until it reaches the sink.
func (p *pipeline) deliver(node C.uint32_t, batch *C.bench_owned) error {
	out := C.host_route(p.host, p.router, node, batch, p.turn)
	p.turn++
	if out == nil {
		return p.failed(C.BENCH_ERROR_INVALID)
	}
	defer C.host_deliveries_drop(p.host, out)
	count := C.host_deliveries_count(p.host, out)
	for index := C.size_t(0); index < count; index++ {
		if err := p.hand(out, index); err != nil {
			return err
		}
	}
	return nil
}

// Gives one batch to the operator or the sink it is for.
func (p *pipeline) hand(out *C.bench_deliveries, index C.size_t) error {
	var to, instance C.uint32_t
	var input, output C.bench_owned
	if err := p.failed(C.host_deliveries_take(p.host, out, index, &to, &instance, &input)); err != nil {
		return err
	}
	defer C.host_release(p.host, &input)
	operator := p.operators[to]
	if operator == nil {
		return p.failed(C.host_emit(p.host, &input))
	}
	if err := p.failed(C.host_operator_process(p.host, operator, &input, &output)); err != nil {
		return err
	}
	defer C.host_release(p.host, &output)
	return p.deliver(to, &output)
}

// Reads until the events end.
func (p *pipeline) process(batchSize C.uint32_t) error {
	for C.host_is_cancelled(p.host) == 0 {
		var events C.bench_owned
		switch status := C.host_next_events(p.host, batchSize, &events); status {
		case C.BENCH_OK:
		case C.BENCH_END:
			return nil
		default:
			return p.failed(status)
		}
		err := p.deliver(C.BENCH_FROM_SOURCES, &events)
		C.host_release(p.host, &events)
		if err != nil {
			return err
		}
	}
	return &failure{C.BENCH_ERROR_CANCELLED, "the run was stopped"}
}

// Flushes every operator once, in the order of the nodes.
func (p *pipeline) finish() error {
	for id, operator := range p.operators {
		if operator == nil {
			continue
		}
		var output C.bench_owned
		err := p.failed(C.host_operator_finish(p.host, operator, &output))
		if err == nil {
			err = p.deliver(C.uint32_t(id), &output)
		}
		C.host_release(p.host, &output)
		if err != nil {
			return err
		}
	}
	return nil
}

func run(spec *C.bench_spec, host *C.bench_host) error {
	p := &pipeline{host: host}
	defer p.close()
	p.phase("deploy")
	if err := p.open(); err != nil {
		return err
	}
	p.phase("steady")
	if err := p.process(spec.batch_size); err != nil {
		return err
	}
	p.phase("drain")
	if err := p.finish(); err != nil {
		return err
	}
	p.metric("batches_routed", strconv.FormatUint(uint64(p.turn), 10))
	return nil
}

//export goRun
func goRun(spec *C.bench_spec, host *C.bench_host, result *C.bench_result) (status C.bench_status) {
	// A call of the host leaves its error with the thread that made it, and a goroutine may change threads.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A panic that left this function would end the process without a word about which plugin it was.
	defer func() {
		if panicked := recover(); panicked != nil {
			say(result.error, fmt.Sprint("panic: ", panicked))
			status = C.BENCH_ERROR_PANIC
		}
	}()
	if spec.nodes > 1 {
		say(result.error, "this example runs in one process and cannot use several nodes")
		say(result.remedy, "leave --nodes at 1")
		return C.BENCH_ERROR_UNSUPPORTED
	}
	if err := run(spec, host); err != nil {
		say(result.error, err.Error())
		if failed, ours := err.(*failure); ours {
			return failed.status
		}
		return C.BENCH_ERROR_RUNTIME
	}
	return C.BENCH_OK
}

//export goCreate
func goCreate() C.bench_status { return C.BENCH_OK }

//export goIsAvailable
func goIsAvailable(detail, remedy *C.bench_text) C.bench_status {
	say(detail, "one goroutine of "+runtime.Version())
	return C.BENCH_OK
}

// bench.options/1: the settings of your own that users give as --backend-option KEY=VALUE, which you find in
// spec.extra. This backend has none, so that the host refuses all; one would be
// [{"name": "mode", "meaning": "how to run", "default": "fast", "values": ["fast", "safe"]}].
//
//export goExtension
func goExtension(id *C.char, answer *C.bench_text) C.bench_status {
	if C.GoString(id) != "bench.options/1" {
		return C.BENCH_END
	}
	say(answer, "[]")
	return C.BENCH_OK
}

// A library has no main, and Go wants one.
func main() {}
