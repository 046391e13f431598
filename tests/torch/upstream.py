"""Runs torch's own tests of its backends (those that its wheel carries), with a backend of choice, on the CPU.

    python tests/torch/upstream.py BACKEND RANKS [--list FILE] [PATTERN]

Prints what passed, failed and was skipped; --list writes one line for each test. What is for GPUs is kept on the CPU, for
most of it tests no more than DistributedDataParallel. A run takes some minutes and is no part of the default tests; what it
came to is in docs/torch.md.
"""
import argparse
import os
import sys
import tempfile
import time
import unittest

import torch
import torch.distributed as dist
from torch.overrides import TorchFunctionMode


# Trains ResNet-50 for so long on the CPU that torch's own limit ends it, with any backend.
_TOO_LONG = {"test_ddp_uneven_inputs"}


class _NoGpu(TorchFunctionMode):
    """A GPU's number, where torch's functions are given one, stands for the CPU."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = dict(named or {})
        if isinstance(named.get("device"), int) and not isinstance(named["device"], bool):
            named["device"] = "cpu"
        if function is torch.Tensor.to and len(arguments) > 1 and isinstance(arguments[1], int):
            arguments = (arguments[0], "cpu", *arguments[2:])
        return function(*arguments, **named)


def _keep_on_the_cpu():
    from torch.testing._internal import common_distributed as common

    def unchanged(thing, *_, **__):
        return thing

    for name in ("skip_if_no_gpu", "requires_nccl_version_or"):
        if hasattr(common, name):
            setattr(common, name, unchanged)
    common.skip_if_lt_x_gpu = lambda *_, **__: unchanged
    torch.Tensor.cuda = unchanged
    torch.nn.Module.cuda = unchanged
    move, parallel = torch.nn.Module.to, torch.nn.parallel.DistributedDataParallel.__init__

    def move_unless_to_gpu(module, *arguments, **named):
        is_gpu = (arguments and isinstance(arguments[0], int)) or isinstance(named.get("device"), int)
        return module if is_gpu else move(module, *arguments, **named)

    def parallel_on_cpu(self, module, device_ids=None, output_device=None, **named):
        parallel(self, module, **named)

    torch.nn.Module.to = move_unless_to_gpu
    torch.nn.parallel.DistributedDataParallel.__init__ = parallel_on_cpu
    _NoGpu().__enter__()
    torch.cuda.set_device = lambda *_: None
    torch.cuda.current_device = lambda: "cpu"
    torch.cuda.synchronize = lambda *_, **__: None


def _cases(backend, size):
    from torch.testing._internal import common_distributed as common

    # torch's tests say by name which backends they are for when they are read, and take the name to use when they run: so
    # those that are for gloo alone run with the other one, too.
    os.environ.update({"BACKEND": "gloo", "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"})
    os.environ.setdefault("TEMP_DIR", tempfile.mkdtemp())
    for feature in ("gpu", "ddp", "subgroup", "cuda"):
        common.DistTestCases.backend_feature[feature].update({"gloo", backend})
    common.DistTestCases.backend_feature["plugin"].add("tutti")
    _keep_on_the_cpu()
    from torch.testing._internal.distributed import distributed_test

    os.environ["BACKEND"] = distributed_test.BACKEND = backend

    class Upstream(distributed_test.TestDistBackend, distributed_test.DistributedTest._DistTestBase):
        def setUp(self):
            super().setUp()
            self._start_processes(torch.multiprocessing.get_context("fork").Process)

    return Upstream


class _Quiet(unittest.TextTestResult):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.outcomes = {}
        self.begun = time.monotonic()

    def _note(self, test, outcome):
        self.outcomes[test._testMethodName] = outcome
        print(f"{time.monotonic() - self.begun:7.1f} s  {outcome:7} {test._testMethodName}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._note(test, "passed")

    def addFailure(self, test, why):
        super().addFailure(test, why)
        self._note(test, "failed")

    def addError(self, test, why):
        super().addError(test, why)
        self._note(test, "failed")

    def addSkip(self, test, why):
        super().addSkip(test, why)
        self._note(test, "skipped")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend")
    parser.add_argument("ranks", type=int)
    parser.add_argument("--list")
    parser.add_argument("pattern", nargs="?", default="")
    given = parser.parse_args()
    torch.set_num_threads(1)
    assert dist.is_available()
    cases = _cases(given.backend, given.ranks)
    names = [name for name in unittest.TestLoader().getTestCaseNames(cases) if given.pattern in name]
    names = [name for name in names if name not in _TOO_LONG or name == given.pattern]
    with open(os.devnull, "w", encoding="ascii") as nowhere:
        runner = unittest.TextTestRunner(stream=nowhere if not given.pattern else sys.stderr, resultclass=_Quiet)
        outcomes = runner.run(unittest.TestSuite(cases(name) for name in names)).outcomes
    if given.list:
        with open(given.list, "w", encoding="ascii") as file:
            file.writelines(f"{name} {outcome}\n" for name, outcome in sorted(outcomes.items()))
    counts = {kind: list(outcomes.values()).count(kind) for kind in ("passed", "failed", "skipped")}
    print(f"{given.backend}, {given.ranks} ranks: {counts}")


if __name__ == "__main__":
    main()
