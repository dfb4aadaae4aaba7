"""A machine of its own for a command, as the tests of the node have one, and Docker's engine ready to be started there.

    python -m tests.extended.docker.machine COMMAND …

Everything is fetched outside; inside is no network, and what the engine makes ends with the machine.
"""

import sys

from tests.extended.docker.engine import engine_root
from tests.extended.docker.images import base_image, kafka_image, wheels
from tests.extended.live.machine import enter, look, say
from tests.support.kept import Unavailable


def main() -> int:
    """Run the command on the machine and do not return; return 1 with a sentence if there can be no machine."""
    try:
        look()
        for prepare in (engine_root, wheels, base_image, kafka_image):
            prepare()
    except Unavailable as reason:
        say(str(reason))
        return 1
    return enter(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
