"""The only place that knows one kind of device from another."""

from lrbench.device.machine import Machine, cpu_cores, describe, provenance
from lrbench.device.select import Device, deterministic, name_of, select, synchronize

__all__ = ["Device", "Machine", "cpu_cores", "describe", "deterministic", "name_of", "provenance", "select", "synchronize"]
