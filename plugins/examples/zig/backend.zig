//! A backend in Zig: the whole graph in one thread, one instance of every operator.

const std = @import("std");
/// `bench_backend.h`, translated by `zig translate-c`: the build does it, since Zig has no `@cImport` any more.
const c = @import("bench");

const Host = *const c.bench_host;

const Failure = error{ Runtime, Unavailable, Unsupported, Cancelled, Invalid, OutOfMemory };

/// The error that a status stands for.
fn check(status: c.bench_status) Failure!void {
    return switch (status) {
        c.BENCH_OK => {},
        c.BENCH_ERROR_UNAVAILABLE => error.Unavailable,
        c.BENCH_ERROR_UNSUPPORTED => error.Unsupported,
        c.BENCH_ERROR_CANCELLED => error.Cancelled,
        c.BENCH_ERROR_INVALID => error.Invalid,
        else => error.Runtime,
    };
}

/// The status that an error is returned as.
fn statusOf(failure: Failure) c.bench_status {
    return switch (failure) {
        error.Runtime, error.OutOfMemory => c.BENCH_ERROR_RUNTIME,
        error.Unavailable => c.BENCH_ERROR_UNAVAILABLE,
        error.Unsupported => c.BENCH_ERROR_UNSUPPORTED,
        error.Cancelled => c.BENCH_ERROR_CANCELLED,
        error.Invalid => c.BENCH_ERROR_INVALID,
    };
}

fn say(text: [*c]c.bench_text, message: []const u8) void {
    if (text != null) text.*.append.?(text, message.ptr, message.len);
}

fn view(bytes: c.bench_owned) c.bench_view {
    return .{ .data = bytes.data, .len = bytes.len };
}

const nothing: c.bench_owned = .{ .data = null, .len = 0, .token = null };

/// One run: what was made for it, and whom to ask.
const Pipeline = struct {
    host: Host,
    router: *c.bench_host_router,
    /// By node; null for sources and sinks.
    operators: []?*c.bench_host_operator,
    turn: u32 = 0,

    /// Makes the router and one instance of every operator.
    fn open(host: Host) Failure!Pipeline {
        const router = host.router_create.?(host, 1) orelse return error.Runtime;
        errdefer host.router_drop.?(host, router);
        const operators = try std.heap.c_allocator.alloc(?*c.bench_host_operator, host.node_count.?(host));
        @memset(operators, null);
        var all: Pipeline = .{ .host = host, .router = router, .operators = operators };
        errdefer all.dropOperators();
        for (operators, 0..) |*operator, id| {
            var node: c.bench_node = undefined;
            try check(host.node.?(host, @intCast(id), &node));
            if (node.role != c.BENCH_ROLE_OPERATOR) continue;
            operator.* = host.operator_create.?(host, @intCast(id), 0, 1) orelse return error.Invalid;
        }
        return all;
    }

    fn dropOperators(all: *Pipeline) void {
        for (all.operators) |operator| all.host.operator_drop.?(all.host, operator);
        std.heap.c_allocator.free(all.operators);
    }

    fn close(all: *Pipeline) void {
        all.dropOperators();
        all.host.router_drop.?(all.host, all.router);
    }

    /// Routes what `node` wrote, and hands every batch on, depth first, until it reaches the sink.
    fn deliver(all: *Pipeline, node: u32, batch: c.bench_view) Failure!void {
        const host = all.host;
        const out = host.route.?(host, all.router, node, batch, all.turn) orelse return error.Invalid;
        defer host.deliveries_drop.?(host, out);
        all.turn +%= 1;
        for (0..host.deliveries_count.?(host, out)) |index| {
            var to: u32 = 0;
            var instance: u32 = 0;
            var input = nothing;
            try check(host.deliveries_take.?(host, out, index, &to, &instance, &input));
            defer host.release.?(host, &input);
            const operator = all.operators[to] orelse {
                try check(host.emit.?(host, view(input)));
                continue;
            };
            var output = nothing;
            try check(host.operator_process.?(host, operator, view(input), &output));
            defer host.release.?(host, &output);
            try all.deliver(to, view(output));
        }
    }

    /// Reads until the events end.
    fn process(all: *Pipeline, batch_size: u32) Failure!void {
        const host = all.host;
        while (host.is_cancelled.?(host) == 0) {
            var events = nothing;
            const status = host.next_events.?(host, batch_size, &events);
            if (status == c.BENCH_END) return;
            try check(status);
            defer host.release.?(host, &events);
            try all.deliver(c.BENCH_FROM_SOURCES, view(events));
        }
        return error.Cancelled;
    }

    /// Flushes every operator once, in the order of the nodes.
    fn finish(all: *Pipeline) Failure!void {
        const host = all.host;
        for (all.operators, 0..) |entry, id| {
            const operator = entry orelse continue;
            var output = nothing;
            try check(host.operator_finish.?(host, operator, &output));
            defer host.release.?(host, &output);
            try all.deliver(@intCast(id), view(output));
        }
    }
};

