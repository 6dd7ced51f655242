"""Contexts cut to size: what is kept, what is left out, and that nothing is lost in silence."""

from dataclasses import replace

import pytest

from syphus.annotations.context import Context, Picture, Problem, Segment, Thing
from syphus.errors import TaskError
from syphus.fit import Cuts, fit, fit_queries, query_limit
from syphus.prices import estimate_tokens
from syphus.render import render_prompt, render_query
from syphus.scaffolding import write_task
from syphus.task import ContextRules, built_in_tasks, load_task

BOX = (0.1, 0.1, 0.5, 0.5)


def task(**rules):
    loaded = load_task("dc")
    return replace(loaded, context=ContextRules(**rules))


def segments(count, *, length=2.0, words=6):
    return tuple(
        Segment(f"Number {n} " + "walks on " * words, n * length, (n + 1) * length)
        for n in range(count)
    )


def fitted(task, *contexts, limit=400):
    cuts = Cuts()
    return list(fit(task, contexts, limit, cuts)), cuts


def test_what_fits_is_passed_on_as_it_is():
    context = Context("v", segments=segments(3), video="v")
    problem = Problem("a.json#1", "no text")
    assert fitted(task(), context, problem) == ([context, problem], Cuts(shown=1))


def test_what_fits_goes_on_with_the_text_that_a_request_would_render():
    chosen = task(long="split")
    contexts = [Context("v", segments=segments(3)), Context("w", segments=segments(90))]
    found = list(fit_queries(chosen, contexts, 300, Cuts()))
    assert [item.context for item in found] == fitted(chosen, *contexts, limit=300)[0]
    assert [item.query for item in found] == [render_query(chosen, c) for c, _ in found]


def test_what_a_seed_draws_is_in_the_text():
    chosen = next(t for t in map(load_task, built_in_tasks()) if t.context.draw)
    context = chosen.examples[0].as_context()
    context = replace(context, facts={})
    texts = set()
    for seed in range(5):
        [one] = fit_queries(chosen, [context], 10_000, Cuts(), seed=seed)
        assert one.query == render_query(chosen, context, seed=seed)
        texts.add(one.query)
    assert len(texts) > 1


def test_what_a_task_needs_and_a_context_lacks_is_said():
    [problem], _ = fitted(task(needs=("segments", "facts")), Context("v", source="a.json#0"))
    assert (problem.where, problem.reason) == ("a.json#0", "'v' has no segments and no facts")


def test_a_video_is_cut_into_clips_that_together_are_the_video():
    context = Context("v", segments=segments(30), video="v.mp4")
    clips, _ = fitted(task(split_seconds=10), context, limit=10_000)
    assert [clip.id for clip in clips] == [f"v_clip{n:03d}" for n in range(6)]
    assert tuple(s for clip in clips for s in clip.segments) == context.segments
    assert [clip.span for clip in clips][:2] == [(0.0, 10.0), (10.0, 20.0)]


def test_clips_with_too_few_segments_are_left_out():
    context = Context("v", segments=(*segments(5), Segment("Much later.", 500.0, 501.0)))
    clips, cuts = fitted(task(split_seconds=10, min_segments=2), context, limit=10_000)
    assert [len(clip.segments) for clip in clips] == [5]
    assert cuts.left_out == 1


def test_a_long_video_is_split_into_as_few_parts_as_fit():
    chosen = task(long="split")
    context = Context("v", segments=segments(100))
    parts, cuts = fitted(chosen, context, limit=300)
    assert (cuts.split, cuts.shortened) == (1, 0)
    assert len(parts) > 5
    assert tuple(s for part in parts for s in part.segments) == context.segments
    assert all(estimate_tokens(render_query(chosen, part)) <= 300 for part in parts)
    assert len({part.id for part in parts}) == len(parts)


