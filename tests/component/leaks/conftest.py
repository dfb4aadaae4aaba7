from tests.unit.leaks.conftest import _logging_as_it_was, watch

__all__ = ["_logging_as_it_was", "watch"]
