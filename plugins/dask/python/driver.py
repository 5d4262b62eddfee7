"""Runs a workload of bench on Dask: `driver.py`, with the plugin at the other end of two pipes.

In: one line of JSON, then batches of events, each behind its length (u32, little endian), then a
length of zero. Out: messages of a kind (one byte), a length and a body:

    P  a phase begins (its name)          E  results for the sink
    D  done; the body has the metrics     F  failed; the body says why

The input is held open until the plugin has read the last message. When it closes earlier, the plugin
is gone: then this process and its workers end at once and the temporary folder goes with them.
"""

import asyncio
import json
import os
import select
import shutil
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import bench_dask_worker as worker

CALLS_PER_WORKER = 4
"""Calls under way per worker before the next events are read: keeps workers busy, memory bounded."""


class Pipes:
    """The plugin, as seen from here."""

    def __init__(self):
        self.input = os.fdopen(os.dup(0), "rb")
        self.output = os.fdopen(os.dup(1), "wb")
        # Whatever Dask prints belongs into the log, and workers inherit nothing of the protocol.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        self.reader = ThreadPoolExecutor(1)
        self.watch()

    def config(self):
        return json.loads(self.input.readline())

    def send(self, kind, body=b""):
        self.output.write(kind + struct.pack("<I", len(body)))
        self.output.write(body)
        self.output.flush()

    def phase(self, name):
        self.send(b"P", name.encode())

    def next_events(self):
        """The next batch, or None at the end of the stream."""
        header = self.input.read(4)
        if len(header) < 4:
            raise EOFError("the plugin closed the pipe")
        return self.input.read(*struct.unpack("<I", header)) or None

    def watch(self):
        """Ends everything when the plugin goes away, whatever else is under way."""
        closed = select.poll()
        closed.register(self.input, 0)

        def wait():
            closed.poll()
            vanish()

        threading.Thread(target=wait, daemon=True).start()


def vanish():
    """The plugin is gone: nothing may stay behind."""
    import psutil

    children = psutil.Process().children(recursive=True)
    for child in children:
        child.kill()
    psutil.wait_procs(children, timeout=5)
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os._exit(1)


class Stage:
    """A chain of operators: fused, because each feeds the next alone."""

    def __init__(self, nodes, instances):
        self.nodes = tuple(node["id"] for node in nodes)
        self.stateful = any(node["state"] != "none" for node in nodes)
        self.blocking = nodes[0]["blocking"]
        self.instances = instances
        self.actors = []
        self.calls = 0
        self.total = 0
        # Where the next records that may go anywhere go to.
        self.turn = 0


class Engine:
    """Stateless chains are tasks, which Dask places; chains with state are actors.

    No operator relies on the order of its input, so calls of one stage overlap freely. Batches
    come back here between stages: the router needs one home, and a batch is small.
    """

    def __init__(self, client, pipes, workload, parallelism):
        self.client = client
        self.pipes = pipes
        self.router = worker.Router(workload, parallelism)
        self.addresses = []
        self.changed = asyncio.Event()
        self.calls = set()
        self.failure = None
        self.turn = 0
        graph = json.loads(workload.graph())
        stages = [Stage(nodes, self.router.instances(nodes[0]["id"])) for nodes in chains(graph)]
        self.stages = {stage.nodes[0]: stage for stage in stages}

    async def deploy(self):
        """Creates operators before the clock runs: the actors, spread over the workers, and a set of
        the others in each."""
        stateless = [stage.nodes for stage in self.stages.values() if not stage.stateful]
        self.addresses = sorted(await self.client.run(worker.prepare, stateless))
        place = 0
        for stage in self.stages.values():
            for instance in range(stage.instances if stage.stateful else 0):
                address = self.addresses[place % len(self.addresses)]
                place += 1
                stage.actors.append(
                    self.client.submit(
                        worker.Instance, stage.nodes, instance, stage.instances, actor=True, workers=[address], pure=False
                    )
                )
            stage.actors = await asyncio.gather(*stage.actors)

    async def run(self):
        loop = asyncio.get_running_loop()
        limit = CALLS_PER_WORKER * len(self.addresses)
        while True:
            await self.until(lambda: len(self.calls) < limit)
            events = await loop.run_in_executor(self.pipes.reader, self.pipes.next_events)
            if events is None:
                break
            self.turn += 1
            self.deliver(worker.EVENTS, events, self.turn)
        self.pipes.phase("drain")
        for stage in self.stages.values():
            # Everything above has ended, and counts what it wrote as a call here before it ends.
            await self.until(lambda stage=stage: stage.calls == 0)
            for output in await self.flush(stage):
                self.deliver(stage.nodes[-1], output, stage.turn)
        await self.until(lambda: not self.calls)

    async def until(self, condition):
        while not condition():
            self.changed.clear()
            await self.changed.wait()
            if self.failure:
                raise self.failure

    def deliver(self, node, output, turn):
        for target, instance, batch in self.router.route(node, output, turn):
            stage = self.stages.get(target)
            if stage is None:
                self.pipes.send(b"E", batch)
                continue
            stage.calls += 1
            stage.total += 1
            self.calls.add(asyncio.create_task(self.call(stage, instance, batch)))

    async def call(self, stage, instance, batch):
        try:
            if stage.stateful:
                output = await stage.actors[instance].process(batch)
            else:
                output = await self.client.submit(worker.apply, stage.nodes, stage.blocking, batch, pure=False)
            stage.turn += 1
            self.deliver(stage.nodes[-1], output, stage.turn)
        except Exception as cause:
            self.failure = self.failure or cause
        finally:
            stage.calls -= 1
            self.calls.discard(asyncio.current_task())
            self.changed.set()

    async def flush(self, stage):
        if stage.stateful:
            return await asyncio.gather(*(actor.finish() for actor in stage.actors))
        return (await self.client.run(worker.finish, stage.nodes)).values()


