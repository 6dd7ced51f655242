"""The page in a browser: keys, boxes, texts that want to be more than text, two reviewers at one record."""

import shutil

import pytest

from tests.mimicit.review.rooms import BOX, accepted, dataset, serving

pytest.importorskip("aiohttp")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]
FLAGS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def store(tmp_path, photos):
    return dataset(tmp_path / "ds", photos)


@pytest.fixture
def room(store):
    with serving(store, "--order", "id") as room:
        yield room


@pytest.fixture
def enter(browser, room):
    """Open pages; what they ask for and what goes wrong in them is kept."""
    contexts = []

    def opened(by="ann", *, width=1280, height=800, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.wrong = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on(
            "console",
            lambda line: page.wrong.append(line.text) if "Content Security" in line.text else None,
        )
        page.goto(room.url.replace("/?", f"/?as={by}&"))
        shows(page, "a")
        return page

    yield opened
    for context in contexts:
        context.close()


def shows(page, id):
    playwright.expect(page.locator("main")).to_have_attribute("data-record", id)


def closes(page):
    playwright.expect(page.locator("#edit-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#edit-dialog")).to_be_hidden()


def says(page, text):
    playwright.expect(page.locator("#banners")).to_contain_text(text)


def test_a_record_is_reviewed_by_keys_alone(enter, room, store):
    page = enter()
    playwright.expect(page.locator("#question")).to_have_text("What is the cat doing?")
    page.keyboard.press("a")
    shows(page, "b")
    page.keyboard.press("r")
    page.keyboard.press("3")
    shows(page, "c")
    page.keyboard.press("r")
    page.fill("#reason", "a plane, not a rocket")
    page.keyboard.press("Enter")
    shows(page, "d")
    page.keyboard.press("ArrowRight")
    shows(page, "e")
    page.keyboard.press("e")
    page.fill("#edit-answer", "It is a cat.")
    page.keyboard.press("Control+Enter")
    shows(page, "f")
    playwright.expect(page.locator("#counts")).to_contain_text("4 of 6")
    page.keyboard.press("p")
    says(page, "You edited this: see e~2")
    page.keyboard.press("u")
    playwright.expect(page.locator("#notice")).to_contain_text("taken back: edit")
    playwright.expect(page.locator("#counts")).to_contain_text("3 of 6")
    page.keyboard.press("u")
    shows(page, "c")
    page.reload()
    shows(page, "c")  # the first that is undecided
    page.keyboard.press("u")
    shows(page, "b")
    assert room.record("a")["mine"]["do"] == "accept"
    assert room.record("b")["mine"] is None
    assert page.wrong == []
    room.stop()
    assert accepted(store) == {"a", "b", "c", "d", "e", "f"}


def test_a_key_that_is_typed_is_no_command(enter, room):
    page = enter()
    page.keyboard.press("f")
    page.locator("#where").press_sequentially("a = r")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.locator("#edit-answer").press_sequentially("aruenp")
    page.keyboard.press("Escape")
    shows(page, "a")
    assert room.record("a")["mine"] is None


def test_clicks_do_what_keys_do_on_a_phone(enter, room):
    page = enter(width=390, height=844, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.tap("[data-do=accept]")
    shows(page, "b")
    page.tap("[data-do=reject]")
    page.tap("#reasons li:nth-child(4) button")
    shows(page, "c")
    page.tap("[data-do=undo]")
    shows(page, "b")
    page.tap("[data-do=previous]")
    says(page, "You accepted this")
    assert room.record("a")["mine"]["do"] == "accept"


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_boxes_lie_where_people_drew_them(enter, width, height):
    page = enter(width=width, height=height)
    assert page.locator(".box").count() == 0
    page.keyboard.press("b")
    for _ in range(2):  # and when it is zoomed
        picture = page.locator("#picture").bounding_box()
        box = page.locator(".box[title=cat]").bounding_box()
        found = [
            (box["x"] - picture["x"]) / picture["width"],
            (box["y"] - picture["y"]) / picture["height"],
            (box["x"] + box["width"] - picture["x"]) / picture["width"],
            (box["y"] + box["height"] - picture["y"]) / picture["height"],
        ]
        assert found == pytest.approx(BOX, abs=0.01)
        assert picture["width"] / picture["height"] == pytest.approx(451 / 300, abs=0.02)
        page.keyboard.press("z")
    assert page.locator(".box").count() == 2
    page.keyboard.press("b")
    assert page.locator(".box").count() == 0


def test_texts_stay_texts_and_nothing_is_asked_elsewhere(enter, room):
    page = enter()
    page.keyboard.press("b")
    for id in ("b", "c", "d"):
        page.keyboard.press("n")
        shows(page, id)
    page.locator("#origin summary").click()
    playwright.expect(page.locator("#origin dl")).to_contain_text("onerror")
    page.keyboard.press("e")
    page.fill("#edit-answer", "<svg onload='window.hacked = 1'>")
    page.keyboard.press("Control+Enter")
    shows(page, "e")
    page.keyboard.press("p")
    page.locator("#banners button").click()
    playwright.expect(page.locator("#answer")).to_have_text("<svg onload='window.hacked = 1'>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#said img, #said svg, #said script, #captions img").count() == 0
    assert page.wrong == []
    assert {url.split("/")[2] for url in page.asked} == {room.host}
    assert "token" not in page.url


def test_pictures_of_a_record_are_shown_one_by_one(enter):
    page = enter()
    for id in ("b", "c", "d", "e"):
        page.keyboard.press("n")
        shows(page, id)
    assert page.locator("#strip button").count() == 3
    page.keyboard.press(".")
    playwright.expect(page.locator("#picture")).to_have_js_property("naturalWidth", 40)
    page.keyboard.press(".")
    playwright.expect(page.locator("#missing")).to_contain_text(
        "LA_IMG_gone is not in this dataset"
    )
    playwright.expect(page.locator("#turns li")).to_have_count(2)


def test_a_filter_chooses_and_a_wrong_one_is_explained(enter):
    page = enter()
    page.keyboard.press("f")
    page.fill("#where", "length(nonsense) > 2")
    page.click("#filter button")
    playwright.expect(page.locator("#filter-error")).to_contain_text("nonsense")
    shows(page, "a")
    page.fill("#where", "id IN (SELECT record FROM verdicts WHERE filter = 'blurred')")
    page.click("#filter button")
    shows(page, "g")
    playwright.expect(page.locator("#verdicts")).to_contain_text("it is blurred")
    page.keyboard.press("f")
    page.fill("#where", "false")
    page.click("#filter button")
    playwright.expect(page.locator("#notice")).to_contain_text("No record is selected")
    page.keyboard.press("a")


def test_two_browsers_edit_one_record(enter, room, store):
    ann, ben = enter("ann"), enter("Ben")
    for page, answer in ((ann, "It looks at a bird."), (ben, "It looks out.")):
        page.keyboard.press("e")
        page.fill("#edit-answer", answer)
    ann.keyboard.press("Control+Enter")
    shows(ann, "b")
    ben.keyboard.press("Control+Enter")
    dialog = ben.locator("#conflict-dialog")
    playwright.expect(dialog).to_contain_text("ann edited this record meanwhile")
    playwright.expect(dialog).to_contain_text("It looks at a bird.")
    playwright.expect(dialog).to_contain_text("It looks out.")
    ben.click("#keep-mine")
    shows(ben, "b")
    assert room.record("a~2", by="Ben")["mine"]["new"] == "a~3"
    ben.click("[data-do=agreement]")
    playwright.expect(ben.locator("#agreement-none")).to_be_hidden()
    room.stop()
    assert accepted(store) == {"a~3", "b", "c", "d", "e", "f"}


def test_an_edit_goes_on_from_the_newest_version(enter, room, store):
    page = enter()
    for answer in ("It looks at a bird.", "It looks at a blue bird."):
        page.keyboard.press("e")
        page.fill("#edit-answer", answer)
        page.keyboard.press("Control+Enter")
        shows(page, "b")
        page.keyboard.press("p")
        shows(page, "a")
        says(page, "You edited this: see a~2")
    page.keyboard.press("a")
    playwright.expect(page.locator("#notice")).to_contain_text("decide about its new version 'a~2'")
    page.click("#banners .link")
    shows(page, "a~2")
    playwright.expect(page.locator("#facts")).not_to_contain_text("of 6")
    page.keyboard.press("n")  # from where one was
    shows(page, "b")
    page.keyboard.press("p")
    shows(page, "a")
    page.keyboard.press("e")
    shows(page, "a~3")
    playwright.expect(page.locator("#edit-answer")).to_have_value("It looks at a blue bird.")
    closes(page)
    page.keyboard.press("p")
    shows(page, "a")
    page.keyboard.press("e")
    closes(page)
    shows(page, "a~3")
    page.keyboard.press("a")
    shows(page, "b")
    assert page.wrong == []
    room.stop()
    assert accepted(store) == {"a~3", "b", "c", "d", "e", "f"}


def test_an_edited_turn_is_seen_in_the_turns_beside_it_and_is_there_once(enter, room, store):
    ann, ben = enter(), enter("Ben")
    for page in (ann, ben):
        for id in "bcde":
            page.keyboard.press("n")
            shows(page, id)
        page.keyboard.press("e")
    ann.fill("#edit-answer", "It is a cat.")
    ann.keyboard.press("Control+Enter")
    shows(ann, "f")
    playwright.expect(ann.locator("#turns")).to_contain_text("It is a cat.")
    playwright.expect(ann.locator("#turns")).not_to_contain_text("Yes.")
    ben.fill("#edit-answer", "It is none.")
    ben.keyboard.press("Control+Enter")
    playwright.expect(ben.locator("#conflict-dialog")).to_contain_text("It is a cat.")
    playwright.expect(ben.locator("#keep-both")).to_be_hidden()
    ben.click("#keep-mine")
    shows(ben, "f")
    room.stop()
    assert accepted(store) == {"a", "b", "c", "d", "e~3", "f"}


def test_the_page_says_when_the_room_is_gone(enter, room):
    page = enter()
    room.kill()
    page.keyboard.press("a")
    playwright.expect(page.locator("#notice")).to_contain_text(
        "is `syphus data review` still running?"
    )
    shows(page, "a")
