"""The files of a saved model that others need to run it, and what is wrong with a folder that lacks one."""

import json
import re
from pathlib import Path

from transformers.dynamic_module_utils import get_relative_imports

from mner_training.model_types import tagger_class
from mner_training.run_folder import RunFolder, read_run_folder

WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json")
PROCESSOR_FILE = "processor_config.json"
# Made anew for the public, without the places that they name.
CONFIG_FILES = ("config.json", PROCESSOR_FILE, "tokenizer_config.json", "preprocessor_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_VOCABULARIES = set(TOKENIZER_FILES) - {"special_tokens_map.json", "added_tokens.json", "merges.txt"}
_PIPELINE = "multimodal-ner"
_SAVE_AGAIN = (
    "Load model and processor with this package and save them again: `model.save_pretrained(folder)` and "
    "`processor.save_pretrained(folder)` write every file that loading needs."
)


def find_public_files(folder: str | Path) -> list[str]:
    """The files of a folder that a public repository of its model should hold, without the card.

    Args:
        folder: The output folder of a run, or one that `save_pretrained` wrote.

    Returns:
        Their names, sorted: weights, configuration, processor, tokenizer, and the code files that these name.

    Raises:
        FileNotFoundError: If there is no such folder, or a file is missing that loading needs.
        ValueError: If the folder holds no tagger, or was saved without its code.
    """
    folder = Path(folder)
    run = read_run_folder(folder)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    weights = _find_weights(folder, names)
    if PROCESSOR_FILE not in names or not names & _VOCABULARIES:
        lacking = "tokenizer" if PROCESSOR_FILE in names else "processor"
        raise FileNotFoundError(
            f"{str(folder)!r} holds a model without its {lacking}, and nobody could give it a text. Save it beside "
            "the model: `processor.save_pretrained(folder)`."
        )
    _check_tagger(folder, run)
    code = _find_code(folder, names, run)
    return sorted({*weights, *code, *(name for name in (*CONFIG_FILES, *TOKENIZER_FILES) if name in names)})


def _find_weights(folder: Path, names: set[str]) -> list[str]:
    """The file of weights, or the shards and their index."""
    if "model.safetensors" in names:  # which is what loading looks for first
        return ["model.safetensors"]
    index = "model.safetensors.index.json"
    if index not in names:
        pickled = " Weights in a pickle (.bin) are not shared." if "pytorch_model.bin" in names else ""
        raise FileNotFoundError(
            f"{str(folder)!r} holds no model.safetensors, so it is no saved model.{pickled} Give the output folder of "
            "a run that trained, or one that `save_pretrained` wrote."
        )
    shards = sorted(set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values()))
    missing = [shard for shard in shards if shard not in names or not WEIGHTS.fullmatch(shard)]
    if missing:
        raise FileNotFoundError(f"{str(folder)!r} is not whole: {index} names {', '.join(missing)}, not found there.")
    return [index, *shards]


def _check_tagger(folder: Path, run: RunFolder) -> None:
    """Refuse what nobody could load as a tagger from the Hub."""
    saved = run.config.get("architectures") or []
    if run.is_of_the_zoo:  # which brings no code
        tagger = tagger_class(run.config["model_type"]).__name__
        if tagger not in saved:
            raise ValueError(f"{str(folder)!r} holds {', '.join(saved) or 'a model'} and no {tagger}: it cannot tag.")
        return
    auto_map = run.config.get("auto_map") or {}
    lacking = [name for name in ("AutoConfig", "AutoModelForTokenClassification") if name not in auto_map]
    lacking += [_PIPELINE] * (_PIPELINE not in (run.config.get("custom_pipelines") or {}))
    lacking += ["AutoProcessor"] * ("AutoProcessor" not in (run.processor.get("auto_map") or {}))
    if lacking:
        raise ValueError(
            f"The files of {str(folder)!r} do not name the code of {', '.join(lacking)}, so nobody could load it from "
            f"the Hub. {_SAVE_AGAIN}"
        )
    tagger = auto_map["AutoModelForTokenClassification"].rpartition(".")[2]
    if tagger not in saved:
        raise ValueError(f"{str(folder)!r} holds {', '.join(saved) or 'a model'} and no {tagger}: it cannot tag.")


def _find_code(folder: Path, names: set[str], run: RunFolder) -> set[str]:
    """The Python files that the configurations name, and those that these import."""
    tokenizer = folder / "tokenizer_config.json"
    configs = [run.config, run.processor]
    if tokenizer.is_file():
        configs.append(json.loads(tokenizer.read_text(encoding="utf-8")))
    classes = [pipeline["impl"] for pipeline in (run.config.get("custom_pipelines") or {}).values()]
    for config in configs:
        for value in (config.get("auto_map") or {}).values():
            classes += value if isinstance(value, list) else [value]
    wanted = {name.rpartition(".")[0]: name for name in classes if name}
    found: set[str] = set()
    while wanted:
        module, needed_by = wanted.popitem()
        file = f"{module}.py"
        if file in found:
            continue
        if not re.fullmatch(r"\w+", module) or file not in names:
            raise FileNotFoundError(
                f"{str(folder)!r} names {needed_by}, and holds no {file} with it: nobody could load it from the Hub. "
                f"{_SAVE_AGAIN}"
            )
        found.add(file)
        wanted |= {name: f".{name} in {file}" for name in get_relative_imports(folder / file)}
    return found
