"""Keys in a browser: pressed on a page whose scripts listen, and waited for until they did what they do."""

from contextlib import contextmanager


def press(page, *keys, then):
    """Press the keys once the page has loaded, and wait until it shows `then`: a locator, or a text.

    Where the last key leads to another page, that one has loaded, too. The keys before it must act at once.
    """
    page.wait_for_load_state()
    for key in keys:
        page.keyboard.press(key)
    (page.get_by_text(then) if isinstance(then, str) else then).wait_for()
    page.wait_for_load_state()


@contextmanager
def late(page, pattern):
    """Hold back the first answer to an address like `pattern`; yield a function that lets it come, and waits for it."""
    held = []
    page.route(pattern, lambda route: route.continue_() if held else held.append(route))

    def release():
        with page.expect_response(pattern):
            held[0].continue_()

    try:
        yield release
    finally:
        page.unroute(pattern)
