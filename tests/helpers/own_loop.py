"""Run a coroutine in a loop of its own, wherever a test runs: a browser's driver keeps one running in this thread."""

import asyncio
from concurrent.futures import ThreadPoolExecutor


def run_async(coroutine):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
