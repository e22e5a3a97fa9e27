"""Where checkpoints come from: the Hugging Face Hub at a pinned revision, or a folder."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.models.errors import PackError
from tools.models.recipes import Checkpoint

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_FILES = (
    "README.md",
    "config.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
_SUMS = "SHA256SUMS"
ROOM = 3
"""How many times the checkpoints' size is needed: fetched, converted without and with quantization."""

type Report = Callable[[str], None]


@dataclass(frozen=True)
class Fetched:
    """A checkpoint on this machine.

    ``revision`` is its commit on the hub, None for a folder's content. ``license`` is what its card says.
    ``sha256`` has its files' hashes. ``as_pinned`` tells whether the weights are those that the recipe names:
    None if it names no hash.
    """

    checkpoint: Checkpoint
    folder: Path
    revision: str | None
    license: str | None
    sha256: Mapping[str, str]
    as_pinned: bool | None


@dataclass(frozen=True)
class Offered:
    """One checkpoint on the hub at its revision: files by name, with size and SHA-256 (if known)."""

    checkpoint: Checkpoint
    files: Mapping[str, tuple[int, str | None]]
    license: str | None

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(size for size, _ in self.files.values())


def look_up(checkpoints: list[Checkpoint]) -> list[Offered]:
    """Asks the hub for each checkpoint; raises `PackError` for what is missing, changed or not pinned."""
    offered, unpinned = [], []
    for checkpoint in checkpoints:
        info = _info(checkpoint)
        if checkpoint.revision is None:
            unpinned.append(f"{checkpoint.hub} (main is {info.sha}, license {_license_of(info)})")
            continue
        if info.sha != checkpoint.revision:
            raise PackError(f"The hub gives {checkpoint.hub} at {info.sha}, not at {checkpoint.revision}.")
        _check_license(checkpoint, _license_of(info), "on the hub")
        offered.append(Offered(checkpoint, _chosen(checkpoint, info), _license_of(info)))
    if unpinned:
        raise PackError(
            f"Not pinned yet: {', '.join(unpinned)}; read their cards, write revision and license into"
            " tools/models/recipes.yaml and run the same command again, or give LANGUAGES= without them."
        )
    return offered


