"""Reading a trace in the browser: 256 steps, one of which failed."""

import pytest
from keyboard import late, press

pytestmark = pytest.mark.browser


@pytest.fixture
def trace(open_page, site):
    """The page of the long trace, at its root or at another of its runs."""
    made = site[1]

    def trace(run=None, **how):
        return open_page(f"projects/p/{made['agent']}/r/{(run or made['long'])['id']}", **how)

    return trace


def shown(page):
    return page.locator(".step-body h1").inner_text()


def listed(page):
    return page.locator(".tree li:not([hidden])").count()


@pytest.mark.slow
def test_choosing_a_step_leaves_the_tree_where_it_is(trace):
    """Only what is beside the tree changes; the address is that of the step, and going back goes back."""
    page = trace()
    page.evaluate("window.same = true")
    page.locator(".tree li").nth(200).scroll_into_view_if_needed()
    before = page.evaluate("document.querySelector('.tree').scrollTop")

    chosen = page.locator(".tree li a").nth(200)
    chosen.dispatch_event("click")  # to click it itself, the driver may scroll the tree
    page.locator(".tree li").nth(200).locator("[aria-current=page]").wait_for()
    page.wait_for_url("**/" + chosen.get_attribute("href"))

    moved = abs(page.evaluate("document.querySelector('.tree').scrollTop") - before)
    assert before > 1000 and moved < 200
    assert page.evaluate("window.same")
    page.go_back()
    page.locator(".tree li").first.locator("[aria-current=page]").wait_for()
    page.locator(".step-body h1", has_text="long agent").wait_for()


@pytest.mark.slow
def test_the_first_error_is_one_click_away(trace, site):
    """The tree says how many steps there are and leads to the one that failed first, in red and in sight."""
    page = trace()

    assert "256 steps" in page.locator(".tree-top").inner_text()
    page.get_by_role("link", name="first error").click()
    page.locator(".step-body h1", has_text=site[1]["failing"]["name"]).wait_for()

    assert "search is down" in page.locator(".step-body .card.error").inner_text()
    item, box = page.locator(".tree li.failed").bounding_box(), page.locator(".tree").bounding_box()
    assert box["y"] < item["y"] < box["y"] + box["height"] and item["y"] < 800


@pytest.mark.slow
def test_an_opened_step_is_in_sight(trace, site):
    """A link to a step opens the tree there."""
    page = trace(site[1]["failing"])

    item = page.locator(".tree [aria-current=page]").bounding_box()
    assert 0 < item["y"] < 800


@pytest.mark.slow
def test_steps_fold_and_filter(trace):
    """Steps fold below their parent, and are filtered by kind and name; the keys j, k, n, e go through them."""
    page = trace()

    page.get_by_role("button", name="Fold all").click()
    few = listed(page)
    assert 1 < few < 256
    page.get_by_role("button", name="Unfold all").click()
    page.get_by_label("tool").uncheck()
    assert listed(page) == 256 - 64
    page.get_by_label("tool").check()
    page.get_by_label("Name of a step").fill("search_web 18")
    assert listed(page) == 3  # 18, 182 and 186
    page.keyboard.press("Control+a")
    page.keyboard.press("Backspace")
    page.locator("h1").click()
    page.keyboard.press("j")
    page.locator(".step-body h1", has_text="gpt 1").wait_for()
    page.keyboard.press("e")
    page.locator(".step-body .card.error").wait_for()


@pytest.mark.slow
def test_a_step_is_found_by_its_name_from_the_keyboard(trace):
    """Slash, the name and Enter open the first such step, and j the next one; Escape leaves the field."""
    page = trace()

    press(page, "/", then=page.locator(".tree-filter [type=search]:focus"))
    page.keyboard.type("search_web 18")
    press(page, "Enter", then=page.locator(".step-body h1", has_text="search_web 18"))
    press(page, "j", then=page.locator(".step-body h1", has_text="search_web 182"))
    press(page, "/", "Escape", "j", then=page.locator(".step-body h1", has_text="search_web 186"))


@pytest.mark.slow
def test_a_fold_hides_what_is_below(trace):
    """Folding one step hides its own steps and no others."""
    page = trace()

    button = page.locator(".fold-step").first
    button.click()

    assert button.get_attribute("aria-expanded") == "false" and listed(page) == 1
    button.click()
    assert listed(page) == 256


@pytest.mark.slow
def test_a_trace_is_read_without_scripts(trace, site):
    """Without scripts every step is a link to its page, and nothing that needs scripts is offered."""
    page = trace(scripts=False)

    assert page.locator(".tree-filter").is_hidden()
    page.get_by_role("link", name="first error").click()

    assert site[1]["failing"]["name"] in shown(page)


@pytest.mark.slow
def test_examples_follow_each_other(trace, site):
    """From the run of one example to those of the one before and the one after, in the same experiment."""
    page = trace()

    page.keyboard.press("K")
    page.wait_for_url(f"**/r/{site[1]['root']['id']}")
    page.get_by_role("link", name="next example").click()

    page.wait_for_url(f"**/r/{site[1]['long']['id']}")


