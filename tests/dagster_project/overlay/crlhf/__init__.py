"""Lies over the real package in the processes that the tests start, so that its `tracking` is the fake one here."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
