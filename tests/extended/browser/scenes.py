"""Every page of the gateway, for requests in every state, without real services behind them.

`python -m tests.extended.browser.scenes FOLDER` takes screenshots for review, in three widths and both themes.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.extended.browser.chromium import running_chromium
from tests.unit.gateway.door import CLICK, PREFIX, Door, open_door, token

PORTAL = "http://portal.example/design-studio"
ADMIN = "MLP System User"  # a role that every user of the sandbox has
WIDTHS = (360, 768, 1280)
THEMES = ("light", "dark")
NODES = ["sudoku-gui", "sudoku-design-evaluator", "sudoku-asp-solver", "shared-folder-files", "orchestrator"]
WARNINGS = [
    "Node 'Sudoku GUI' is called sudoku-gui: names in Kubernetes have lower-case letters, digits and hyphens.",
    "The description is shown without style=: only text, links, lists and tables are passed on.",
    "The picture is left out, because it is neither PNG, JPEG, GIF nor WebP.",
]
DEPLOYMENT = {
    "id": "sudoku-tutorial-816e3c19d2a04c8f9b1f6f7d54ab01c2",
    "url": "http://playground.example/dashboard?selected_deployment_id=sudoku-tutorial-816e3c19d2a04c8f9b1f6f7d54ab01c2",
}
OTHER = "22222222-0000-4000-8000-00000000000{}"

SCENES = {
    "list": "/requests",
    "list-of-all": "/requests?all=1",
    "waiting": "/requests/waiting-5d1c7a52",
    "building": "/requests/building-5d1c7a52",
    "deploying": "/requests/deploying-5d1c7a52",
    "retrying": "/requests/retrying-5d1c7a52",
    "deployed": "/requests/deployed-5d1c7a52",
    "rejected": "/requests/rejected-5d1c7a52",
    "failed": "/requests/failed-5d1c7a52",
    "parked": "/requests/parked-5d1c7a52",
    "parked-list": "/parked",
    "unknown": "/requests/nobody-knows",
}
WITHOUT_SESSION = {"log-in": "/requests", "no-token": CLICK}


@asynccontextmanager
async def open_scenes(**changes: Any) -> AsyncIterator[tuple[Door, str]]:
    """Yield a gateway that knows a request in each state, and its address with the prefix.

    `changes` go into its settings. By default, every user is an operator.
    """
    async with open_door(**{"portal_url": PORTAL, "admin_role": ADMIN} | changes) as door:
        _say_everything(door)
        yield door, str(door.client.make_url(PREFIX))


def click(token_: str | None = None) -> str:
    """Return the path of a click."""
    return f"{CLICK}?jwtToken={token_ or token()}"


def _say_everything(door: Door) -> None:
    began = datetime.now(UTC) - timedelta(minutes=12)
    ended = _error("submit", "playground-refused", "The playground server refused the bundle: the name is in use.")
    stories: dict[str, list[dict[str, Any]]] = {
        "deployed": [
            {"state": "accepted"},
            {"state": "building"},
            {"state": "retrying", **_error("fetch", "catalog-unavailable", "Graphene's database gives no answer.")},
            {"state": "building", "attempt": 2},
            {"state": "submitting", "attempt": 2},
            {"state": "deployed", "attempt": 2, "deployment": DEPLOYMENT, "warnings": WARNINGS, **_bundle()},
        ],
        "rejected": [
            {"state": "accepted"},
            {"state": "building"},
            {"state": "rejected", **_error("authorise", "no-access", "You may not read Sudoku Tutorial.")},
        ],
        "failed": [{"state": "accepted"}, {"state": "building"}, {"state": "submitting"}, {"state": "failed", **ended}],
        "parked": [
            {"state": "accepted"},
            {"state": "building"},
            {"state": "submitting"},
            {"state": "parked", **_error("submit", "outcome-unknown", "The playground closed the connection.")},
        ],
        "retrying": [
            {"state": "accepted"},
            {"state": "building"},
            {
                "state": "retrying",
                "next_attempt_at": began + timedelta(minutes=13),
                **_error("fetch", "catalog-unavailable", "Graphene's database gives no answer."),
            },
        ],
        "deploying": [{"state": "accepted"}, {"state": "building"}, {"state": "submitting"}],
        "building": [{"state": "accepted"}, {"state": "building"}],
        "waiting": [{"state": "accepted"}],
    }
    for offset, (name, story) in enumerate(stories.items()):
        revision = OTHER.format(offset)
        for sequence, status in enumerate(story):
            time = began + timedelta(minutes=offset, seconds=7.3 * sequence)
            more = {"revision_id": revision, "offset": offset, "time": time, **status}
            if sequence:
                more |= {"solution_name": "Sudoku Tutorial", "solution_version": "1.0.0", "kind": "pipeline"}
            door.say(sequence, request_id=f"{name}-5d1c7a52", **more)


def _error(stage: str, code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "stage": stage, "retryable": False}}


def _bundle() -> dict[str, Any]:
    return {"bundle": {"sha256": "40bc6acc" * 8, "size": 64827, "nodes": NODES}}


async def _take_pictures(folder: Path) -> None:
    async with open_scenes() as (_, address), running_chromium() as browser:
        for theme in THEMES:
            for width in WIDTHS:
                size = {"width": width, "height": 800}
                context = await browser.new_context(color_scheme=theme, viewport=size)
                page = await context.new_page()
                for name, path in {**WITHOUT_SESSION, "sent": click(), **SCENES}.items():
                    await page.goto(address + path)
                    await page.screenshot(path=folder / f"{name}-{width}-{theme}.png", full_page=True)
                await context.close()


if __name__ == "__main__":
    asyncio.run(_take_pictures(Path(sys.argv[1])))