fn runAll(spec: *const c.bench_spec, host: Host) Failure!void {
    host.progress.?(host, "deploy", "");
    var all = try Pipeline.open(host);
    defer all.close();
    host.progress.?(host, "steady", "");
    try all.process(spec.batch_size);
    host.progress.?(host, "drain", "");
    try all.finish();
    // What is not overwritten is the NUL at its end.
    var turns: [16]u8 = @splat(0);
    _ = std.fmt.bufPrint(turns[0..15], "{d}", .{all.turn}) catch unreachable;
    host.metric.?(host, "batches_routed", &turns);
}

fn run(_: ?*c.bench_self, spec: [*c]const c.bench_spec, host: ?Host, result: [*c]c.bench_result) callconv(.c) c.bench_status {
    if (spec.*.nodes > 1) {
        say(result.*.@"error", "this example runs in one process and cannot use several nodes");
        say(result.*.remedy, "leave --nodes at 1");
        return c.BENCH_ERROR_UNSUPPORTED;
    }
    runAll(spec, host.?) catch |failure| {
        say(result.*.@"error", std.mem.span(host.?.last_error.?(host)));
        return statusOf(failure);
    };
    return c.BENCH_OK;
}

fn create(_: [*c]?*c.bench_self, _: [*c]c.bench_text) callconv(.c) c.bench_status {
    return c.BENCH_OK;
}

fn isAvailable(_: ?*c.bench_self, detail: [*c]c.bench_text, _: [*c]c.bench_text) callconv(.c) c.bench_status {
    say(detail, "one thread of Zig " ++ @import("builtin").zig_version_string);
    return c.BENCH_OK;
}

/// bench.options/1: the settings of your own that users give as --backend-option KEY=VALUE, which you find in
/// spec.extra. This backend has none, so that the host refuses all; one would be
/// [{"name": "mode", "meaning": "how to run", "default": "fast", "values": ["fast", "safe"]}].
fn extension(_: ?*c.bench_self, id: [*c]const u8, _: [*c]const u8, answer: [*c]c.bench_text) callconv(.c) c.bench_status {
    if (!std.mem.eql(u8, std.mem.span(id), "bench.options/1")) return c.BENCH_END;
    say(answer, "[]");
    return c.BENCH_OK;
}

const backend: c.bench_backend_v1 = .{
    .magic = c.BENCH_BACKEND_MAGIC,
    .abi = c.BENCH_BACKEND_ABI,
    .size = @sizeOf(c.bench_backend_v1),
    .pointer_bits = @bitSizeOf(*anyopaque),
    .reserved = 0,
    .api_version = c.BENCH_API_VERSION,
    .name = "example_zig",
    .plugin_version = "1.0.0",
    .create = create,
    .is_available = isAvailable,
    .run = run,
    .extension = extension,
    .drop = null,
};

export fn bench_backend_entry_v1() *const c.bench_backend_v1 {
    return &backend;
}
