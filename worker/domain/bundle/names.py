"""One function decides every Kubernetes name; blueprint, dockerinfo, protos and manifests all carry its result."""

import re
import unicodedata
from hashlib import sha256

from worker.errors import NotDeployable

# The script on the target appends these to a node's name; all must fit into a 63-character DNS label (RFC 1035).
WEBUI = "webui"
WEBUI_INGRESS = "webuiingress"
NODE_NAME_LIMIT = 63 - len(WEBUI_INGRESS)

# The playground server appends "-" and 32 hex digits to make the namespace.
PIPELINE_NAME_LIMIT = 63 - 33

ORCHESTRATOR = "orchestrator"

_NODE_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
# Windows cannot unpack microservice/con.proto.
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
# In unique mode the server's namespace is the bare name, and the script there may delete it.
_RESERVED_NAMESPACE = re.compile(
    r"default|kube(rnetes)?(-.*)?|openshift(-.*)?|istio-system|cert-manager|ingress-nginx|metallb-system"
)


def node_name(original: str) -> str:
    """The Kubernetes name of a node: kept when valid, else a readable slug and a short hash.

    Valid is an RFC 1035 label that leaves room for `webuiingress` (51 characters) and is no device of Windows.
    Raises NotDeployable (name-reserved) for the orchestrator's name.
    """
    if original.lower() == ORCHESTRATOR:
        raise NotDeployable("name-reserved", f"A node is called '{original}', the orchestrator's own name. Rename it.")
    if len(original) <= NODE_NAME_LIMIT and _NODE_NAME.fullmatch(original) and not _DEVICE.fullmatch(original):
        return original
    return _slug(original, limit=40, prefix="node")


def pipeline_name(original: str) -> str:
    """The `name` in blueprint.json, of which the playground server makes the namespace.

    Kept when the server's own rule (lower case; space and `_` become `-`) gives a valid namespace.
    Raises NotDeployable (name-reserved) for a namespace that belongs to the cluster.
    """
    namespace = _namespace(original)
    fits = len(namespace) <= PIPELINE_NAME_LIMIT and _NAMESPACE.fullmatch(namespace) and original.isascii()
    name = original if fits else _slug(original, limit=PIPELINE_NAME_LIMIT - 9, prefix="pipeline")
    # Both, because `kube.system` is no namespace and would become kube-system-1a2b3c4d.
    if any(_RESERVED_NAMESPACE.fullmatch(_namespace(one)) for one in (original, name)):
        raise NotDeployable(
            "name-reserved",
            f"The name '{original[:60]}' is kept for the cluster itself. Rename the solution.",
        )
    return name


def _namespace(name: str) -> str:
    return re.sub("[ _]", "-", name.lower())


def _slug(original: str, limit: int, prefix: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", original).encode("ascii", "ignore").decode().lower()
    words = re.sub("[^a-z0-9]+", "-", ascii_only).strip("-")
    if not words[:1].isalpha():
        words = f"{prefix}-{words}" if words else prefix
    return f"{words[:limit].rstrip('-')}-{sha256(original.encode(errors='surrogatepass')).hexdigest()[:8]}"
