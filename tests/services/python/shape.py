"""Burns processor time in one of some known shapes: `shape.py SECONDS SHAPE`."""

import asyncio
import functools
import sys
import threading
import time


def leaf(amount):
    total = 0
    for number in range(amount):
        total += number * number
    return total


def descend(depth):
    if depth == 0:
        return leaf(20000)
    return descend(depth - 1)


def produce():
    while True:
        yield leaf(1000)


def delegate():
    yield from produce()


def by_generator():
    numbers = delegate()
    for _ in range(20):
        next(numbers)


def key(number):
    return leaf(200) - number


def by_sort():
    sorted(range(20), key=key)


def add(left, right):
    return left + leaf(200) - right


def by_reduce():
    functools.reduce(add, range(20))


class Shape:
    def __init__(self, amount):
        self.amount = leaf(amount)

    def method(self):
        return [leaf(200) for _ in range(3)]

    @property
    def size(self):
        return leaf(500)


def by_class():
    shape = Shape(500)
    shape.method()
    return shape.size


async def inner():
    await asyncio.sleep(0)
    return leaf(3000)


async def outer():
    return await inner()


async def by_tasks(end):
    while time.monotonic() < end:
        await asyncio.gather(outer(), outer())


def thread(end):
    while time.monotonic() < end:
        descend(5)


def main(seconds, shape):
    end = time.monotonic() + seconds
    if shape == "tasks":
        asyncio.run(by_tasks(end))
    elif shape == "threads":
        threads = [threading.Thread(target=thread, args=(end,)) for _ in range(3)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    elif shape == "deep":
        sys.setrecursionlimit(10000)
        while time.monotonic() < end:
            descend(600)
    else:
        function = globals()["by_" + shape]
        while time.monotonic() < end:
            function()


main(float(sys.argv[1]), sys.argv[2])
