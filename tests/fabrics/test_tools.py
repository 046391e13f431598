"""What each tool is asked, and what is read from what it really printed."""
import json
import unittest

import fabrics_paths  # noqa: F401
from comparison.errors import Trouble
from fabrics import tools

WRITE_LAT = """\
---------------------------------------------------------------------------------------
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]
 8       400          113.56         21561.36      574.78   	       3392.90     	4439.47		20393.50 		21561.36
---------------------------------------------------------------------------------------
"""
WRITE_BW = """\
 8 of something else before the table
 #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]
 {bytes}    33               5.10               4.87   		   0.002323
---------------------------------------------------------------------------------------
"""
UCX = """\
iterations,50.0_percentile_lat,avg_lat,overall_lat,avg_bw,overall_bw,avg_mr,overall_mr
2000,0.802,2030.873,1879.811,492.40,531.97,492,532
"""
FI_PINGPONG = """\
bytes   #sent   #ack     total       time     MB/sec    usec/xfer   Mxfers/sec
1m      1k      =1k      1.9g        4.48s    467.75    2241.73       0.00
"""


def figure(name, tool, size=8, unit="us"):
    return tools.Figure(name, size, "", unit, tool)


class Reading(unittest.TestCase):
    def test_perftest(self):
        self.assertEqual(tools.read(figure("latency", "ib_write_lat"), WRITE_LAT), 574.78)
        self.assertEqual(tools.read(figure("rate", "ib_write_bw"), WRITE_BW.format(bytes=8)), 2323.0)
        self.assertAlmostEqual(tools.read(figure("one_way", "ib_write_bw", 65536), WRITE_BW.format(bytes=65536)), 5.1066,
                               places=3)  # perftest's megabytes have 2^20 bytes

    def test_ucx_perftest(self):
        self.assertEqual(tools.read(figure("latency", "ucx_perftest"), UCX), 0.802)
        self.assertEqual(tools.read(figure("rate", "ucx_perftest"), UCX), 532)
        self.assertAlmostEqual(tools.read(figure("one_way", "ucx_perftest", 1 << 20), UCX), 557.811, places=3)

    def test_fi_pingpong(self):
        self.assertEqual(tools.read(figure("latency", "fi_pingpong"), FI_PINGPONG), 2241.73)
        self.assertEqual(tools.read(figure("ping_pong", "fi_pingpong", 1 << 20), FI_PINGPONG), 467.75)

    def test_what_is_not_there_is_no_figure(self):
        for tool in ("ib_write_bw", "ucx_perftest", "fi_pingpong"):
            for text in ("", "\n", "Couldn't connect to localhost:18601\n", WRITE_BW.format(bytes=64)):
                self.assertIsNone(tools.read(figure("one_way", tool, 1 << 20), text), (tool, text))

    def test_what_is_not_finite_is_no_figure(self):
        self.assertIsNone(tools.read(figure("latency", "ib_send_lat"), WRITE_LAT.replace("574.78", "inf")))

    def test_ours(self):
        self.assertEqual(tools.read_ours("latency_8_mean_us 12.5\nregister_1M_us 3e2\nnot a figure\n"),
                         {"latency_8_mean_us": 12.5, "register_1M_us": 300.0})

    def test_tutti_perf(self):
        rows = [{"collective": name, "out_of_place": {"busbw_gbps": rate}} for name, rate in
                (("send_receive", 2.0), ("all_reduce", 1.5))]
        self.assertEqual(tools.read_tutti_perf(json.dumps({"results": rows})), (1500.0, 2000.0))


