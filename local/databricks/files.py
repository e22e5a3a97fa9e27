"""Files of the workspace and of Unity Catalog volumes, kept under the state folder by their own paths."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from local.databricks.errors import ApiError, invalid, not_found

MAXIMUM_BYTES = 5 * 2**30
"""The Files API's limit for one file."""


class Files:
    """Maps ``/Volumes/catalog/schema/volume/…`` and ``/Workspace/…`` to files under ``folder``.

    Only ``volumes`` (``catalog.schema.volume``) exist, as in Unity Catalog someone must have made them.
    """

    def __init__(self, folder: Path, volumes: tuple[str, ...]) -> None:
        self._folder = folder
        self._volumes = volumes
        self.incoming = folder / "incoming"
        """A folder that no path of the service leads to."""
        self.incoming.mkdir(parents=True, exist_ok=True)
        for volume in volumes:
            (folder / "Volumes" / Path(*volume.split("."))).mkdir(parents=True, exist_ok=True)
        (folder / "Workspace").mkdir(parents=True, exist_ok=True)

    def local(self, path: str) -> Path:
        """The local path of a service's path; raises `ApiError` for one outside volumes and workspace."""
        parts = PurePosixPath(path.removeprefix("dbfs:").removeprefix("file:")).parts
        if ".." in parts or "\0" in path or parts[:1] != ("/",):
            raise invalid(f"Invalid path: {path}")
        match parts[1:]:
            case ("Volumes", catalog, schema, volume, *_):
                if f"{catalog}.{schema}.{volume}" not in self._volumes:
                    raise not_found(f"Volume '{catalog}.{schema}.{volume}' does not exist.")
            case ("Workspace" | "Users" | "Shared" as first, *_):
                if first != "Workspace":
                    parts = ("/", "Workspace", *parts[1:])
            case _:
                raise invalid(f"Invalid path: {path}; files are in /Volumes or /Workspace")
        return self._folder.joinpath(*parts[1:])

    def file(self, path: str) -> Path:
        """An existing file; raises `ApiError` if there is none."""
        found = self.local(path)
        if not found.is_file():
            raise not_found(f"The file {path} does not exist.")
        return found

    def check_new(self, path: str, overwrite: bool) -> Path:
        """Where a file may be put; raises `ApiError` if it may not."""
        target = self.local(path)
        if target.is_dir():
            raise invalid(f"{path} is a directory.")
        if target.exists() and not overwrite:
            raise ApiError(409, "ALREADY_EXISTS", f"The file {path} already exists.")
        return target

    def put(self, path: str, content: Path, overwrite: bool) -> None:
        """Moves a whole file, written in `incoming`, to its place at once."""
        target = self.check_new(path, overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
        content.replace(target)

    def delete(self, path: str) -> None:
        """Deletes a file."""
        self.file(path).unlink()

    def directory(self, path: str) -> Path:
        """An existing directory; raises `ApiError` if there is none."""
        found = self.local(path)
        if not found.is_dir():
            raise not_found(f"The directory {path} does not exist.")
        return found

    def make_directory(self, path: str) -> None:
        """Makes a directory and those above it; one that exists stays as it is."""
        self.local(path).mkdir(parents=True, exist_ok=True)

    def delete_directory(self, path: str) -> None:
        """Deletes an empty directory."""
        found = self.directory(path)
        if any(found.iterdir()):
            raise ApiError(400, "DIRECTORY_NOT_EMPTY", f"The directory {path} is not empty.")
        shutil.rmtree(found)
