"""The mechanisms: who may call now, whether to try again, whether the service is to be left alone.

None of them does I/O, and none reads a clock of its own: times, in monotonic seconds, are passed in or come
from the event loop that a limiter is used on.
"""
