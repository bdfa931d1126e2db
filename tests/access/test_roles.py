"""The one function that says who may do what."""

import pytest

from hankelboard.access.roles import ACTIONS_OF, SIGNED_OUT, Action, NotAllowed, Role, Visitor, demand, may
from hankelboard.storage.vocabulary import ByRole

OF_OPERATORS = {Action.DECIDE, Action.COMMAND, Action.NOTE, Action.NAME_VIEW, Action.QUEUE_PRESET}
OF_OWNERS = {Action.RUN_OWN_CODE, Action.DELETE, Action.ADOPT, Action.MANAGE_TOKENS}


@pytest.mark.parametrize("action", Action)
def test_what_each_role_may_do(action):
    viewer, operator, owner = (Visitor("ada", role) for role in Role)
    assert may(viewer, action) == (action == Action.READ)
    assert may(operator, action) == (action not in OF_OWNERS)
    assert may(owner, action) and not may(None, action)


def test_every_action_is_somebodys():
    assert {Action.READ} | OF_OPERATORS | OF_OWNERS == set(Action)
    assert ACTIONS_OF[Role.VIEWER] < ACTIONS_OF[Role.OPERATOR] < ACTIONS_OF[Role.OWNER]


def test_a_demand_gives_the_visitor_or_says_why_not():
    ada = Visitor("ada", Role.OPERATOR)
    assert demand(ada, Action.DECIDE) is ada
    with pytest.raises(NotAllowed, match="ada is operator here, who may not start own code"):
        demand(ada, Action.RUN_OWN_CODE)
    with pytest.raises(NotAllowed, match=SIGNED_OUT):
        demand(None, Action.READ)


def test_who_may_write_has_a_word_in_records():
    assert {role for role in Role if may(Visitor("", role), Action.NOTE)} <= {str(word) for word in ByRole}
