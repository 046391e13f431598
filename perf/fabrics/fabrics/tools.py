"""The fabrics' own tools: how each is asked for a figure, and what its output says. No process is started here.

A figure is called as benchmark_fabrics calls it. What a tool cannot measure is not in its list, and has no ratio.
All-reduce is tutti-perf's, and so is what it is compared with, the bandwidth between the two ranks.
"""

import dataclasses
import json
import math

from comparison.errors import Trouble

MEBI = 1 << 20
_CONNECTED = ("tcp", "net")  # providers of libfabric's over whose connected endpoints Tutti goes
_DATAGRAMS = "fi_pingpong rdm"  # beside those, the tool over the same provider's datagram endpoints


@dataclasses.dataclass(frozen=True)
class Figure:
    """One thing to be measured of a transport. `ours`: benchmark_fabrics' name of the figure that answers to it."""
    name: str  # "latency", "rate", "ping_pong", "one_way", "both_ways", "cpu", "all_reduce"
    bytes: int
    ours: str
    unit: str
    tool: str  # which of the tools measures it, and how; "": none does; of "all_reduce" tutti-perf's send_receive


@dataclasses.dataclass(frozen=True)
class Target:
    """A transport over one fabric. `words`: as benchmark_fabrics takes them; `settings`: the same for tutti-perf."""
    name: str
    words: tuple
    settings: dict
    environment: dict = dataclasses.field(default_factory=dict)


def targets(names, devices, gid_index, ucx_transports):
    """The targets of these names: verbs, ucx, or ofi:PROVIDER."""
    found = []
    for name in names:
        transport, _, provider = name.partition(":")
        if name == "verbs":
            settings = {"TUTTI_TRANSPORTS": "self,verbs", "TUTTI_VERBS_DEVICES": ",".join(devices)}
            found.append(Target(name, ("verbs", *devices), settings, {"TUTTI_VERBS_GID_INDEX": str(gid_index)}))
        elif name == "ucx":
            found.append(Target(name, ("ucx", ucx_transports), {"TUTTI_TRANSPORTS": "self,ucx"},
                                {"UCX_TLS": ucx_transports, "UCX_LOG_LEVEL": "fatal"}))
        elif transport == "ofi" and provider:
            found.append(Target(name, ("ofi", provider),
                                {"TUTTI_TRANSPORTS": "self,ofi", "TUTTI_OFI_PROVIDER": provider}))
        else:
            raise Trouble(f"{name} is nothing that can be measured; expected verbs, ucx or ofi:PROVIDER")
    return found


def _ping_pongs(target):
    return ["fi_pingpong", _DATAGRAMS] if target.words[1] in _CONNECTED else ["fi_pingpong"]


def figures(target, sizes):
    """What is measured of a target, in the order of the table. fi_pingpong gives means, the others medians."""
    kind = target.words[0]
    if kind == "verbs":
        list_ = [Figure("latency", 8, "latency_8_median_us", "us", "ib_write_lat"),
                 Figure("latency", 8, "latency_8_median_us", "us", "ib_send_lat"),
                 Figure("rate", 8, "rate_8_per_s", "/s", "ib_write_bw")]
    elif kind == "ucx":
        list_ = [Figure("latency", 8, "latency_8_median_us", "us", "ucx_perftest"),
                 Figure("rate", 8, "rate_8_per_s", "/s", "ucx_perftest")]
    else:
        list_ = [*(Figure("latency", 8, "latency_8_mean_us", "us", tool) for tool in _ping_pongs(target)),
                 Figure("rate", 8, "rate_8_per_s", "/s", "")]
    streams = {"verbs": "ib_write_bw", "ucx": "ucx_perftest"}.get(kind, "")
    for size in sizes:
        if kind == "ofi":
            list_ += [Figure("ping_pong", size, f"ping_pong_{size}_MBps", "MB/s", tool) for tool in _ping_pongs(target)]
        list_.append(Figure("one_way", size, f"one_way_{size}_MBps", "MB/s", streams))
        list_.append(Figure("both_ways", size, f"both_ways_{size}_MBps", "MB/s", streams if kind == "verbs" else ""))
        # ib_write_bw cannot sleep: who is written to sees no completion.
        asleep = "ib_send_bw" if kind == "verbs" else streams
        list_.append(Figure("cpu", size, f"cpu_{size}_s_per_GB", "s/GB", asleep))
        list_.append(Figure("all_reduce", size, "", "MB/s", "send_receive"))
    return list_


