#!/usr/bin/env python3
"""The old design, ported as it was built: asyncio, objects, dicts and lists.

    tapeline dump FILE.tape | python3 baseline.py [--priced]

With --priced the trace is its trades and quotes alone: each event has a handler.

A bus with one FIFO queue, a task for each event and handler, an exact dedup in a dict that is rebuilt when it has grown,
dead letters in a list, requests in a heapq that is rebuilt when a symbol is cleared. Standard library only.

It reads all of standard input into objects first. The time is from the first event that is published to the last that was
handled: bus, dedup, handler, dead letters and requests are in it; reading, parsing, and making the trace are not. The
garbage collector does not look at the trace (gc.freeze). What it prints is compared with runtime/examples/baseline.rs.
"""

import asyncio
import gc
import heapq
import json
import math
import sys
import time
from collections import deque
from decimal import Decimal

# The rules, as in baseline.rs.
FAST = 2.0 / (12.0 + 1.0)
SLOW = 2.0 / (26.0 + 1.0)
FAIL_EVERY = 100
AGAIN_EVERY, AGAIN_REST, AGAIN_AFTER = 20, 7, 64
REQUESTS = 3
SERVE_EVERY, SERVE = 16, 8
AGING_STEP_NS = 1_000_000_000
PRIORITIES = 8
MIX, MASK = 1_000_003, (1 << 64) - 1
CONTROL = ("tick", "symbol_def", "source_def", "epoch")
PRICED = ("trade", "quote")

# Of this program alone.
QUEUE_EVENTS = 10_000
DEDUP_WINDOW_NS = 1_000_000_000
DEDUP_REBUILD = 1 << 17


class Event:
    __slots__ = ("kind", "symbol", "key", "seq", "time", "price", "bid", "ask")

    def __init__(self, line):
        record = json.loads(line)
        self.kind = record["kind"]
        self.symbol = sys.intern(record["symbol"])
        self.seq = record["seq"]
        self.time = record["ts_recv"]
        self.price = price(record.get("price")) if self.kind == "trade" else None
        self.bid = price(record.get("bid_px")) if self.kind == "quote" else None
        self.ask = price(record.get("ask_px")) if self.kind == "quote" else None
        # None: the source has no sequence numbers, so nothing of it can be a duplicate.
        self.key = None
        if "unsequenced" not in record["flags"]:
            self.key = (sys.intern(record["source"]), self.symbol, self.seq, record["part"])


def price(text):
    """The float of a price as it is told, or None."""
    return None if text is None else int(Decimal(text).scaleb(9)) / 1e9


class Dedup:
    """Keys and when they were last seen. Old ones go when the dict has grown, all at once."""

    def __init__(self):
        self.seen = {}
        self.rebuild_at = DEDUP_REBUILD

    def is_duplicate(self, key, now):
        last = self.seen.get(key)
        self.seen[key] = now
        if last is not None and now - last < DEDUP_WINDOW_NS:
            return True
        if len(self.seen) > self.rebuild_at:
            self.seen = {key: at for key, at in self.seen.items() if now - at < DEDUP_WINDOW_NS}
            self.rebuild_at = max(DEDUP_REBUILD, 2 * len(self.seen))
        return False


class RequestQueue:
    """A heap by effective time, then in the order of queueing. A symbol is cleared by building the heap anew."""

    def __init__(self):
        self.heap = []
        self.queued = self.served = self.cleared = 0
        self.served_hash = 0

    def push(self, now, symbol, priority, payload):
        heapq.heappush(self.heap, (now + priority * AGING_STEP_NS, self.queued, symbol, payload))
        self.queued += 1

    def clear(self, symbol):
        kept = [request for request in self.heap if request[2] != symbol]
        self.cleared += len(self.heap) - len(kept)
        heapq.heapify(kept)
        self.heap = kept

    def serve(self):
        for _ in range(min(SERVE, len(self.heap))):
            _, _, _, payload = heapq.heappop(self.heap)
            self.served += 1
            self.served_hash = (self.served_hash * MIX + payload) & MASK


class Failed(Exception):
    """The handler gives up on an event."""


