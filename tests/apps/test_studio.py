"""One bundle, many callers: nothing lost, nothing mixed up, an end to the queue, a stop."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codi import files
from codi.apps import arguments, recipe
from codi.apps.request import Request
from codi.apps.studio import Root, StoppedError, Studio
from codi.types import InputError

GROWTH = 200 * 2**20
"""Bytes of memory that 50 requests may leave behind: allocators keep some, results none."""


def asked(bundle: Path, seed: int, outputs: tuple[str, ...] = ("text",), steps: int = 1) -> Request:
    prompt = (arguments.read_source(f"text=ball number {seed}", "--inputs"),)
    return Request(prompt, (), outputs, {"seed": seed, "num_inference_steps": steps}, model=str(bundle))


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_fifty_mixed_requests_of_four_clients(bundle: Path, tmp_path: Path) -> None:
    studio, root = Studio(str(bundle), waiting=4), Root(tmp_path)
    kinds = [("text",), ("image",), ("audio",), ("video", "audio"), ("text", "image", "audio", "video")]
    studio.make(asked(bundle, 0, kinds[-1]), root.fresh())
    before = resident()

    def client(seed: int) -> tuple[int, list[Path]]:
        return seed, studio.make(asked(bundle, seed, kinds[seed % 5]), root.fresh())

    with ThreadPoolExecutor(4) as clients:
        results = list(clients.map(client, range(50)))
    assert len({path for _, written in results for path in written}) == sum(len(kinds[n % 5]) for n in range(50))
    for seed, written in results:
        assert {files.modality_of(path) for path in written} == set(kinds[seed % 5])
        for path in written:
            kept = recipe.read(path)
            assert kept["parameters"]["seed"] == seed and kept["inputs"][0]["value"] == f"ball number {seed}"
    alone = Studio(str(bundle)).make(asked(bundle, 17, kinds[2]), root.fresh())
    assert alone[0].read_bytes() == results[17][1][0].read_bytes()
    assert resident() - before < GROWTH


def test_a_full_queue_refuses_at_once_and_a_stop_frees_it(bundle: Path, tmp_path: Path) -> None:
    studio, root = Studio(str(bundle), waiting=1), Root(tmp_path)
    running, stop = threading.Event(), threading.Event()

    def long(event: threading.Event) -> str:
        try:
            studio.make(asked(bundle, 1, steps=1000), root.fresh(), on_step=lambda *_: running.set(), stop=event)
        except StoppedError:
            return "stopped"
        return "made"

    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(long, stop)
        assert running.wait(60)
        waits = threading.Event()
        second = clients.submit(long, waits)
        while studio._room._value:  # type: ignore[attr-defined]  # until it has its place
            pass
        with pytest.raises(InputError, match="is busy and 1 requests wait already"):
            studio.make(asked(bundle, 2), root.fresh())
        waits.set()
        assert second.result(60) == "stopped"
        stop.set()
        assert first.result(60) == "stopped"
    assert studio.make(asked(bundle, 3), root.fresh())
    assert sum(1 for place in tmp_path.iterdir() if any(place.iterdir())) == 1


def test_a_root_confines(tmp_path: Path) -> None:
    root = Root(tmp_path / "in")
    (tmp_path / "out.txt").write_text("secret")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out.txt")
    for name in ("../out.txt", "link", "/etc/passwd", str(tmp_path / "out.txt")):
        with pytest.raises(InputError, match="outside the folder"):
            root.path(name)
    assert root.path("a/../b.png") == root.folder / "b.png"
    assert root.fresh() != root.fresh()


def test_a_preview_shows_every_output(bundle: Path, tmp_path: Path) -> None:
    seen: list[dict[str, object]] = []
    Studio(str(bundle)).make(
        asked(bundle, 0, ("image", "video"), steps=2), tmp_path, on_step=lambda step, total, look: seen.append(look())
    )
    assert [set(look) for look in seen] == [{"image", "video"}] * 2
