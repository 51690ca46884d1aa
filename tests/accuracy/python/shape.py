"""What the services do, from their environment: see ../README.md."""

import os

THINK = int(os.environ.get("THINK", "0"))
POOL = int(os.environ.get("POOL", "0"))
RETRIES = "RETRIES" in os.environ
GROUPS = [
    [call.split("=") for call in group.split(",")] for group in os.environ["CALLS"].split(";") if group
]


def parse(path):
    """The id and position in a path."""
    _, _, request, position = path.split("/")
    return int(request), int(position)


def delay(request, position):
    """Seconds; 0 for every second request."""
    return max(0, (request * 7919 + position * 104729) % 41 - 20) / 1000


def refused(request, position):
    return RETRIES and position > 1 and position % 10 < 5 and (request + position) % 8 == 0


def think(request, position):
    """Seconds that pass before the group of calls that begins at a position."""
    return delay(request, position) * THINK / 20


def groups(request, position):
    """The groups of calls, each the position of its first call and a list of address and path functions."""
    position *= 10
    for group in GROUPS:
        yield position, [
            (f"http://{address}/{name}/{request}/", position + number)
            for number, (name, address) in enumerate(group)
        ]
        position += len(group)
