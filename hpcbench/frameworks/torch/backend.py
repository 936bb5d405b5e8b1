"""PyTorch's side of training: a module in an ordinary loop, its data resident unless streamed.

Steps are issued one by one from Python, as PyTorch's users do; the losses stay on the device until
an interval ends.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from hpcbench.datasets import NOT_ASKED
from hpcbench.frameworks.backend import (
    DEVICE_STRIDE,
    RANK_STRIDE,
    Backend,
    Exchange,
    Sums,
    Workload,
    check_tf32,
    evaluation_batch,
)
from hpcbench.frameworks.torch.model import build_model
from hpcbench.frameworks.torch.optimizers import make_optimizer
from hpcbench.records.schema import ACCURACY
from hpcbench.strategies import TorchStrategy

# Gradients that are compressed.
TRAVELS_AS = {"fp16": torch.float16, "bf16": torch.bfloat16}

# Inputs and targets.
Batch = tuple[torch.Tensor, torch.Tensor]


class TorchBackend(Backend):
    """Classification of images, or of tokens by others, by cross-entropy."""

    metric, metric_sums = ACCURACY, 1

    def __init__(self, workload: Workload) -> None:
        config, spec, data = workload.config, workload.spec, workload.data
        strategy = workload.strategy
        if not isinstance(strategy, TorchStrategy):
            raise TypeError(f"strategy {strategy.name} is not PyTorch's")
        self._strategy, self._seed = strategy, workload.seed
        self._parts = config.accumulate
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        set_arithmetic(config.precision, self._device)
        self._half = config.precision == "mixed_bfloat16"
        self._dtype = torch.float64 if config.precision == "float64" else torch.float32
        torch.manual_seed(workload.seed)
        self.model, self._flops = build_model(config.model, spec, self._device, self._dtype)
        self._parallel = strategy.parallel(self.model, config.compression)
        self._travels_as = TRAVELS_AS.get(config.compression, self._dtype)
        self._data = data
        self._evaluation_batch = evaluation_batch(spec.largest_shape)
        targets = np.asarray(data.train_targets).astype(np.int64)
        self._targets = torch.from_numpy(targets).to(self._device)
        self._resident: torch.Tensor | None = None
        if config.input != "stream":
            self._resident = self._placed(np.asarray(data.train_inputs))
        weights = list(self.model.parameters())
        self._optimizer = make_optimizer(workload.schedule, weights)
        self.parameters = sum(weight.numel() for weight in weights)
        self.trainable_parameters = sum(w.numel() for w in weights if w.requires_grad)
        # Of parts that were gathered, or that are to be given to all.
        self._gathered: list[NDArray[Any]] | None = None
        self._shared = [*self.model.state_dict().values(), *self._slots(weights)]

    def _slots(self, weights: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
        """The optimizer's tensors, made and set to zero, so that they can be kept and shared."""
        self._set_rate(0.0)
        for weight in weights:
            weight.grad = torch.zeros_like(weight)
        self._optimizer.step()
        slots = [
            value
            for weight in weights
            for _, value in sorted(self._optimizer.state[weight].items())
            if isinstance(value, torch.Tensor)
        ]
        for slot in slots:
            slot.zero_()
        return slots

    def _set_rate(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def metric_value(self, sums: Sums, samples: int) -> float:
        return float(sums[0] / samples)

    def steps(
        self,
        order: NDArray[np.int32],
        rates: NDArray[np.float64],
        first_step: int = 0,
        exchange: Exchange = Exchange.GRADIENTS,
        held: Any = None,
    ) -> Sums:
        self._seed_dropout(first_step)
        self._parallel.train()
        batches = torch.from_numpy(order[:, 0].astype(np.int64)).to(self._device)
        total = torch.zeros(2, dtype=torch.float64, device=self._device)
        alone = self._strategy.unsynchronized(self._parallel)
        meet = exchange is Exchange.ONE_ELEMENT
        with nullcontext() if exchange is Exchange.GRADIENTS else alone:
            for chosen, rate in zip(batches, rates.tolist(), strict=True):
                batch = held or self._batch(chosen)
                total += self._step(batch, rate, 1 / len(chosen), meet)
        return _numbers(total)

    def hold(self, rows: NDArray[np.int32]) -> Any:
        return self._batch(torch.from_numpy(rows[0].astype(np.int64)).to(self._device))

    def exchanges(self, count: int, exchange: Exchange) -> None:
        elements = 1 if exchange is Exchange.ONE_ELEMENT else self.trainable_parameters
        given = torch.zeros(elements, dtype=self._travels_as, device=self._device)
        for _ in range(count):
            self._strategy.all_reduce_mean_(given)
        _numbers(given[:1])

    def partial_step(
        self,
        shares: Sequence[NDArray[np.int32]],
        rates: NDArray[np.float64],
        total: int,
        step: int = 0,
    ) -> Sums:
        self._seed_dropout(step)
        self._parallel.train()
        share = shares[0].astype(np.int64)
        counted = float(len(share) > 0)
        chosen = torch.from_numpy(share if counted else np.zeros(1, np.int64))
        world = self._strategy.world_size
        weight = counted * world / total
        # As many on each device, and none of them empty.
        parts = min(self._parts, max(1, total // world))
        batch = self._batch(chosen.to(self._device))
        sums = self._step(batch, float(rates[0]), weight, parts=parts)
        return _numbers(sums * counted)

    def _batch(self, chosen: torch.Tensor) -> Batch:
        """Images and targets of these samples, on the device."""
        return self._images(chosen), self._targets[chosen]

    def _step(
        self,
        batch: Batch,
        rate: float,
        per_sample: float,
        meet: bool = False,
        parts: int | None = None,
    ) -> torch.Tensor:
        """One update with the gradients of sum(losses * per_sample), before which all devices
        ``meet`` if asked to; the sums. The batch is computed in so many ``parts``."""
        self._optimizer.zero_grad(set_to_none=True)
        *before, last = _parted(batch, parts or self._parts)
        # Gradients travel once all parts' are added up.
        with self._strategy.unsynchronized(self._parallel) if before else nullcontext():
            of_parts = [self._forward_backward(part, per_sample) for part in before]
        sums = reduce(torch.add, [*of_parts, self._forward_backward(last, per_sample)])
        if meet:
            self._strategy.all_reduce_mean_(sums.new_zeros(1))
        self._set_rate(rate)
        self._optimizer.step()
        return sums

    def _forward_backward(self, batch: Batch, per_sample: float) -> torch.Tensor:
        """Adds to the gradients those of sum(losses * per_sample); the sums."""
        images, targets = batch
        with self._autocast():
            outputs = self._parallel(self._scaled(images)).to(self._dtype)
        loss = _loss(outputs, targets)
        torch.autograd.backward(loss * per_sample)
        return _sums(loss.detach(), outputs.detach(), targets)

    def _images(self, chosen: torch.Tensor) -> torch.Tensor:
        if self._resident is not None:
            return self._resident[chosen]
        return self._placed(np.asarray(self._data.train_inputs[chosen.cpu().numpy()]))

    def _placed(self, inputs: NDArray[Any]) -> torch.Tensor:
        """Inputs on the device: images (n, height, width, channels) channels first, tokens (n,
        length) as they are."""
        placed = torch.from_numpy(inputs).to(self._device)
        return placed.permute(0, 3, 1, 2).contiguous() if placed.dim() == 4 else placed

    def _scaled(self, inputs: torch.Tensor) -> torch.Tensor:
        """Bytes as numbers in [0, 1]; tokens stay what they are."""
        return inputs.to(self._dtype).div_(255) if inputs.dtype == torch.uint8 else inputs

    def _autocast(self) -> torch.autocast:
        """In here matrix products and convolutions are in bfloat16, if the run asks for it."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._half)

    def _seed_dropout(self, step: int) -> None:
        """The masks follow from seed, rank and step, so a resumed run draws the same ones."""
        of_rank = RANK_STRIDE * (self._strategy.rank + 1)
        torch.manual_seed(self._seed + of_rank + DEVICE_STRIDE * step)

    def evaluate(self, start: int, stop: int) -> Sums:
        self._parallel.eval()
        total = torch.zeros(2, dtype=torch.float64, device=self._device)
        firsts = list(range(start, stop, self._evaluation_batch))
        if self._strategy.shards:
            # All have to take part in each pass.
            passes = int(self._strategy.all_gather([float(len(firsts))]).max())
            firsts += [stop] * (passes - len(firsts))
        with torch.no_grad():
            for first in firsts:
                last = min(first + self._evaluation_batch, stop)
                if first == last:
                    self._take_part()
                    continue
                chosen = np.asarray(self._data.test_targets[first:last]).astype(np.int64)
                targets = torch.from_numpy(chosen).to(self._device)
                images = self._placed(np.asarray(self._data.test_inputs[first:last]))
                with self._autocast():
                    outputs = self.model(self._scaled(images)).to(self._dtype)
                loss = _loss(outputs, targets)
                total += _sums(loss, outputs, targets)
        self._strategy.forget_others(self._parallel)
        return _numbers(total)

    def _take_part(self) -> None:
        """A forward pass of which nothing is wanted."""
        with self._autocast():
            self.model(self._scaled(self._placed(np.asarray(self._data.test_inputs[:1]))))

    def average_batch_norm_state(self) -> None:
        buffers = [one for one in self.model.buffers() if one.is_floating_point()]
        if not self._strategy.shards:
            # As DDP does before each forward pass, though not after the last.
            self._strategy.broadcast(buffers)
            return
        for buffer in buffers:
            self._strategy.all_reduce_mean_(buffer)

    def gather(self) -> None:
        if self._strategy.shards:
            wholes = (self._strategy.whole(tensor) for tensor in self._shared)
            arrays = [whole.cpu().numpy().copy() for whole in wholes]
            self._gathered = arrays if self._strategy.rank == 0 else None

    def state(self) -> list[NDArray[Any]]:
        if self._strategy.shards:
            if self._gathered is None:
                raise RuntimeError("no process has the whole state unless it was gathered")
            return self._gathered
        return [tensor.detach().cpu().numpy().copy() for tensor in self._shared]

    def restore(self, state: Sequence[NDArray[Any]]) -> None:
        for tensor, value in zip(self._shared, state, strict=True):
            if tensor.shape != value.shape:
                raise ValueError(f"shape {value.shape} where {tuple(tensor.shape)} is expected")
            if not self._strategy.shards:
                tensor.copy_(torch.from_numpy(value))
        if self._strategy.shards:
            self._gathered = list(state)

    @contextmanager
    def put_back(self) -> Iterator[None]:
        parts = [self._strategy.part(tensor) for tensor in self._shared]
        before = [part.cpu().clone() for part in parts]
        yield
        for part, value in zip(parts, before, strict=True):
            part.copy_(value)

    def broadcast_state(self) -> None:
        if not self._strategy.shards:
            self._strategy.broadcast(self._shared)
        elif self._strategy.all_gather([float(self._gathered is not None)])[0, 0]:
            self._strategy.scatter(self._shared, self._gathered)
            self._gathered = None

    def flops_per_sample(self) -> int:
        return self._flops

    def save_model(self, folder: Path) -> None:
        weights = map(torch.from_numpy, self.state())
        torch.save(dict(zip(self.model.state_dict(), weights, strict=False)), folder / "model.pt")


def set_arithmetic(precision: str, device: torch.device) -> None:
    """Whether a GPU may round the factors of float32 products to TF32's 10 bits, which by itself
    PyTorch does in convolutions alone; raises EnvironmentLacks where TF32 is asked for and not
    there."""
    rounded = precision == "tf32"
    if rounded:
        check_tf32(torch.cuda.get_device_capability() if device.type == "cuda" else None)
    torch.backends.cudnn.allow_tf32 = rounded
    torch.set_float32_matmul_precision("high" if rounded else "highest")


def _parted(batch: Batch, parts: int) -> list[Batch]:
    if parts == 1:
        return [batch]
    return list(zip(*(whole.tensor_split(parts) for whole in batch), strict=True))


def _loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of ``outputs``, (n, classes), or (n, length, tokens) of which a sample's is
    the mean over those that are asked for; summed over samples."""
    if outputs.dim() == 2:
        return cross_entropy(outputs, targets, reduction="sum")
    of_tokens = cross_entropy(
        outputs.flatten(0, 1), targets.flatten(), ignore_index=NOT_ASKED, reduction="sum"
    )
    return of_tokens / _asked(targets)


def _asked(targets: torch.Tensor) -> torch.Tensor:
    """How many tokens of a sample are asked for: as many of each."""
    return (targets[0] != NOT_ASKED).sum()


def _sums(loss: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The batch's loss and how many guesses are right; few operations, since each is a launch."""
    right = (outputs.argmax(-1) == targets).sum(dtype=loss.dtype)
    if targets.dim() > 1:
        right = right / _asked(targets)
    return torch.stack([loss, right])


def _numbers(sums: torch.Tensor) -> Sums:
    return np.asarray(sums.cpu().numpy(), np.float64)
