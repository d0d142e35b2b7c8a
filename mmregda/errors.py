"""The one error of the package that a user can mend."""


class InputError(RuntimeError):
    """Wrong or missing input: data, checkpoint, config or device.

    Its message names the file or the option, says what was expected and what
    to do. The command-line tools print it without a traceback; everything
    that is *not* an ``InputError`` is a bug and keeps its traceback.
    """


def message_of(error: InputError) -> str:
    """The message, without the traceback that a data worker puts before it."""
    return str(error).rsplit('InputError: ', 1)[-1].strip()
