"""The mirror as a service: crawls, fetches what is wanted, lays it out, and goes on through everything that passes by itself.

Each of its loops (`service`) may fail and rest without the others; what only a person or a new start can put right ends them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from empiar_mirror.app import Mirror
from empiar_mirror.pacing import begun_anew
from empiar_mirror.root_guard import RootGuard
from empiar_mirror.service.crawls import Crawls
from empiar_mirror.service.declarations import Declarations
from empiar_mirror.service.layouts import Layouts
from empiar_mirror.service.rests import Rests
from empiar_mirror.service.scrubs import Scrubs
from empiar_mirror.service.transfers import Transfers
from empiar_schema.events import ConfigurationRead, Event
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings

#: So often a loop that has nothing to do looks whether it has, though nobody told it.
LOOK_S: Final = 60.0
#: So often it is looked whether a file's proof has grown old.
SCRUB_S: Final = 600.0
#: So often a full disk, or a root that is away, is looked at.
LOOK_AT_DISK_S: Final = 15.0
#: Keys of ``[daemon]`` that a running service does not take up.
NEED_A_START: Final = ("listen",)


@dataclass(slots=True)
class Daemon:
    """One run of the service. It ends when it is stopped, or with what it cannot get over."""

    mirror: Mirror
    #: Reads the configuration anew.
    read_settings: Callable[[], Settings]
    look_s: float = LOOK_S
    look_at_disk_s: float = LOOK_AT_DISK_S
    scrub_s: float = SCRUB_S
    transfers: Transfers = field(init=False)
    _layouts: Layouts = field(init=False)
    _crawls: Crawls = field(init=False)
    _scrubs: Scrubs = field(init=False)
    _declarations: Declarations = field(init=False)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        mirror = self.mirror
        rests = Rests(mirror, RootGuard.of(mirror.settings.root), self._stopped, self.look_at_disk_s)
        self._layouts = Layouts(mirror, rests, self.look_s)
        self.transfers = Transfers(mirror, rests, self.look_s, ended=self._layouts.wake)
        wanted = self.transfers.wake
        self._crawls = Crawls(mirror, rests, self.look_s, wanted)
        self._scrubs = Scrubs(mirror, rests, self.scrub_s, wanted)
        self._declarations = Declarations(mirror, rests, wanted)

    async def run(self) -> None:
        """The service runs until `stop`; what is under way then is kept.

        Raises:
            CatalogueFault: the catalogue refused; a new start may help, and puts in order what this one left.
        """
        with self.mirror.stopping.telling(self._stopped.set):
            if self.mirror.stopping.stopped:
                return
            async with asyncio.TaskGroup() as loops:
                crawling = loops.create_task(self._crawls.run())
                for loop in (self.transfers, self._layouts, self._scrubs, self._declarations):
                    loops.create_task(loop.run())
                await self._stopped.wait()
                # A transfer ends by itself, and soon; what only waits is woken.
                self.transfers.end_current()
                crawling.cancel()
                for waiting in (self.transfers, self._layouts, self._declarations):
                    waiting.wake()

    def stop(self) -> None:
        """Everything ends soon, and partial work is kept. For signal handlers of the loop."""
        self._stopped.set()
        self.mirror.stop()

    def reload(self) -> None:
        """The configuration file is in force as it stands now, or, if it is wrong, as it was. For signal handlers of the loop.

        Limits change while streams run; what is built into channels begins the transfer anew, partials kept; what is under way
        otherwise (a crawl, a hook) ends under the settings with which it began. Another `root` needs another start, and so do
        keys of `NEED_A_START`, which the log names.
        """
        try:
            settings = self.read_settings()
            if settings.root != self.mirror.settings.root:
                raise ConfigFault(
                    "root cannot change while the service runs", hint="stop it, and start it again"
                )
        except ConfigFault as fault:
            self.mirror.observer(ConfigurationRead(False, f"{fault} ({fault.hint})"))
            return
        before, self.mirror.settings = self.mirror.settings, settings
        self.mirror.pacing.apply(settings)
        self.mirror.observer(ConfigurationRead(True, _needs_a_start(before, settings)))
        if begun_anew(before, settings):
            self.transfers.end_current()
        self._declarations.wake()
        self.transfers.wake()

    def observe(self, event: Event) -> None:
        """Hears what arrives, and what has to be made again. To be among the mirror's observers."""
        self.transfers.observe(event)
        self._layouts.observe(event)


def _needs_a_start(before: Settings, after: Settings) -> str | None:
    """What has changed in the file and is not in force before another start; None where nothing is."""
    changed = [key for key in NEED_A_START if getattr(before.daemon, key) != getattr(after.daemon, key)]
    if not changed:
        return None
    return f"daemon.{' and daemon.'.join(changed)} takes effect when the service is started again"
