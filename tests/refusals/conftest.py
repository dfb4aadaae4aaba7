from tests.servers import serve, serve_raw

__all__ = ["serve", "serve_raw"]
