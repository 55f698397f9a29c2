"""One loaded bundle that serves many callers: a queue with an end, one generation at a time, a stop."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from codi.apps.arguments import by_modality
from codi.apps.request import Request, fulfil, plain_warnings, quiet
from codi.bundles import find_bundle
from codi.manifest import check_bundle
from codi.types import InputError

Preview = Callable[[], dict[str, Any]]
"""Decodes the outputs as they are: one medium by modality."""
OnStep = Callable[[int, int, Preview], None]
"""Called after each step with its number from 1, the number of steps, and a preview to be taken at once or never."""


class StoppedError(Exception):
    """The caller stopped, or went away."""


class Studio:
    """A pipeline that is loaded once, at the first request.

    Args:
        model: a bundle's name or folder.
        waiting: requests that may wait while one runs; one more is refused.
    """

    def __init__(self, model: str, waiting: int = 8) -> None:
        self.model, self.waiting = model, waiting
        self.folder = find_bundle(model)
        check_bundle(self.folder)
        self._pipeline: Any = None
        self._room = threading.BoundedSemaphore(waiting + 1)
        self._turn = threading.Lock()

    def make(
        self,
        request: Request,
        out: Path,
        *,
        on_step: OnStep | None = None,
        stop: threading.Event | None = None,
        keep_recipe: bool = True,
    ) -> list[Path]:
        """Make what a request asks for, when its turn comes, and write it.

        Args:
            request: of this studio's model.
            out: the folder.
            on_step: see OnStep; called in the caller's thread.
            stop: set by somebody else, ends the work at the next step.
            keep_recipe: embed the recipe in every file.

        Returns:
            The files.

        Raises:
            InputError: the request cannot be fulfilled, or too many wait already.
            StoppedError: `stop` was set; nothing is written.
        """
        ended = stop or threading.Event()

        def run(wanted: Request, bundle: Path, threads: int | None = None) -> Any:
            return self._run(wanted, on_step, ended)

        with self._place(ended):
            return fulfil(request, out, keep_recipe, runner=run)

    @contextmanager
    def _place(self, stop: threading.Event) -> Iterator[None]:
        """A place in the queue, then the turn."""
        if not self._room.acquire(blocking=False):
            raise InputError("codi", f"is busy and {self.waiting} requests wait already", "try again in a while")
        try:
            while not self._turn.acquire(timeout=0.2):
                _go_on(stop)
            try:
                _go_on(stop)
                yield
            finally:
                self._turn.release()
                gc.collect()
        finally:
            self._room.release()

    def _run(self, request: Request, on_step: OnStep | None, stop: threading.Event) -> Any:
        pipeline, parameters = self._loaded(), dict(request.parameters)
        makes = (*request.outputs, *(parameters.get("companions") or ()))
        clip = pipeline.clip(makes, *(parameters.get(name) for name in ("duration", "fps", "size")))

        def after(pipe: Any, index: int, latents: Any) -> None:
            _go_on(stop)
            if on_step is not None:
                on_step(
                    index + 1, steps, lambda: {n: pipe.engine(n).decode(z[:1], clip)[0] for n, z in latents.items()}
                )

        steps = int(parameters.get("num_inference_steps") or pipeline.defaults.steps)
        with plain_warnings():
            return pipeline(
                inputs=by_modality(request.inputs),
                given=by_modality(request.given),
                outputs=request.outputs,
                negative_prompt=by_modality(request.negative) or None,
                callback_on_step_end=after,
                **parameters,
            )

    def _loaded(self) -> Any:
        if self._pipeline is None:
            from codi import CoDiPipeline

            quiet()
            self._pipeline = CoDiPipeline.from_pretrained(self.folder)
            self._pipeline.set_progress_bar_config(disable=True)
        return self._pipeline


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise StoppedError


class Root:
    """A folder that callers are confined to.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()

    def path(self, name: str) -> Path:
        """A file below the folder.

        Raises:
            InputError: a path that leads out of it, through links too.
        """
        try:
            found = (self.folder / Path(name).expanduser()).resolve()
        except RuntimeError:  # ~ of a user that there is none of
            raise InputError(name, "is no path here", f"name a file below {self.folder}") from None
        if not found.is_relative_to(self.folder):
            raise InputError(name, "lies outside the folder that this server may use", f"put it below {self.folder}")
        return found

    def fresh(self) -> Path:
        """A folder for results that no other call writes to."""
        count = 0
        while True:
            try:
                place = self.folder / f"made-{count:04}"
                place.mkdir()
                return place
            except FileExistsError:
                count += 1

    def name(self, path: Path) -> str:
        """A path as callers write it."""
        return str(path.relative_to(self.folder))