class Crossing:
    """Two averages of each symbol's price and which of them is above."""

    def __init__(self, requests):
        self.averages = {}
        self.requests = requests
        self.up = self.down = 0

    async def on_event(self, event, now):
        if event.seq % FAIL_EVERY == 0:
            raise Failed(event.seq)
        if event.kind == "trade":
            value = event.price
            if value is None:
                return
        else:
            if event.bid is None or event.ask is None:
                return
            value = (event.bid + event.ask) * 0.5
        state = self.averages.get(event.symbol)
        if state is None:
            self.averages[event.symbol] = [value, value, 0]
            return
        state[0] += FAST * (value - state[0])
        state[1] += SLOW * (value - state[1])
        if state[0] == state[1]:
            return
        position = 1 if state[0] > state[1] else 2
        before = state[2]
        state[2] = position
        if before not in (0, position):
            self.crossed(event, now, position)

    def crossed(self, event, now, position):
        # Called, not published: the queue behind the bus is spared a second pass.
        if position == 1:
            self.up += 1
            for number in range(REQUESTS):
                priority = (event.seq + number * 3) % PRIORITIES
                self.requests.push(now, event.symbol, priority, event.seq * REQUESTS + number)
        else:
            self.down += 1
            self.requests.clear(event.symbol)
        if (self.up + self.down) % SERVE_EVERY == 0:
            self.requests.serve()


class Bus:
    def __init__(self):
        self.queue = asyncio.Queue(QUEUE_EVENTS)
        self.handlers = {}
        self.dedup = Dedup()
        self.dead_letters = []
        self.offered = self.duplicates = 0

    def subscribe(self, kind, handler):
        self.handlers.setdefault(kind, []).append(handler)

    async def publish(self, event):
        await self.queue.put(event)

    async def run(self):
        now = 0
        while True:
            event = await self.queue.get()
            if event is None:
                return
            self.offered += 1
            now = max(now, event.time)
            if event.key is not None and self.dedup.is_duplicate(event.key, now):
                self.duplicates += 1
                continue
            handlers = self.handlers.get(event.kind)
            if not handlers:
                continue
            tasks = [asyncio.create_task(handler(event, now)) for handler in handlers]
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Failed):
                    self.dead_letters.append((event, result, now))
                elif isinstance(result, BaseException):
                    raise result


def trace(lines, is_priced):
    """All events, or those with a price, with copies of some of them."""
    events, copies, number = [], deque(), 0
    for line in lines:
        event = Event(line)
        if event.kind in CONTROL or is_priced and event.kind not in PRICED:
            continue
        while copies and copies[0][0] <= number:
            events.append(copies.popleft()[1])
        events.append(event)
        if event.key is not None and event.seq % AGAIN_EVERY == AGAIN_REST:
            copies.append((number + AGAIN_AFTER, event))
        number += 1
    events.extend(event for _, event in copies)
    return events


async def replay(events):
    requests = RequestQueue()
    crossing = Crossing(requests)
    bus = Bus()
    for kind in PRICED:
        bus.subscribe(kind, crossing.on_event)
    start = time.perf_counter()
    consumer = asyncio.create_task(bus.run())
    for event in events:
        await bus.publish(event)
    await bus.publish(None)
    await consumer
    return bus, crossing, requests, time.perf_counter() - start


def main():
    options = sys.argv[1:]
    if options not in ([], ["--priced"]):
        sys.exit("usage: baseline.py [--priced] <TRACE.ndjson")
    events = trace(sys.stdin, bool(options))
    if not events:
        sys.exit("baseline.py: no events")
    gc.collect()
    gc.freeze()
    bus, crossing, requests, seconds = asyncio.run(replay(events))
    averages_hash = 0
    for symbol in sorted(crossing.averages, key=str.encode):
        for value in crossing.averages[symbol][:2]:
            averages_hash = (averages_hash * MIX + math.floor(value * 1e6 + 0.5)) & MASK
    print(json.dumps({
        "program": "asyncio",
        "events": bus.offered,
        "duplicates": bus.duplicates,
        "dead_letters": len(bus.dead_letters),
        "crossings_up": crossing.up,
        "crossings_down": crossing.down,
        "requests": requests.queued,
        "served": requests.served,
        "cleared": requests.cleared,
        "left": len(requests.heap),
        "served_hash": f"{requests.served_hash:016x}",
        "averages_hash": f"{averages_hash:016x}",
        "passes": 1,
        "seconds": round(seconds, 6),
        "events_per_second": round(bus.offered / seconds),
    }, separators=(",", ":")))


if __name__ == "__main__":
    main()
