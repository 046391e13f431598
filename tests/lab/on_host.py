"""What the tests run on hosts of the lab: on_host.py WHAT ARGUMENTS."""

import os
import pathlib
import select
import signal
import socket
import sys
import time

PORT = 7
FIRST_FLOW_PORT = 40000


def udp(timeout_s=None):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(timeout_s)
    return made


def echo():
    """Answers until an event ends it."""
    serving = udp()
    serving.bind(("", PORT))
    print("ready", flush=True)
    while True:
        data, sender = serving.recvfrom(2048)
        serving.sendto(data, sender)


def ask(asking, address):
    """Seconds until the answer; None where there is none within 0.1 s or the network says no."""
    token = os.urandom(8)
    start = time.monotonic()
    try:
        asking.sendto(token, (address, PORT))
        while True:
            if asking.recv(2048) == token:
                return time.monotonic() - start
    except OSError:
        return None


def ask_until(address, *phases):
    """Asks until it has seen each phase in turn: "answer", "silence" (five times), or "N ms" for an answer that took
    at least so long."""
    asking = udp(0.1)
    for phase in phases:
        silent = 0
        while True:
            took = ask(asking, address)
            silent = silent + 1 if took is None else 0
            if phase == "silence":
                if silent >= 5:
                    break
            elif took is not None and (phase == "answer" or took >= float(phase.split()[0]) / 1000):
                break
            time.sleep(0.01)
        print(phase, flush=True)


def fastest(address, count):
    """The shortest of so many answers, in microseconds."""
    asking = udp(0.1)
    while ask(asking, address) is None:
        pass
    print("fastest", round(min(ask(asking, address) or 1 for _ in range(int(count))) * 1e6), flush=True)


def flows(address, count, wanted):
    """Asks from so many ports again and again until "some" have answers, or "all"."""
    asking = []
    for i in range(int(count)):
        asking.append(udp())
        asking[-1].bind(("", FIRST_FLOW_PORT + i))
    answers = set()
    while not (len(answers) == len(asking) if wanted == "all" else answers):
        for one in asking:
            one.sendto(b"flow", (address, PORT))
        answers.clear()
        while answered := select.select(asking, [], [], 0.2)[0]:
            for one in answered:
                one.recv(2048)
                answers.add(one)
        if wanted == "some" and len(answers) == len(asking):
            answers.clear()
    print(wanted, flush=True)


def count(address, packets, rank):
    """Rank 1 sends numbered packets until rank 0 has seen so many of them leave, and says how many of these came."""
    done = pathlib.Path(os.environ["FOLDER"], "counted")
    if rank == "1":
        sending = udp()
        number = 0
        while not done.exists():
            sending.sendto(number.to_bytes(8, "big"), (address, PORT))
            number += 1
            time.sleep(0.0002)
        return
    counted = udp()
    counted.bind(("", PORT))
    first = int.from_bytes(counted.recv(8), "big")
    received = 0
    while int.from_bytes(counted.recv(8), "big") <= first + int(packets):
        received += 1
    print("received", received, flush=True)
    done.touch()


def accept(address):
    listening = socket.create_server((address, PORT))
    print("ready", flush=True)
    return listening.accept()[0]


def connect(address):
    while True:
        try:
            return socket.create_connection((address, PORT), timeout=20)
        except ConnectionRefusedError:
            time.sleep(0.02)


def stream(address, size, rank):
    """Rank 1 sends so many bytes to rank 0, which says how many came and how long that took."""
    if rank == "1":
        connect(address).sendall(bytes(int(size)))
        return
    receiving = accept(address)
    start = time.monotonic()
    received = 0
    while piece := receiving.recv(1 << 20):
        received += len(piece)
    print("received", received, "bytes in", round((time.monotonic() - start) * 1e3), "ms", flush=True)


def outside():
    """What of the machine can be seen from here: devices, and whether any other address can be reached."""
    print("devices", *sorted(os.listdir("/sys/class/net")))
    for address in ("192.0.2.1", "8.8.8.8"):
        try:
            udp().connect((address, PORT))
            print("route to", address)
        except OSError as error:
            print("no route:", error.strerror)


def send_from(source, target, packets):
    """Sends from one of the host's own addresses and says what each NIC has sent meanwhile."""
    def sent():
        nics = sorted(name for name in os.listdir("/sys/class/net") if name.startswith("nic"))
        return {nic: int(open(f"/sys/class/net/{nic}/statistics/tx_packets", encoding="ascii").read()) for nic in nics}
    before = sent()
    sending = udp()
    sending.bind((source, 0))
    for _ in range(int(packets)):
        sending.sendto(b"x", (target, PORT))
    for nic, number in sent().items():
        print(nic, "sent", number - before[nic])


def end_by(number):
    os.kill(os.getpid(), signal.Signals(int(number)))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
