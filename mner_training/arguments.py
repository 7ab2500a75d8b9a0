"""The arguments of `run_mner.py`, each with its help."""

import json
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from mner_training.model_types import IQCR, check_config_fields, tagger_config_class
from processing_iqcr.scorers import SCORER_KINDS, read_spec

# The value of a scorer's argument that switches a checkpoint's or a recipe's scorer off.
NO_SCORER = "none"


def read_object(value: str | dict | None, name: str) -> dict[str, Any]:
    """A mapping given as an object in a recipe or as JSON text on the command line."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"`--{name}` must be JSON such as '{{\"use_gate\": false}}', got {value!r}.") from error
    if not isinstance(value, dict | None):
        raise ValueError(f"`{name}` must be a JSON object, got {value!r}.")
    return value or {}


@dataclass
class ModelArguments:
    """Which model to start from."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint (folder or Hub id) to fine-tune, evaluate or predict with."}
    )
    model_revision: str | None = field(default=None, metadata={"help": "Commit, branch or tag of the checkpoint."})
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Allow a checkpoint whose model is not installed here to run its own code."}
    )
    model_type: str | None = field(
        default=None,
        metadata={
            "help": "System to start: iqcr (default), or one of the zoo, such as bert_crf, lstm_crf, umt or tpm_mi."
        },
    )
    text_backbone: str | None = field(
        default=None,
        metadata={
            "help": "Pretrained text encoder to start from: Hub id, folder, or `package:NAME/FOLDER` inside an "
            "installed Python package."
        },
    )
    text_revision: str | None = field(default=None, metadata={"help": "Commit, branch or tag of the text encoder."})
    vision_backbone: str | None = field(
        default=None, metadata={"help": "Pretrained vision encoder, likewise. Leave out for a text-only model."}
    )
    vision_revision: str | None = field(
        default=None, metadata={"help": "Commit, branch or tag of the vision encoder."}
    )
    word_vectors: str | None = field(
        default=None,
        metadata={
            "help": "For systems that read whole words, instead of text_backbone: a file of word vectors as of "
            "word2vec or GloVe (text, .gz too), or `random`."
        },
    )
    word_encoder: str | None = field(
        default=None, metadata={"help": "Fields of the LSTM that reads the words (LstmTextConfig) as a JSON object."}
    )
    model_config: str | None = field(
        default=None,
        metadata={"help": "Fields of the model's configuration as a JSON object, such as the ablation switches."},
    )
    max_length: int | None = field(
        default=None,
        metadata={"help": "Sub-tokens per row; longer posts become windows. Default: 128, or the checkpoint's."},
    )
    window_overlap: int | None = field(
        default=None,
        metadata={"help": "The most sub-tokens that two windows share. Default: 32, or the checkpoint's."},
    )

    def __post_init__(self):
        self.model_config = read_object(self.model_config, "model_config")
        self.word_encoder = read_object(self.word_encoder, "word_encoder")
        encoders = (self.text_backbone, self.word_vectors, self.vision_backbone)
        if self.model_name_or_path and (any(encoders) or self.model_type):
            raise ValueError(
                "Give either `model_name_or_path` (a trained tagger) or `model_type` and backbones (to start a new "
                "one)."
            )
        if not (self.model_name_or_path or self.text_backbone or self.word_vectors):
            raise ValueError(
                "Say what to start from: `text_backbone` for a new tagger (`word_vectors` for one that reads whole "
                "words), or `model_name_or_path`."
            )
        if self.text_backbone and self.word_vectors:
            raise ValueError("Give either `text_backbone` (a pretrained encoder) or `word_vectors` (for an LSTM).")
        if self.word_encoder and not self.word_vectors:
            raise ValueError("`word_encoder` needs `word_vectors`: a file, or `random`.")
        if not self.model_name_or_path:
            self.model_type = self.model_type or IQCR
            config_class = tagger_config_class(self.model_type)
            check_config_fields(config_class, self.model_config)
            if getattr(config_class, "reads_words", False) != bool(self.word_vectors):
                wanted = "`text_backbone`" if self.word_vectors else "`word_vectors` (a file, or `random`)"
                raise ValueError(f"A system of type {self.model_type!r} starts from {wanted}.")
            self.max_length = 128 if self.max_length is None else self.max_length
            self.window_overlap = 32 if self.window_overlap is None else self.window_overlap