def chains(graph):
    """Runs of nodes that may be one call: each feeds the next alone, with as many instances, and
    neither waits on the network while the other computes."""
    nodes, edges, found = graph["nodes"], graph["edges"], []
    for node in (node for node in nodes if node["role"] == "operator"):
        entering = [edge for edge in edges if edge["to"] == node["id"]]
        before = nodes[entering[0]["from"]]
        fits = (
            len(entering) == 1
            and entering[0]["partition"] == "any"
            and sum(edge["from"] == before["id"] for edge in edges) == 1
            and all(before[what] == node[what] for what in ("max_parallelism", "blocking"))
            and (before["state"] == "none") == (node["state"] == "none")
        )
        chain = next((chain for chain in found if fits and chain[-1] is before), None)
        if chain:
            chain.append(node)
        else:
            found.append([node])
    return found


def configure(config):
    """Dask's settings: nothing of the user's, no spilling into strange places, no retries."""
    import dask

    dask.config.set(
        {
            "temporary-directory": os.environ["TMPDIR"],
            # A dead worker takes its actors along, so its tasks need no second chance either.
            "distributed.scheduler.allowed-failures": 0,
            "distributed.scheduler.work-stealing": config["scheduler"] != "fifo",
            "distributed.worker.profile.enabled": False,
            "distributed.admin.system-monitor.gil.enabled": False,
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
        }
    )


async def connect(config):
    """A client of the user's cluster, or of one that lives as long as this process."""
    from distributed import Client, LocalCluster

    cluster = config["address"] or await LocalCluster(
        n_workers=config["parallelism"],
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        asynchronous=True,
    )
    # Without `direct_to_workers` each call of an actor would pass through the scheduler.
    client = await Client(cluster, asynchronous=True, direct_to_workers=True)
    return client, None if config["address"] else cluster


async def main(pipes):
    config = pipes.config()
    configure(config)
    pipes.phase("start-up")
    client, cluster = await connect(config)
    await client.wait_for_workers(1 if config["address"] else config["parallelism"])
    pipes.phase("deploy")
    library = config["workloads"]
    arguments = library["library"], library["sha256"], json.dumps(library["open"])
    await client.upload_file(worker.__file__)
    await client.register_plugin(worker.OpenWorkload(*arguments))
    engine = Engine(client, pipes, worker.Workload(*arguments), config["parallelism"])
    await engine.deploy()
    pipes.phase("steady")
    await engine.run()
    pipes.phase("teardown")
    calls = {"/".join(map(str, stage.nodes)): stage.total for stage in engine.stages.values()}
    await client.close()
    if cluster:
        await cluster.close()
    return {"workers": len(engine.addresses), "calls": calls}


if __name__ == "__main__":
    pipes = Pipes()
    try:
        metrics = asyncio.run(main(pipes))
    except Exception as cause:
        pipes.send(b"F", f"{type(cause).__name__}: {cause}".encode())
        raise
    pipes.send(b"D", json.dumps(metrics).encode())
