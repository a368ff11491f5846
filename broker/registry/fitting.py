"""Whether a stream can run: its name is free, somebody reads its sensor, and its sensor fits its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from broker.coordination.goals import goal_of
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import MQTT, StreamSettings
from tiercut.security.identity_list import check_sensor_topic
from tiercut.sensors.contract import check_stream


def fitting_model(settings: StreamSettings, models: Mapping[str, Bundle], by_hand: frozenset[str]) -> Bundle:
    """The model of a stream that fits it.

    Args:
        settings: The stream's settings.
        models: Bundles by name.
        by_hand: Names of streams that have a plan by hand in the hub's settings.

    Raises:
        TiercutError: says why none does.
    """
    name = settings.name
    if name in by_hand:
        raise name_taken(name)
    if not settings.device and not settings.from_bus:
        raise SettingsError(
            f"no node reads the sensor of stream '{name}'",
            expected='a device, or sensor = "mqtt" for one that publishes by itself',
            came=f"sensor '{settings.sensor}' and no device",
            fix='add device = "NODE"',
        )
    for part in settings.parts:
        if part.sensor == MQTT and part.topic:
            check_sensor_topic(part.topic)
    bundle = models.get(settings.model)
    if bundle is None:
        raise SettingsError(
            f"the stream '{name}' has no model",
            expected="a bundle that the hub has",
            came=f"'{settings.model}'",
            fix="put it in the hub's bundles folder, or correct the name",
        )
    if settings.sensor:
        check_stream(settings, bundle, here=False)
    goal_of(replace(settings, device=settings.device or "gateway"), bundle)
    return bundle


def name_taken(name: str) -> SettingsError:
    """Why a name cannot be had."""
    return SettingsError(
        f"there are two streams '{name}'",
        expected="a name of its own for each stream",
        came="one from the hub's settings",
        fix="choose another name, or remove it from the settings",
    )
