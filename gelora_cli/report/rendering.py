"""Pictures of a report as files and as parts of its page, on all cores; no torch."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from gelora_cli.core.processes import die_with_parent, usable_cores
from gelora_cli.plots.base import Picture
from gelora_cli.plots.inline import inline_svg

FEWEST_PICTURES = 6
"""A process of its own is started for no fewer pictures."""


KINDS: Mapping[str, Callable[[Picture], bytes]] = {"svg": Picture.svg, "png": Picture.png, "pdf": Picture.pdf}
"""The ending of a picture's file -> what makes its bytes."""
USUAL_KINDS = ("svg", "png")


@dataclass(frozen=True)
class Rendering:
    """A rendered picture: its files by name, and the `<svg>` element for the page."""

    files: dict[str, bytes]
    inline: str


Renderings = dict[str, Rendering]
"""By the names of their pictures."""


def render_pictures(pictures: Sequence[Picture], kinds: Sequence[str] = USUAL_KINDS) -> Renderings:
    """Return each picture with a file `NAME.KIND` for every kind; the bytes do not depend on the number of cores."""
    processes = max(1, min(usable_cores(), len(pictures) // FEWEST_PICTURES))
    shares = [pictures[number::processes] for number in range(processes)]  # each with some of every kind
    renderings: Renderings = {}
    with contextlib.ExitStack() as stack:
        helpers = [stack.enter_context(_rendering(share, kinds)) for share in shares[1:]]
        renderings |= _render(shares[0], kinds)
        for share, helper in zip(shares[1:], helpers, strict=True):
            renderings |= _received(helper) or _render(share, kinds)  # what is wrong with a picture shows here
    return {picture.name: renderings[picture.name] for picture in pictures}


def _received(helper: Connection | None) -> Renderings:
    """Return what a helper rendered; nothing where it ended before it was done, as by a lack of memory."""
    try:
        renderings: Renderings = helper.recv() if helper is not None else {}
    except (EOFError, OSError):  # OSError: it ended in the middle of its answer
        return {}
    return renderings


def _render(pictures: Sequence[Picture], kinds: Sequence[str] = USUAL_KINDS) -> Renderings:
    renderings: Renderings = {}
    for picture in pictures:
        files = {f"{picture.name}.{kind}": KINDS[kind](picture) for kind in kinds}
        renderings[picture.name] = Rendering(files, inline_svg(picture))
    return renderings


@contextlib.contextmanager
def _rendering(pictures: Sequence[Picture], kinds: Sequence[str]) -> Iterator[Connection | None]:
    """Start a process that renders some pictures, and yield the connection that its answer comes from.

    None is yielded where no process can be started: at a limit on their number, or in a worker of a pool.
    """
    context = multiprocessing.get_context("fork")  # figures are inherited: they can't be sent
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_files, args=(pictures, sender, os.getpid(), kinds), daemon=True)
    try:
        process.start()
    except (OSError, AssertionError):  # multiprocessing asserts that a daemon has no children
        sender.close()
        receiver.close()
        yield None
        return
    sender.close()  # the child's copy is the only one now, so that its end is noticed
    try:
        yield receiver
    finally:
        receiver.close()
        process.terminate()
        process.join()


def _send_files(pictures: Sequence[Picture], sender: Connection, parent: int, kinds: Sequence[str]) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, too, and ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(Exception):  # the parent renders these again, and meets the same error
        sender.send(_render(pictures, kinds))
