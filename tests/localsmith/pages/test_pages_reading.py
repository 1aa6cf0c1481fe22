"""Reading a comparison in the browser: the reader keeps their place, by keyboard and by mouse."""

import uuid

import pytest
from keyboard import late, press

pytestmark = pytest.mark.browser


@pytest.fixture
def compared(open_page, site):
    """The comparison of the first two experiments of capitals, with `extra` in its address."""
    made = site[1]

    def compared(extra="", *, only=None, **how):
        sessions = only or f"{made['first']},{made['second']}"
        page = open_page(f"datasets/{made['dataset']}/compare?selectedSessions={sessions}{extra}", **how)
        if how.get("scripts", True):
            page.evaluate("sessionStorage.clear()")
        return page

    return compared


def title(page):
    return page.locator("#panel-title").inner_text()


def chips(page, key):
    """What the list and the panel say of a score."""
    return [chip.inner_text() for chip in page.locator(f"[data-key='{key}']").all()]


def waited(page, words):
    """Wait until the line at the bottom says these words."""
    page.locator(".status-line", has_text=words).wait_for()


@pytest.mark.slow
def test_a_row_opens_beside_the_list(compared, site):
    """Enter opens the first row, its address is a link to it, j goes on, Escape comes back to the row."""
    page = compared()

    page.keyboard.press("Enter")
    page.locator("#panel").wait_for()
    assert title(page) == "#1" and f"row={site[1]['examples'][0]}" in page.url
    assert "Cusco" in page.locator("#panel").inner_text() and page.locator("#rows tbody tr").count() == 4
    page.keyboard.press("j")
    page.locator("#panel-title", has_text="#2").wait_for()
    page.keyboard.press("Escape")

    assert page.locator("#panel").count() == 0 and "row=" not in page.url
    assert page.evaluate("document.activeElement.textContent") == "#2"


@pytest.mark.parametrize(
    "scripts",
    [pytest.param(True, id="with scripts"), pytest.param(False, id="without scripts", marks=pytest.mark.slow)],
)
def test_a_row_is_a_link(compared, site, scripts):
    """The address of an open row opens it, also without scripts; its links lead to the next row and back."""
    page = compared(f"&row={site[1]['examples'][1]}&sort=score:1", scripts=scripts)

    assert title(page) == "#2"
    page.locator("#panel [data-way=j]").click()
    page.locator("#panel-title", has_text="#1").wait_for()
    assert "sort=score" in page.url
    page.locator("#panel .close").click()
    page.wait_for_url(lambda url: "row=" not in url)
    assert page.locator("#panel").count() == 0


@pytest.mark.slow
def test_going_back_closes_what_was_opened(compared):
    """The browser's back key undoes the opening, and nothing else."""
    page = compared()
    page.locator("a.open").nth(2).click()
    page.locator("#panel").wait_for()

    page.go_back()

    page.locator("#panel").wait_for(state="detached")
    assert page.locator("#rows tbody tr.current").count() == 1


@pytest.mark.slow
def test_going_back_opens_no_row_again(compared, open_page, site):
    """Rows that were opened and closed are not in the way of who goes back to the page before."""
    open_page(f"datasets/{site[1]['dataset']}")
    page = compared()
    for key in ("j", "k"):
        press(page, key, "Enter", then=page.locator("#panel"))
        page.keyboard.press("Escape")
        page.locator("#panel").wait_for(state="detached")

    page.go_back()
    assert page.locator("#panel").count() == 0 and page.locator("#rows").count() == 1
    page.go_back()

    page.wait_for_url(f"**/datasets/{site[1]['dataset']}")


@pytest.mark.slow
def test_who_comes_back_finds_the_list_where_it_was(open_page, site):
    """Also where the table scrolls in its own box."""
    made = site[1]
    page = open_page(f"datasets/{made['four models']}/compare?selectedSessions={','.join(made['models'])}")
    page.set_viewport_size({"width": 1100, "height": 700})
    page.locator("#rows").evaluate("box => box.scrollTo(40, 900)")
    before = page.locator("#rows").evaluate("box => [box.scrollLeft, box.scrollTop]")
    assert before == [40, 900]

    page.locator("#rows .foot-line a").nth(20).evaluate("link => link.click()")
    page.wait_for_url("**/r/*")
    page.go_back()

    assert page.locator("#rows").evaluate("box => [box.scrollLeft, box.scrollTop]") == before


