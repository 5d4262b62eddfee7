"""The smallest correct engine, with ways to go wrong that tests ask for."""

import os
import signal
import subprocess
import sys
import threading

import bench_engine
from bench_engine import Channel, Refusal, Workload

LONG = "a cause in many words, " * 40 + "\nwhose last line is the very end of it"


def before(behave: str, channel: Channel) -> None:
    """What happens before the stream."""
    print("printed to standard output")
    print("printed to standard error", file=sys.stderr)
    subprocess.run([sys.executable, "-c", "print('printed by a process of the runtime')"], check=True)
    os.mkdir("session_1")
    with open("session_1/engine.err", "w") as file:
        file.write("written to a log file of the runtime\n")
    if behave == "refuse":
        raise Refusal("there is no such thing: choose this or that", "invalid")
    if behave == "raise":
        raise ValueError(LONG)
    if behave == "half":
        # As of a file whose name is no UTF-8.
        raise ValueError("cannot open " + os.fsdecode(b"caf\xe9.txt"))
    if behave == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if behave == "exit":
        print("LookupError: why it exits")
        print("some noise after it")
        os._exit(3)
    if behave == "flood":
        for number in range(1_200_000):
            print(f"line {number:07} of a flood that is to fill the disk of the machine")
        raise ValueError("after the flood")
    if behave == "hang":
        channel.phase("start-up", "the engine has not answered")
        threading.Event().wait()


def main(channel: Channel) -> None:
    config = channel.config
    behave = config["extra"].get("behave", "")
    before(behave, channel)
    channel.phase("deploy")
    workload = Workload(config["library"], config["open"])
    router = workload.router(1)
    operators = {chain[0]: (chain[-1], workload.operator(chain)) for chain in bench_engine.chains(workload.graph)}

    def deliver(deliveries: list[bench_engine.Delivery]) -> None:
        for node, _, batch in deliveries:
            if node in operators:
                last, operator = operators[node]
                deliver(router.route(last, operator.process(batch), 0))
            else:
                channel.emit(batch)

    for batch in channel.events():
        if behave == "hang later":
            print("printed in the stream")
            threading.Event().wait()
        deliver(router.route_events(batch, 0))
    for last, operator in operators.values():
        deliver(router.route(last, operator.finish(), 0))
    channel.log("said through the host", "debug")
    channel.phase("teardown")


bench_engine.drive(main)
