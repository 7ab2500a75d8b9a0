"""A trained model to the Hub: what another person needs to run it, its card, and nothing else."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import httpx, validate_repo_id

from mner_training.model_card import CARD_FILE, make_model_card
from mner_training.public_files import CONFIG_FILES, PROCESSOR_FILE, TOKENIZER_FILES, WEIGHTS, find_public_files
from mner_training.public_names import public_config, public_scorer
from processing_iqcr.scorers import SCORER_KINDS

_LOG_IN = "The Hub does not know you: `hf auth login` with a token that may write, or set HF_TOKEN."


def stage_checkpoint(
    folder: str | Path, target: str | Path, model_id: str | None = None, license: str | None = None
) -> list[str]:
    """Put into a folder what a public repository of a model should hold.

    That is weights, configuration, processor, tokenizer, the code files that these name, and the card. What else a run
    leaves stays where it is: predictions (posts of other people), its record (paths), results, checkpoints, pickles.

    Args:
        folder: The output folder of a run, or one that `save_pretrained` wrote.
        target: An empty folder, made if it is not there. Weights are linked and not copied, where that can be done.
        model_id: The repository, for the card.
        license: The model's licence, for the card.

    Returns:
        The names of the files, sorted.

    Raises:
        FileNotFoundError: As `find_public_files`.
        ValueError: Likewise.
        FileExistsError: If the target holds anything.
    """
    folder, target = Path(folder), Path(target)
    files = find_public_files(folder)
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise FileExistsError(f"{str(target)!r} holds files. Give an empty folder.")
    for name in files:
        if name in CONFIG_FILES:
            content = _public_content(folder / name)
            (target / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        elif WEIGHTS.fullmatch(name):
            _link(folder / name, target / name)
        else:
            shutil.copyfile(folder / name, target / name)
    make_model_card(folder, model_id, license).save(target / CARD_FILE)
    return sorted([*files, CARD_FILE])


def _public_content(path: Path) -> dict[str, Any]:
    """A configuration as it may be shown."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if path.name == PROCESSOR_FILE:
        content |= {kind: public_scorer(kind, content[kind]) for kind in SCORER_KINDS if kind in content}
    return public_config(content)


def _link(source: Path, target: Path) -> None:
    """A link to a large file, or a copy where there are no links."""
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


def push_checkpoint(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    token: str | None = None,
    license: str | None = None,
    commit_message: str = "Share the model",
) -> CommitInfo:
    """Share a model and its card on the Hub, in one commit.

    Weights and files of the tokenizer that an earlier push left there and this one has not are removed by it, for
    loading would take them. All other files of the repository stay.

    Args:
        folder: As for `stage_checkpoint`.
        repo_id: ``user/name``, or a name alone for the user's own. Made if it does not exist.
        private: Whether a new repository is private; ``None`` leaves that to the Hub. One that exists stays as it is.
        revision: The branch, made if it does not exist; ``None`` for the main one.
        create_pr: Propose the change instead of making it.
        token: A token that may write; ``None`` takes that of ``hf auth login``.
        license: The model's licence, for the card.
        commit_message: The title of the commit.

    Returns:
        The commit, with its address, and that of the proposal if there is one.

    Raises:
        FileNotFoundError: As `stage_checkpoint`.
        ValueError: Likewise, or if the name of the repository has another form.
        PermissionError: If the Hub does not know the user, or the user may not write there.
        ConnectionError: If the Hub cannot be reached, or answers otherwise.
    """
    find_public_files(folder)  # before a repository is made for what cannot be shared
    api = HfApi(token=token)
    with hub_errors_in_words(repo_id), tempfile.TemporaryDirectory() as temporary:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        names = stage_checkpoint(folder, temporary, repo_id, license)
        # One commit, also of large files, where `upload_folder` makes several: nobody ever loads half of a model.
        operations = [CommitOperationAdd(name, os.path.join(temporary, name)) for name in names]
        stale = _find_stale(api.list_repo_files(repo_id, revision=revision), names)
        operations += [CommitOperationDelete(name) for name in stale]
        return api.create_commit(
            repo_id, operations, commit_message=commit_message, revision=revision, create_pr=create_pr
        )


def _find_stale(there: Iterable[str], names: Iterable[str]) -> list[str]:
    """Files of the repository that loading would take in the place of, or beside, those that are pushed."""
    ours = set(names)
    known = {*CONFIG_FILES, *TOKENIZER_FILES}
    return [name for name in there if name not in ours and (WEIGHTS.fullmatch(name) or name in known)]


@contextmanager
def hub_errors_in_words(repo_id: str) -> Iterator[None]:
    """Turn the Hub's errors into sentences that say what to do.

    Args:
        repo_id: The repository that is asked for, which a malformed name is refused for.

    Raises:
        ValueError: If the name of the repository has another form.
        PermissionError: If the Hub does not know the user, or the user may not write there.
        ConnectionError: If the Hub cannot be reached, or answers otherwise.
    """
    try:
        validate_repo_id(repo_id)
        yield
    except HFValidationError as error:
        raise ValueError(
            f"{repo_id!r} is no name of a repository: USER/NAME, of letters, digits, '-', '_' and '.'."
        ) from error
    except LocalTokenNotFoundError as error:
        raise PermissionError(_LOG_IN) from error
    except HfHubHTTPError as error:
        raise _in_words(repo_id, error) from error
    except (OfflineModeIsEnabled, httpx.HTTPError) as error:
        raise ConnectionError(
            f"The Hub cannot be reached ({error}). Nothing was shared; the same command tries it again."
        ) from error


def _in_words(repo_id: str, error: HfHubHTTPError) -> OSError:
    """An answer of the Hub as an error with a sentence."""
    status, said = error.response.status_code, error.server_message or str(error)
    if status == 401:
        return PermissionError(f"{_LOG_IN} (401, {said})")
    if status == 403:
        return PermissionError(
            f"You may not write to {repo_id!r} (403, {said}). Check the user or organisation in the name, and that "
            "your token may write: `hf auth login`."
        )
    return ConnectionError(f"The Hub answered {status} for {repo_id!r}: {said}. Nothing was shared.")
