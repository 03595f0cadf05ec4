"""The two ends that talk at random, from fixed seeds: what they can do at all happens."""

from __future__ import annotations

import random

from codemode_protocol import messages as m
from codemode_protocol.messages import tag_of
from codemode_protocol.testing.exchange import Exchange


def test_everything_that_may_be_said_is_said_and_both_ends_agree_at_last() -> None:
    said: set[str] = set()
    put_off = 0
    for seed in range(30):
        chance = random.Random(seed)
        talk = Exchange()
        talk.greet()
        for _ in range(120):
            waiting = len(talk.asked)
            spoken = len(talk.host_said)
            chance.choice([talk.client_acts, talk.host_acts])(chance.choice)
            # A shutdown is answered when the cells have closed.
            put_off += len(talk.asked) == waiting and len(talk.host_said) == spoken
            talk.settle()
        assert talk.client.size() == talk.host.size()
        assert talk.client_heard == [one for one in talk.host_said if one in talk.client_heard]
        # What does not cross with an end arrives.
        for kind, told, heard in (
            (m.OperationResponse, talk.host_said, talk.client_heard),
            (m.OperationRequest, talk.client_said, talk.host_heard),
        ):
            assert [one for one in heard if isinstance(one, kind)] == [one for one in told if isinstance(one, kind)]
        said |= {tag_of(message) for message in [*talk.client_said, *talk.host_said]}
        said |= {
            tag_of(answer.result.value)
            for answer in talk.host_said
            if isinstance(answer, m.OperationResponse) and isinstance(answer.result, m.Success)
        }
    assert {"operation/cancel", "delegate/response", "delegate/cancel", "cell/closed"} <= said
    assert {"session/ready", "execution/started", "wait/completed", "session/closed"} <= said
    assert put_off