@dataclass
class DataArguments:
    """Which posts to use."""

    dataset: str = field(
        default="",
        metadata={"help": "A corpus by name, a folder (built, or your own posts), or a Hub id."},
    )
    dataset_source: str | None = field(
        default=None, metadata={"help": "Folder of a named corpus's published files. Default: data/NAME."}
    )
    dataset_revision: str | None = field(default=None, metadata={"help": "Commit, branch or tag on the Hub."})
    images_dirs: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Folders or zips, tried in order, with the pictures of a named corpus (default: those "
            "among its files), of your own posts, or of a data set that was shared without them."
        },
    )
    illegal_tags: str = field(
        default="keep",
        metadata={
            "help": "An I- without its B-: keep it, repair it to B-, or error.",
            "choices": ["keep", "repair", "error"],
        },
    )
    broken_images: str = field(
        default="error",
        metadata={
            "help": "A picture that cannot be read: error, or drop it (the post stays; counted and reported).",
            "choices": ["error", "drop"],
        },
    )
    control: str = field(
        default="none",
        metadata={
            "help": "Negative control, in every split: scores permuted within each post or drawn anew from all, "
            "pictures (with their scores) of another post, or grey pictures.",
            "choices": ["none", "shuffled_scores", "random_scores", "swapped_pictures", "blank_pictures"],
        },
    )
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    validation_split: str = field(default="validation", metadata={"help": "Split to select the checkpoint on."})
    test_split: str = field(default="test", metadata={"help": "Split to predict at the end."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that prepare pictures."})

    def __post_init__(self):
        if not self.dataset:
            raise ValueError("Say which posts to use: `dataset`, a corpus's name, a folder or a Hub id.")


@dataclass
class ScoringArguments:
    """Who scores the pictures that a data set has no scores for."""

    quality_scorer: str | None = field(
        default=None,
        metadata={
            "help": 'Quality (Eq. 3): a metric of pyiqa by name, such as maniqa, or JSON such as \'{"name": "maniqa", '
            '"num_crops": 20}\'; or a registered scorer. Default: that of the checkpoint, else none; `none` for none.'
        },
    )
    relevance_scorer: str | None = field(
        default=None,
        metadata={
            "help": "Relevance (Eq. 4): a model of open_clip by name, such as ViT-B-32-quickgelu, a folder, or JSON "
            'such as \'{"name": "ViT-B-32-quickgelu", "pretrained": "openai"}\'; likewise.'
        },
    )
    scorers_file: str | None = field(
        default=None, metadata={"help": "Python file of yours that is run first: it registers scorers of your own."}
    )
    score_cache: str | None = field(
        default=None, metadata={"help": "File that keeps the scores. Default: one in the cache of datasets."}
    )
    yes: bool = field(default=False, metadata={"help": "Begin also scoring that will take more than an hour."})

    def __post_init__(self):
        for kind in SCORER_KINDS:
            value = getattr(self, kind)
            if isinstance(value, str) and value.lstrip().startswith("{"):
                value = read_object(value, kind)
            setattr(self, kind, value if value in (None, NO_SCORER) else read_spec(kind, value))


@dataclass
class MNERTrainingArguments(TrainingArguments):
    """The Trainer's arguments, with the defaults of this task: best checkpoint by validation F1, lazy pictures."""

    output_dir: str = field(default="runs/iqcr_mi", metadata={"help": "Folder that everything is written to."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints to keep beside the best one."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best checkpoint."})
    metric_for_best_model: str = field(default="f1", metadata={"help": "Lenient F1 on the validation split."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator chooses the columns."})
    accelerator_config: dict | str | None = field(
        default_factory=lambda: {"non_blocking": True},
        metadata={"help": "As JSON. Default: batches move to a GPU while it still computes (non_blocking)."},
    )
    train_sampling_strategy: str = field(
        default="group_by_length", metadata={"help": "random, sequential, or group_by_length (less padding)."}
    )
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of everything that is no backbone. Default: learning_rate."}
    )
    vision_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the vision backbone. Default: learning_rate."}
    )
    freeze_text: bool = field(default=False, metadata={"help": "Keep the text backbone as it is."})
    freeze_vision: bool = field(default=False, metadata={"help": "Keep the vision backbone as it is."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Remove what an earlier run left in output_dir."}
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Share model and card on the Hub, at the run's end."})
    hub_strategy: str = field(default="end", metadata={"help": "When to push: end, and nothing else."})

    def __getstate__(self):
        """What is pickled, as the Trainer does into every checkpoint's folder: all but the secret."""
        return self.__dict__ | {"hub_token": None}

    def __post_init__(self):
        if self.hub_strategy != "end":
            raise ValueError(
                f"`hub_strategy` must be 'end', got {self.hub_strategy!r}: the others upload the whole output folder "
                "during the training, and the card has no results before the end. Leave it out."
            )
        if self.dataloader_num_workers == 0:
            self.dataloader_persistent_workers = False  # a recipe's, where there are no workers to keep
        if not self.do_train:
            # There is nothing to select, and the Trainer would ask for a validation split.
            self.eval_strategy = self.save_strategy = "no"
            self.load_best_model_at_end = False
        super().__post_init__()


@dataclass
class SearchArguments:
    """What is searched for, instead of one training."""

    search: bool = field(
        default=False, metadata={"help": "Search for the best values of search_space, with Optuna, by many trainings."}
    )
    search_space: str | None = field(
        default=None, metadata={"help": "What --search varies, as a JSON object: docs/search.md."}
    )
    search_trials: int = field(default=20, metadata={"help": "Trainings of a search."})
    search_hours: float | None = field(default=None, metadata={"help": "Begin no training after so many hours."})

    def __post_init__(self):
        self.search_space = read_object(self.search_space, "search_space")
        if self.search_trials < 1:
            raise ValueError(f"`search_trials` must be at least 1, got {self.search_trials}.")
        if self.search_hours is not None and not self.search_hours > 0:
            raise ValueError(f"`search_hours` must be more than 0, got {self.search_hours}.")