@pytest.mark.slow
def test_n_and_p_find_what_went_wrong(compared):
    """n goes to the next row that regressed or failed, p to the one before, in the list and beside it."""
    page = compared()

    page.keyboard.press("n")
    assert page.evaluate("document.activeElement.textContent") == "#1"  # regressed
    page.keyboard.press("n")
    assert page.evaluate("document.activeElement.textContent") == "#3"  # failed
    page.keyboard.press("n")
    waited(page, "no more such rows")
    page.keyboard.press("Enter")
    page.locator("#panel").wait_for()
    page.keyboard.press("p")

    page.locator("#panel-title", has_text="#1").wait_for()


def test_scores_are_saved_in_place(compared, site):
    """A digit scores the candidate's answer, a comment follows, u takes both back; the list neither moves nor loads."""
    page = compared()
    page.evaluate("sessionStorage.setItem('metric ' + location.pathname, 'taste')")
    page.evaluate("window.same = true")

    page.keyboard.press("j")
    top = page.evaluate("scrollY")
    page.keyboard.press("1")
    waited(page, "taste 1 saved for #1, second")
    page.keyboard.press("c")
    page.keyboard.type("well <b>said</b>")
    page.keyboard.press("Enter")
    waited(page, "taste comment saved")

    assert len(chips(page, "taste")) == 1 and "1 by hand" in chips(page, "taste")[0]
    assert page.evaluate("scrollY") == top and page.evaluate("window.same")
    assert page.evaluate("document.activeElement.textContent") == "#1"
    page.keyboard.press("u")
    waited(page, "taken back")
    assert chips(page, "taste") == []


@pytest.mark.slow
def test_a_score_shows_in_the_list_and_beside_it(compared):
    """Scored through the form of an open row, the list says the same; the metric is offered again at the next row."""
    key = f"taste-{uuid.uuid4().hex[:6]}"
    page = compared()
    page.keyboard.press("Enter")
    page.locator("#panel").wait_for()

    form = page.locator("#panel .answer").last
    form.locator("summary", has_text="score").click()
    form.get_by_label("Feedback key").fill(key)
    form.get_by_label("or a label").fill("fine")
    form.get_by_role("button", name="Save").click()
    waited(page, f"{key} was saved")
    assert [text.strip() for text in chips(page, key)] == [f"{key} fine by hand"] * 2
    page.keyboard.press("j")
    page.locator("#panel-title", has_text="#2").wait_for()

    assert page.locator("#panel [name=key]:not([type=hidden])").first.input_value() == key


@pytest.mark.slow
def test_a_chosen_key_is_for_its_dataset(compared, open_page, site):
    """The key that m chooses is scored from then on in this dataset; in another one, digits score its own metric."""
    page = compared()
    press(page, "m", then=page.locator(".status-line input:focus"))
    page.keyboard.press("Control+a")
    page.keyboard.type("taste")
    press(page, "Enter", then=page.locator(".status-line", has_text="Digits now score taste"))

    made = site[1]
    page = open_page(f"datasets/{made['four models']}/compare?selectedSessions={made['model 2']}")
    press(page, "1", then=page.locator(".status-line", has_text="close 1 saved for #1"))
    press(page, "u", then=page.locator(".status-line", has_text="close was taken back"))
    page = open_page(f"datasets/{made['dataset']}/compare?selectedSessions={made['first']}")
    press(page, "1", then=page.locator(".status-line", has_text="taste 1 saved for #1"))
    press(page, "u", then=page.locator(".status-line", has_text="taste was taken back"))


@pytest.mark.slow
def test_h_and_l_choose_whose_answer_is_scored(compared):
    """With several experiments the keys score one of them, which is marked."""
    page = compared()
    page.evaluate("sessionStorage.setItem('metric ' + location.pathname, 'taste')")

    page.keyboard.press("j")
    page.keyboard.press("h")
    assert page.locator("td.cell:has(.chosen)").get_attribute("data-label") == "first"
    page.keyboard.press("0")
    waited(page, "taste 0 saved for #1, first")
    page.keyboard.press("u")
    waited(page, "taken back")


@pytest.mark.slow
def test_what_cannot_be_saved_is_said(compared, site):
    """A refusal stands in the line at the bottom, in the server's words."""
    page = compared()
    page.evaluate("sessionStorage.setItem('metric ' + location.pathname, 'k'.repeat(181))")

    page.keyboard.press("j")
    page.keyboard.press("1")

    waited(page, "180")
    page.complaints.clear()  # the browser's own note of the refusal


