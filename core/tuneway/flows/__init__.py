"""Flows: decisions as generators without I/O. A flow yields effects and is sent their results.

A flow opens no connection, doesn't sleep and reads no clock. It yields `Send`, `Sleep`, `Now`, `Notify` or `Work`,
and a driver (`tuneway.drivers`) does it. So both clients and all engines share each decision, and a test can run a
flow with a list of replies and any fault, in microseconds.

Three settings of time are separate: how long one request may take (the driver's time-out), when a request is sent
again (`Retry`), and how often a wait polls its job (`Poll`).
"""

from tuneway.flows._account import LOCAL_POLL, Account, FileStore, Poll, Retry
from tuneway.flows._carrier import Carrier, Marks, Named, Suffix
from tuneway.flows._effects import Effect, Flow, Notify, Now, Send, Sleep, Work, notify, now, send, sleep, until, work
from tuneway.flows._file_names import hash_in, name_with_hash
from tuneway.flows._identity import check_room, check_suffix, made_by, made_within
from tuneway.flows._marks import CONTENT, KEY, ORIGIN, has_key
from tuneway.flows._names import Names, marks_in_name
from tuneway.flows._offers import METHODS, Offers, Quote
from tuneway.flows._paging import Listed, Pager
from tuneway.flows._request import request
from tuneway.flows._token import WaitToken
from tuneway.flows.ask import ask
from tuneway.flows.cancel import cancel, cancel_made_by, cancel_marked
from tuneway.flows.doctor import Diagnosis, doctor
from tuneway.flows.earlier import go_on
from tuneway.flows.quote import check_quote
from tuneway.flows.results import result_metrics
from tuneway.flows.submit import submit
from tuneway.flows.trained import Trained, trained
from tuneway.flows.upload import OPENAI_FILES, OpenAIFiles, upload
from tuneway.flows.wait import Wait, deadline_after
from tuneway.flows.watch import Board, look, watch

__all__ = [
    "CONTENT",
    "KEY",
    "LOCAL_POLL",
    "METHODS",
    "OPENAI_FILES",
    "ORIGIN",
    "Account",
    "Board",
    "Carrier",
    "Diagnosis",
    "Effect",
    "FileStore",
    "Flow",
    "Listed",
    "Marks",
    "Named",
    "Names",
    "Notify",
    "Now",
    "Offers",
    "OpenAIFiles",
    "Pager",
    "Poll",
    "Quote",
    "Retry",
    "Send",
    "Sleep",
    "Suffix",
    "Trained",
    "Wait",
    "WaitToken",
    "Work",
    "ask",
    "cancel",
    "cancel_made_by",
    "cancel_marked",
    "check_quote",
    "check_room",
    "check_suffix",
    "deadline_after",
    "doctor",
    "go_on",
    "has_key",
    "hash_in",
    "look",
    "made_by",
    "made_within",
    "marks_in_name",
    "name_with_hash",
    "notify",
    "now",
    "request",
    "result_metrics",
    "send",
    "sleep",
    "submit",
    "trained",
    "until",
    "upload",
    "watch",
    "work",
]
