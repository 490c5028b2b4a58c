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


def _texts(pid, name):
    """/proc/…/NAME of those of the family that still live."""
    for one in family(pid):
        try:
            yield pathlib.Path(f"/proc/{one}/{name}").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue


def cpu_seconds(pid):
    """User and system time of the family, threads and children that have ended included."""
    # proc(5): what follows the name in brackets begins with field 3; utime is field 14.
    return sum(int(word) for stat in _texts(pid, "stat")
               for word in stat.rpartition(")")[2].split()[11:15]) / _TICKS


def _peak_of_one(pid):
    """Of one process, without what descends from it. 0 if it is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    return max((int(peak) / 1024 for peak in re.findall(r"VmHWM:\s+(\d+) kB", status)),
               default=0.0)


def peak_rss_mib(pid):
    """Of the largest process of the family, since it began. 0 if it is gone."""
    return max((int(peak) / 1024 for status in _texts(pid, "status")
                for peak in re.findall(r"VmHWM:\s+(\d+) kB", status)), default=0.0)


def all_at_once(commands):
    """Runs them side by side; raises if one fails."""
    running = [subprocess.Popen(command) for command in commands]
    failed = [one.args for one in running if one.wait() != 0]
    if failed:
        raise lab.BenchError(f"failed: {failed[0]}")


def disk_bytes_read(pid):
    """What had to come from disk for the family."""
    return sum(int(count) for words in _texts(pid, "io")
               for count in re.findall(r"^read_bytes: (\d+)", words, re.MULTILINE))


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
            peaks[index] = max(peaks[index], peak_rss_mib(process.pid))
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
