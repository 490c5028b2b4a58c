"""What processes cost: processor time and memory, of daemons with their workers and of commands."""
import dataclasses
import os
import pathlib
import re
import subprocess
import tempfile
import time

import lab

_TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


def family(pid):
    """The process and all that descend from it: a holder has a worker, and one that stands by."""
    found = [pid]
    for one in found:
        for children in pathlib.Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(word) for word in children.read_text(encoding="ascii").split()]
            except OSError:  # the thread has ended meanwhile
                continue
    return found


def cpu_seconds(pid):
    """User and system time of the family, threads and children that have ended included."""
    ticks = 0
    for one in family(pid):
        try:
            stat = pathlib.Path(f"/proc/{one}/stat").read_text(encoding="ascii")
        except OSError:
            continue
        # proc(5): what follows the name in brackets begins with field 3; utime is field 14.
        ticks += sum(int(word) for word in stat.rpartition(")")[2].split()[11:15])
    return ticks / _TICKS


def peak_rss_mib(pid):
    """Of the largest process of the family, since it began. 0 if it is gone."""
    return max(map(_peak_of_one, family(pid)), default=0.0)


def _peak_of_one(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(peak.group(1)) / 1024 if peak else 0.0


def disk_bytes_read(pid):
    """What had to come from disk for the family."""
    total = 0
    for one in family(pid):
        try:
            words = pathlib.Path(f"/proc/{one}/io").read_text(encoding="ascii")
        except OSError:
            continue
        total += int(re.search(r"^read_bytes: (\d+)", words, re.MULTILINE).group(1))
    return total


def machine_cpu_seconds():
    """Of everything on the machine, the kernel's own threads included."""
    words = pathlib.Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    user, nice, system, _, _, irq, softirq = (int(word) for word in words[1:8])
    return (user + nice + system + irq + softirq) / _TICKS


@dataclasses.dataclass
class Cost:
    """Of one command of a pipeline."""
    cpu: float
    rss_mib: float


def pipeline(*commands, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
    """Runs commands joined by pipes, from `stdin` to `stdout`, all of which must succeed. Returns
    what each has cost."""
    with tempfile.TemporaryFile() as errors:
        processes = []
        try:
            for index, command in enumerate(commands):
                last = index == len(commands) - 1
                before = processes[-1].stdout if processes else stdin
                processes.append(subprocess.Popen(
                    [str(word) for word in command], stdin=before,
                    stdout=stdout if last else subprocess.PIPE, stderr=errors))
                if index > 0:
                    before.close()  # it is the command's now
            return _reap(processes, commands, errors)
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    process.wait()


def _reap(processes, commands, errors):
    peaks = [0.0] * len(processes)
    costs = [None] * len(processes)
    while None in costs:
        for index, process in enumerate(processes):
            if costs[index]:
                continue
            # ru_maxrss would be no less than the memory of this program, which began it.
            peaks[index] = max(peaks[index], _peak_of_one(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid == 0:
                continue
            process.returncode = os.waitstatus_to_exitcode(status)
            costs[index] = Cost(usage.ru_utime + usage.ru_stime, peaks[index])
            if process.returncode != 0:
                errors.seek(0)
                words = errors.read().decode(errors="replace").strip()[-2000:]
                raise lab.BenchError(f"{' '.join(map(str, commands[index]))}: {words}")
        time.sleep(0.01)
    return costs
