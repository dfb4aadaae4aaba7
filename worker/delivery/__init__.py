"""From poll to commit: the consumer of requests, the admission of attempts, and the writing of statuses."""
