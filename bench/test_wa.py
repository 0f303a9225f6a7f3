#!/usr/bin/env python3
"""`bench wa` on a tiny geometry: every row runs to its end, and its counts can be true."""
import json
import subprocess
import sys

argv = [sys.argv[1], "wa", "--json", "--zones", "192", "--blocks", "64", "--settle", "1", "--measure", "1"]
run = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=240)
rows = [json.loads(line) for line in run.stdout.splitlines()]
assert run.returncode == 0 and len(rows) == 15, (run.returncode, len(rows))
for row in rows:
    print(row)
    depth1 = row["depth"] == 1
    # a write of its own carries a header, so depth 1 doubles at least what users write
    assert (2 if depth1 else 1) <= row["wa_written"] < 12, row
    parts = 1 - row["absorbed"] + row["moved"] + row["tables"] + row["overhead"]
    assert abs(row["wa"] - parts) < .001, row
    assert abs(row["wa_written"] * (1 - row["absorbed"]) - row["wa"]) < .001, row
    assert 0 <= row["absorbed"] < (.001 if depth1 else .9), row
    assert row["absorbed"] > .05 or depth1 or row["workload"] != "zipf0.99", row
    assert row["overhead"] > 0 and row["tables"] > 0 and row["moved"] >= 0, row
    assert 0.3 < row["u_eff"] < 1 and row["limit"] >= 1, row
    assert 0 < row["free"] < 0.5 and 0 <= row["tails"] < 0.2, row
    assert abs(row["ratio"] - row["wa"] / row["limit"]) < .01, row
    if not depth1 and row["workload"] == "uniform":
        assert row["moved"] > 0.2, row  # live blocks fill most of the pool: they must be moved
by_u = {r["u"]: r["wa"] for r in rows if r["workload"] == "uniform" and r["devices"] == 1 and r["depth"] > 1}
assert by_u[.7] < by_u[.8] < by_u[.9], by_u

# Full, and with fewer blocks in a group than there are table pages: groups come back without a checkpoint for each.
argv = [sys.argv[1], "wa", "--json", "--no-limits", "--zones", "768", "--blocks", "64", "--settle", "0", "--measure", "1",
        "--only", "uniform@0.90/1/256"]
run = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=240)
rows = [json.loads(line) for line in run.stdout.splitlines()]
assert run.returncode == 0 and len(rows) == 1, (run.returncode, len(rows))
print(rows[0])
assert rows[0]["tables"] < .3, rows[0]
