"""Runs a command for so many seconds at most, and prints as JSON what it took: measure.py SECONDS LOG COMMAND ..."""

import json
import resource
import signal
import subprocess
import sys
import time

limit, log, *command = sys.argv[1:]
stops = []

with open(log, "wb") as errors:
    begin = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
    # Not Popen.wait with a timeout: that looks only every 50 ms.
    signal.signal(signal.SIGALRM, lambda *_: (stops.append(True), child.kill()))
    signal.setitimer(signal.ITIMER_REAL, float(limit))
    code = child.wait()
    seconds = time.monotonic() - begin

used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = used.ru_utime + used.ru_stime
print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_kib": used.ru_maxrss, "code": code, "is_stopped": bool(stops)}))
