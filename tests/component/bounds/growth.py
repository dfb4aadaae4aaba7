"""How much memory some code takes at most, measured in a process of its own."""

import subprocess
import sys

_MEASURE = """
import resource
{before}
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start = peak()
{code}
print(peak() - start)
"""


def growth(code: str, before: str = "") -> float:
    """MiB by which the largest resident size grows while `code` runs; what `before` takes does not count."""
    script = _MEASURE.format(before=before, code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=100)
    assert 0 == done.returncode, done.stderr
    return float(done.stdout.split()[-1])
