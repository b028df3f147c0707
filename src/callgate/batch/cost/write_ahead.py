"""What calls may cost whose end stands in no line yet, written down before they go out.

A killed process tells nobody what it had on the wire. So the account beside the output holds, at any moment,
no less than that can cost. It is raised in steps, a little higher than needed, and lowered only at the end: a
run writes it some dozens of times, however many rows it has.
"""

from __future__ import annotations

from callgate.batch.cost.ledger import Account

__all__ = ["Outstanding"]

_STEP = 1.125


class Outstanding:
    """The calls of one run that are charged to a budget and written down nowhere else.

    Args:
        account: Where it is kept, beside the output.

    Example::

        outstanding = Outstanding(Account("out.jsonl"))
        outstanding.sent("call-1", 0.002)  # it may go out now
        outstanding.written("call-1")  # its line says what it was charged
        outstanding.settle()
    """

    __slots__ = ("_account", "_calls", "_sum")

    def __init__(self, account: Account) -> None:
        self._account = account
        self._calls: dict[str, float] = {}
        self._sum = 0.0

    def sent(self, call: str, worst: float) -> None:
        """One more attempt of a call is about to go out.

        Args:
            call: The call's `request_id`.
            worst: What the attempt may cost at most, in US dollars.

        Raises:
            InputError: when that cannot be written down. The attempt is not to go out then.
        """
        self._calls[call] = self._calls.get(call, 0.0) + worst
        self._sum += worst
        account = self._account
        if self._sum > account.open:
            account.raise_open(self._sum * _STEP)

    def cut_off(self, call: str, charged: float) -> None:
        """A call ended in the middle, and no line will say what it was charged."""
        self.written(call)
        if charged:
            self._calls[call] = charged
            self._sum += charged

    def written(self, call: str) -> None:
        """A call has its line, which says what it was charged."""
        self._sum -= self._calls.pop(call, 0.0)
        if not self._calls:
            self._sum = 0.0  # sums of floats drift

    def settle(self) -> None:
        """All calls have ended: charge those without a line, and nothing is outstanding any more.

        Raises:
            InputError: when it cannot be written; all that may be outstanding counts as spent then.
        """
        left = sum(self._calls.values())
        if left or self._account.open:
            self._account.settle_open(left)
        self._calls.clear()
        self._sum = 0.0
