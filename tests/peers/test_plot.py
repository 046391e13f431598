"""What perf/peers --plot draws: its numbers, its title, what it says when it cannot, and that a picture comes of it."""
import importlib.util
import json
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

import peers_paths  # noqa: F401
from comparison import main, plot
from comparison.errors import Trouble
from comparison.options import PEERS


def operation(peer, ranks, size, us, bound_us=None, collective="all_reduce", transport="shm", wrong=0):
    return {"transport": transport, "ranks": ranks, "peer": peer, "collective": collective, "bytes": size, "wrong": wrong,
            "us": us and {"median": us, "min": us, "max": us, "repetitions": 1}, "bound_us": bound_us}


def document(*operations):
    return {"tool": "peers", "format": 1, "busy": False, "date": "2026-11-21T10:00:00Z", "operations": list(operations),
            "versions": {"tutti": "4a3ab4d"}, "machine": {"cpu": "Model 7", "cores": 2}}


MEASURED = document(
    operation("tutti", 3, 8, 2.0, 0.5), operation("tutti", 2, 8, 1.0, 0.25), operation("gloo", 2, 8, 100.0, 0.25),
    operation("tutti", 2, 3000000, 1000.0, 500.0), operation("tutti", 3, 3000000, 2000.0, 1000.0),
    operation("gloo", 2, 3000000, None, 500.0), operation("tutti", 2, 65536, 10.0, 5.0),
    operation("tutti", 4, 8, 50.0, None, "broadcast", "lab4"))


class Numbers(unittest.TestCase):
    def test_times_are_of_the_smallest_size_and_bandwidths_of_the_largest(self):
        first, second = plot.rows(MEASURED)
        self.assertEqual((first.transport, first.collective, first.times.bytes, first.bandwidths.bytes),
                         ("shm", "all_reduce", 8, 3000000))
        self.assertEqual((second.transport, second.collective), ("lab4", "broadcast"))

    def test_lines_go_by_the_number_of_ranks_with_the_bound(self):
        times = plot.rows(MEASURED)[0].times
        self.assertEqual(times.lines, {"tutti": [(2, 1.0), (3, 2.0)], "gloo": [(2, 100.0)]})
        self.assertEqual(times.bound, [(2, 0.25), (3, 0.5)])

    def test_bus_bandwidth_is_what_a_rank_moves_over_the_time(self):
        bandwidths = plot.rows(MEASURED)[0].bandwidths
        self.assertEqual(bandwidths.lines, {"tutti": [(2, 3.0), (3, 2.0)]})
        self.assertEqual(bandwidths.bound, [(2, 6.0), (3, 4.0)])
        self.assertEqual([plot.bus_bytes(one, 5, 1000) for one in ("all_reduce", "all_gather", "broadcast")],
                         [1600, 800, 1000])

    def test_a_peer_with_wrong_elements_is_not_drawn(self):
        found = plot.rows(document(operation("tutti", 2, 8, 1.0), operation("gloo", 2, 8, 0.1, wrong=1)))
        self.assertEqual(found[0].times.lines, {"tutti": [(2, 1.0)]})

    def test_where_no_bound_is_known_none_is_drawn(self):
        self.assertEqual(plot.rows(MEASURED)[1].times.bound, [])

    def test_the_title_has_the_commit_and_the_machine(self):
        self.assertEqual(plot.title(MEASURED), "Tutti 4a3ab4d beside its peers\nModel 7, 2 cores, 2026-11-21")
        self.assertIn("kept busy", plot.title({**MEASURED, "busy": True}))


class Pictures(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tutti-peers-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def kept(self, text):
        path = self.folder / "kept.json"
        path.write_text(text)
        return path

    def test_what_was_kept_is_read_again(self):
        self.assertEqual(plot.read(self.kept(json.dumps(MEASURED))), MEASURED)

    def test_what_is_no_measurement_is_refused(self):
        for text, why in (("{", "is not JSON"), ("[]", "was not written by"), ('{"tool": "tutti-perf", "format": 1}',
                                                                                "was not written by")):
            with self.assertRaisesRegex(Trouble, why):
                plot.read(self.kept(text))
        with self.assertRaisesRegex(Trouble, r"cannot be read: No such file or directory \(2\)"):
            plot.read(self.folder / "none.json")

    def test_nothing_measured_is_nothing_to_draw(self):
        with self.assertRaisesRegex(Trouble, "nothing was measured"):
            plot.draw(document(), self.folder / "cost.svg", sys.executable)

    def test_without_matplotlib_a_run_ends_before_it_measures(self):
        with mock.patch.object(plot.importlib.util, "find_spec", lambda _: None), \
                mock.patch.object(plot, "_draws", lambda _: False), self.assertRaisesRegex(Trouble, "group 'plot'"):
            plot.find_python(may_install=False)

    def test_why_it_was_not_drawn_is_quoted(self):
        failing = self.folder / "python"
        failing.write_text("#!/bin/sh\necho 'No module named matplotlib' >&2\nexit 1\n")
        failing.chmod(0o755)
        with self.assertRaisesRegex(Trouble, "was not drawn: No module named matplotlib"):
            plot.draw(MEASURED, self.folder / "cost.svg", str(failing))

    @unittest.skipUnless(importlib.util.find_spec("matplotlib") or plot._draws(plot._DEBIANS_PYTHON), "there is no matplotlib")
    def test_a_picture_of_each_kind_is_drawn(self):
        every = [operation(peer, ranks, size, 10.0 * ranks, 1.0) for peer in PEERS for ranks in (2, 3, 16)
                 for size in (8, 1 << 20)]
        kept = self.kept(json.dumps(document(*every, *MEASURED["operations"])))
        for name, begins in (("cost.svg", b"<?xml"), ("cost.png", b"\x89PNG")):
            picture = self.folder / name
            self.assertEqual(main.main(["--from", str(kept), "--plot", str(picture), "--no-install"]), 0)
            self.assertTrue(picture.read_bytes().startswith(begins))


if __name__ == "__main__":
    unittest.main()
