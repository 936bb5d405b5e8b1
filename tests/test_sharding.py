"""Each sample exactly once an epoch, for any world size and any remainder."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.datasets.sharding import contiguous_share, epoch_order, full_steps, remainder_step

worlds = st.integers(1, 17)


@given(st.integers(1, 500), worlds, st.integers(1, 9), st.integers(0, 99), st.integers(0, 5))
def test_every_sample_once_an_epoch(samples, world, per_device, seed, epoch):
    order = epoch_order(samples, seed, epoch)
    batch = world * per_device
    whole = [full_steps(order, batch, world, device, 1) for device in range(world)]
    rest = [remainder_step(order, batch, world, device, 1) for device in range(world)]
    assert len({len(steps) for steps in whole}) == 1, "devices take different numbers of steps"
    assert len({len(steps) for steps in rest}) == 1
    parts = [steps.ravel() for steps in whole] + [share for shares in rest for share in shares]
    assert sorted(np.concatenate(parts)) == list(range(samples))
    sizes = [len(share) for shares in rest for share in shares]
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(st.integers(1, 300), worlds, st.integers(1, 5))
def test_global_batches_do_not_depend_on_the_world_size(samples, world, per_device):
    order = epoch_order(samples, seed=1, epoch=2)
    batch = world * per_device
    together = np.concatenate(
        [full_steps(order, batch, world, device, 1) for device in range(world)], axis=1
    )
    alone = full_steps(order, batch, 1, 0, 1)
    assert (together.reshape(-1, batch) == alone.reshape(-1, batch)).all()


@given(st.integers(0, 1000), worlds)
def test_evaluation_shares_are_a_partition(samples, world):
    shares = [contiguous_share(samples, world, device) for device in range(world)]
    assert [i for start, stop in shares for i in range(start, stop)] == list(range(samples))


def test_epochs_and_seeds_give_other_orders():
    orders = {epoch_order(1000, seed, epoch).tobytes() for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
