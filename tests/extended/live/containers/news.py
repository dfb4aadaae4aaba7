"""The three models of the news training, which write to and read from one shared folder."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .node import serve

FOLDER = Path(os.environ.get("SHARED_FOLDER_PATH", "/data/shared"))
ARTICLES = [("Rain in June", "weather"), ("A goal in the last minute", "sports"), ("Snow at last", "weather")]
EPOCHS = 3


class Databroker:
    """Stores the articles in the shared folder, and serves them."""

    messages: Any

    def nextBatch(self, request: Any, context: Any) -> Iterator[Any]:
        """Yield one batch for each epoch; then keep the call open without more data."""
        (FOLDER / "articles.json").write_text(json.dumps(ARTICLES))
        articles = [self.messages.Article(headline=headline, topic=topic) for headline, topic in ARTICLES]
        for epoch in range(EPOCHS):
            yield self.messages.ArticleBatch(articles=articles, epoch=epoch)
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait()


class Classifier:
    """Learns the frequency of each topic; reads the broker's file and writes checkpoints."""

    messages: Any

    def train(self, batch: Any, context: Any) -> Any:
        """Learn from one batch."""
        on_disk = [topic for _, topic in json.loads((FOLDER / "articles.json").read_text())]
        topics = [it.topic for it in batch.articles]
        counts = {it: topics.count(it) for it in sorted(set(topics))}
        name = f"epoch-{batch.epoch}.json"
        (FOLDER / name).write_text(json.dumps({"counts": counts, "same_as_file": topics == on_disk}))
        return self.messages.TrainingReport(epoch=batch.epoch, loss=1 / (1 + batch.epoch), accuracy=1, checkpoint=name)


class Tensorboard:
    """Shows the content of the shared folder."""

    messages: Any

    def page(self, path: str) -> tuple[str, str]:
        """Return every file with its content."""
        return "application/json", json.dumps({it.name: json.loads(it.read_text()) for it in FOLDER.glob("*.json")})


def _no_page(path: str) -> tuple[str, str]:
    return "text/plain", "nothing to see here"


if __name__ == "__main__":
    match sys.argv[1]:
        case "databroker":
            serve("news_databroker.proto", Databroker(), _no_page)
        case "classifier":
            serve("news_classifier.proto", Classifier(), _no_page)
        case "tensorboard":
            tensorboard = Tensorboard()
            serve("news_tensorboard.proto", tensorboard, tensorboard.page)
