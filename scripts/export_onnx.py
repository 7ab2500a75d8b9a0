"""Export a trained model to ONNX: ``python scripts/export_onnx.py RUN_OR_HUB_ID OUTPUT_DIR``.

RUN_OR_HUB_ID is the folder of a run or a model on the Hub, with its processor; no code that comes with it is run. The
output folder gets all that `mner_training.onnx_tagger.OnnxTagger` needs, if the graph agrees with the model.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

import torch  # noqa: E402
from transformers import PreTrainedConfig  # noqa: E402

from dataset_scripts.dataset_folder import require_free  # noqa: E402
from mner_training.onnx_export import export_onnx  # noqa: E402
from modeling_iqcr import IQCRConfig, IQCRForTokenClassification  # noqa: E402
from processing_iqcr import IQCRProcessor  # noqa: E402


def main(argv: list[str] | None = None) -> None:
    """Export a model.

    Args:
        argv: The arguments; ``None`` takes those of the command line.

    Raises:
        FileExistsError: If the output folder holds anything.
        ImportError: If the packages for the export are not installed.
        RuntimeError: If the graph gives other logits or tags than the model.
        ValueError: If there is no such checkpoint, or it is no IQCR-MI tagger.
    """
    parser = argparse.ArgumentParser(prog="scripts/export_onnx.py", description=__doc__.partition(":")[0])
    parser.add_argument("model", metavar="RUN_OR_HUB_ID", help="Folder of a run, or a model on the Hub.")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="Folder that does not exist yet or is empty.")
    arguments = parser.parse_args(argv)
    require_free(arguments.output_dir)
    if Path(arguments.model).is_dir() and not (Path(arguments.model) / "config.json").is_file():
        raise ValueError(
            f"{arguments.model!r} holds no checkpoint: it has no config.json. Give the folder that run_mner.py or "
            "save_pretrained wrote, or an id on the Hub."
        )
    try:
        model_type = PreTrainedConfig.get_config_dict(arguments.model)[0].get("model_type")
        if model_type != IQCRConfig.model_type:
            raise ValueError(
                f"{arguments.model!r} is a model of type {model_type!r}. Only IQCR-MI, {IQCRConfig.model_type!r}, can "
                "be exported; run the others with PyTorch."
            )
        processor = IQCRProcessor.from_pretrained(arguments.model)
        model = IQCRForTokenClassification.from_pretrained(arguments.model, dtype=torch.float32)
    except OSError as error:
        raise ValueError(f"No model with its processor can be had from {arguments.model!r}: {error}") from error
    difference = export_onnx(model, processor, arguments.output_dir)
    print(f"ONNX Runtime gives the tags of PyTorch, its scores differ by at most {difference:.2g}.")
    print(f"Written: {arguments.output_dir}")


if __name__ == "__main__":
    try:
        main()
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"{sys.argv[0]}: {error}")
