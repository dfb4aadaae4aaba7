"""The actions of people: they click in the portal, look at pages, and complain of errors that only a console shows."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlencode
from uuid import uuid4

import aiohttp
import jwt
from aiohttp import web

from tests.support.builders import blueprint_document, node, protobufs
from tests.support.stage import Stage
from worker.domain.tokens import jjwt_key
from worker.sandbox.graphene_data import Stored, make_pipeline
from worker.sandbox.playground_upload import Deployment
from worker.sandbox.users import JWT_SECRET, User, sandbox_token

ADMIN_ROLE = "Operator of the playground"

# Opens the address by script, as the Design Studio does, which cannot send a header with it.
_PORTAL = """<!doctype html><html lang="en"><title>Portal</title><link rel="icon" href="data:,">
<button>Deploy for Execution</button><script>
const address = new URLSearchParams(location.search).get("open");
document.querySelector("button").onclick = () => window.open(address);
</script>"""

# Records each state that the page shows, and what its policy blocks.
_NOTES = """
window.states = [];
const look = () => {
  const state = document.querySelector("#state .chip")?.textContent;
  if (state && state !== window.states.at(-1)) window.states.push(state);
};
addEventListener("DOMContentLoaded", () => {
  look();
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true });
});
addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective}`));
"""


_HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def portal_app() -> web.Application:
    """Return a page of another origin with the portal's button."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_PORTAL, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    return app


async def hide(page: Any, *, hidden: bool = True) -> None:
    """Make a page believe that its tab is hidden, or shown; without a screen a tab is never hidden."""
    await page.evaluate(_HIDE, hidden)


@dataclass(frozen=True, slots=True)
class World:
    """A stage, the address of its gateway, and the address of a portal."""

    stage: Stage
    gateway: str
    portal: str

    def solution(self, name: str) -> Stored:
        """Add a new pipeline of two nodes to Graphene."""
        document = blueprint_document(node("solver"), node("gui"))
        made = make_pipeline(name, document, protobufs(document))
        self.stage.graphene.add(made)
        return made

    def deployments(self, person: "Person") -> list[Deployment]:
        """Return the person's deployments on the playground."""
        return [it for it in self.stage.playground.deployments.values() if it.username == person.user.email]

    async def until_streams(self, number: int) -> None:
        """Wait until the gateway has this number of open streams."""
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"{self.gateway}/metrics") as response:
                    if f"playground_gateway_streams {float(number)}\n" in await response.text():
                        return
                await asyncio.sleep(0.1)  # polling is the only way to find out


@dataclass  # without slots: Playwright sets an attribute on each listener
class Person:
    """A person with a separate browser profile."""

    context: Any
    user: User
    is_admin: bool
    complaints: list[str] = field(default_factory=list)
    complained: asyncio.Event = field(default_factory=asyncio.Event)
    clicked: float = 0.0  # monotonic seconds of the last click

    @classmethod
    async def arrives(cls, browser: Any, *, admin: bool = False, **options: Any) -> Self:
        """Create a person; `options` are options of Playwright's contexts."""
        name = f"person-{uuid4().hex[:8]}"
        context = await browser.new_context(**options)
        person = cls(context, User(str(uuid4()), name, f"{name}@graphene.example"), admin)
        context.set_default_timeout(20_000)
        await context.add_init_script(_NOTES)
        context.on("console", person.hears)
        context.on("weberror", lambda it: person.complains(str(it.error)))
        return person

    def hears(self, message: Any) -> None:
        """Complain of an error on a page's console."""
        if message.type == "error":
            self.complains(f"{message.text} ({message.page.url.partition('?')[0]})")

    def complains(self, of: str) -> None:
        """Note a complaint."""
        self.complaints.append(of)
        self.complained.set()

    @property
    def token(self) -> str:
        """A new token, with the role of an operator if this person is an operator."""
        issued = sandbox_token(datetime.now(UTC), user=self.user)
        if not self.is_admin:
            return issued
        claims = jwt.decode(issued, options={"verify_signature": False})
        claims["role"][0]["name"] = ADMIN_ROLE
        return jwt.encode(claims, jjwt_key(JWT_SECRET), algorithm="HS512")

    def address(self, gateway: str, stored: Stored) -> str:
        """Return the address that the portal opens."""
        return f"{gateway}/deploy/{stored.solution_id}/{stored.revision_id}?{urlencode({'jwtToken': self.token})}"

    async def clicks(self, world: World, stored: Stored) -> Any:
        """Click in the portal; return the tab that opens."""
        portal = await self.context.new_page()
        # Another host name than the gateway's, so that the tab is opened by another site.
        origin = world.portal.replace("127.0.0.1", "localhost")
        await portal.goto(f"{origin}/?{urlencode({'open': self.address(world.gateway, stored)})}")
        async with self.context.expect_page() as opened:
            self.clicked = time.monotonic()
            await portal.click("button")
        return await opened.value

    async def forgives(self, words: str) -> None:
        """Wait for a complaint with these words, which may follow the page, and drop all complaints with them."""
        async with asyncio.timeout(10):
            while not any(words in it for it in self.complaints):
                self.complained.clear()
                await self.complained.wait()
        self.complaints = [it for it in self.complaints if words not in it]
