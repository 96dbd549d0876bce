"""Errors that a user can mend, each told in one clear sentence."""


class ScalewiseError(Exception):
    """Something failed for a reason that the message explains.

    The message is one sentence: what was wrong, what was expected, what was found, and how to
    mend it. The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class UsageError(ScalewiseError):
    """The request itself was wrong: an unknown option, name or file suffix."""

    exit_code = 2
