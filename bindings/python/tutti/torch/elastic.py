"""Training that outlives its processes: whoever dies costs the step that was under way, whoever comes gets the state."""
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import torch

import tutti

# What the members see when one of them is gone, or somebody wants to join: the step is done again after a refresh.
_INTERRUPTIONS = (tutti.PeerLostError, tutti.AbortedError, tutti.TimeoutError)
_LOOK_EVERY_SECONDS = 0.2


class Elastic:
    """Data-parallel training of a model by processes that may die, leave and join at any time.

        elastic = tutti.torch.Elastic(model, optimizer)
        for step in elastic.steps(1000):
            optimizer.zero_grad()
            loss = loss_of(model, batch_of(step, elastic.rank, elastic.size))
            loss.backward()
            elastic.step(loss)                   # instead of optimizer.step()

    Every process runs that. The first ones are started as members of a job (TUTTI_RANK, TUTTI_SIZE, TUTTI_STORE); one that is
    started later, with TUTTI_STORE but without TUTTI_RANK, joins. step() adds up the gradients of all members (op: "average"
    or "sum"), and steps the optimizer: on all members, or on none when one of them is lost in the middle. Then the
    survivors go on alone, or with who waits, and the loop's body runs again for the same step. A process that has joined
    gets the model, the optimizer's state and the number of the step, bit for bit, from several members; its first step is
    the next one of all. What a batch holds should depend on the number of the step; who computes which part of it, on
    rank and size.

    tensors: others that belong to the state, by name. What is not a tensor (a scheduler's counters, learning rates) has to be a
    function of the step. on_change(elastic): called when the members have changed. settings: of Tutti, "TUTTI_TIMEOUT=30s".
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        op: str = "average",
        tensors: dict[str, torch.Tensor] | None = None,
        join: bool | None = None,
        settings: str = "",
        timeout: float | None = None,
        on_change: Callable[[Elastic], object] | None = None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._op = op
        self._tensors = dict(tensors or {})
        self._on_change = on_change
        self._done = 0
        self._looked = 0.0
        self._is_open = False
        is_late = "TUTTI_RANK" not in os.environ and "TUTTI_STORE" in os.environ if join is None else join
        given = f"TUTTI_ELASTIC=on {settings}"
        if is_late:
            self.communicator = tutti.Communicator.join(settings=given, timeout=timeout)
        else:
            self.communicator = tutti.Communicator.from_environment(settings=given, timeout=timeout)
        try:
            self._synchronize()
        except _INTERRUPTIONS:
            self._go_on()
        self._tell()

    @property
    def rank(self) -> int:
        """This process's number among the members now."""
        return self.communicator.rank

    @property
    def size(self) -> int:
        """How many members there are now."""
        return self.communicator.size

    @property
    def done(self) -> int:
        """How many steps the model has made."""
        return self._done

    def steps(self, count: int) -> Iterator[int]:
        """The numbers of the steps up to count; one comes again if it was interrupted. The body calls step() once."""
        while self._done < count:
            self._is_open = True
            yield self._done
            if self._is_open:
                raise RuntimeError("the body of the loop has not called step()")

    def step(self, loss: torch.Tensor | float = 0.0) -> float | None:
        """Adds up the gradients and steps the optimizer. The loss of all (by the same op), or None where the members have
        changed instead: nothing has happened to the model, and the step comes again."""
        self._is_open = False
        try:
            total = self._all_reduce(float(loss.detach() if isinstance(loss, torch.Tensor) else loss))
        except _INTERRUPTIONS:
            self._go_on()
            self._tell()
            return None
        self._optimizer.step()
        self._done += 1
        loss_of_all, waiting = total
        if waiting:
            self._go_on()
            self._tell()
        return loss_of_all

    def leave(self) -> None:
        """Goes, between two steps; the others go on without this process."""
        self.communicator.leave()

    def close(self) -> None:
        """At the end of the training, on all members."""
        self.communicator.close()

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [one for group in self._optimizer.param_groups for one in group["params"] if one.requires_grad]

    def _all_reduce(self, loss: float) -> tuple[float, bool]:
        parameters = self._parameters()
        sums = torch.tensor([loss, self._waiting()], dtype=torch.float64)
        kinds: dict[torch.dtype, list[torch.nn.Parameter]] = {}
        for one in parameters:
            kinds.setdefault(one.dtype, []).append(one)
        flat = {
            kind: torch.cat([(torch.zeros_like(one) if one.grad is None else one.grad).reshape(-1) for one in members])
            for kind, members in kinds.items()
        }
        for gradients in flat.values():
            self.communicator.all_reduce(gradients, op=self._op)
        self.communicator.all_reduce(sums, op=self._op)
        # All of it is complete on all members: only now is anything changed.
        for kind, members in kinds.items():
            parts = flat[kind].split([one.numel() for one in members])
            for one, part in zip(members, parts):
                one.grad = part.view(one.shape)
        return float(sums[0]), bool(sums[1] > 0)

    def _waiting(self) -> int:
        if self.rank > 0 or time.monotonic() - self._looked < _LOOK_EVERY_SECONDS:
            return 0
        self._looked = time.monotonic()
        return self.communicator.waiting()

    def _go_on(self) -> None:
        while True:
            self.communicator.refresh()
            try:
                self._synchronize()
                return
            except _INTERRUPTIONS:
                continue

    def _tell(self) -> None:
        if self._on_change:
            self._on_change(self)

    def _synchronize(self) -> None:
        newest = torch.tensor([self._done])
        self.communicator.all_reduce(newest, op="max")
        if int(newest) > 0:
            self._give_optimizer_a_state()
        state = tutti.State("training")
        for name, tensor in self._state().items():
            state.add(name, tensor)
        state.revision = self._done
        state.synchronize(self.communicator)
        self._done = state.revision

    def _state(self) -> dict[str, torch.Tensor]:
        found = {f"model.{name}": tensor for name, tensor in self._model.state_dict(keep_vars=True).items()}
        for index, parameter in enumerate(self._parameters()):
            for name, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    found[f"optimizer.{index}.{name}"] = value
        found |= {f"tensor.{name}": tensor for name, tensor in self._tensors.items()}
        return {name: tensor.detach() for name, tensor in found.items() if isinstance(tensor, torch.Tensor)}

    def _give_optimizer_a_state(self) -> None:
        """Of any content, where there is none yet: that of the others comes in its place, with the model's."""
        if self._done > 0 or self._optimizer.state:
            return
        for parameter in self._parameters():
            parameter.grad = torch.zeros_like(parameter)
        self._optimizer.step()
        self._optimizer.zero_grad()

