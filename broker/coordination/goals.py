"""From the hub's settings and its bundles to what the coordinator is to plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from broker.settings import PlanSettings
from tiercut.codecs.table import codec
from tiercut.coordinator.problem import lost_to_exits
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut
from tiercut.model.variants import Variant
from tiercut.plan import FULL, Plan
from tiercut.profiling.codec_table import CodecTable
from tiercut.profiling.codec_table_file import load_table
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.stream_settings import StreamSettings


def plan_by_hand(wanted: PlanSettings, bundle: Bundle) -> StreamPlan:
    """The plan that the settings ask for, checked against the model.

    Raises:
        CutError: a cut or a variant that the model does not have.
        SettingsError: a plan that does not hold together, or an unknown codec.
    """
    _check_codecs(wanted.codecs, bundle)
    variant = bundle.variant(wanted.exit)
    first, second = (resolve_cut(bundle, cut, variant.name) for cut in (wanted.first_cut, wanted.second_cut))
    plan = Plan(
        epoch=1,
        first_cut=first,
        second_cut=second,
        exit=wanted.exit,
        threshold=wanted.threshold,
        device=wanted.device,
        edge=wanted.edge,
        cloud=wanted.cloud,
        codecs=wanted.codecs,
    )
    plan.check_fits(variant.end, model=bundle.name)
    return StreamPlan(stream=wanted.stream, model=bundle.model, model_name=bundle.name, plan=plan)


def goal_of(wanted: StreamSettings, bundle: Bundle) -> StreamGoal:
    """What the coordinator is to plan.

    Raises:
        SettingsError: there is no codec of a name, the model ends before ``min_first_cut``, or frames are to leave at
            exits that nobody has measured.
        BundleError: the bundle's table of codecs belongs to another model.
    """
    _check(wanted, bundle)
    table = load_table(bundle)
    variants = list(_measured(bundle.variants, table))
    goal = StreamGoal(
        name=wanted.name,
        model=bundle.model,
        model_name=bundle.name,
        cuts=bundle.cuts,
        device=wanted.device,
        objective=wanted.objective,
        min_first_cut=wanted.min_first_cut,
        codecs=wanted.codecs,
        variants=tuple(each for each in variants if each.name != FULL and (wanted.exits == "plan" or not each.exit)),
        accuracy=next((each.accuracy for each in variants if each.name == FULL and each.accuracy is not None), 1.0),
        leaving=bundle.leaving,
        table=table,
        deadline_s=None if wanted.deadline_ms is None else wanted.deadline_ms / 1e3,
        max_accuracy_drop=wanted.max_accuracy_drop,
        min_noise=wanted.min_noise,
        exit_threshold=wanted.exit_threshold,
        exit_cuts=tuple((each.cut, each.name) for each in bundle.exits),
        learned=frozenset(bundle.learned),
        weight=wanted.weight,
        results_to=wanted.results_to,
    )
    _check_drop(goal, wanted)
    return goal


def _check(wanted: StreamSettings, bundle: Bundle) -> None:
    """Refuse settings that the model cannot keep."""
    _check_codecs(wanted.codecs, bundle)
    if wanted.min_first_cut > bundle.end:
        raise SettingsError(
            f"bad setting min_first_cut of stream '{wanted.name}'",
            expected=f"0 to {bundle.end}, where '{bundle.name}' ends",
            came=str(wanted.min_first_cut),
            fix="choose one from the table that 'tiercut inspect BUNDLE' prints",
        )
    if wanted.exit_threshold is not None and not bundle.leaving:
        raise SettingsError(
            f"bad setting exit_threshold of stream '{wanted.name}'",
            expected=f"a model with early exits that were measured, '{bundle.name}' has none",
            came=str(wanted.exit_threshold),
            fix="give it exits with 'tiercut exits train', or omit exit_threshold",
        )
    if wanted.exit_threshold is not None and wanted.exits == "none":
        raise SettingsError(
            f"the settings of stream '{wanted.name}' contradict each other",
            expected='exits = "plan" with an exit_threshold',
            came=f'exits = "none" and exit_threshold {wanted.exit_threshold}',
            fix="omit one of them",
        )


def _check_drop(goal: StreamGoal, wanted: StreamSettings) -> None:
    """Refuse a limit of accuracy that exits alone would break."""
    if goal.max_drop is not None and lost_to_exits(goal) > goal.max_drop:
        raise SettingsError(
            f"the settings of stream '{wanted.name}' contradict each other",
            expected=f"a max_accuracy_drop of at least {lost_to_exits(goal):.3f}, what exits cost at this threshold",
            came=f"{goal.max_drop:g} with exit_threshold {wanted.exit_threshold}",
            fix="raise one of them ('tiercut inspect BUNDLE' shows the shares that leave at each threshold)",
        )


def _measured(variants: Sequence[Variant], table: CodecTable | None) -> list[Variant]:
    """Those whose accuracy is known, from the bundle or else from the table: others cannot be compared."""
    found = [
        each if each.accuracy is not None or table is None else replace(each, accuracy=table.variants.get(each.name))
        for each in variants
    ]
    return [each for each in found if each.accuracy is not None]


def _check_codecs(names: Sequence[str], bundle: Bundle) -> None:
    for name in names:
        codec(name, bundle.learned)
