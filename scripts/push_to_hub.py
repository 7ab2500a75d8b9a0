"""Share a trained model on the Hub: ``python scripts/push_to_hub.py FOLDER REPO_ID``.

Uploads what loading needs and a card made from the run, in one commit; predictions, records and checkpoints stay here.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

from huggingface_hub.utils import validate_repo_id  # noqa: E402

from mner_training.model_card import CARD_FILE  # noqa: E402
from mner_training.publishing import push_checkpoint, stage_checkpoint  # noqa: E402


def main(argv: list[str] | None = None) -> None:
    """Share a model, or show what would be shared.

    Args:
        argv: The arguments; ``None`` takes those of the command line.

    Raises:
        OSError: If a file is missing that loading needs, the Hub cannot be reached, or the user may not write there.
        ValueError: If the folder holds no tagger, or the name of the repository has another form.
    """
    parser = argparse.ArgumentParser(prog="scripts/push_to_hub.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", metavar="FOLDER", help="output folder of a run, or any saved model with its processor"
    )
    parser.add_argument("repo_id", metavar="REPO_ID", help="USER/NAME; made if it does not exist")
    parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    parser.add_argument("--license", metavar="L", help="licence of the model, by the Hub's name: apache-2.0, mit, ...")
    parser.add_argument("--create_pr", action="store_true", help="propose the change instead of making it")
    parser.add_argument("--dry_run", action="store_true", help="list the files, show the card, and share nothing")
    options = parser.parse_args(argv)
    validate_repo_id(options.repo_id)
    if options.dry_run:
        with tempfile.TemporaryDirectory() as staged:
            for name in stage_checkpoint(options.folder, staged, options.repo_id, options.license):
                print(f"{Path(staged, name).stat().st_size:>15,}  {name}")
            print("\n" + Path(staged, CARD_FILE).read_text(encoding="utf-8"))
        return
    commit = push_checkpoint(
        options.folder,
        options.repo_id,
        private=options.private,
        license=options.license,
        create_pr=options.create_pr,
    )
    print(commit.pr_url or commit.commit_url)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"{sys.argv[0]}: {error}")
