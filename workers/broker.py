"""The broker: it carries wake-ups, never work. Without a URL it lives in this process."""

from __future__ import annotations

from urllib.parse import urlsplit

import dramatiq
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from dramatiq.brokers.stub import StubBroker

QUEUE = "pumps"


def make_broker(url: str) -> dramatiq.Broker:
    scheme = urlsplit(url).scheme
    if not url:
        return StubBroker()
    if scheme in ("redis", "rediss"):
        from dramatiq.brokers.redis import RedisBroker

        return RedisBroker(url=url, heartbeat_timeout=15_000, maintenance_chance=100_000)  # type: ignore[no-untyped-call]
    if scheme in ("amqp", "amqps"):
        from dramatiq.brokers.rabbitmq import RabbitmqBroker

        return RabbitmqBroker(url=url, confirm_delivery=True)
    raise ImproperlyConfigured(
        f"DRAMATIQ_BROKER_URL: {scheme}:// is no broker; use redis:// or amqp://, or leave it empty."
    )


broker = make_broker(settings.DRAMATIQ_BROKER_URL)
dramatiq.set_broker(broker)
