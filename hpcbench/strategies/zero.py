"""JAX with the optimizer's state in parts: a process a device, each of which updates a part of the
weights (Rajbhandari et al., ZeRO, SC 2020, stage 1)."""

from hpcbench.cluster.launchers import Launch
from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError
from hpcbench.models import MODELS
from hpcbench.strategies import STRATEGIES
from hpcbench.strategies.jax_distributed import JaxDistributed


@STRATEGIES.register("zero-1")
class Zero1(JaxDistributed):
    name = "zero-1"
    exchanges = ("reduce-scatter",)
    compressions = ()
    shards_optimizer = True

    @classmethod
    def check(cls, config: RunConfig, launch: Launch, gpus: int, cores: int) -> int:
        world_size = super().check(config, launch, gpus, cores)
        if (config.optimizer or MODELS[config.model].optimizer) == "larc":
            raise ConfigError(
                "larc needs the norms of whole layers, and strategy zero-1 updates a part of all "
                "weights on each device; choose another --optimizer or jax-distributed"
            )
        return world_size
