"""The command line."""

import argparse
import os
import shutil
import signal
import sys

from tutti_lab import machine, quantities, topology
from tutti_lab.cluster import Cluster
from tutti_lab.errors import BadInput, Interrupted, MachineError
from tutti_lab.events import parse_event
from tutti_lab.plan import Plan
from tutti_lab.ranks import Run, say

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number, _):
    for one in _SIGNALS:  # what follows is the clearing up, which is not to be interrupted
        signal.signal(one, signal.SIG_IGN)
    raise Interrupted(number)


def _event(text):
    try:
        return parse_event(text, "--event")
    except BadInput as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--event: ")) from None


def _time(text):
    try:
        return quantities.time_ns(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not {error}") from None


def _per_host(text):
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of ranks from 1 to 1024")
    return int(text)


def _parser():
    parser = argparse.ArgumentParser(prog="lab", description="Runs commands in a cluster of network namespaces. "
                                                             "See README.md beside this program.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="build the cluster, run a command on every host, remove the cluster")
    run.add_argument("topology")
    run.add_argument("--ranks-per-host", type=_per_host, default=1, metavar="N")
    run.add_argument("--event", type=_event, action="append", default=[], metavar="TEXT",
                     help='such as "2s link a-b down" or "3s rank 1 kill"; any number of them')
    run.add_argument("--time-limit", type=_time, metavar="TIME", help="end everything after so long, with status 124")
    run.usage = run.format_usage().removeprefix("usage: ").rstrip() + " -- COMMAND"
    run.epilog = "In COMMAND, {rank}, {host}, {size}, {local_rank} and {address} are filled in."
    shell = commands.add_parser("shell", help="build the cluster and open a shell on one host")
    shell.add_argument("topology")
    shell.add_argument("host")
    shell.usage = shell.format_usage().removeprefix("usage: ").rstrip() + " [-- COMMAND]"
    for name, what in (("check", "say whether the file is right"), ("show", "print hosts, links, addresses, routes")):
        commands.add_parser(name, help=what).add_argument("topology")
    commands.add_parser("clean", help="remove what labs that were killed have left behind")
    return parser


def _parse(arguments):
    """The options, with what follows the first "--" as their `arguments`."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments[:place])
    options.arguments = arguments[place + 1:]
    if options.command == "run" and not options.arguments:
        parser.error("there is no command; it stands at the end, after --, such as lab run TOPOLOGY -- hostname")
    if unknown:
        parser.error(f"'{unknown[0]}' is no argument of {options.command}; what is to run on the hosts stands after --")
    return options


def _check_program(name):
    """BadInput where the hosts would not find it; they see the same files."""
    if "{" not in name and shutil.which(name) is None:
        place = "is no program" if "/" in name else f"is in no folder of PATH, which is {os.environ.get('PATH', '')}"
        raise BadInput(f"command '{name}' {place}; nothing was started")


def _run(options):
    _check_program(options.arguments[0])
    loaded = topology.load(options.topology)
    ranks = len(loaded.hosts) * options.ranks_per_host
    topology.check_events(loaded, loaded.events, f"{loaded.path}: events", ranks)
    topology.check_events(loaded, options.event, "--event", ranks)
    with Cluster(Plan(loaded)) as cluster:
        run = Run(cluster, options.arguments, options.ranks_per_host, loaded.events + options.event,
                  options.time_limit)
        try:
            return run.run()
        finally:
            run.end()


def _shell(options):
    loaded = topology.load(options.topology)
    if options.host not in loaded.hosts:
        raise BadInput(f"{loaded.path}: there is no host '{options.host}'; there are {', '.join(loaded.hosts)}")
    with Cluster(Plan(loaded)) as cluster:
        signal.signal(signal.SIGINT, lambda *_: None)  # is for what runs in the shell
        return cluster.shell(options.host, options.arguments or [os.environ.get("SHELL", "sh")])


def _check(options):
    plan = Plan(topology.load(options.topology))
    loaded = plan.topology
    print(f"{loaded.path}: {len(loaded.hosts)} hosts, {len(loaded.switches)} switches, {len(loaded.links)} links, "
          f"{len(loaded.events)} events")
    return 0


def _show(options):
    print(Plan(topology.load(options.topology)).text())
    return 0


def _clean(_):
    for name in machine.clean():
        print(f"removed {name}")
    for name, owner, _, lives in machine.namespaces():
        if lives:
            print(f"kept {name}: its lab still runs as process {owner}")
    return 0


def main(arguments):
    options = _parse(arguments)
    for one in _SIGNALS:
        signal.signal(one, _interrupt)
    commands = {"run": _run, "shell": _shell, "check": _check, "show": _show, "clean": _clean}
    try:
        return commands[options.command](options)
    except BadInput as error:
        say(error)
        return 2
    except MachineError as error:
        say(error)
        return 1
    except Interrupted as interruption:
        machine.remove_own()  # in case that it came in the middle of clearing up
        say(f"ended by signal {interruption.signal_number}, and everything with it")
        return 128 + interruption.signal_number
    except BrokenPipeError:  # whoever read the output has gone
        sys.stderr.close()
        return 1
