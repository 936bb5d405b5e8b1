"""``tf.distribute.MultiWorkerMirroredStrategy``: one process a device, over any number of nodes.

Launched like Horovod, by srun, mpirun or horovodrun. TensorFlow's workers find each other by
``TF_CONFIG``, which is made here from the launcher's environment unless it is set already.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.cluster.launchers import Launch
from hpcbench.cluster.patience import Address
from hpcbench.cluster.rendezvous import pass_proxies, rank_hosts, rendezvous_port
from hpcbench.errors import ConfigError
from hpcbench.strategies import STRATEGIES, TensorFlowStrategy
from hpcbench.strategies.tensors import mean_over_replicas

if TYPE_CHECKING:
    import tensorflow as tf


def tf_config(launch: Launch, environment: Mapping[str, str]) -> dict[str, Any]:
    """TensorFlow's description of the cluster and of this process's place in it.

    Raises ConfigError where the ranks' hosts cannot be known.
    """
    workers = MultiWorker.meeting(launch, environment).values()
    return {
        "cluster": {"worker": [f"{host}:{port}" for host, port in workers]},
        "task": {"type": "worker", "index": launch.rank},
    }


@STRATEGIES.register("multiworker")
class MultiWorker(TensorFlowStrategy):
    name = "multiworker"
    exchanges = ("flat", "grouped")
    needs_launcher = True

    @classmethod
    def meeting(cls, launch: Launch, environment: Mapping[str, str]) -> dict[int, Address]:
        if "TF_CONFIG" in environment:
            return {}
        first = rendezvous_port(launch, environment)
        hosts = rank_hosts(launch, environment)
        return {rank: (host, first + rank) for rank, host in enumerate(hosts)}

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        import tensorflow as tf

        if "TF_CONFIG" not in os.environ:
            hosts = [host for host, _ in self.meeting(launch, os.environ).values()]
            os.environ["TF_CONFIG"] = json.dumps(tf_config(launch, os.environ))
            pass_proxies(hosts, os.environ)
        try:
            resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        except ValueError as error:
            raise ConfigError(f"TF_CONFIG does not describe this launch: {error}") from error
        self.rank, self.processes = launch.rank, launch.size
        self.world_size = self._strategy.num_replicas_in_sync
        if self.world_size != launch.size:
            raise ConfigError(
                f"{launch.launcher} started {launch.size} processes but TF_CONFIG names "
                f"{self.world_size} workers"
            )
        self._flat = exchange == "flat"
        self._sum = tf.function(self._sum_over_ranks, reduce_retracing=True)

    def scope(self) -> AbstractContextManager[Any]:
        return self._strategy.scope()

    def run(self, step: Callable[..., Any], *args: Any) -> "list[tf.Tensor]":
        return list(self._strategy.run(lambda *values: step(0, *values), args))

    def all_reduce_mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        return mean_over_replicas(tensors, self._flat)

    def _sum_over_ranks(self, mine: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        def step(value: "tf.Tensor") -> Any:
            # Only a tensor that was made on the replica's device is taken.
            here = tf.identity(value)
            return tf.distribute.get_replica_context().all_reduce("SUM", here)

        return self._strategy.run(step, (mine,))

    def all_gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        import tensorflow as tf

        rows = np.zeros((self.processes, len(values)), np.float64)
        rows[self.rank] = values
        return np.asarray(self._sum(tf.constant(rows)))

    def broadcast(self, variables: "Sequence[tf.Variable]") -> None:
        import tensorflow as tf

        for variable in variables:
            value = variable.numpy().astype(np.float64)
            of_rank_0 = value if self.rank == 0 else np.zeros_like(value)
            variable.assign(tf.cast(self._sum(tf.constant(of_rank_0)), variable.dtype))
