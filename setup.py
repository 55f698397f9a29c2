"""The wheel carries the default bundle; everything else stands in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLE = Path("checkpoints/codi-mini")
PACKAGED = Path("codi/_bundle/codi-mini")


class BuildWithBundle(build_py):
    """Copies the bundle into the package; an editable install reads it where it stands."""

    def run(self) -> None:
        super().run()
        if BUNDLE.is_dir() and not self.editable_mode:
            shutil.copytree(BUNDLE, Path(self.build_lib) / PACKAGED, dirs_exist_ok=True)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        packaged = Path(self.build_lib) / PACKAGED
        bundle = [packaged / file.relative_to(BUNDLE) for file in BUNDLE.rglob("*") if file.is_file()]
        return [*super().get_outputs(include_bytecode), *map(str, bundle)]


setup(cmdclass={"build_py": BuildWithBundle})
