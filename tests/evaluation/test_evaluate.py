"""The whole path with the oracle in the place of a pipeline."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from codi.defaults import CODI_MINI
from codi.evaluation.cells import Cell, Sample, load_samples, run_cell, sample_cell
from codi.evaluation.conflict import draw_conflicts
from codi.evaluation.engines import Oracle, PipelineEngine, load_engine
from codi.evaluation.evaluate import Plan, evaluate, summarise
from codi.evaluation.faces import FACES, medium_of
from codi.evaluation.parts import CASES, score_parts
from codi.evaluation.prompts import draw_prompts
from codi.evaluation.report import Summary, render_report
from codi.evaluation.scores import compare, reference_features, score
from codi.evaluation.suites import SUITES
from codi.media import Video
from codi.pipeline import CoDiPipeline
from codi.types import ClipSpec, InputError
from codi.worlds.sounding_shapes import HELD_OUT, read_caption
from codi.worlds.sounding_shapes.readers import Reading
from codi.worlds.sounding_shapes.scene import sample_scene

TIMED = Cell("timed", ("text",), ("video", "audio"), naming="timed", repeats=8)


class Refuses:
    def __init__(self, identity="oracle"):
        self.identity = identity

    def __call__(self, *args, **options):
        raise AssertionError("sampled again")

    def makes(self, outputs, given, options):
        return outputs


@pytest.fixture(scope="module")
def joint():
    return score(sample_cell(Oracle(), TIMED, 32, seed=1))


@pytest.fixture(scope="module")
def apart():
    return score(sample_cell(Oracle(), replace(TIMED, options={"bridge_scale": 0.0}), 32, seed=1))


def test_the_oracle_is_near_the_ceiling(joint):
    assert joint["adherence"]["video"]["mean"] > 0.95 and joint["adherence"]["audio"]["mean"] > 0.95
    assert joint["agreement"]["video-audio"]["mean"] > 0.95
    assert joint["synchrony"]["video-audio"]["event_f1"] > 0.95


def test_without_bridges_the_oracle_is_at_the_floor_of_its_shuffled_pairs(joint, apart):
    assert apart["adherence"]["video"]["mean"] > 0.95
    for figure in ("agreement", "synchrony"):
        alone, floor = apart[figure]["video-audio"]["mean"], joint[figure]["video-audio"]["floor"]
        assert alone < 0.6 and abs(alone - floor) < 0.25


def test_shifted_tracks_lose_synchrony(joint):
    found = joint["synchrony"]["video-audio"]
    assert found["shift_1"] < 0.1 and found["shift_2"] < 0.1


def test_half_a_frame_is_also_counted_in_the_clips_own():
    def read(*events):
        return Reading({"motion": "bounce", "tempo": "slow"}, np.array(events), np.zeros(2, np.float32))

    late = Sample(0, {"motion": "bounce"}, {"video": read(1 / 6, 7 / 6), "audio": read(0.24, 1.24)})
    six = score([late, late], clip=ClipSpec(fps=6.0))["synchrony"]["video-audio"]
    assert (six["mean"], six["half_frame"]) == (0.0, 1.0)
    early = Sample(0, {"motion": "bounce"}, {"video": read(1 / 6, 3.5), "audio": read(0.0, 3.5 - 1 / 6)})
    long = score([early, early], clip=ClipSpec(4.0, 6.0))["synchrony"]["video-audio"]
    assert (long["mean"], long["shift_1"]) == (0.0, 1.0)  # a frame is a sixth of a second; nothing leaves 4 s
    eight = score([late, late])["synchrony"]["video-audio"]
    assert eight["half_frame"] == eight["mean"] == 0.0
    reports = [render_report("clock", Summary({"cell": score([late, late], clip=ClipSpec(fps=fps))})) for fps in (6, 8)]
    assert ["half a frame of the clip" in report for report in reports] == [True, False]


def test_a_cascade_is_given_what_was_made_before():
    first_seen = []

    class Watching(Oracle):
        def __call__(self, inputs, outputs, seed, given=None, **options):
            first_seen.append((tuple(outputs), sorted(given or {})))
            return super().__call__(inputs, outputs, seed, given, **options)

    sample_cell(Watching(), replace(TIMED, cascade=True), 2, seed=1)
    assert first_seen == [(("video",), []), (("audio",), ["video"])]


def test_a_finished_cell_is_not_sampled_again(tmp_path):
    cell = replace(TIMED, outputs=("image", "text"), repeats=1)
    first = run_cell(Oracle(), cell, 4, 1, tmp_path)
    again = run_cell(Refuses(), cell, 4, 1, tmp_path)
    assert [s.readings["text"].factors for s in first] == [s.readings["text"].factors for s in again]
    with pytest.raises(AssertionError, match="sampled again"):
        run_cell(Refuses(), cell, 4, 2, tmp_path)
    with pytest.raises(AssertionError, match="sampled again"):
        run_cell(Refuses("another bundle"), cell, 4, 1, tmp_path)


def test_cells_that_make_the_same_are_sampled_once(pipe, tmp_path, monkeypatch):
    engine = PipelineEngine(pipe, {"num_inference_steps": 4}, "its weights")
    pair = Cell("pair", ("text",), ("video", "image"), naming="looks")
    directly = sample_cell(engine, pair, 3, 1)
    asked, call = [], PipelineEngine.__call__
    monkeypatch.setattr(
        PipelineEngine, "__call__", lambda *given, **options: asked.append(given[2]) or call(*given, **options)
    )
    three = replace(pair, name="three", outputs=("image", "text", "video"))
    first = run_cell(engine, pair, 3, 1, tmp_path / "one suite")
    assert asked == [("image", "text", "video")]
    run_cell(engine, three, 2, 1, tmp_path / "another")
    assert len(asked) == 1, "the first of the samples that were made for the pair"
    assert [list(s.readings) for s in first] == [["video", "image"]] * 3
    for a, b in zip(directly, first, strict=True):
        assert a.readings["image"].factors == b.readings["image"].factors
        assert np.array_equal(a.readings["video"].features, b.readings["video"].features)
    run_cell(engine, replace(pair, name="apart", options={"companions": ()}), 2, 1, tmp_path / "another")
    assert asked[1:] == [("image", "video")]


def test_what_is_made_along_is_what_the_pipeline_says(pipe):
    engine = PipelineEngine(pipe, {"num_inference_steps": 1})
    for options in ({}, {"bridge_scale": {"video": 0.0}}, {"bridge_scale": 0.0}, {"companions": ["audio"]}):
        made = pipe(inputs="a", outputs=["image", "video"], num_inference_steps=1, **options)
        along = made.recipe["parameters"]["companions"]
        assert engine.makes(["image", "video"], (), options) == tuple(sorted({"image", "video", *along}))


def test_a_longer_cell_goes_on_from_a_shorter_one(tmp_path):
    cell, counts = replace(TIMED, outputs=("text",), repeats=1), []

    class Counting(Oracle):
        def __call__(self, inputs, outputs, seed, given=None, **options):
            counts.append(len(inputs["text"]))
            return super().__call__(inputs, outputs, seed, given, **options)

    run_cell(Counting(), cell, 20, 1, tmp_path / "short")
    longer = run_cell(Counting(), cell, 36, 1, tmp_path / "long")
    assert counts == [16, 4, 16, 4]
    whole = sample_cell(Oracle(), cell, 36, 1)
    assert [s.readings["text"].factors for s in longer] == [s.readings["text"].factors for s in whole]


def test_figures_are_of_one_engine_alone(tmp_path):
    evaluate(Oracle(), Plan("solo", 2, only="text-text"), tmp_path)
    assert evaluate(Oracle("another bundle"), Plan("solo", 2, only="text-image"), tmp_path).keys() == {"text-image"}
    assert evaluate(Oracle(), Plan("solo", 2, only="text-text"), tmp_path).keys() == {"text-text"}


def test_samples_survive_the_file(tmp_path):
    samples = run_cell(Oracle(), TIMED, 2, 1, tmp_path)
    for a, b in zip(samples, load_samples(tmp_path / "timed.json"), strict=True):
        assert a.named == b.named and a.group == b.group
        np.testing.assert_allclose(a.readings["audio"].events, b.readings["audio"].events, atol=1e-5)
        np.testing.assert_allclose(a.readings["audio"].features, b.readings["audio"].features, rtol=1e-2, atol=1e-2)


def test_prompts_name_what_their_media_show():
    for prompt in draw_prompts(("text",), "some", "train", 40, 1, seed=3):
        assert read_caption(prompt.inputs["text"]) == prompt.named
    both = draw_prompts(("text", "image"), "movement", "train", 10, 1, seed=3)
    assert all(set(p.named) == {"shape", "colour", "size", "motion", "tempo"} for p in both)


def test_prompts_repeat_and_keep_to_their_split():
    prompts = draw_prompts(("text",), "pair", "held_out", 12, 4, seed=0)
    assert [p.group for p in prompts] == [0] * 4 + [1] * 4 + [2] * 4
    assert all((p.named["shape"], p.named["colour"]) in HELD_OUT for p in prompts)


def test_settings_do_not_change_the_prompts():
    on, off = (next(c for c in SUITES["mesh"]() if c.name == n) for n in ("looks-on", "looks-off"))
    asked = [[p.inputs["text"] for p in draw_prompts(c.inputs, c.naming, c.split, 16, 8, 1)] for c in (on, off)]
    assert asked[0] == asked[1]


def test_the_matrix_has_225_cells_with_names_of_their_own():
    cells = SUITES["matrix"]()
    assert len(cells) == len({c.name for c in cells}) == len({(c.inputs, c.outputs) for c in cells}) == 225


def test_conflicts_differ_in_every_asked_factor():
    for conflict in draw_conflicts(20, 0):
        assert conflict.told["shape"] != conflict.shown["shape"] and conflict.told["colour"] != conflict.shown["colour"]


def test_a_suite_writes_figures_and_a_report_and_can_be_shared(tmp_path, monkeypatch):
    monkeypatch.setattr("codi.evaluation.evaluate.REFERENCES", 24)
    for part in (1, 0):
        figures = evaluate(Oracle(), Plan("solo", count=12, part=part, parts=2), tmp_path)
    assert list(figures) == ["text-text", "text-image", "text-audio", "text-video"]
    assert json.loads((tmp_path / "solo.json").read_text())["text-text"]["adherence"]["text"]["mean"] == 1.0
    report = (tmp_path / "solo.md").read_text()
    assert "| text-image | image | 12 |" in report and "\nthe oracle; seed 1\n" in report


def test_a_report_leads_with_the_worst():
    def cell(value):
        adherence = {"mean": value, "low": value, "high": value, "factors": {}}
        return {"samples": 4, "adherence": {"image": adherence}, "agreement": {}, "synchrony": {}, "entropy": {}}

    page = render_report("solo", Summary({"good": cell(0.9), "bad": cell(0.1)}))
    assert page.index("| bad |") < page.index("| good |") < page.index("| mean over 2 rows |") < page.index("| 0.500 |")


@pytest.mark.parametrize(("plan", "name"), [(Plan("nonsense"), "suite"), (Plan("solo", only="zzz"), "only")])
def test_what_is_not_there_is_refused_by_name(plan, name, tmp_path):
    with pytest.raises(InputError, match=f"^{name}: "):
        evaluate(Oracle(), plan, tmp_path)


def test_a_pipeline_is_called_with_one_mapping_for_each_sample():
    calls = []

    def pipeline(**options):
        calls.append(options)
        media = [f"picture {n}" for n in range(len(options["inputs"]))]
        return type("Result", (), {"image": media if len(media) > 1 else media[0]})()

    engine = PipelineEngine(pipeline, {"num_inference_steps": 12})
    assert engine({"text": ["a", "b"]}, ("image",), 5, bridge_scale=0.0) == {"image": ["picture 0", "picture 1"]}
    assert engine({"text": ["a"]}, ("image",), 5, given={"video": ["clip"]}) == {"image": ["picture 0"]}
    assert calls[0]["inputs"] == [{"text": "a"}, {"text": "b"}] and calls[0]["given"] == [{}]
    assert calls[0]["num_inference_steps"] == 12 and calls[0]["bridge_scale"] == 0.0
    assert calls[1]["given"] == [{"video": "clip"}]


PROMPTING = CODI_MINI.prompting["text"]
SPANS = (
    "(video from 0.25 to 0.85 of the steps) (text from 0 to 0.5 of the steps) (audio to 0.55 without video)"
    " (image to 0.55 prompted by text without audio or video, else to 0.75 prompted by text)"
    " (video to 0.55 prompted by text without audio, else to 0.75 prompted by text)"
)


SCALES = "3 (text 1 with others that are made)"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, ("num_inference_steps 20", f"bridge_scale {SCALES} {SPANS}")),
        ({"num_inference_steps": 12, "bridge_scale": 2.0}, ("num_inference_steps 12", f"bridge_scale 2.0 {SPANS}")),
        ({"bridge_end": 1.0}, ("num_inference_steps 20", f"bridge_scale {SCALES}", "bridge_end 1.0")),
    ],
)
def test_figures_tell_their_bundle_and_defaults_even_where_nobody_named_them(pipe, options, told):
    engine = PipelineEngine(pipe, options, "0123456789abcdef num_inference_steps")
    steps, *bridges = told
    guided = (
        "guidance_scale 3 (text 1.25 with others) (video 2.25 prompted by text without audio, else 1.5 with others)"
        " (audio 1.5 with video without text, else 1 with others)"
        " (video to a given audio 1.75) (with others in every 2 steps)"
    )
    renewed = "bridge_renewal audio with others above 0.7, video with nothing but a given audio above 0.8"
    along = ["companions text (of image with others)", renewed, f"bridge_prompting text below {PROMPTING:g}"]
    assert engine.settings == ", ".join(["bundle 0123456789ab", steps, guided, *bridges, *along])


def test_figures_do_not_tell_of_new_noise_that_an_option_replaced(pipe):
    told = PipelineEngine(pipe, {"bridge_renewal": 1.0}, "0123").settings
    assert "bridge_renewal 1.0" in told and "a given audio above" not in told


def test_figures_tell_of_no_new_noise_where_there_is_none(pipe, monkeypatch):
    monkeypatch.setattr(CoDiPipeline, "defaults", replace(CODI_MINI, renewal={}, following={}))
    assert "bridge_renewal" not in PipelineEngine(pipe, {}, "0123").settings


def test_paired_differences_find_what_bridges_bring():
    on = sample_cell(Oracle(), TIMED, 24, seed=1)
    off = sample_cell(Oracle(), replace(TIMED, options={"bridge_scale": 0.0}), 24, seed=1)
    difference, low, _ = compare(on, off)["event F1 video-audio"]
    assert difference > 0.3 and low > 0.1
    assert all(v[0] == 0.0 for v in compare(on, on[:8]).values())
    assert {"adherence video", "adherence audio", "agreement video-audio"} < compare(on, off).keys()
    renders = reference_features({m: [s.readings[m] for s in on] for m in ("video", "audio")})
    told = compare(on, off, renders)
    assert told["Frechet distance video"][0] <= 0 and told["Frechet distance audio"][0] < 0


def test_a_report_normalises_by_the_oracle(tmp_path):
    with pytest.raises(InputError, match=r"^ceiling: "):
        summarise(Plan("mesh", ceiling=tmp_path), tmp_path, {}, tmp_path)


def test_the_oracle_retrieves_what_agrees_and_a_constant_does_not(tmp_path):
    rows = evaluate(Oracle(), Plan("retrieval", count=48), tmp_path)["retrieval"]
    assert len(rows) == 12 and (tmp_path / "retrieval.md").exists()
    assert np.mean([row["recall"] for row in rows]) > 0.9

    class Constant(Oracle):
        def embed(self, modality, media):
            return np.ones((len(media), 3))

    rows = evaluate(Constant(), Plan("retrieval", count=48), tmp_path)["retrieval"]
    assert all(row["recall"] < 0.3 for row in rows)


def test_a_pipeline_embeds_in_the_shared_space(pipe):
    vectors = PipelineEngine(pipe).embed("text", ["a red circle", "a blue star"])
    assert vectors.shape[0] == 2
    np.testing.assert_allclose(
        (vectors**2).sum(1), vectors.shape[1] / pipe.engine("text").prompt(["a"]).shape[-1], rtol=1e-4
    )


@pytest.mark.parametrize("changed", [{"beside": {}}, {"following": {}}, {"ends": {}}, {"companions": {}}])
def test_samples_of_other_defaults_do_not_pass_for_those_of_these(bundle, monkeypatch, changed):
    own = load_engine(str(bundle), {}).identity
    monkeypatch.setattr(CoDiPipeline, "defaults", replace(CODI_MINI, **changed))
    other = load_engine(str(bundle), {})
    assert other.identity != own and other.settings.startswith(f"bundle {own[:12]}")


class Remembers:
    """Makes what was there; of a picture at an instant, a clip that rests."""

    def __call__(self, inputs, outputs, seed, given, **options):
        ((name, stands),) = given.items()
        media = [medium_of(medium) for medium in stands]
        return {outputs[0]: media if name in outputs else [Video(np.stack([m] * 16), 8.0) for m in media]}


def test_what_is_made_around_what_stands_is_compared_with_what_was_there_and_with_strangers():
    rests, *others = score_parts(Remembers(), 4, seed=1)
    for row in others:
        assert row["samples"] == 4 and row["missed"] == 0 and row["step"] == row["step of renders"]
    assert 0 < rests["missed"] < rests["of strangers"] and rests["step"] == 0 < rests["step of renders"]
    assert all(row["by chance"] < 0.6 for row in (rests, *others)) and all(row["kept"] > 0.9 for row in others)
    assert rests["by chance"] < rests["kept"] < 1


def test_what_is_hidden_is_what_does_not_stand():
    rng = np.random.default_rng(0)
    shown = [FACES[case.output].show(sample_scene(rng), rng) for case in CASES]
    assert [case.hidden(medium).shape for case, medium in zip(CASES, shown, strict=True)] == [
        (15, 64, 64, 3),
        (8, 64, 64, 3),
        (64, 32, 3),
        (64, 128),
    ]
