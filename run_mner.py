"""Train, evaluate and predict: ``python run_mner.py recipes/X.json [--any_flag value]``, or ``accelerate launch``."""

import json
import sys
from pathlib import Path

from accelerate import PartialState
from transformers import set_seed

from mner_training.building import build_model, build_processor, build_words, uses
from mner_training.checkpoints import checkpoint_to_resume, prepare_output_dir
from mner_training.controls import apply_control
from mner_training.corpus_loading import load_posts
from mner_training.data import (
    describe_split,
    encode_split,
    get_split,
    mean_scores,
    training_labels,
    warn_of_missing_scores,
)
from mner_training.data_collator import PostCollator
from mner_training.metrics import headline
from mner_training.missing_scores import add_missing_scores
from mner_training.model_card import CARD_FILE, make_model_card
from mner_training.recipes import parse_arguments
from mner_training.report import peak_gpu_memory, resumed_record, run_record, write_json, write_predictions
from mner_training.search import Trials, make_recipe, prepare_search, run_search
from mner_training.trainer import MNERTrainer


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Run what the arguments ask for.

    Args:
        argv: A recipe and flags; ``None`` takes those of the command line.

    Returns:
        All metrics, as in ``all_results.json``; of a search what ``search.json`` holds.

    Raises:
        ValueError: If arguments, posts and model do not fit together.
        FileExistsError: If the output folder holds an earlier run.
    """
    model_args, data_args, args, scoring_args, search = parse_arguments(sys.argv[1:] if argv is None else argv)
    if not (args.do_train or args.do_eval or args.do_predict):
        raise ValueError("Nothing to do: set do_train, do_eval or do_predict in the recipe or as flags.")
    if args.n_gpu > 1:
        raise ValueError(
            f"One process sees {args.n_gpu} GPUs and would cut each batch into as many pieces, pictures apart from "
            "their posts. Start one process per GPU (accelerate launch --config_file recipes/accelerate/ddp.yaml "
            f"--num_processes {args.n_gpu} run_mner.py ...), or show it a single one (CUDA_VISIBLE_DEVICES=0)."
        )
    asked = args.to_dict()  # a search changes them
    if search.search:
        prepare_search(search, model_args, data_args, args)
    set_seed(args.seed)
    resume = checkpoint_to_resume(args.resume_from_checkpoint, args.output_dir) if args.do_train else None
    with args.main_process_first(desc="looking at the output folder"):
        if args.resume_from_checkpoint is None and args.process_index == 0:
            prepare_output_dir(args.output_dir, args.do_train, args.overwrite_output_dir)

    with args.main_process_first(desc="loading the posts"):
        posts, corpus = load_posts(data_args, with_images=uses(model_args, "use_images"))
    names = [
        data_args.train_split if args.do_train else None,
        data_args.validation_split if args.do_eval else None,  # set as well by an eval_strategy
        data_args.test_split if args.do_predict else None,
    ]
    posts = {name: get_split(posts, name) for name in dict.fromkeys(names) if name}  # two may be the same
    words = build_words(model_args, posts[data_args.train_split] if args.do_train else None)
    processor = build_processor(model_args, scoring_args, words)
    posts, scores = add_missing_scores(posts, processor, model_args, data_args, scoring_args, corpus.get("scores"))
    posts, control = apply_control(data_args.control, posts, args.seed)
    train_posts = posts[data_args.train_split] if args.do_train else None
    labels = training_labels(train_posts) if args.do_train else None
    means = mean_scores(train_posts) if args.do_train else {}
    model = build_model(model_args, labels, means, words)
    model.freeze_backbones(text=args.freeze_text, vision=args.freeze_vision)

    with args.main_process_first(desc="preparing the posts"):
        splits = {
            name: encode_split(
                name,
                split,
                processor,
                model.config.labels,
                with_images=model.config.use_images,
                drop_broken=data_args.broken_images == "drop",
                illegal_tags=data_args.illegal_tags,
                num_proc=data_args.preprocessing_num_workers,
            )
            for name, split in posts.items()
        }
    warn_of_missing_scores(splits.values(), model.config)
    train, validation, test = (splits.get(name) for name in names)
    trials = (
        Trials(model_args, args, search.search_space, labels, means, words, model.config) if search.search else None
    )
    trainer = MNERTrainer(
        model=None if trials else model,
        model_init=trials and trials.make_model,
        args=args,
        data_collator=PostCollator(processor, model, with_images=model.config.use_images),
        train_dataset=train and train.rows,
        eval_dataset=validation and validation.rows,
        processing_class=processor,
        splits=list(splits.values()),
    )

    output_dir = Path(args.output_dir)
    if trainer.is_world_process_zero():
        # Before the training: a run that is stopped should have its record too, and the sources may change meanwhile.
        arguments = (model_args, data_args, scoring_args, *([search] if trials else []))
        recipe = {name: value for part in arguments for name, value in vars(part).items()} | args.to_dict()
        data = {split.name: describe_split(split) for split in splits.values()}
        data["corpus"] = corpus | {"scores": scores} | ({"control": control} if control else {})
        if words is not None:
            data["corpus"]["word_vectors"] = words.record
        resumed = {"resumed": resumed_record(resume, recipe, data)} if resume else {}
        write_json(output_dir / "run.json", run_record(recipe, data) | resumed)

    if trials:
        return run_search(trainer, trials, search, make_recipe((model_args, data_args, scoring_args), asked, args))

    results = {}
    if args.do_train:
        output = trainer.train(resume_from_checkpoint=resume)
        trainer.save_model(_internal_call=True)  # which does not push: the card has no results yet
        trainer.save_state()
        results |= save(trainer, "train", output.metrics | {"train_posts": len(train.posts)} | peak_gpu_memory())
    if args.do_eval:
        results |= save(trainer, "eval", trainer.evaluate() | {"eval_posts": len(validation.posts)})
    if args.do_predict:
        output = trainer.predict(test.rows, metric_key_prefix="test")
        results |= save(trainer, "test", output.metrics | {"test_posts": len(test.posts)})
        if trainer.is_world_process_zero():
            write_predictions(output_dir / "predictions.jsonl", test, output.predictions)
    if args.do_train and trainer.is_world_process_zero():
        make_model_card(output_dir).save(output_dir / CARD_FILE)
    if args.push_to_hub:
        trainer.push_to_hub()
    return results


def save(trainer: MNERTrainer, split: str, metrics: dict[str, float]) -> dict[str, float]:
    """Show the headline of a split's metrics and add all of them to ``all_results.json``."""
    trainer.log_metrics(split, headline(metrics))
    if trainer.is_world_process_zero():
        # Not by `save_metrics`: a kill would leave half a file, which a resumed run stumbles over.
        folder = Path(trainer.args.output_dir)
        write_json(folder / f"{split}_results.json", metrics)
        path = folder / "all_results.json"
        earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write_json(path, earlier | metrics)
    return metrics


def cli() -> None:
    """Run `main` as a command: a return value would become the exit status."""
    main()
    PartialState().destroy_process_group()  # threads of a group that is left open may abort a process at its exit


if __name__ == "__main__":
    cli()
