"""The published files from the hub, and the vocabularies that they do not hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from codi.backbones.codi_v1.release import FILES, REPOSITORY, TOKENIZERS
from codi.backbones.codi_v1.tokenizers import VOCABULARIES
from codi.types import InputError

Say = Callable[[str], None]


def fetch(folder: Path, revision: str | None, half: bool, say: Say) -> Path:
    """Fetch the four files and the vocabularies into a folder; what is whole there is not fetched again.

    Args:
        folder: is made; huggingface_hub resumes a file that was interrupted.
        revision: branch, tag or commit of the files' repository.
        half: take the half-precision files where the repository has both.
        say: told of each file.

    Returns:
        The folder, in the layout that the converter reads.

    Raises:
        InputError: no connection, no such revision, files that are not there, or a folder that cannot be written.
    """
    from huggingface_hub import HfApi, logging
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    logging.set_verbosity_error()  # it would tell of every attempt
    try:
        HfApi().repo_info(REPOSITORY, revision=revision, timeout=10)  # at once where there is no network
        listed = HfApi().list_repo_files(REPOSITORY, revision=revision)
        for name, path in chosen(listed, half).items():
            say(f"{path} ...")
            _file(REPOSITORY, path, folder / name, revision)
        for component, repository in TOKENIZERS.items():
            for name in VOCABULARIES[component]:
                _file(repository, name, folder / "tokenizers" / repository.split("/")[-1] / name, None)
    except (HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(REPOSITORY, f"was not given out ({reason})", "check --revision, or try again later") from error
    except Exception as error:
        if type(error) in (OSError, PermissionError, NotADirectoryError):
            raise InputError(str(folder), f"cannot be written ({error})", "name another folder with --to") from error
        # The hub's client raises the errors of whichever transport it stands on.
        if isinstance(error, OSError) or type(error).__module__.startswith(
            ("httpx", "httpcore", "requests", "urllib3", "huggingface_hub")
        ):
            raise _unreachable() from error
        raise
    return folder


def chosen(listed: list[str], half: bool) -> dict[str, str]:
    """By published name, the path in the repository: in a folder of half precision or in none.

    Raises:
        InputError: the repository holds none of them.
    """
    found: dict[str, str] = {}
    for path in sorted(listed):
        name = path.rsplit("/", 1)[-1]
        if name in FILES and (name not in found or ("fp16" in path) == half):
            found[name] = path
    if not found:
        raise InputError(REPOSITORY, "holds none of the published files", f"it should hold {', '.join(FILES)}")
    return found


def _file(repository: str, path: str, target: Path, revision: str | None) -> None:
    from huggingface_hub import hf_hub_download

    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fetched = Path(hf_hub_download(repository, path, revision=revision, local_dir=target.parent / ".fetching"))
    fetched.rename(target)


def _unreachable() -> InputError:
    return InputError(
        "codi-v1",
        "cannot be fetched: the hub is not reachable",
        "connect to the network, or get the files otherwise and use `codi convert codi-v1`",
    )
