from tests.support.servers import serve, serve_raw

__all__ = ["serve", "serve_raw"]
