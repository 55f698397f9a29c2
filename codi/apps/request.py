"""A checked request, what makes it come true, and the recipe that remembers it."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from codi import files
from codi.apps.arguments import Source, by_modality
from codi.bundles import bundle_hash, find_bundle
from codi.media import Media, cannot_write, staging
from codi.types import CodiWarning, InputError

DTYPES = ("float32", "bfloat16", "float16")
_PACKAGES = ("codi-engine", "torch", "diffusers", "transformers", "numpy")
_SPACE = 4 * 2**20  # bytes that a set of results may take, well above what codi-mini writes


@dataclass(frozen=True)
class Request:
    """What the command line asks for, checked as far as it can be without loading a model.

    Attributes:
        inputs: what prompts.
        given: what stands clean on the timeline, one of each modality.
        outputs: modalities to make, in order.
        parameters: arguments of the pipeline beside these (seed, num_inference_steps, ...).
        negative: what stands in the place of the null prompt.
        model: the bundle, as named.
        device: where to run, as torch names it.
        dtype: one of DTYPES.
    """

    inputs: tuple[Source, ...]
    given: tuple[Source, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    negative: tuple[Source, ...] = ()
    model: str = "codi-mini"
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def count(self) -> int:
        """Results of each output."""
        return int(self.parameters.get("num_outputs_per_prompt", 1))


def fulfil(
    request: Request,
    out: Path,
    keep_recipe: bool = True,
    threads: int | None = None,
    runner: Callable[..., Any] | None = None,
) -> list[Path]:
    """Make what a request asks for and write it.

    Args:
        request: what to make.
        out: the folder.
        keep_recipe: embed the recipe in every file.
        threads: CPU threads; None leaves torch's choice.
        runner: (request, bundle, threads) -> the pipeline's output; loads the bundle and calls it where left out.

    Returns:
        The files.

    Raises:
        InputError: the bundle, the request or the folder cannot be used; then nothing is left behind.
    """
    bundle = find_bundle(request.model)
    names = files.written(
        request.outputs, {s.modality for s in request.given if not s.partial and s.path}, request.count
    )
    _check_kept(request, out, names)
    with writable(out, names):
        result = (runner or run)(request, bundle, threads)
        made = {name: _several(getattr(result, name), request.count) for name in request.outputs}
        recipe = json.dumps(describe(request, bundle, result.recipe), ensure_ascii=False) if keep_recipe else None
        whole = [source for source in request.given if not source.partial]
        return files.save(made, out, recipe, {s.modality: s.path for s in whole if s.path})


def _check_kept(request: Request, out: Path, names: Sequence[str]) -> None:
    """Refuse to write over what was read: a recipe could not be run again, and the user's own file would be lost."""
    sources = (*request.inputs, *request.given, *request.negative)
    read = {path.resolve(): path for source in sources for path in (source.path, source.mask) if path is not None}
    for name in names:
        if (out / name).resolve() in read:
            raise InputError(str(out / name), "is read and would be written over", "give another --out")


def run(request: Request, bundle: Path, threads: int | None = None) -> Any:
    """Load the pipeline and call it; torch is imported here and not before."""
    import torch

    from codi import CoDiPipeline

    quiet()
    if threads:
        torch.set_num_threads(threads)
    device = _device(request)
    inputs, given = by_modality(request.inputs), by_modality(request.given)
    negative, apart = by_modality(request.negative), request.parameters.get("bridge_scale") == 0
    with plain_warnings():
        pipeline = CoDiPipeline.from_pretrained(
            bundle,
            inputs={*inputs, *negative},
            given=given,
            outputs=request.outputs,
            companions=request.parameters.get("companions", () if apart else None),
            bridge_prompting=0.0 if apart else request.parameters.get("bridge_prompting"),
            dtype=getattr(torch, request.dtype),
        ).to(device)
        return pipeline(
            inputs=inputs, given=given, outputs=request.outputs, negative_prompt=negative or None, **request.parameters
        )


def quiet() -> None:
    """One bar for the work itself; loading takes a second and says nothing. A refusal stays one line."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.logging.disable_progress_bar()
        library.logging.set_verbosity_error()


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Codi's own warnings as one line each, without the place in the code that other warnings keep."""
    former = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, CodiWarning):
            print(message, file=sys.stderr)  # noqa: T201
        else:
            former(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", CodiWarning)
        warnings.showwarning = show
        try:
            yield
        finally:
            warnings.showwarning = former


def needed(
    bundle: Path,
    inputs: Sequence[str],
    given: Sequence[str],
    outputs: Sequence[str],
    companions: Sequence[str] | None = None,
) -> set[str]:
    """The components of a bundle that a request would load."""
    from codi.pipeline import pipeline_class

    return pipeline_class(bundle).needed(inputs, given, outputs, companions)


def _device(request: Request) -> Any:
    import torch

    name = request.device
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}", "cannot be used here", "give cpu, or one that torch finds") from error
    return device


def _several(value: Media | list[Media], count: int) -> list[Media]:
    return [value] if count == 1 else list(value)


def describe(request: Request, bundle: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe: what was asked, with the hash of every file, and what the pipeline says of how it was made."""
    asked = {
        "model": request.model,
        "bundle": bundle_hash(bundle),
        "inputs": [remember(source) for source in request.inputs],
        "given": [remember(source) for source in request.given],
        "negative": [remember(source) for source in request.negative],
        "outputs": list(request.outputs),
        "device": request.device,
        "dtype": request.dtype,
        "versions": {name: _version(name) for name in _PACKAGES},
    }
    resolved = {**request.parameters, **made.get("parameters", {})}
    return {**made, **asked, "parameters": resolved, "threads": _threads()}


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def remember(source: Source) -> dict[str, Any]:
    """A source as a recipe keeps it: the text itself, or the path as typed and the hash of the file."""
    kept: dict[str, Any] = {"modality": source.modality}
    if source.path is None:
        kept["value"] = source.value
    else:
        kept |= {"path": source.value, "sha256": files.sha256(source.path)}
    if source.spans:
        kept["spans"] = [list(span) for span in source.spans]
    if source.strength is not None:
        kept["strength"] = source.strength
    if source.mask is not None:
        kept |= {"mask": str(source.mask), "mask_sha256": files.sha256(source.mask)}
    return kept if source.at is None else {**kept, "at": source.at}


@contextmanager
def writable(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Make a folder and see that files can be written there; on failure take away what was made.

    Raises:
        InputError: it is no folder, cannot be written, is full, or holds a folder where a file would go.
    """
    made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
    try:
        _make(folder)
        _probe(folder, names)
        yield
    except BaseException:
        for place in made:
            _remove_empty(place)
        raise


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _probe(folder: Path, names: Sequence[str]) -> None:
    with staging(folder) as stage:
        (stage / "probe").write_bytes(b"codi")
        (stage / "probe").unlink()
    if shutil.disk_usage(folder).free < _SPACE:
        raise InputError(str(folder), "has no space left", "free some space")
    for name in names:
        if (folder / name).is_dir():
            raise InputError(str(folder / name), "is a folder where a file would go", "give another --out")


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        # Something stands in it, or it is gone: neither is ours to mend.
        return
