"""A service on Starlette; CLIENT says whether calls are made by httpx, by aiohttp, or by requests out of a handler without async,
which Starlette runs in a thread of its pool."""

import asyncio
import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

import shape
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

CLIENT = os.environ["CLIENT"]


@contextlib.asynccontextmanager
async def httpx_get(app):
    import httpx

    limits = httpx.Limits(max_connections=shape.POOL or None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:

        async def get(url):
            response = await client.get(url)
            return response.status_code, response.text

        yield {"get": get}


@contextlib.asynccontextmanager
async def aiohttp_get(app):
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, limit_per_host=shape.POOL)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get(url):
            async with session.get(url) as response:
                return response.status, await response.text()

        yield {"get": get}


@contextlib.asynccontextmanager
async def requests_get(app):
    import requests

    with requests.Session() as session, ThreadPoolExecutor(64) as executor:
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=shape.POOL or 512, pool_block=shape.POOL > 0)
        session.mount("http://", adapter)

        def get(url):
            response = session.get(url)
            return response.status_code, response.text

        yield {"get": get, "executor": executor}


async def call(get, base, position):
    status, text = await get(f"{base}{position}")
    if status == 503:
        status, text = await get(f"{base}{position + 5}")
    if status != 200:
        raise OSError(f"answered with {status}")
    return int(text)


async def serve(request):
    number, position = shape.parse(request.url.path)
    await asyncio.sleep(shape.delay(number, position))
    if shape.refused(number, position):
        return PlainTextResponse("0", 503)
    served = 1
    for first, calls in shape.groups(number, position):
        if shape.THINK:
            await asyncio.sleep(shape.think(number, first))
        served += sum(await asyncio.gather(*(call(request.state.get, *c) for c in calls)))
    return PlainTextResponse(str(served))


def call_blocking(get, base, position):
    status, text = get(f"{base}{position}")
    if status == 503:
        status, text = get(f"{base}{position + 5}")
    if status != 200:
        raise OSError(f"answered with {status}")
    return int(text)


def serve_blocking(request):
    number, position = shape.parse(request.url.path)
    time.sleep(shape.delay(number, position))
    if shape.refused(number, position):
        return PlainTextResponse("0", 503)
    served, get = 1, request.state.get
    for first, calls in shape.groups(number, position):
        time.sleep(shape.think(number, first))
        if len(calls) == 1:
            served += call_blocking(get, *calls[0])
        else:
            served += sum(request.state.executor.map(lambda c: call_blocking(get, *c), calls))
    return PlainTextResponse(str(served))


lifespan = {"httpx": httpx_get, "aiohttp": aiohttp_get, "requests": requests_get}[CLIENT]
handler = serve_blocking if CLIENT == "requests" else serve
app = Starlette(routes=[Route("/{path:path}", handler)], lifespan=lifespan)