@pytest.mark.slow
def test_a_row_is_copied_as_json(compared, site):
    """y copies inputs, reference and every answer with its scores."""
    page = compared()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    page.keyboard.press("j")
    page.keyboard.press("y")
    waited(page, "copied")

    copied = page.evaluate("navigator.clipboard.readText().then(JSON.parse)")
    assert copied["inputs"] == {"country": "Peru"} and copied["reference_outputs"] == {"capital": "Lima"}
    assert [run["outputs"] for run in copied["runs"]] == [{"capital": "Lima"}, {"capital": "Cusco"}]


@pytest.mark.slow
def test_keys_work_where_no_row_matches(compared, site):
    """Slash leads back to the search that found nothing, and Escape closes a row that is not in the list."""
    page = compared(f"&q=nowhere&row={site[1]['examples'][1]}")

    press(page, "n", then=page.locator(".status-line", has_text="no more such rows"))
    page.keyboard.press("Escape")
    page.locator("#panel").wait_for(state="detached")
    press(page, "/", then=page.locator("[type=search][name=q]:focus"))


@pytest.mark.slow
def test_help_lists_the_keys(compared):
    """? opens the list of keys, slash goes to the search field."""
    page = compared()

    page.keyboard.press("?")
    assert "next and previous row" in page.locator("dialog#keys").inner_text()
    page.keyboard.press("Escape")
    page.locator("dialog#keys").wait_for(state="hidden")
    page.keyboard.press("/")
    page.keyboard.type("lima")

    assert page.get_by_label("Text", exact=True).input_value() == "lima"


@pytest.mark.slow
def test_what_an_address_leads_to_is_not_hidden(compared, site):
    """An anchor stands below the sticky header of the table, after filters and after a save."""
    page = compared(f"&show=regressed#e-{site[1]['examples'][0]}")

    head, row = page.evaluate(
        "[document.querySelector('thead th').getBoundingClientRect().bottom,"
        " document.querySelector('#rows tbody tr').getBoundingClientRect().top]"
    )
    assert row >= head - 1


@pytest.mark.slow
def test_each_key_counts_also_before_the_first_row_has_arrived(compared):
    """Enter and j open the second row, a digit pressed before the row is there scores this row and shows there, and
    the answer to Enter, which comes last, does not bring back the first row."""
    page = compared()
    page.evaluate("sessionStorage.setItem('metric ' + location.pathname, 'haste')")

    with late(page, "**part=row") as release:
        press(page, "Enter", "j", "1", then=page.locator(".status-line", has_text="haste 1 saved for #2, second"))
        release()
    assert title(page) == "#2" and page.locator("#panel [data-key=haste]").count() == 1
    press(page, "j", then=page.locator("#panel-title", has_text="#3"))
    press(page, "u", then=page.locator(".status-line", has_text="taken back"))

    assert chips(page, "haste") == []


@pytest.mark.slow
def test_digits_score_no_other_row_than_the_open_one(compared, site):
    """Where the open row is not in the list, a digit says so; j goes to the first one that is."""
    page = compared(f"&show=regressed&row={site[1]['examples'][1]}")
    page.evaluate("sessionStorage.setItem('metric ' + location.pathname, 'haste')")

    press(page, "1", then=page.locator(".status-line", has_text="not in the list"))
    assert chips(page, "haste") == []
    press(page, "j", then=page.locator("#panel-title", has_text="#1"))


@pytest.mark.slow
def test_a_score_stands_beside_its_name_on_a_phone(compared):
    """In the view of one line a row, a phone shows name and score on one line."""
    page = compared("&view=compact")
    page.set_viewport_size({"width": 390, "height": 800})

    assert page.locator("td.mark").first.bounding_box()["height"] < 30


@pytest.mark.slow
def test_d_shows_how_the_answers_of_an_open_row_differ(compared, site):
    """The row stays open, and the same key hides the differences again; in the list, it does nothing."""
    page = compared()
    press(page, "d", "j", "Enter", then=page.locator("#panel"))

    press(page, "d", then=page.locator("#panel ins"))
    assert title(page) == "#1" and page.locator("#panel ins").inner_text() == "Cusco"
    press(page, "d", then="Show differences to the baseline")
    assert page.locator("#panel ins").count() == 0 and f"row={site[1]['examples'][0]}" in page.url