def test_one_segment_that_is_too_long_is_listed_and_the_others_kept():
    long = Segment("and on " * 2_000, 4.0, 6.0)
    context = Context("v", segments=(*segments(2), long, *segments(2)), source="a.json#7")
    found, _ = fitted(task(long="split"), context, limit=300)
    problems = [item for item in found if isinstance(item, Problem)]
    assert [problem.where for problem in problems] == ["a.json#7"]
    assert "more than 300" in problems[0].reason
    kept = [s for item in found if isinstance(item, Context) for s in item.segments]
    assert kept == [*segments(2), *segments(2)]


def test_shortening_leaves_out_boxes_first_and_as_few_as_needed():
    chosen = replace(load_task("la_conversation"), context=ContextRules(long="shorten"))
    things = tuple(Thing(f"thing {n}", BOX) for n in range(200))
    context = Context("p", (Picture("p.png"),), ("A room full of things.",), things)
    [short], cuts = fitted(chosen, context, limit=200)
    assert (cuts.split, cuts.shortened) == (0, 1)
    assert short.captions == context.captions
    assert 0 < len(short.objects) < 200
    assert short.objects == things[: len(short.objects)]
    one_more = replace(short, objects=things[: len(short.objects) + 1])
    assert estimate_tokens(render_query(chosen, one_more)) > 200


def test_shortening_leaves_out_sentences_when_no_box_is_left():
    chosen = replace(load_task("la_conversation"), context=ContextRules(long="shorten"))
    captions = tuple(f"Sentence number {n} says something about the room." for n in range(50))
    [short], _ = fitted(
        chosen, Context("p", captions=captions, objects=(Thing("x", BOX),)), limit=200
    )
    assert short.objects == ()
    assert short.captions == captions[: len(short.captions)]
    assert 5 < len(short.captions) < 50


def test_refusing_says_by_how_much():
    context = Context("v", segments=segments(100), source="a.json#0")
    [problem], _ = fitted(task(long="refuse"), context, limit=300)
    size = estimate_tokens(render_query(task(), context))
    assert f"about {size:,} tokens, {size - 300:,} more than 300" in problem.reason


def test_a_query_may_have_what_the_model_has_left():
    chosen = load_task("dc")
    prompt = render_prompt(chosen)
    assert query_limit(chosen, prompt, "nobody/knows") == chosen.context.max_tokens
    assert query_limit(chosen, prompt, "openai/gpt-4o-mini") == chosen.context.max_tokens
    fixed = sum(estimate_tokens(m.content) for m in prompt.messages) + chosen.sampling.max_tokens
    assert query_limit(chosen, prompt, "local") == min(chosen.context.max_tokens, 8_192 - fixed)


def test_a_task_that_is_too_long_for_a_model_says_by_how_much():
    chosen = load_task("dc")
    long = replace(chosen, system="word " * 10_000)
    with pytest.raises(TaskError, match=r"too long for local: its prompt has about [\d,]+ tokens"):
        query_limit(long, render_prompt(long), "local")


def test_a_context_of_which_nothing_would_be_shown_is_listed():
    [problem], _ = fitted(load_task("vst"), Context("s", source="a.json#3"))
    assert (problem.where, problem.reason) == (
        "a.json#3",
        "'s' has nothing that the task shows to a model",
    )


def test_a_template_that_fails_on_what_is_left_of_a_context_does_not_end_the_run(tmp_path):
    folder = write_task("mine", tmp_path)
    (folder / "query.md.j2").write_text("{{ captions[0] }} {{ captions[2] }}")
    examples = folder / "examples"
    for path in examples.iterdir():
        path.write_text(
            path.read_text().replace("  captions:", "  captions:\n    - One.\n    - Two.")
        )
    chosen = load_task(str(folder))
    long = Context("long", captions=("word " * 900, "b", "word " * 900), source="a.json#1")
    short = Context("short", captions=("a", "b", "c"))
    found, cuts = fitted(chosen, short, long, short, limit=200)
    assert [item.id for item in found if isinstance(item, Context)] == ["short", "short"]
    [problem] = [item for item in found if isinstance(item, Problem)]
    assert problem.where == "a.json#1"
    assert "has no element" in problem.reason
    assert cuts.shortened == 0
