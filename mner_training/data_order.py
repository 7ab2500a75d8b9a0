"""The order in which an epoch shows the posts: it depends on the seed and the epoch, and on nothing else."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from transformers import TrainerCallback


class SeededOrder(TrainerCallback):
    """Seeds sampler and workers when an epoch begins.

    Samplers of transformers draw the order from the one random state of their process. A run that is taken up in the
    midst of an epoch has another one by then, and on CPUs so has each of several processes: dropout draws as many
    numbers as its batch has tokens. They would show other posts than the run that was not interrupted, and some posts
    of an epoch twice and others not at all.
    """

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        """Seed the workers, and the sampler under all that wraps it: a resumed run wraps it once more."""
        sampler, epoch = innermost_sampler(train_dataloader), int(state.epoch)
        seed = args.seed if args.data_seed is None else args.data_seed
        # Mixed, for a sum would give epoch 1 of seed 1 the order of epoch 0 of seed 2.
        mixed = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        if hasattr(sampler, "generator"):
            sampler.generator = torch.Generator().manual_seed(mixed)
        # Out of it comes the seed of new workers, which those that persist are not given: of the process's one random
        # state, a run that was taken up and has new workers would draw once more.
        accelerated = getattr(train_dataloader, "base_dataloader", train_dataloader)
        accelerated.generator = torch.Generator().manual_seed(mixed)


def innermost_sampler(dataloader: DataLoader) -> Sampler:
    """The sampler that a dataloader's batch sampler, and what shares it among processes, take their rows from."""
    sampler = dataloader.batch_sampler
    while (inner := getattr(sampler, "batch_sampler", None) or getattr(sampler, "sampler", None)) is not None:
        sampler = inner
    return sampler
