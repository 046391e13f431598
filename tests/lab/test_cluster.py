"""The lab on this machine: what hosts see of each other, what links and events do, and that nothing stays behind."""

import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

import labs

FIRST = "10.77.1.1"
PATIENCE_S = 20


def both(*arguments):
    """One command of on_host.py for all ranks."""
    return [*labs.ON_HOST, *arguments]


def link(values):
    return f"hosts: [h1, h2]\nlinks:\n  - {{between: [h1, h2]{', ' if values else ''}{values}}}\n"


def left_behind():
    folder = "/run/netns"  # which is not there before somebody has made the first namespace
    return [name for name in os.listdir(folder) if name.startswith("tutti-lab-")] if os.path.isdir(folder) else []


class Cluster(unittest.TestCase):
    def run_on(self, text, command, *options, status=0):
        """Output and messages of a run that ends as expected."""
        done = labs.run_lab(text, command, *options)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout, done.stderr


class Ranks(Cluster):
    def test_they_get_what_tutti_needs(self):
        script = 'echo {rank} {host} {size} {local_rank} {address}; env | grep ^TUTTI_ | sort; hostname; ' \
                 'cat /sys/class/net/nic0/speed'
        output, _ = self.run_on(link("rate: 300mbit"), ["sh", "-c", script], "--ranks-per-host", "2")
        of_rank = [re.findall(rf"^\[h{rank // 2 + 1} {rank}\] (.*)$", output, re.M) for rank in range(4)]
        secret = re.search("TUTTI_SECRET=(.{32})", output)[1]
        self.assertEqual(of_rank[3], [
            "3 h2 4 1 10.77.1.2", "TUTTI_LOCAL_RANK=1", "TUTTI_LOCAL_SIZE=2", "TUTTI_RANK=3", f"TUTTI_SECRET={secret}",
            "TUTTI_SIZE=4", f"TUTTI_STORE=tcp://{FIRST}:20200", "h2", "300"])
        self.assertEqual([lines[0] for lines in of_rank[:3]], ["0 h1 4 0 10.77.1.1", "1 h1 4 1 10.77.1.1",
                                                               "2 h2 4 0 10.77.1.2"])

    def test_the_first_bad_end_is_the_run_s(self):
        _, messages = self.run_on(labs.TWO_HOSTS, ["sh", "-c", "exit $((TUTTI_RANK * 7))"], status=7)
        self.assertIn("rank 1 on h2 ended with exit status 7", messages)

    def test_an_end_by_a_signal_counts_as_well(self):
        _, messages = self.run_on(labs.TWO_HOSTS, both("end_by", "9"), status=128 + 9)
        self.assertRegex(messages, r"rank [01] on h[12] was killed by signal 9 \(Killed\)")

    def test_a_command_that_is_not_there(self):
        _, messages = self.run_on(labs.TWO_HOSTS, ["/no/such/program"], status=2)
        self.assertEqual(messages, "lab: command '/no/such/program' is no program; nothing was started\n")

    def test_a_time_limit_ends_what_hangs(self):
        _, messages = self.run_on(labs.TWO_HOSTS, ["sleep", "1000"], "--time-limit", "200ms", status=124)
        self.assertIn("ranks 0, 1 still run and are ended", messages)

    def test_names_in_braces_are_filled_in_but_not_those_of_the_shell(self):
        output, _ = self.run_on(labs.TWO_HOSTS, ["sh", "-c", "host=mine; echo {host} ${host} {other}"])
        self.assertIn("[h2 1] h2 mine {other}\n", output)

    def test_events_kill_stop_and_continue(self):
        script = "if [ {rank} = 1 ]; then sleep 1000; fi"
        _, messages = self.run_on(labs.TWO_HOSTS, ["sh", "-c", script], "--event", "100ms rank 1 stop",
                                  "--event", "200ms rank 1 continue", "--event", "300ms rank 1 kill")
        self.assertIn("rank 1 on h2 was killed by signal 9 (Killed), as the event wanted", messages)

    def test_a_shell_on_one_host(self):
        with labs.TopologyFile(labs.TWO_HOSTS) as path:
            done = subprocess.run(labs.lab_command("shell", path, "h2", "--", "sh", "-c", "hostname; exit 5"),
                                  capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout.splitlines()[1:]), (5, ["h2"]), done.stderr)


