"""A service on aiohttp, server and client; calls are made at the same time by asyncio.gather."""

import asyncio
import os

import aiohttp
import shape
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)


async def get(session, url):
    async with session.get(url) as response:
        return response.status, await response.text()


async def call(session, base, position):
    status, text = await get(session, f"{base}{position}")
    if status == 503:
        status, text = await get(session, f"{base}{position + 5}")
    if status != 200:
        raise OSError(f"answered with {status}")
    return int(text)


async def serve(request):
    number, position = shape.parse(request.path)
    await asyncio.sleep(shape.delay(number, position))
    if shape.refused(number, position):
        return web.Response(status=503, text="0")
    served = 1
    for first, calls in shape.groups(number, position):
        if shape.THINK:
            await asyncio.sleep(shape.think(number, first))
        served += sum(await asyncio.gather(*(call(request.app[SESSION], *c) for c in calls)))
    return web.Response(text=str(served))


async def session(app):
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=shape.POOL)
    async with aiohttp.ClientSession(connector=connector) as app[SESSION]:
        yield


app = web.Application()
app.router.add_get("/{path:.*}", serve)
app.cleanup_ctx.append(session)

if __name__ == "__main__":
    web.run_app(
        app, host=os.environ["HOST"], port=int(os.environ["PORT"]), backlog=1024, access_log=None, print=None
    )
