"""Measures an arm: it is a pipeline, and is sampled and read as codi-mini is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from codi.ablations.arms import Arm, build
from codi.ablations.components import GRIDS
from codi.defaults import Defaults
from codi.evaluation.cells import Cell, run_cell
from codi.evaluation.engines import PipelineEngine
from codi.evaluation.scores import score
from codi.guidance import Guidance
from codi.pipeline import CoDiPipeline

STEPS: Final = 12
NAMING: Final = "looks"
"""Prompts name shape, size and motion; colour, tempo and phase are left to the outputs."""


class ArmPipeline(CoDiPipeline):
    """A pipeline whose guidance is an arm's, and whose givens steer through what joins them alone."""

    givens_prompt: ClassVar[bool] = False
    defaults = Defaults(STEPS, Guidance())


def pipeline_of(arm: Arm, pipe: CoDiPipeline, weights: Mapping[str, Any], join: str | None = None) -> ArmPipeline:
    """codi-mini with the arm in the place of its bridges."""
    made = build(arm, pipe.components, join)
    made.modules.load_state_dict(weights)
    made.modules.eval().requires_grad_(False)
    parts = {name: part for name, part in made.modules.items() if name in pipe.components}
    changed = ArmPipeline(**{**pipe.components, **parts})
    changed.defaults = Defaults(STEPS, arm.guidance())
    changed.set_progress_bar_config(disable=True)
    made.wrap({name: changed.engine(name) for name in GRIDS})
    return changed


@dataclass(frozen=True)
class Setting:
    """How an arm is measured.

    Attributes:
        name: of the samples' file.
        count: samples.
        options: of the pipeline; also `cascade`, the modality that comes first, and `given`, those that stand.
    """

    name: str
    count: int
    options: Mapping[str, Any]

    def cell(self) -> Cell:
        """As codi.evaluation samples it."""
        options = {key: value for key, value in self.options.items() if key not in ("cascade", "given", "join")}
        first, given = self.options.get("cascade"), tuple(self.options.get("given", ()))
        outputs = tuple(sorted(GRIDS, key=lambda name: (name != first, name != "video")))
        made = tuple(name for name in outputs if name not in given)
        return Cell(self.name, ("text",), made, NAMING, "train", 4, first is not None, given, None, options)


def measure(pipe: CoDiPipeline, setting: Setting, folder: Path) -> dict[str, Any]:
    """Figures of an arm; samples that were made before are read."""
    engine = PipelineEngine(pipe)
    cell = setting.cell()
    return score(run_cell(engine, cell, setting.count, 1, folder), clip=cell.clip)
