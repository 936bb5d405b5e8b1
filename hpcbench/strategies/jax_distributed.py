"""``jax.distributed``: one process a device, by NCCL on GPUs and Gloo on CPUs.

Started by mpirun, srun, horovodrun or torchrun, whose ranks it takes.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hpcbench.cluster.launchers import Launch
from hpcbench.cluster.patience import Address, patience
from hpcbench.cluster.rendezvous import rank_hosts, rendezvous_port
from hpcbench.devices.gpus import visible_gpus
from hpcbench.strategies import STRATEGIES, JaxStrategy


@STRATEGIES.register("jax-distributed")
class JaxDistributed(JaxStrategy):
    name = "jax-distributed"
    frameworks = ("jax",)
    exchanges: ClassVar[tuple[str, ...]] = ("flat", "per-tensor")
    compressions: ClassVar[tuple[str, ...]] = ("fp16", "bf16")
    needs_launcher = True
    start_hint = "mpirun -np"

    @classmethod
    def meeting(cls, launch: Launch, environment: Mapping[str, str]) -> dict[int, Address]:
        return {0: (rank_hosts(launch, environment)[0], rendezvous_port(launch, environment))}

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        import jax
        from jax.sharding import NamedSharding
        from jax.sharding import PartitionSpec as P

        (host, port), several = self.meeting(launch, os.environ)[0], visible_gpus(os.environ) > 1
        jax.distributed.initialize(
            f"{host}:{port}",
            launch.size,
            launch.rank,
            local_device_ids=[launch.local_rank] if several else None,
            initialization_timeout=math.ceil(patience(os.environ)),
        )
        self.rank, self.processes = launch.rank, launch.size
        self.world_size = self.processes
        self.exchange = exchange
        whole = NamedSharding(self.mesh, P())
        self._rows = NamedSharding(self.mesh, P("devices"))
        self._gather = jax.jit(lambda rows: rows, out_shardings=whole)

    def all_gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        import jax

        # As whole numbers, since JAX rounds float64 unless a run computes with them.
        mine = np.array([values], np.float64).view(np.uint32)
        rows = jax.make_array_from_process_local_data(self._rows, mine)
        gathered = np.asarray(self._gather(rows).addressable_data(0))
        return np.ascontiguousarray(gathered).view(np.float64)
