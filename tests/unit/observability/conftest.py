from tests.support.servers import serve_raw

__all__ = ["serve_raw"]