def fetch(offered: Offered, report: Report) -> Fetched:
    """Downloads a checkpoint to the user's cache of the hub, continuing an interrupted download.

    Every file is compared with the hub's own SHA-256 and the recipe's; one that differs is deleted, so that
    the next run downloads it again. Raises `PackError`.
    """
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    checkpoint = offered.checkpoint
    report(f"{checkpoint.hub}, {offered.size / 1e6:,.0f} MB")
    try:
        folder = Path(
            snapshot_download(
                checkpoint.hub, revision=checkpoint.revision, allow_patterns=sorted(offered.files)
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError) as error:
        raise _unreachable(checkpoint, error) from error
    found = {name: sha256(folder / name) for name in offered.files}
    for name, digest in found.items():
        for expected, whose in (
            (offered.files[name][1], "the hub"),
            (checkpoint.sha256.get(name), "the recipe"),
        ):
            if expected is not None and digest != expected:
                (folder / name).resolve().unlink()
                (folder / name).unlink(missing_ok=True)
                raise PackError(
                    f"{name} of {checkpoint.hub} has the SHA-256 {digest}, and {whose} expects {expected};"
                    " it was removed: run the same command again, and distrust the source if it fails twice."
                )
    known = [name for name in found if name in checkpoint.sha256]
    return Fetched(checkpoint, folder, checkpoint.revision, offered.license, found, True if known else None)


def find(checkpoints: Mapping[str, Checkpoint], source: Path) -> dict[str, Fetched]:
    """The checkpoints that a folder holds, by the recipe's keys; raises `PackError` if it holds none.

    It is one checkpoint itself, or holds them by their names, as ``git clone``, as ``owner/name`` or as the
    hub's own cache lays them out.
    """
    if not source.is_dir():
        raise PackError(f"FROM={source} is not a folder.")
    found = {}
    for key, checkpoint in checkpoints.items():
        folder = _folder_of(checkpoint, source, alone=len(checkpoints) == 1)
        if folder is not None:
            found[key] = _given(checkpoint, folder)
    if not found:
        wanted = ", ".join(checkpoint.name for checkpoint in checkpoints.values())
        raise PackError(f"FROM={source} has no checkpoint of the recipe: looked for {wanted}.")
    return found


def check_room(needed: int, folder: Path) -> None:
    """Raises `PackError` if the disk of a folder has less room than this many bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PackError(
            f"The disk of {folder} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed;"
            " free some and run the same command again."
        )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_of(checkpoint: Checkpoint, source: Path, *, alone: bool) -> Path | None:
    cached = source / f"models--{checkpoint.hub.replace('/', '--')}" / "snapshots"
    candidates = [source / checkpoint.name, source / checkpoint.hub, source / checkpoint.name.lower()]
    if checkpoint.revision is not None:
        candidates.append(cached / checkpoint.revision)
    if (source / "config.json").is_file() and (alone or _is_named(checkpoint, source)):
        candidates.insert(0, source)
    return next((folder for folder in candidates if (folder / "config.json").is_file()), None)


def _is_named(checkpoint: Checkpoint, folder: Path) -> bool:
    """Whether a single folder is this checkpoint: by its name, or the language that its tokenizer names."""
    if folder.resolve().name.lower() == checkpoint.name.lower():
        return True
    try:
        tokenizer = json.loads((folder / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError):
        return False
    source = str(tokenizer.get("source_lang", ""))
    return bool(source) and checkpoint.name.lower() == f"opus-mt-{source.lower()}-en"


def _given(checkpoint: Checkpoint, folder: Path) -> Fetched:
    names = [name for name in (*_FILES, *WEIGHTS) if (folder / name).is_file()]
    found = {name: sha256(folder / name) for name in names}
    for name, expected in _sums(folder).items():
        if name in found and found[name] != expected:
            raise PackError(
                f"{folder / name} has the SHA-256 {found[name]}, and {_SUMS} beside it expects {expected}."
            )
    card = folder / "README.md"
    license_id = _front_matter(card).get("license") if card.is_file() else None
    if card.is_file():
        _check_license(checkpoint, license_id, f"in {card}")
    known = [found[name] == digest for name, digest in checkpoint.sha256.items() if name in found]
    return Fetched(checkpoint, folder, None, license_id, found, all(known) if known else None)


def _sums(folder: Path) -> dict[str, str]:
    path = folder / _SUMS
    if not path.is_file():
        return {}
    lines = (line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip())
    return {name.lstrip("*"): digest for digest, name in lines}


def _front_matter(card: Path) -> dict[str, Any]:
    found = re.match(
        r"---\s*\n(.*?)\n---\s*\n", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL
    )
    try:
        read = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError:
        return {}
    return read if isinstance(read, dict) else {}


def _check_license(checkpoint: Checkpoint, found: str | None, where: str) -> None:
    if found != checkpoint.license:
        raise PackError(
            f"The license of {checkpoint.hub} is {found or 'not stated'} {where}, and the recipe says"
            f" {checkpoint.license or 'not stated'}; read it, and if you agree to it, write it into"
            " tools/models/recipes.yaml."
        )


def _info(checkpoint: Checkpoint) -> Any:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return HfApi().model_info(
            checkpoint.hub, revision=checkpoint.revision or "main", files_metadata=True, timeout=30
        )
    except GatedRepoError as error:
        raise PackError(
            f"{checkpoint.hub} is gated: agree to its terms on the hub and log in (hf auth login)."
        ) from error
    except RevisionNotFoundError as error:
        raise PackError(f"{checkpoint.hub} has no revision {checkpoint.revision} (any more).") from error
    except RepositoryNotFoundError as error:
        raise PackError(f"The hub has no repository {checkpoint.hub}, or hides it from you.") from error
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise _unreachable(checkpoint, error) from error


def _unreachable(checkpoint: Checkpoint, error: Exception) -> PackError:
    from huggingface_hub import constants

    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return PackError(
        f"The model hub {constants.ENDPOINT} did not give {checkpoint.hub} ({reason}); check the network or"
        " set HF_ENDPOINT to a mirror and run the same command again, or give FROM=folder with a checkpoint"
        " that somebody else has fetched."
    )


def _license_of(info: Any) -> str | None:
    found = info.card_data.get("license") if info.card_data else None
    return str(found) if found else None


def _chosen(checkpoint: Checkpoint, info: Any) -> dict[str, tuple[int, str | None]]:
    """The files to fetch: of the weights, the file whose hash the recipe knows, else safetensors."""
    offered = {
        sibling.rfilename: (int(sibling.size or 0), sibling.lfs.sha256 if sibling.lfs else None)
        for sibling in info.siblings or ()
    }
    weights = [name for name in (*checkpoint.sha256, *WEIGHTS) if name in offered]
    if not weights:
        raise PackError(f"{checkpoint.hub} has no weights: neither {' nor '.join(WEIGHTS)} is there.")
    return {name: offered[name] for name in (*_FILES, weights[0]) if name in offered}
