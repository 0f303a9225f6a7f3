#!/usr/bin/env python3
"""The man page of the settings has every key of the parser's table, with its default, and no other; the page
of the command has every command. Usage: test_man.py config.c zonepoold.conf.5 ZONEPOOL zonepool.8"""
import pathlib
import re
import subprocess
import sys

table = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
page = pathlib.Path(sys.argv[2]).read_text(encoding="utf-8")
command_page = pathlib.Path(sys.argv[4]).read_text(encoding="utf-8").replace("\\-", "-")
table = table.replace("ZONEPOOL_RUNDIR", '"/run/zonepool"')

keys = {}
for name, initial in re.findall(r'\{"(\w+)",\s*\w+,\s*AT\(\w+\),\s*((?:"(?:\\.|[^"\\])*"\s*)+),', table):
    keys[name] = "".join(re.findall(r'"((?:\\.|[^"\\])*)"', initial)).replace('\\"', '"')
shown = dict(re.findall(r"^\.B (\w+) = (.*)$", page, re.M))
shown = {k: v.replace("\\(dq", '"') for k, v in shown.items()}
faults = [f"{k}: table {keys.get(k)}, page {shown.get(k)}" for k in sorted(keys.keys() | shown.keys())
          if keys.get(k) != shown.get(k)]

top = subprocess.run([sys.argv[3], "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
commands = re.findall(r"^  ((?:pool|volume|migrate|daemon) [a-z]+|disk-xml) ", top, re.M)
for command in commands:
    if not re.search(rf'^\.BI? "?{command}[ "]?', command_page, re.M):
        faults.append(f"{command}: not in the man page")
print("\n".join(faults) or f"{len(keys)} settings, {len(commands)} commands")
sys.exit(1 if faults or len(keys) < 10 or len(commands) < 20 else 0)