class Links(Cluster):
    def ask(self, text, *arguments, events=()):
        """Rank 1 runs on_host.py with the arguments, and then kills rank 0, which answered until then: hosts have
        networks of their own, not process numbers."""
        words = " ".join(f"'{one}'" for one in arguments)
        script = 'if [ {rank} = 0 ]; then echo $$ > "$FOLDER/pid"; exec "$0" "$@" echo; fi; ' \
                 f'"$0" "$@" {words} && exec kill $(cat "$FOLDER/pid")'
        options = [word for event in events for word in ("--event", event)]
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FOLDER"] = folder
            # Rank 0's end is the run's: by SIGTERM where rank 1 got to the end of what it does.
            return self.run_on(text, ["sh", "-c", script, *labs.ON_HOST], *options, status=128 + 15)[0]

    def test_hosts_reach_each_other(self):
        self.assertIn("[h2 1] answer", self.ask(labs.TWO_HOSTS, "ask_until", FIRST, "answer"))

    def test_hosts_reach_nothing_else(self):
        output, _ = self.run_on(labs.TWO_HOSTS, both("outside"))
        self.assertEqual(sorted(re.findall(r"\[h1 0\] (.*)", output)),
                         ["devices lo nic0"] + 2 * ["no route: Network is unreachable"])

    def test_a_rate_holds_bytes_back(self):
        # 4 MB at 80 Mbit/s take 400 ms; half of it is far from any machine's own speed, and never too much to ask.
        output, _ = self.run_on(link("rate: 80mbit"), both("stream", FIRST, "4000000", "{rank}"))
        received, took = map(int, re.search(r"received (\d+) bytes in (\d+) ms", output).groups())
        self.assertEqual(received, 4_000_000)
        self.assertGreater(took, 200)

    def test_an_event_changes_the_rate(self):
        output, _ = self.run_on(link("rate: 8gbit"), both("stream", FIRST, "4000000", "{rank}"),
                                "--event", "0s link h1-h2 rate 80mbit")
        self.assertGreater(int(re.search(r"in (\d+) ms", output)[1]), 200)

    def test_a_link_goes_down_and_up(self):
        output = self.ask(labs.TWO_HOSTS, "ask_until", FIRST, "answer", "silence", "answer",
                          events=["1s link h1-h2 down", "2500ms link h1-h2 up"])
        self.assertEqual(re.findall(r"\[h2 1\] (.*)", output), ["answer", "silence", "answer"])

    def test_loss_takes_its_share(self):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FOLDER"] = folder
            output, _ = self.run_on(link("loss: 50%"), both("count", FIRST, "1000", "{rank}"))
        received = int(re.search(r"received (\d+)", output)[1])
        self.assertTrue(300 < received < 700, received)  # 12 standard deviations

    def test_loss_begins_and_ends_by_events(self):
        output = self.ask(labs.TWO_HOSTS, "ask_until", FIRST, "answer", "silence", "answer",
                          events=["1s link h1-h2 loss 100%", "2500ms link h1-h2 loss 0%"])
        self.assertEqual(re.findall(r"\[h2 1\] (.*)", output), ["answer", "silence", "answer"])

    def test_loss_one_way_leaves_the_other_way_as_it_is(self):
        event = "0s link h1-h2 loss 100% to h2"
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FOLDER"] = folder
            output, _ = self.run_on(labs.TWO_HOSTS, both("count", FIRST, "1000", "{rank}"), "--event", event)
        self.assertGreater(int(re.search(r"received (\d+)", output)[1]), 900, output)
        output = self.ask(labs.TWO_HOSTS, "ask_until", FIRST, "silence", events=[event])
        self.assertIn("[h2 1] silence", output)

    def test_a_delay_holds_packets_back(self):
        output = self.ask(link("delay: 5ms"), "fastest", FIRST, "10")
        self.assertGreaterEqual(int(re.search(r"fastest (\d+)", output)[1]), 10_000)

    def test_an_event_changes_the_delay(self):
        output = self.ask(link("rate: 1gbit, delay: 1ms"), "ask_until", FIRST, "answer", "60 ms",
                          events=["1s link h1-h2 delay 30ms"])
        self.assertIn("[h2 1] 60 ms", output)

    def test_a_delayed_link_carries_streams_whole(self):
        output, _ = self.run_on(link("delay: 1ms"), both("stream", FIRST, "20000000", "{rank}"))
        self.assertIn("received 20000000 bytes", output)

    def test_flows_spread_over_spines_and_find_another_way(self):
        """One spine loses all: some flows die, not all. Once its link is down, all go by the other."""
        text = labs.LEAVES.replace("[leaf1, spine1]", "[leaf1, spine1], loss: 100%")
        self.assertIn("[h2 1] some", self.ask(text, "flows", FIRST, "32", "some"))
        self.assertIn("[h2 1] all", self.ask(text, "flows", FIRST, "32", "all",
                                             events=["500ms link leaf1-spine1 down"]))

    def test_a_source_address_chooses_the_nic(self):
        text = "hosts: [h1, h2]\nswitches: {s: bridge}\nlinks:\n  - {between: [h1, s]}\n" \
               "  - {between: [h1, s], name: second}\n  - {between: [h2, s]}\n"
        for source, nic in (("10.77.1.1", "nic0"), ("10.77.1.2", "nic1")):
            output, _ = self.run_on(text, ["sh", "-c", f"if [ {{rank}} = 0 ]; then \"$0\" \"$@\" send_from {source} "
                                                       "10.77.1.3 100; fi", *labs.ON_HOST])
            sent = {name: int(number) for name, number in re.findall(r"(nic\d) sent (\d+)", output)}
            self.assertGreaterEqual(sent[nic], 100, output)
            self.assertLess(sum(sent.values()) - sent[nic], 50, output)


