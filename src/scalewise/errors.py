"""Errors that a user can mend, each told in one clear sentence."""


class ScalewiseError(Exception):
    """Something failed for a reason that the message explains.

    The message is one sentence: what was wrong, what was expected, what was found, and how to
    mend it. The command line prints it without a traceback and exits with `exit_code`.

    Examples:
        >>> try:
        ...     scalewise.read_image("missing.png")
        ... except scalewise.ScalewiseError as error:
        ...     print(error)
        missing.png: expected an image file, found no file of this name
    """

    exit_code = 1


class UsageError(ScalewiseError):
    """The request itself was wrong: an unknown option, name or file suffix.

    Examples:
        >>> try:
        ...     scalewise.load("photos", precision="int8")
        ... except scalewise.UsageError as error:
        ...     print(error)
        precision must be one of float32, bfloat16, float16, found 'int8'
    """

    exit_code = 2
