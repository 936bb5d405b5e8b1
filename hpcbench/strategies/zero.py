"""JAX with the optimizer's state in parts: a process a device, each of which updates a part of the
weights (Rajbhandari et al., ZeRO, SC 2020, stage 1)."""

from hpcbench.strategies import STRATEGIES
from hpcbench.strategies.jax_distributed import JaxDistributed


@STRATEGIES.register("zero-1")
class Zero1(JaxDistributed):
    name = "zero-1"
    exchanges = ("reduce-scatter",)
    compressions = ()
    shards_optimizer = True
