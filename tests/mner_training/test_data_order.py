"""The order of an epoch, whenever and by whomever it is begun."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import BatchSamplerShard, prepare_data_loader
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler
from transformers.trainer_pt_utils import LengthGroupedSampler

from mner_training.data_order import SeededOrder, innermost_sampler

ROWS = list(range(40))
LENGTHS = [row % 7 + 1 for row in ROWS]
SAMPLERS = {
    "grouped": lambda: LengthGroupedSampler(4, lengths=LENGTHS),
    "random": lambda: RandomSampler(ROWS),
    "sequential": lambda: SequentialSampler(ROWS),
}


def make_loader(kind: str, processes: int = 1, rank: int = 0) -> DataLoader:
    """As the Trainer has it from accelerate."""
    loader = DataLoader(ROWS, batch_size=4, sampler=SAMPLERS[kind](), collate_fn=list)
    return prepare_data_loader(
        loader,
        num_processes=processes,
        process_index=rank,
        put_on_device=False,
        use_seedable_sampler=True,
        data_seed=0,
    )


def read(loader: DataLoader, epoch: float, seed: int = 1, skip: int = 0, data_seed: int | None = None) -> list:
    """The batches of an epoch from the `skip`-th on."""
    state, arguments = SimpleNamespace(epoch=epoch), SimpleNamespace(seed=seed, data_seed=data_seed)
    SeededOrder().on_epoch_begin(arguments, state, None, train_dataloader=loader)
    loader = skip_first_batches(loader, skip) if skip else loader
    loader.set_epoch(int(epoch))  # the Trainer, which reaches some samplers
    return list(loader)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("processes", [1, 2])
def test_resumed_in_the_midst_of_an_epoch(kind, processes):
    loader = make_loader(kind, processes)
    torch.manual_seed(0)
    whole = [read(loader, epoch) for epoch in range(3)]
    torch.manual_seed(99)
    assert read(make_loader(kind, processes), epoch=1.4, skip=2) == whole[1][2:]
    resumed = make_loader(kind, processes)
    assert read(resumed, epoch=1.4, skip=2) == whole[1][2:]
    assert read(resumed, epoch=2.0) == whole[2]


@pytest.mark.parametrize("kind", SAMPLERS)
def test_processes_in_different_random_states_share_each_epoch(kind):
    loaders = [make_loader(kind, processes=2, rank=rank) for rank in (0, 1)]
    for epoch in range(3):
        shown = []
        for rank, loader in enumerate(loaders):
            torch.manual_seed(rank)
            shown += [row for batch in read(loader, epoch) for row in batch]
        assert sorted(shown) == ROWS


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("skip", [0, 2])
def test_reading_an_epoch_leaves_the_random_state_alone(kind, skip):
    loader = make_loader(kind)
    state = torch.get_rng_state()
    assert len(read(loader, epoch=1.0, skip=skip)) == 10 - skip
    assert torch.get_rng_state().equal(state)


def test_order_depends_on_seed_and_epoch():
    loader = make_loader("grouped")
    orders = [str(read(loader, epoch, seed)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9
    assert str(read(loader, 0, seed=7, data_seed=2)) == orders[6]


def test_innermost_sampler_is_found_under_all_that_wraps_it():
    sampler = SequentialSampler(ROWS)
    loader = DataLoader(ROWS, batch_size=4, sampler=sampler)
    assert innermost_sampler(loader) is sampler
    shared = DataLoader(ROWS, batch_sampler=BatchSamplerShard(loader.batch_sampler, 2, 0))
    assert innermost_sampler(skip_first_batches(shared, 3)) is sampler
