"""Keys in a browser: pressed on a page whose scripts listen, and waited for until they did what they do."""


def press(page, *keys, then):
    """Press the keys once the page has loaded, and wait until it shows `then`: a locator, or a text.

    Where the last key leads to another page, that one has loaded, too. The keys before it must act at once.
    """
    page.wait_for_load_state()
    for key in keys:
        page.keyboard.press(key)
    (page.get_by_text(then) if isinstance(then, str) else then).wait_for()
    page.wait_for_load_state()
