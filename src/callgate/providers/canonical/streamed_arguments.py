"""The arguments of one streamed tool call."""

from __future__ import annotations

from callgate.providers.canonical.json import read_arguments

__all__ = ["StreamedArguments"]

_STAND_INS = frozenset({"{}", "{ }", "null", "[]"})


class StreamedArguments:
    """The pieces of the arguments, which add up to JSON.

    Servers open a call with `{}`, `null` or a whole object and then send the real pieces, or repeat all of
    them at the end. What opened the call is held back until the call has ended, and counts only without
    pieces.

    >>> arguments = StreamedArguments()
    >>> arguments.take("{}"), arguments.take('{"a": 1}'), arguments.release()
    ('', '{"a": 1}', '')
    """

    __slots__ = ("_held", "_pieces", "_size")

    def __init__(self) -> None:
        self._held = ""
        self._pieces: list[str] = []
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def text(self) -> str:
        """All of it so far; what is held back where nothing else has come."""
        return "".join(self._pieces) or self._held

    @property
    def holds(self) -> bool:
        """True while something is held back that may be the arguments."""
        return bool(self._held)

    @property
    def is_complete(self) -> bool:
        """True when the pieces are one JSON object."""
        text = "".join(self._pieces)
        return text.rstrip()[-1:] == "}" and read_arguments(text)[1] is None

    def hold(self, text: str) -> None:
        """Keep what opened the call."""
        if not self._pieces:
            self._held = text

    def take(self, text: str, *, may_stand_in: bool = True) -> str:
        """Take in a piece, and return what of it may be passed on.

        Args:
            text: The piece.
            may_stand_in: True when `{}` or `null` as the first piece may be a placeholder.
        """
        if not text:
            return ""
        if may_stand_in and not self._pieces and text.strip() in _STAND_INS:
            self._held = text
            return ""
        if self._held and not text.strip():
            return ""
        if len(text) == self._size and self.is_complete and text == "".join(self._pieces):
            return ""  # all of them again, at the end
        self._held = ""
        self._pieces.append(text)
        self._size += len(text)
        return text

    def complete(self, text: str) -> str:
        """Take in all of the arguments, as some formats send them at the end; return what the pieces lacked.

        >>> arguments = StreamedArguments()
        >>> arguments.take('{"a"'), arguments.complete('{"a": 1}'), arguments.text
        ('{"a"', ': 1}', '{"a": 1}')
        """
        if not text:
            return self.release()
        passed_on = "".join(self._pieces)
        self._held, self._pieces, self._size = "", [text], len(text)
        return text[len(passed_on) :] if text.startswith(passed_on) else ""

    def release(self) -> str:
        """Return what was held back and turned out to be the arguments; empty when there were pieces."""
        text, self._held = self._held, ""
        if text:
            self._pieces.append(text)
            self._size += len(text)
        return text