class Asking(unittest.TestCase):
    def test_all_reduce_goes_over_the_target_alone(self):
        verbs, ucx, ofi = tools.targets(["verbs", "ucx", "ofi:tcp;ofi_rxm"], ["a", "b"], 1, "tcp")
        self.assertEqual([each.settings["TUTTI_TRANSPORTS"] for each in (verbs, ucx, ofi)],
                         ["self,verbs", "self,ucx", "self,ofi"])
        self.assertEqual((verbs.settings["TUTTI_VERBS_DEVICES"], ofi.settings["TUTTI_OFI_PROVIDER"]),
                         ("a,b", "tcp;ofi_rxm"))
        self.assertEqual(tools.tutti_perf(1 << 20, 40)[0], "send_receive,all_reduce")

    def test_both_ends_have_their_own_device_and_one_port(self):
        (target,) = tools.targets(["verbs"], ["mlx5_0", "mlx5_1"], 3, "tcp")
        self.assertEqual(target.words, ("verbs", "mlx5_0", "mlx5_1"))
        server, client = tools.command(target, figure("both_ways", "ib_write_bw", 65536), 100, 18601)
        for words, device in ((server, "mlx5_0"), (client, "mlx5_1")):
            self.assertEqual(words[words.index("-d") + 1], device)
            self.assertEqual((words[words.index("-p") + 1], words[words.index("-x") + 1]), ("18601", "3"))
            self.assertIn("-b", words)
        self.assertEqual((client[-1], server[-1]), ("localhost", "mlx5_0"))

    def test_only_processor_time_is_measured_asleep(self):
        (target,) = tools.targets(["ucx"], [], 1, "tcp")
        self.assertIn("sleep", tools.command(target, figure("cpu", "ucx_perftest", 65536), 100, 1)[1])
        self.assertNotIn("sleep", tools.command(target, figure("one_way", "ucx_perftest", 65536), 100, 1)[1])
        self.assertEqual(target.environment["UCX_TLS"], "tcp")

    def test_a_provider_is_one_word(self):
        (target,) = tools.targets(["ofi:tcp;ofi_rxm"], [], 1, "tcp")
        self.assertEqual(target.words, ("ofi", "tcp;ofi_rxm"))
        self.assertIn("tcp;ofi_rxm", tools.command(target, figure("latency", "fi_pingpong"), 16, 1)[0])

    def test_what_goes_over_connections_is_set_beside_both_kinds_of_endpoints(self):
        (target,) = tools.targets(["ofi:tcp"], [], 1, "tcp")
        asked = {}
        for each in tools.figures(target, [1 << 20]):
            if each.name == "ping_pong":
                words = tools.command(target, each, 16, 1)[1]
                asked[each.tool] = (words[words.index("-p") + 1], words[words.index("-e") + 1])
        self.assertEqual(asked, {"fi_pingpong": ("tcp", "msg"), "fi_pingpong rdm": ("tcp;ofi_rxm", "rdm")})
        (target,) = tools.targets(["ofi:shm"], [], 1, "tcp")
        self.assertEqual({each.tool for each in tools.figures(target, [65536]) if each.name == "ping_pong"}, {"fi_pingpong"})

    def test_unknown_targets_are_refused_by_name(self):
        for name in ("ofi", "ofi:", "mlx", ""):
            with self.assertRaisesRegex(Trouble, "expected verbs, ucx or ofi:PROVIDER"):
                tools.targets([name], [], 1, "tcp")

    def test_every_figure_that_a_tool_measures_can_be_asked_for(self):
        for target in tools.targets(["verbs", "ucx", "ofi:shm"], ["a", "b"], 1, "tcp"):
            names = [each.name for each in tools.figures(target, [65536])]
            self.assertEqual({"latency", "rate", "one_way", "both_ways", "cpu"} - set(names), set())
            for each in tools.figures(target, [65536]):
                if each.tool and each.name != "all_reduce":
                    server, client = tools.command(target, each, 16, 18601)
                    self.assertEqual((server[0], client[0]), (each.tool, each.tool))

    def test_a_tool_measures_for_as_long(self):
        self.assertEqual(tools.messages(figure("latency", "x"), 50.0, 0.5), 5000)  # two ways of 50 us each
        self.assertEqual(tools.messages(figure("rate", "x"), 10_000, 0.5), 5000)
        self.assertEqual(tools.messages(figure("one_way", "x", 1_000_000), 400.0, 0.5), 200)
        self.assertEqual(tools.messages(figure("one_way", "x", 1 << 22), 1.0, 0.5), 16)


if __name__ == "__main__":
    unittest.main()
