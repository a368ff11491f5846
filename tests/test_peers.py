"""Who is there, where the nodes of several sites are heard."""

from __future__ import annotations

from typing import Any

from tiercut.pipeline.peers import Peers
from tiercut.protocol.nodes import NodeState, NodeStatus, StatusTier


def status(state: NodeState = "online", tier: StatusTier = "cloud", **more: Any) -> NodeStatus:
    return NodeStatus(node="c", tier=tier, state=state, version="1", **more)


def test_cloud_node_is_online_while_any_site_has_one_of_that_name() -> None:
    peers = Peers()
    peers.heard(status(), site="north")
    peers.heard(status("offline"), site="moved-away")
    assert peers.online("cloud", "c")
    peers.heard(status("offline"), site="north")
    assert not peers.online("cloud", "c")


def test_last_word_is_told_of_the_same_sites_node() -> None:
    peers = Peers()
    assert peers.heard(status(), site="north") is None
    assert peers.heard(status("offline"), site="south") is None
    before = peers.heard(status(), site="south")
    assert before is not None
    assert before.state == "offline"


def test_any_knows_the_tiers_that_were_heard_of() -> None:
    peers = Peers()
    assert not peers.any("cloud")
    peers.heard(status("offline"), site="north")
    assert peers.any("cloud")
    assert not peers.any("edge")
