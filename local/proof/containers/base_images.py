"""Base images made from Debian's packages, for an engine that reaches no registry.

Each gets the name that a Dockerfile or the compose file asks for, so that these are used unchanged. They are
stand-ins: the report says what they are made of.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from local.proof.containers.engine import Engine, EngineError

ROOT = Path(__file__).resolve().parents[3]
BASES = Path(__file__).parent / "bases"
DOCKERFILES = ("Dockerfile", "docker/Dockerfile", "streamer/Dockerfile")
AIRFLOW_CONSTRAINTS = ROOT / "locks" / "airflow-constraints-3.3.1.txt"
_FOLDERS = {
    "python": "python",
    "postgres": "postgres",
    "apache/airflow": "airflow",
    "astrocrpublic.azurecr.io/runtime": "astro",
}
"""What makes which repository's image; each may start from those before it."""
_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_BUILD_SECONDS = 1800.0

type Tell = Callable[[str], None]
"""Takes one line of progress."""


@dataclass(frozen=True)
class Debian:
    """A minimal Debian with some packages."""

    suite: str
    packages: tuple[str, ...]

    @property
    def image(self) -> str:
        """The name of its image."""
        digest = hashlib.sha256(" ".join(self.packages).encode()).hexdigest()[:12]
        return f"x-opinion-debian:{self.suite}-{digest}"


PYTHON_DEBIAN = Debian(
    "bookworm",
    # What Python's own modules are linked against, and what the Airflow image has beside it.
    (
        *("ca-certificates", "libbz2-1.0", "libffi8", "liblzma5", "libncursesw6", "libreadline8"),
        *("libsqlite3-0", "libssl3", "libuuid1", "zlib1g", "netbase", "tzdata", "curl", "dumb-init"),
    ),
)
POSTGRES_DEBIAN = Debian("trixie", ("postgresql-17",))


def names() -> list[str]:
    """The images that the project's Dockerfiles and its compose file start from, each once."""
    found: list[str] = []
    for file in DOCKERFILES:
        found += re.findall(r"^FROM\s+(\S+)", (ROOT / file).read_text(), re.MULTILINE)
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"].values()
    found += [service["image"] for service in services if "build" not in service]
    return sorted(dict.fromkeys(found), key=lambda name: list(_FOLDERS.values()).index(kind(name)))


def kind(image: str) -> str:
    """The folder of `BASES` that makes an image; raises `EngineError` if there is none."""
    repository = image.partition(":")[0]
    if repository not in _FOLDERS:
        raise EngineError(f"There is no base for {image}; add one to {BASES}.")
    return _FOLDERS[repository]


def make(engine: Engine, folder: Path, tell: Tell) -> None:
    """Makes the base images, logging to ``folder``; what is there already costs little.

    Raises `EngineError` if one cannot be made.
    """
    wanted = names()
    by_kind = {kind(name): name for name in wanted}
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="x-opinion-base-") as given:
            context = Path(given) / "context"
            shutil.copytree(BASES / kind(name), context)
            arguments = _prepare(engine, kind(name), by_kind, context, folder, tell)
            tell(f"{name}: building")
            options = [option for pair in arguments.items() for option in ("--build-arg", "=".join(pair))]
            log = folder / f"base-{kind(name)}.log"
            engine.run("build", "--tag", name, *options, str(context), log=log, seconds=_BUILD_SECONDS)


def _prepare(
    engine: Engine, kind_: str, by_kind: dict[str, str], context: Path, folder: Path, tell: Tell
) -> dict[str, str]:
    """Puts into the context what a base copies; returns the build's arguments."""
    match kind_:
        case "python":
            _import(engine, PYTHON_DEBIAN, folder, tell)
            _copy_python(context / "python")
            shutil.copytree(_CERTIFICATES, context / "certificates", dirs_exist_ok=True)
            return {"DEBIAN": PYTHON_DEBIAN.image}
        case "postgres":
            _import(engine, POSTGRES_DEBIAN, folder, tell)
            return {"DEBIAN": POSTGRES_DEBIAN.image}
        case "airflow":
            shutil.copyfile(AIRFLOW_CONSTRAINTS, context / "constraints.txt")
            version = by_kind["airflow"].partition(":")[2].partition("-")[0]
            return {"PYTHON": by_kind["python"], "VERSION": version}
        case _:
            return {"AIRFLOW": by_kind["airflow"]}


def _import(engine: Engine, debian: Debian, folder: Path, tell: Tell) -> None:
    """Makes an image of a Debian by mmdebstrap."""
    if engine.run("image", "ls", "--quiet", debian.image).strip():
        return
    tell(f"Debian {debian.suite}: installing {len(debian.packages)} packages and what they need")
    with tempfile.TemporaryDirectory(prefix="x-opinion-debian-") as given:
        archive = Path(given) / "debian.tar"
        command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(debian.packages)}"]
        done = subprocess.run(
            [*command, debian.suite, str(archive)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        (folder / f"debian-{debian.suite}.log").write_text(done.stderr)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise EngineError(f"mmdebstrap {debian.suite} failed: {''.join(last)} (see {folder})")
        engine.run("import", str(archive), debian.image)


def _copy_python(target: Path) -> None:
    """Copies the Python that runs this, without what was installed into it."""
    source = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if source == Path("/usr"):
        raise EngineError(
            "The base images need a Python under a prefix of its own, such as uv's or pyenv's:"
            " remove .venv and run make setup with UV_PYTHON set to one."
        )
    (target / "bin").mkdir(parents=True)
    shutil.copy2((source / "bin" / version).resolve(), target / "bin" / version)
    shutil.copytree(
        source / "lib" / version,
        target / "lib" / version,
        symlinks=True,
        ignore=shutil.ignore_patterns("site-packages", "__pycache__", "test", "idlelib", "config-*"),
    )
    (target / "lib" / version / "site-packages").mkdir()
    for library in source.glob("lib/libpython*"):
        shutil.copy2(library, target / "lib" / library.name, follow_symlinks=False)
