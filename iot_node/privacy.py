"""What a device's owner allows to leave it: no plan, whoever made it, gets around these."""

from __future__ import annotations

from tiercut.codecs.noise import noise_of
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.protocol.nodes import StreamPlan


def check_plan(
    offered: StreamPlan, bundle: Bundle, *, stream: str, node: str, min_first_cut: int, min_noise: float
) -> None:
    """Refuse a plan for another device or model, with cuts that the model does not have, or that sends too much.

    Raises:
        SettingsError: says which.
        CutError: the model has no such variant.
    """
    if offered.stream != stream:
        raise SettingsError(
            "a plan came for another stream", expected=f"'{stream}'", came=f"'{offered.stream}'", fix="correct the hub"
        )
    others = [plan.device for plan, _ in offered.mix if plan.device != node]
    if others:
        raise SettingsError(
            f"the plan of stream '{offered.stream}' is for another device",
            expected=f"device '{node}'",
            came=f"'{others[0]}'",
            fix="name this device in the hub's settings",
        )
    if offered.model != bundle.model:
        raise SettingsError(
            f"the plan of stream '{offered.stream}' is for another model",
            expected=f"'{bundle.name}' {bundle.model[:12]}",
            came=f"'{offered.model_name}' {offered.model[:12]}",
            fix="give hub and device the same bundle",
        )
    for plan, _ in offered.mix:
        plan.check_fits(bundle.variant(plan.exit).end, model=bundle.name)
        if sends_too_early(plan.first_cut, min_first_cut):
            raise _refused(offered, "first_cut", str(min_first_cut), f"first_cut {plan.first_cut}")
        if plan.codecs and sends_too_clear(plan.codecs[0], min_noise):
            raise _refused(offered, "noise", f"{min_noise:g}", f"the codec '{plan.codecs[0]}'")


def _refused(offered: StreamPlan, what: str, least: str, came: str) -> SettingsError:
    return SettingsError(
        f"the plan of stream '{offered.stream}' is refused",
        expected=f"{what} of {least} or more",
        came=came,
        fix=f"give the hub the same min_{what} as this device",
    )


def sends_too_early(first_cut: int, min_first_cut: int) -> str | None:
    """Why a first cut would send what is to stay on the device; ``None`` when it would not."""
    if first_cut >= min_first_cut:
        return None
    return (
        f"this device keeps frames up to cut {min_first_cut} (min_first_cut), the plan would send them at {first_cut}"
    )


def sends_too_clear(codec: str, min_noise: float) -> str | None:
    """Why a codec would send more than its owner allows; ``None`` when it would not. Nothing is sent without one."""
    if not codec or noise_of(codec) >= min_noise:
        return None
    return f"this device adds noise of {min_noise:g} to what it sends (min_noise), the plan's codec is '{codec}'"