# Tasks, counted: clicks are actions, keys are keys


@pytest.mark.slow
def test_the_failing_step_of_a_long_trace_takes_two_actions(open_page, site):
    """From the list of results: open the row, go to the first error."""
    made = site[1]
    page = open_page(f"datasets/{made['agents']}/compare?selectedSessions={made['agent']}")

    page.locator("a.open").nth(1).click()
    page.locator("#panel").get_by_role("link", name="first error").click()

    page.locator(".step-body .card.error").wait_for()
    assert made["failing"]["name"] in shown(page)


@pytest.mark.slow
def test_the_five_worst_regressions_of_two_of_four_models_take_four_actions_and_five_keys(open_page, site):
    """From the dataset: choose two, compare, follow the count of regressions. Then Enter and j show each answer in
    full, the worst first."""
    page = open_page(f"datasets/{site[1]['four models']}")
    done = {"actions": 0, "keys": 0}

    def act(locator, what="click"):
        done["actions"] += 1
        getattr(locator, what)()

    def press(key):
        done["keys"] += 1
        page.keyboard.press(key)

    act(page.get_by_label("Select model 1"), "check")
    act(page.get_by_label("Select model 4"), "check")
    act(page.get_by_role("button", name="Compare 2"))
    act(page.get_by_role("link", name="regressed"))
    page.wait_for_url("**show=regressed**")
    read = []
    for n, key in enumerate(["Enter", "j", "j", "j", "j"], 1):
        press(key)
        page.locator(".panel-top", has_text=f"{n} of 6").wait_for()
        answer = page.locator("#panel .answer").last
        assert answer.get_by_text("The end.").is_visible() and "of model 4 to" in answer.inner_text()
        read.append(page.locator("#panel-title").inner_text())

    assert read == ["#3", "#8", "#6", "#4", "#1"]  # they fell by 0.8, 0.7, 0.6, 0.5 and 0.3
    assert done == {"actions": 4, "keys": 5}


@pytest.mark.slow
def test_a_score_and_a_comment_on_ten_rows_take_four_keys_each(open_page, site):
    """On each row: j, the score, c, the text, and Enter."""
    made = site[1]
    page = open_page(f"datasets/{made['four models']}/compare?selectedSessions={made['model 2']}")
    page.evaluate("sessionStorage.setItem('metric ' + location.pathname, 'by keys')")
    keys = 0

    def press(key, answer):
        nonlocal keys
        keys += 1
        page.keyboard.press(key)
        page.locator(answer).wait_for()

    for n in range(1, 11):
        press("j", f"tr.current .open:text-is('#{n}')")
        press(str(n % 2), f".status-line:text('by keys {n % 2} saved for #{n},')")
        press("c", ".status-line input:focus")
        page.keyboard.type(f"text {n}")
        press("Enter", f".status-line:text('comment saved for #{n},')")

    assert page.locator("#rows .chip[data-key='by keys']").count() == 10
    assert keys == 40


@pytest.mark.slow
def test_each_key_counts_also_before_the_first_step_has_arrived(trace):
    """Two j go two steps, and the answer of the first, which comes last, does not replace the second. The title and
    the place at the top of the page follow. However many keys were pressed, going back takes one."""
    page = trace()
    page.locator(".tree li a").nth(4).click()
    page.locator(".step-body h1", has_text="plan 4").wait_for()
    press(page, "k", "k", "k", "k", then=page.locator(".step-body h1", has_text="long agent"))
    with late(page, "**part=step") as release:
        press(page, "j", "j", then=page.locator(".step-body h1", has_text="search_web 2"))
        release()
    press(page, "j", then=page.locator(".step-body h1", has_text="docs 3"))

    assert page.locator(".crumbs [aria-current]").inner_text() == "docs 3" and page.title().startswith("docs 3")
    page.go_back()
    page.locator(".step-body h1", has_text="long agent").wait_for()


@pytest.mark.slow
def test_texts_stay_as_stored_from_step_to_step(trace):
    """Who asked for texts as they are stored need not ask again at each step."""
    page = trace()

    page.get_by_role("link", name="Show texts as stored").click()
    page.wait_for_url("**raw=1")
    page.locator(".tree li a").nth(3).click()

    page.locator(".step-body h1", has_text="docs 3").wait_for()
    page.get_by_role("link", name="Show texts rendered").wait_for()
    assert page.url.endswith("?raw=1")


@pytest.mark.slow
def test_a_saved_score_is_in_sight(open_page, site):
    """Below a long answer too, who scores a run sees its scores afterwards."""
    made = site[1]
    page = open_page(f"projects/p/{made['agent']}/r/{made['root']['id']}")

    page.get_by_text("add a score").click()
    page.get_by_label("Feedback key").fill("taste")
    page.get_by_label("Score", exact=True).fill("1")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**#r-*")

    chip = page.locator(".chip", has_text="taste")
    assert 0 < chip.bounding_box()["y"] < 800
    page.get_by_role("button", name="Take back taste").click()
    chip.wait_for(state="detached")
