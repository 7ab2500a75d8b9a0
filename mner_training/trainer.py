"""The Trainer for taggers: word-level evaluation over whole posts, and learning rates by part of the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from huggingface_hub import CommitInfo
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import SequentialSampler
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput

from mner_training.checkpoints import (
    best_checkpoint,
    check_whole,
    load_weights,
    remove_checkpoint,
    remove_older_checkpoints,
    seal,
)
from mner_training.data import EncodedSplit
from mner_training.data_collator import PostCollator
from mner_training.data_order import SeededOrder
from mner_training.metrics import NERMetric, flatten_scores, headline, score_sources
from mner_training.optimizer import parameter_groups
from mner_training.publishing import hub_errors_in_words, push_checkpoint
from mner_training.sharding import check_same_sharding, set_up_sharding, under_its_own_class
from modeling_iqcr.words import find_words, to_words
from processing_iqcr.decoding import PostPrediction, decode_posts

# What the model says of a batch, by name: the order of a model's outputs differs from system to system.
GATHERED_OUTPUTS = ("logits", "image_weights", "image_gates")


class TaggedPost(NamedTuple):
    """A model's answer for one post.

    Attributes:
        prediction: Tags, entities and probabilities.
        image_weights: Eq. 7's weight of each image, or ``None`` if the model gives none.
        image_gates: Eq. 8's gate of each image, likewise. A post of several windows gives those of the first one.
    """

    prediction: PostPrediction
    image_weights: list[float] | None
    image_gates: list[float] | None


class MNERTrainer(Trainer):
    """Trainer whose evaluation counts every gold word of every post, however many windows the post takes.

    Args:
        splits: The splits that are trained on or evaluated; datasets given to the Trainer are their ``rows``.
        kwargs: What the Trainer takes.
    """

    def __init__(self, *args, splits: Sequence[EncodedSplit] = (), **kwargs):
        super().__init__(*args, **kwargs)
        self.splits = list(splits)
        self.add_callback(SeededOrder)
        set_up_sharding(self.accelerator, self.model)

    def create_optimizer(self, model=None):
        """Set the optimizer up with `parameter_groups`."""
        if self.optimizer is None:
            args = self.args
            model = self.model if model is None else model
            optimizer_class, optimizer_kwargs = self.get_optimizer_cls_and_kwargs(args, model)
            groups = parameter_groups(
                model, args.learning_rate, args.head_learning_rate, args.vision_learning_rate, args.weight_decay
            )
            self.optimizer = optimizer_class(groups, **optimizer_kwargs)
        return self.optimizer

    def log(self, logs, start_time=None):
        """Log the headline figures and the F1 of each type; all others stand in the results' files."""
        super().log(headline(logs), start_time)

    def _report_to_hp_search(self, trial, step, metrics):
        """Report to a search by epochs: by steps, trials with small batches are compared with others' later epochs."""
        super()._report_to_hp_search(trial, round(1000 * self.state.epoch), metrics)

    def _save(self, output_dir=None, state_dict=None):
        """Save the model and its processor."""
        with under_its_own_class(self.model):
            super()._save(output_dir, state_dict)

    def _save_checkpoint(self, model, trial):
        """Save a checkpoint that is whole or can be told from one, and remove older ones when it is whole."""
        args = self.args
        folder = Path(self._get_output_dir(trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        if args.should_save and folder.exists():  # left by a run that was killed
            remove_checkpoint(folder)
        self.accelerator.wait_for_everyone()
        # The Trainer would remove older ones before the other processes have written their random states.
        limit, args.save_total_limit = args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if args.should_save:
            seal(folder)
            remove_older_checkpoints(folder, self.state.best_model_checkpoint, limit)

    def _init_training_state(self, max_steps, steps_per_epoch, num_train_epochs, resumed, trial):
        """Where training begins or goes on: not beyond its end, and with the best checkpoint where it is now."""
        begin = super()._init_training_state(max_steps, steps_per_epoch, num_train_epochs, resumed, trial)
        if resumed is None:
            return begin
        if self.args.load_best_model_at_end:
            self.state.best_model_checkpoint = best_checkpoint(resumed, self._get_output_dir(trial))
        # The Trainer looks at `max_steps` after a step, so it would take one more.
        return begin if self.state.global_step < max_steps else (num_train_epochs, 0)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        """Take up the weights of a checkpoint, which has to be whole."""
        check_whole(resume_from_checkpoint)
        check_same_sharding(resume_from_checkpoint, sharded=self.is_fsdp_enabled)
        if self.is_fsdp_enabled:  # a format of its own
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_weights(self.accelerator.unwrap_model(self.model if model is None else model), resume_from_checkpoint)

    def _load_best_model(self):
        """Take up the weights of the best checkpoint."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_best_model()
        else:
            load_weights(self.accelerator.unwrap_model(self.model), self.state.best_model_checkpoint)

    def init_hf_repo(self, token=None, private=None):
        """Make the repository when the training begins: what is wrong with its name or the token is seen then."""
        with hub_errors_in_words(self.args.hub_model_id or Path(self.args.output_dir).absolute().name):
            super().init_hf_repo(token, private)

    def push_to_hub(
        self,
        commit_message: str = "End of training",
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        license: str | None = None,
    ) -> CommitInfo | None:
        """Save the model and share it as `push_checkpoint` does: transformers' own uploads the whole output folder.

        Args:
            commit_message: The title of the commit.
            token: A token that may write. Default: the arguments' ``hub_token``, else that of ``hf auth login``.
            revision: The branch. Default: the arguments' ``hub_revision``.
            private: Whether a new repository is private. Default: the arguments' ``hub_private_repo``.
            license: The model's licence, for the card.

        Returns:
            The commit; ``None`` in all processes but the first, which they wait for.

        Raises:
            OSError: As `push_checkpoint`. The folder is whole then, and `scripts/push_to_hub.py` shares it later.
            ValueError: As `push_checkpoint`.
        """
        args = self.args
        self.callback_handler.on_push_begin(args, self.state, self.control)
        self.save_model(_internal_call=True)
        commit = None
        if self.is_world_process_zero():
            commit = push_checkpoint(
                args.output_dir,
                self.hub_model_id or args.hub_model_id or Path(args.output_dir).absolute().name,
                private=args.hub_private_repo if private is None else private,
                revision=revision or args.hub_revision,
                token=token or args.hub_token,
                license=license,
                commit_message=commit_message,
            )
        self.accelerator.wait_for_everyone()
        return commit

    def autocast_smart_context_manager(self, cache_enabled=True):
        """Half precision; `accelerate` sees to it itself, save for models that FSDP2 shards."""
        if self.is_fsdp_enabled:
            return self.accelerator.autocast()
        return super().autocast_smart_context_manager(cache_enabled)

    def _prepare_inputs(self, inputs):
        """Move a batch to the device, and make its pictures float there."""
        inputs = super()._prepare_inputs(inputs)
        return self.data_collator.normalize(inputs) if isinstance(self.data_collator, PostCollator) else inputs

    def _get_eval_sampler(self, eval_dataset):
        """Rows in their order: the outputs are read back by position, which grouping by length would shuffle."""
        return SequentialSampler(eval_dataset)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Loss and outputs of one batch; the outputs as a dict by name."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs)
        loss = outputs["loss"].detach().mean() if "labels" in inputs else None
        gathered = {name: outputs.get(name) for name in GATHERED_OUTPUTS}
        gathered = {name: tensor.detach().float() for name, tensor in gathered.items() if tensor is not None}
        return loss, gathered, inputs.get("labels")

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ):
        """Run the model over a split, read whole posts, and score them if they have tags, each source apart as well.

        Returns:
            The loop's output; ``predictions`` is a list of `TaggedPost`, one per post of the split.
        """
        split = next((split for split in self.splits if split.rows is dataloader.dataset), None)
        if split is None:
            raise ValueError("Evaluate or predict the `rows` of a split that was given to the trainer in `splits`.")
        if self.is_fsdp_enabled and not self.accelerator._models:
            # Evaluation without training: FSDP2 takes a model together with its optimizer alone.
            self.model, self.optimizer = self.accelerator.prepare(self.model, self.create_optimizer())
        with torch.random.fork_rng(devices=[]):  # dropout goes on as if nobody had looked
            output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        tagged = self._read_posts(output.predictions, split)
        metrics = dict(output.metrics)
        if output.label_ids is not None:
            metrics[f"{metric_key_prefix}_loss"] = self._loss_per_word(output.predictions["logits"], output.label_ids)
        if split.tags is not None:
            predictions = [post.prediction.tags for post in tagged]
            result = NERMetric().compute(predictions=predictions, references=split.tags)
            if "source" in split.posts.column_names:
                result["per_source"] = score_sources(predictions, split.tags, split.posts["source"])
            metrics |= {f"{metric_key_prefix}_{name}": value for name, value in flatten_scores(result).items()}
        return EvalLoopOutput(tagged, output.label_ids, metrics, output.num_samples)

    def _gathered_head(self):
        """The model, to be asked for more than its `forward`, which gathers what FSDP2 has shared out."""
        model = self.accelerator.unwrap_model(self.model)
        if isinstance(model, FSDPModule):
            model.unshard()
        return model

    def _loss_per_word(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """The loss over all labelled words of a split; the Trainer's mean over batches depends on who is in which."""
        model, total, num_words = self._gathered_head(), 0.0, 0
        for rows in range(0, len(labels), self.args.eval_batch_size):
            chunk = slice(rows, rows + self.args.eval_batch_size)
            chunk_labels = torch.from_numpy(labels[chunk]).to(model.device)
            positions = find_words(chunk_labels != -100)
            emissions = to_words(torch.from_numpy(logits[chunk]).to(model.device), positions)
            with torch.no_grad():
                likelihood = model.crf.log_likelihood(emissions, to_words(chunk_labels, positions), positions.tag_mask)
            total -= likelihood.double().sum().item()
            num_words += int(positions.tag_mask.sum())
        return total / max(1, num_words)

    def _read_posts(self, outputs: dict[str, np.ndarray], split: EncodedSplit) -> list[TaggedPost]:
        """From gathered outputs of rows to one answer per post."""
        logits = torch.from_numpy(outputs["logits"])  # (R, T, C)
        word_mask = torch.zeros(logits.shape[:2], dtype=torch.bool)
        for row, mask in enumerate(split.rows["word_mask"]):
            word_mask[row, : len(mask)] = torch.tensor(mask)
        windows = split.windows
        predictions = decode_posts(self._gathered_head(), logits, word_mask, windows)
        first_row = {window.post: row for row, window in reversed(list(enumerate(windows)))}
        num_images = list(split.rows["num_images"])

        def of_images(name: str, post: int) -> list[float] | None:
            row = first_row[post]
            return outputs[name][row, : num_images[row]].tolist() if name in outputs else None

        return [
            TaggedPost(prediction, of_images("image_weights", post), of_images("image_gates", post))
            for post, prediction in enumerate(predictions)
        ]
