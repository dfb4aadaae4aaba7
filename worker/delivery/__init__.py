"""From poll to commit: what reads requests, decides what happens to them, and writes their statuses."""