class ClearingUp(Cluster):
    def start(self, text=labs.TWO_HOSTS):
        """A lab whose ranks sleep; (its process, its ranks' process numbers)."""
        file = labs.TopologyFile(text)
        path = file.__enter__()
        self.addCleanup(file.__exit__)
        lab = subprocess.Popen(labs.lab_command("run", path, "--", "sh", "-c", "echo $$; sleep 1000"),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def stop():
            lab.terminate()  # it then removes what it made
            lab.wait()
            lab.stdout.close()
            lab.stderr.close()
        self.addCleanup(stop)
        return lab, [int(lab.stdout.readline().split()[-1]) for _ in range(2)]

    def of(self, lab):
        return [name for name in left_behind() if name.startswith(f"tutti-lab-{lab.pid}-")]

    def assert_ended(self, pids):
        end = time.monotonic() + PATIENCE_S
        while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < end:
            time.sleep(0.02)
        self.assertFalse([pid for pid in pids if os.path.exists(f"/proc/{pid}")])

    def test_signals_end_everything(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            lab, ranks = self.start()
            self.assertEqual(len(self.of(lab)), 2)
            lab.send_signal(number)
            self.assertEqual(lab.wait(PATIENCE_S), 128 + number, lab.stderr.read())
            self.assertEqual(self.of(lab), [])
            self.assert_ended(ranks)

    def test_clean_removes_what_a_killed_lab_left_and_nothing_else(self):
        killed, ranks = self.start(link("delay: 1ms"))
        living, _ = self.start()
        left, kept = self.of(killed), self.of(living)
        self.assertEqual((len(left), len(kept)), (3, 2))
        killed.kill()
        killed.wait()
        done = subprocess.run(labs.lab_command("clean"), capture_output=True, text=True, check=True)
        for name in left:
            self.assertIn(f"removed {name}\n", done.stdout)
        for name in kept:
            self.assertIn(f"kept {name}: its lab still runs as process {living.pid}\n", done.stdout)
        self.assertEqual((self.of(killed), self.of(living)), ([], kept))
        self.assert_ended(ranks)

    def test_an_error_while_building_leaves_nothing(self):
        before = set(left_behind())
        with labs.TopologyFile(link("delay: 1ms")) as path:
            done = subprocess.run(labs.lab_command("run", path, "--", "true"), capture_output=True, text=True,
                                  check=False, env={**os.environ, "LAB_RELAY": "/no/such/relay"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("/no/such/relay", done.stderr)
        self.assertEqual({name for name in left_behind() if f"-{os.getpid()}-" in name} - before, set())


@unittest.skipUnless("LAB_TUTTI_PERF" in os.environ, "LAB_TUTTI_PERF does not name the program")
class Tutti(Cluster):
    def test_ranks_meet_and_agree(self):
        os.environ.pop("TUTTI_TRANSPORTS", None)
        perf = os.environ["LAB_TUTTI_PERF"]
        command = [perf, "all_reduce", "-b", "4K", "-e", "256K", "-f", "8", "-n", "2"]
        output, _ = self.run_on(link("rate: 1gbit"), command, "--ranks-per-host", "2")
        self.assertIn("4 ranks", output)
        self.assertIn("wrong elements: 0", output)


if __name__ == "__main__":
    labs.main(needs_namespaces=True)