def messages(figure, ours, seconds):
    """How many messages the tool is to send so that it measures for about so long as benchmark_fabrics did."""
    if figure.name == "latency":
        count = seconds / (2e-6 * ours)
    elif figure.name == "rate":
        count = seconds * ours
    elif figure.name == "cpu":
        count = seconds * 1e9 / figure.bytes  # at about 1 GB/s; the slower, the longer
    else:
        count = seconds * 1e6 * ours / figure.bytes
    return max(16, min(int(count), 2_000_000))


def command(target, figure, count, port):
    """The tool's words; the client's have the server's address behind them."""
    size, count, port = str(figure.bytes), str(count), str(port)
    if figure.tool.startswith("ib_"):
        words = [figure.tool, "-F", "-p", port, "-s", size, "-n", count, "-x", target.environment["TUTTI_VERBS_GID_INDEX"]]
        words += ["-b"] if figure.name == "both_ways" else []
        words += ["-e"] if figure.name == "cpu" else []
        return [*words, "-d", target.words[1]], [*words, "-d", target.words[2], "localhost"]
    if figure.tool == "ucx_perftest":
        test = "ucp_am_lat" if figure.name == "latency" else "ucp_am_bw"
        waits = ["-E", "sleep"] if figure.name == "cpu" else []
        return (["ucx_perftest", "-p", port],
                ["ucx_perftest", "localhost", "-p", port, "-t", test, "-s", size, "-n", count, "-w", "10", "-f", "-v", *waits])
    if figure.tool in ("fi_pingpong", _DATAGRAMS):
        provider = target.words[1] + (";ofi_rxm" if figure.tool == _DATAGRAMS else "")
        endpoint = "msg" if provider in _CONNECTED else "rdm"
        words = ["fi_pingpong", "-p", provider, "-e", endpoint, "-I", count, "-S", size]
        return [*words, "-B", port], [*words, "-P", port, "127.0.0.1"]
    raise Trouble(f"{figure.tool} is no tool that this knows")


def read(figure, text):
    """The figure in the client's output, in the figure's unit; of "cpu" there is none in it. None: it is not there."""
    try:
        value = _read(figure, text)
    except (IndexError, ValueError):
        return None
    return value if math.isfinite(value) else None  # perftest says inf where its clock went wrong


def _read(figure, text):
    if figure.tool.startswith("ib_"):
        return _read_perftest(figure, text)
    if figure.tool == "ucx_perftest":
        fields = text.strip().splitlines()[-1].split(",")
        if figure.name == "latency":
            return float(fields[1])
        return float(fields[7]) if figure.name == "rate" else 1e-6 * MEBI * float(fields[5])
    fields = text.strip().splitlines()[-1].split()
    return float(fields[6]) if figure.name == "latency" else float(fields[5])


def _read_perftest(figure, text):
    rows = [line.split() for line in text.splitlines() if line.split() and line.split()[0] == str(figure.bytes)]
    if figure.name == "latency":
        return float(rows[-1][4])  # t_typical
    return 1e6 * float(rows[-1][4]) if figure.name == "rate" else 1e-6 * MEBI * float(rows[-1][3])


def tutti_perf(size, count):
    """tutti-perf's arguments for an all-reduce of this size, and for what it is compared with: as many bytes to the other
    rank, and as many from it, at the same time."""
    return ["send_receive,all_reduce", "--launch", "2", "-b", str(size), "-e", str(size), "-n", str(count), "-c", "0",
            "--in-place", "0", "--json", "-"]


def read_tutti_perf(text):
    """(all-reduce's bus bandwidth, what each rank sends and receives in send_receive), in MB/s."""
    found = {each["collective"]: 1e3 * each["out_of_place"]["busbw_gbps"] for each in json.loads(text)["results"]}
    return found["all_reduce"], found["send_receive"]


def read_ours(text):
    """The figures of benchmark_fabrics by name."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        try:
            found[name] = float(value)
        except ValueError:
            continue
    return found
