"""Errors a user can act on. The command line prints them without a traceback and exits with 2."""


class T2MError(ValueError):
    """Something given to the program cannot be used: the message says what, and what to do."""


class DataError(T2MError):
    """Run data that cannot be read, decided or used."""


class CardError(T2MError):
    """A model card with a missing, unknown or impossible value, or a name no card answers to."""


class FitError(T2MError):
    """A saved fit that cannot be read, or cannot answer what was asked."""
