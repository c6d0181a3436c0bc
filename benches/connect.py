#!/usr/bin/env python3
"""What `connect` adds to a call: the same call of the same demo, made directly over HTTP and over stdio through `connect`. Prints Markdown.

One session, one call at a time. `connect` runs where its client does: the load and it share a core, the demo has the other. Directly and through
`connect` take turns, so that what else the machine does meets both. On the demo's core instead it would also wait for the demo's threads.
"""

import argparse
import os

from bench import LOAD, Subject, load, median, number, table, target

# One of each is measured in every round, in this order.
WAYS = {"Streamable HTTP": ("mcp", "http", "/mcp"), "HTTP+SSE": ("sse", "sse", "/sse")}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", required=True, help="the release binary")
    parser.add_argument("--bin", required=True, help="where bench-load is")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.6)
    args = parser.parse_args()
    args.load = os.path.join(args.bin, "bench-load")
    print("### connect\n\nload average %.1f when it began; %d rounds of %.1f s, medians.\n" % (os.getloadavg()[0], args.rounds, args.seconds))
    demo = [args.ours, "demo", "--http", "--port", "{port}", "--log-level", "off"]
    results = {}
    with Subject("demo", demo, {}) as server:
        if not server:
            raise SystemExit("the demo does not start")
        for _ in range(args.rounds):
            for name, (direct, forced, path) in WAYS.items():
                words = "taskset -c %s %s connect --transport %s --log-level off http://127.0.0.1:%d%s" % (LOAD, args.ours, forced, server.port, path)
                ways = {"direct": dict(transport=direct, port=server.port), "connect": dict(transport="stdio", command=words)}
                for way, flags in ways.items():
                    got = load(args, "calls", sessions=1, seconds=args.seconds, warmup=args.seconds / 3, **flags)
                    if isinstance(got, str):
                        raise SystemExit("%s, %s: %s" % (name, way, got[:300]))
                    results.setdefault((name, way), []).append(got)
    of = lambda key, field: number(median([one[field] for one in results[key]]))
    table(["way", "calls/s", "p50 us", "p99 us"], [["%s, %s" % key] + [of(key, field) for field in ("rate", "p50", "p99")] for key in results])
    for name in WAYS:
        pairs = zip(results[name, "connect"], results[name, "direct"])
        target("%s: p50 added per call" % name, median([ours["p50"] - its["p50"] for ours, its in pairs]), most=60, unit=" us")


if __name__ == "__main__":
    main()
