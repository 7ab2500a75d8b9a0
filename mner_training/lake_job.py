"""One tagging of a lake: what is to be done, what of it is done, and the worker that does a stretch."""

import hashlib
import runpy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mner_training.lake_files import Stretch, find_files, plan_stretches
from mner_training.lake_parts import PartCounts, TaggedParts
from mner_training.lake_reading import read_stretch
from mner_training.lake_tagger import LakeTagger, find_model


@dataclass(frozen=True)
class TaggingSettings:
    """All that a worker has to know, wherever it runs.

    Attributes:
        output_dir: Folder of the parts.
        model: Folder or Hub id of the model.
        revision: Commit, branch or tag on the Hub.
        images_dirs: Folders and zips of the pictures that posts name.
        batch_size: Posts that go through the model together.
        compute_scores: Compute the scores that posts do not give.
        model_digest: What `find_model` says of the model; ``None`` if it is not known yet.
        scorers_file: Python file that registers scorers.
        scorers_digest: Its SHA-256; ``None`` if there is none, or it is not known yet.
    """

    output_dir: str
    model: str
    revision: str | None = None
    images_dirs: tuple[str, ...] = ()
    batch_size: int = 16
    compute_scores: bool = True
    model_digest: str | None = None
    scorers_file: str | None = None
    scorers_digest: str | None = None


class Worker:
    """Tags stretches, with one model.

    Args:
        settings: What is to be done.

    Raises:
        FileNotFoundError: If the output folder is not there: on another machine it may not be.
        ValueError: If the model cannot be had, the file of scorers fails, or one of them is another one here.
    """

    def __init__(self, settings: TaggingSettings):
        self.parts = TaggedParts(settings.output_dir)
        if not self.parts.record_file.exists():
            raise FileNotFoundError(
                f"The output folder {settings.output_dir!r} is not to be seen here. Machines that work together need "
                "one file system, under the same paths, for input, pictures, model and output."
            )
        folder, digest = find_model(settings.model, settings.revision)
        if digest != settings.model_digest:
            raise ValueError(f"{settings.model!r} is another model here than where the run was started.")
        if settings.scorers_file:
            _run_scorers_file(settings.scorers_file, settings.scorers_digest)
        self.tagger = LakeTagger(folder, settings.images_dirs, settings.batch_size, settings.compute_scores)

    def tag(self, number: int, stretch: Stretch) -> PartCounts:
        """Tag a stretch and write its part, if it is not there yet.

        Args:
            number: The number of the part.
            stretch: The stretch.

        Returns:
            What the part holds.
        """
        done = self.parts.count(number)
        return self.parts.write(number, self.tagger.rows(read_stretch(stretch))) if done is None else done


class TaggingJob:
    """A tagging that is begun, or taken up where it was left.

    Args:
        inputs: Files, folders and patterns of files.
        settings: What is to be done; both checksums are found out here.
        posts_per_part: Rows of the input that become one part.

    Attributes:
        settings: What a worker has to know.
        parts: The output.
        stretches: All stretches of the input; the place of each is the number of its part.
        done: By number what the parts hold that were there before.

    Raises:
        FileExistsError: If the output folder holds something else.
        FileNotFoundError: If an input, the folder of pictures or the file of scorers is not there.
        ValueError: If an input or the model cannot be read.
    """

    def __init__(self, inputs: Sequence[str], settings: TaggingSettings, posts_per_part: int):
        _, digest = find_model(settings.model, settings.revision)
        scorers_digest = _file_digest(settings.scorers_file) if settings.scorers_file else None
        self.settings = replace(settings, model_digest=digest, scorers_digest=scorers_digest)
        self.parts = TaggedParts(settings.output_dir)
        files, self.stretches = [], []
        for path in find_files(inputs, settings.output_dir):
            file, stretches = plan_stretches(path, posts_per_part)
            files.append(file._asdict())
            self.stretches += stretches
        self.parts.open(
            {
                "files": files,
                "model": digest,
                "scorers_file": scorers_digest,
                "images_dirs": settings.images_dirs,
                "compute_scores": settings.compute_scores,
                "posts_per_part": posts_per_part,
            }
        )
        counts = {number: self.parts.count(number) for number in range(len(self.stretches))}
        self.done = {number: count for number, count in counts.items() if count is not None}

    @property
    def todo(self) -> list[tuple[int, Stretch]]:
        """The stretches that are not done yet, with their numbers."""
        return [(number, stretch) for number, stretch in enumerate(self.stretches) if number not in self.done]


def _run_scorers_file(path: str, digest: str | None) -> None:
    """Let a user's file register its scorers."""
    if _file_digest(path) != digest:
        raise ValueError(f"The file of scorers {path!r} is another one here than where the run was started.")
    try:
        runpy.run_path(path)
    except Exception as error:  # a user's own; in words, for a cluster would begin again and again
        raise ValueError(f"The file of scorers {path!r} fails with {type(error).__name__}: {error}") from error


def _file_digest(path: str) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
