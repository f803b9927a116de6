"""What stands on the failure card."""

from __future__ import annotations

from deployments.failures import Failure


def test_a_card_holds_nothing_that_a_database_refuses() -> None:
    """A build printed it: a card that cannot be stored would leave the deployment in 'Creating' for ever."""
    card = Failure(
        "ImageBuildFailure", "Build environment", "a\0b", ("\x1b[31mred\0", "c")
    ).as_dict()
    assert (card["cause"], card["evidence"]) == ("a\ufffdb", ["red\ufffd", "c"])
