#!/usr/bin/env python3
"""`bench recovery` on a small volume, with all of its table in RAM and with a little: it ends, nothing is lost (the program
checks), and what it counts can be true."""
import json
import subprocess
import sys

for cache in [], ["--cache-mib", "1"]:
    argv = [sys.argv[1], "recovery", "--json", "--gib", "1", "--blocks", "2048", *cache]
    run = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=240)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0 and len(rows) == 1, (run.returncode, rows)
    row = rows[0]
    print(row)
    assert row["table_pages"] > 771, row  # 2^18 blocks, 340 to a leaf
    assert row["log_blocks"] > row["user_blocks"] > (100 if cache else 1000), row
    assert 0 < row["table_share"] < row["share"] < 2, row
    # headers and summaries are part of what the interval of checkpoints goes by
    assert cache or 0.045 < row["share"] <= 0.0505, row
    # the design's bound, and that the cap is one
    assert (row["table_ram_gib_per_tib"] <= 3.25) if not cache else row["table_ram_gib_per_tib"] < 2, row
