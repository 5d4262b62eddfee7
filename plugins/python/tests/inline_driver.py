"""The smallest correct engine with a flow of its own, with ways to go wrong that tests ask for."""

import os
import signal
import subprocess
import sys
import time

import bench_engine
from bench_engine import Channel, Refusal, Tally, Workload


def main(channel: Channel) -> None:
    config = channel.config
    print("noise on standard output", flush=True)
    behaviour = config["extra"].get("behave", "")
    if behaviour == "refuse":
        raise Refusal("no such scheduler", "unsupported")
    if behaviour == "raise":
        raise ValueError("on purpose")
    if behaviour == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "children":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if behaviour == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)
    channel.phase("deploy")
    workload = Workload(config["library"], config["open"])
    assert workload.graph == config["graph"]
    router, tally = workload.router(1), Tally(workload.graph)
    operators = {chain[0]: (chain[-1], workload.operator(chain)) for chain in bench_engine.chains(workload.graph)}

    def deliver(deliveries: list[bench_engine.Delivery]) -> None:
        for node, _, batch in deliveries:
            if node not in operators:
                tally.result_batch(batch)
                channel.emit(batch)
                continue
            last, operator = operators[node]
            deliver(router.route(last, operator.process(batch), 0))

    for batch in channel.events():
        if behaviour == "die later":
            os.kill(os.getpid(), signal.SIGKILL)
        tally.event_batch(batch)
        deliver(router.route_events(batch, 0))
    for last, operator in operators.values():
        deliver(router.route(last, operator.finish(), 0))
    channel.metrics(tally.metrics())
    channel.log("all done", "warn")
    channel.phase("teardown")


bench_engine.drive(main)
