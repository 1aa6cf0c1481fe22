"""Errors that several modules raise."""


class SetupError(Exception):
    """There is no usable key, endpoint or local store; the message says what to do."""


class NotFound(LookupError):
    """What was named does not exist; the message lists what does."""
