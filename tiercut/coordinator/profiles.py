"""Whether a node's profile of a model can be used: one that does not fit the model is not, and a warning says why."""

from __future__ import annotations

from collections.abc import Sequence

from tiercut.coordinator.node_view import NodeView
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.errors import SettingsError
from tiercut.profiling.profile import Profile, check_profile_fits, fitting_variants


def take_profile(node: NodeView, profile: Profile, goals: Sequence[StreamGoal]) -> None:
    """Plan with a node's profile from now on, or warn of it.

    Args:
        node: Whose it is.
        profile: What it said.
        goals: The streams of that model.
    """
    try:
        for goal in goals:
            check_profile_fits(profile, goal.model, goal.cuts)
    except SettingsError as error:
        node.warnings["profile"] = f"{node.id}: {error}"
        return
    node.warnings.pop("profile", None)
    fitting, odd = fitting_variants(profile, {each.name: each.end for goal in goals for each in goal.variants})
    if odd:
        node.warnings["profile"] = (
            f"{node.id}: its profile of '{profile.model_name}' is of other variants ({', '.join(odd)}), which are "
            "not planned there; run 'tiercut profile' again"
        )
    node.profiles[profile.model] = fitting
