"""The page in a real browser: nothing runs, nothing is fetched, nothing sticks out."""

import pytest

from mimicit.report.writing import write_report
from mimicit.schema import Instruction, Verdict
from tests.builders import image, record
from tests.mimicit.report.hostile import EVIL, fill
from tests.mimicit.test_catalog import DAY, begin, put

TEXTS = {"ar": "ماذا ترى في هذه الصورة؟", "zh": "图片里有什么？", "en": "What is there?"}
LONG = "n" * 300


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, request):
    return _page(tmp_path_factory, request, lambda store, cat: fill(store, cat), EVIL)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, request):
    def add(store, cat):
        with store.writing("test"):
            store.add_images([cat])
            store.add([_record(n, language, cat.id) for n, language in enumerate([*TEXTS] * 4)])
            store.sync()

    return _page(tmp_path_factory, request, add, "Photographs")


def _record(n: int, language: str, picture: str) -> Instruction:
    long = {"task": LONG, "source": LONG, "id": LONG} if n == 3 else {}
    said = {"instruction": TEXTS[language], "answer": TEXTS[language] * 5, "language": language}
    return record(n, image_ids=(picture,), **said, **long)


def _page(tmp_path_factory, request, add, title):
    from mimicit.store import Store

    folder = tmp_path_factory.mktemp("report")
    store = Store.open(folder / "ds", create=True)
    add(store, image(request.getfixturevalue("photos"), "chelsea.png"))
    write_report(store, folder / "report.html", title=title)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def crowded(tmp_path_factory, request):
    """Many tasks whose names are long, wide, or run from right to left; scores without end, and models over years."""
    kinds = ("W" * 90, "图片描述任务的名字" * 9, "مهمة وصف الصور " * 9, "a_task_with_a_long_name_" * 9, "🦀" * 40)  # fmt: skip

    def add(store, cat):
        records = [
            record(n, task=f"{kinds[n % 5]}{n % 40}", answer="word " * (n * n), image_ids=(cat.id,))
            for n in range(120)
        ]
        said = {"filter": "judge", "reason": "r", "recipe": "judge:m", "recipe_digest": "d"}
        ledger = begin(store)
        for n, model in enumerate([*kinds, "m"] * 8, start=1):
            tokens = {"prompt_tokens": 10**n % 10**9, "completion_tokens": 1, "cost_usd": n / 7}
            put(ledger, "replies", id=n, run="run 1", model=model, time=n * 20 * DAY, text="x", **tokens)  # fmt: skip
        ledger.close()
        with store.writing("test"):
            store.add_images([cat])
            store.add(records)
            scores = (1e12, -1e300, 0.00012)
            store.add_verdicts(
                [
                    Verdict(record=one.id, score=scores[n % 3] * n, rejects=n % 4 == 0, **said)
                    for n, one in enumerate(records)
                ]
            )
            store.sync()

    return _page(tmp_path_factory, request, add, "Crowded")


@pytest.fixture
def opened(browser):
    """Open a page, and note what it says, asks for and shows on its own."""
    contexts = []

    def open_(url, *, width=1280, dark=False):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        page = context.new_page()
        noted = []
        page.on("console", lambda message: noted.append(message.text))
        page.on("pageerror", lambda error: noted.append(str(error)))
        page.on("dialog", lambda dialog: noted.append(dialog.message))
        page.on(
            "request", lambda asked: asked.url.startswith(("data:", url)) or noted.append(asked.url)
        )
        page.goto(url)
        page.noted = noted
        return page

    yield open_
    for context in contexts:
        context.close()


def test_nothing_runs_and_nothing_is_fetched(opened, hostile):
    page = opened(hostile)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.mouse.wheel(0, 20_000)
    assert page.evaluate("typeof window.ran") == "undefined"
    assert page.noted == []
    assert page.locator("script, iframe, object, embed, link").count() == 0
    assert page.locator("h1").inner_text() == EVIL
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")


def test_the_policy_holds_what_would_come_in(opened, hostile):
    page = opened(hostile)
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=http://127.0.0.1:9/x onerror=\"window.ran=4\"><p style=\"color:red\" id=tried>')"
    )
    page.wait_for_timeout(200)
    assert page.evaluate("typeof window.ran") == "undefined"
    assert any("Content Security Policy" in said for said in page.noted)
    assert (
        page.evaluate("getComputedStyle(document.getElementById('tried')).color")
        != "rgb(255, 0, 0)"
    )


@pytest.mark.parametrize("width", [1280, 768, 390, 360, 320])
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_the_page_does_not_scroll_sideways(opened, request, name, width):
    page = opened(request.getfixturevalue(name), width=width)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    size = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    wide, seen = page.evaluate(size)
    assert wide <= seen


def _lightness(page):
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 3


def test_the_page_is_dark_where_the_reader_is(opened, plain):
    assert _lightness(opened(plain)) > 200
    assert _lightness(opened(plain, dark=True)) < 60


def test_the_reader_may_choose_the_colours(opened, plain):
    page = opened(plain)
    page.get_by_text("Dark", exact=True).click()
    assert _lightness(page) < 60
    page.get_by_text("Light", exact=True).click()
    assert _lightness(page) > 200


_CONTRAST = """() => {
  const channel = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 };
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number); return .2126*channel(r) + .7152*channel(g) + .0722*channel(b) };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$|transparent/.test(c)) return c } return 'rgb(255, 255, 255)' };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), ink = e.ownerSVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5 && !(parseFloat(style.fontSize) >= 24 && ratio >= 3)) found.push([e.tagName, e.className, e.textContent.slice(0, 30), ratio]);
  }
  return found }"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_every_text_stands_out_from_its_ground(opened, request, name, dark):
    page = opened(request.getfixturevalue(name), dark=dark)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate(_CONTRAST) == []


_OVERLAPS = """() => {
  const found = [], over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  for (const plot of document.querySelectorAll('svg.plot')) {
    if (plot.closest('.sunburst')) continue;
    const frame = plot.getBoundingClientRect(), texts = [...plot.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()]);
    texts.forEach(([text, box], n) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 2) found.push([plot.ariaLabel, 'outside', text]);
      for (const [other, place] of texts.slice(n + 1)) if (over(box, place)) found.push([plot.ariaLabel, text, other]);
    });
  }
  return found }"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["plain", "crowded"])
def test_no_text_of_a_figure_lies_on_another_or_sticks_out(opened, request, name, width):
    page = opened(request.getfixturevalue(name), width=width)
    assert page.locator("svg.plot").count() >= (9 if name == "crowded" else 6)
    assert page.evaluate(_OVERLAPS) == []


def test_texts_run_in_their_own_direction(opened, plain):
    page = opened(plain)
    for language, direction in (("ar", "rtl"), ("zh", "ltr"), ("en", "ltr")):
        found = page.locator(f"p.answer[lang={language}]").first
        assert found.evaluate("e => getComputedStyle(e).direction") == direction


def test_on_paper_it_is_light_and_complete(opened, plain):
    page = opened(plain, dark=True)
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator("#lengths details table").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 34, 39)"
    assert page.pdf(format="A4").startswith(b"%PDF")
