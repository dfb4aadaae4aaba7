"""The peak memory of some code, measured in a separate process."""

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
    """Return the MiB by which the peak resident size grows while `code` runs; the memory of `before` is not counted."""
    script = _MEASURE.format(before=before, code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=100)
    assert 0 == done.returncode, done.stderr
    return float(done.stdout.split()[-1])
