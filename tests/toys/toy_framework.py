"""A framework in one file: softmax regression in numpy, with the one model that it has."""

import numpy as np

from hpcbench.errors import HpcbenchError
from hpcbench.frameworks import FRAMEWORKS, CpuMath, Framework, Probe
from hpcbench.frameworks.backend import Backend, Exchange
from hpcbench.models import MODELS, ModelSpec


class ToyBackend(Backend):
    metric, metric_sums = "accuracy", 1

    def __init__(self, workload):
        shape, outputs = workload.spec.input_shape, workload.spec.outputs
        self._weights = MODELS[workload.config.model].builder("toy")(shape, outputs)
        self._data = workload.data
        self.parameters = self.trainable_parameters = self._weights.size

    def metric_value(self, sums, samples):
        return float(sums[0] / samples)

    def _forward(self, images, labels):
        inputs = np.asarray(images).reshape(len(labels), -1) / 255
        logits = inputs @ self._weights
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        loss = -np.log(chances[np.arange(len(labels)), labels] + 1e-12).sum()
        right = (chances.argmax(axis=1) == labels).sum()
        return inputs, chances, np.array([loss, right], float)

    def _step(self, chosen, rate):
        labels = self._data.train_targets[chosen]
        inputs, chances, sums = self._forward(self._data.train_inputs[chosen], labels)
        chances[np.arange(len(labels)), labels] -= 1
        self._weights -= rate * inputs.T @ chances / len(labels)
        return sums

    def steps(self, order, rates, first_step=0, exchange=Exchange.GRADIENTS, held=None):
        order = order if held is None else np.broadcast_to(held, order.shape)
        steps = zip(order[:, 0], rates, strict=True)
        return sum((self._step(*step) for step in steps), np.zeros(2))

    def exchanges(self, count, exchange):
        pass

    def partial_step(self, shares, rates, total, step=0):
        return self._step(shares[0], rates[0])

    def evaluate(self, start, stop):
        data = self._data
        return self._forward(data.test_inputs[start:stop], data.test_targets[start:stop])[2]

    def state(self):
        return [self._weights.copy()]

    def restore(self, state):
        self._weights[:] = state[0]

    def broadcast_state(self):
        pass

    def flops_per_sample(self):
        return 6 * self.parameters

    def save_model(self, folder):
        np.save(folder / "toy.npy", self._weights)


class Toy(Framework):
    name = "toy"
    module = "numpy"
    install = "pip install numpy"
    over_processes = over_devices = "single"

    def prepare(self, cores, devices, local_rank):
        pass

    def gpu_name(self):
        return None

    def cpu_math(self):
        return CpuMath(one_dnn=False, instruction_set="numpy's own", threads=1)

    def probe(self):
        return Probe([], self.cpu_math().kernels)

    def translate(self, error) -> HpcbenchError | None:
        return None

    def backend(self, workload):
        return ToyBackend(workload)


FRAMEWORKS.add(Toy.name, Toy())
MODELS.add(
    "toy-linear",
    ModelSpec(
        name="toy-linear",
        builders={"toy": lambda shape, outputs: np.zeros((int(np.prod(shape)), outputs))},
        learning_rate=0.5,
    ),
)
