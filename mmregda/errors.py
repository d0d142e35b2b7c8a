"""The one error of the package that a user can mend."""


class InputError(RuntimeError):
    """Wrong or missing input: data, checkpoint, config or device.

    Its message names the file or the option, says what was expected and what
    to do. The command-line tools print it without a traceback; everything
    that is *not* an ``InputError`` is a bug and keeps its traceback.
    """
