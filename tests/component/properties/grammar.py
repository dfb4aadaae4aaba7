"""The valid names and image references, determined without the code under test and without its regular expressions."""

import string
import unicodedata

LOWER, DIGITS = set(string.ascii_lowercase), set(string.digits)
ALNUM = set(string.ascii_letters) | DIGITS
DIGESTS = {"sha256": 64, "sha384": 96, "sha512": 128}
FAMILIES = ("kube-", "kubernetes-", "openshift-")
CLUSTER = {"default", "istio-system", "cert-manager", "ingress-nginx", "metallb-system", *(it[:-1] for it in FAMILIES)}
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


# --------------------------------------------------------------------------------------------- names and images


def is_label(name: str, *, first: set[str] = LOWER | DIGITS) -> bool:
    """Return whether a name is an RFC 1123 label; with letters as `first`, an RFC 1035 label."""
    inner = LOWER | DIGITS | {"-"}
    return 0 < len(name) <= 63 and set(name) <= inner and name[0] in first and name[-1] != "-"


def keeps_its_name(name: str) -> bool:
    """Return whether Kubernetes accepts a node's name with every suffix, and Windows accepts a file with that name."""
    return is_label(name, first=LOWER) and len(name) <= 63 - len("webuiingress") and name not in DEVICES


def namespace(name: str) -> str:
    """Return the playground server's namespace, without the 32 hex digits that it appends."""
    return name.lower().replace(" ", "-").replace("_", "-")


def is_reserved(name: str) -> bool:
    """Return whether the playground's namespace for this name would be the cluster's own."""
    space = namespace(name)
    if space in CLUSTER or space.startswith(FAMILIES):
        return True
    # A name that must change may not turn into one of the cluster's own.
    words = "".join(char if char in LOWER | DIGITS else " " for char in to_ascii(name)).split()
    return not keeps_its_pipeline_name(name) and "-".join([*words, ""]).startswith(FAMILIES)


def to_ascii(text: str) -> str:
    """Return the text in lower case without accents and non-Latin letters."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()


def keeps_its_pipeline_name(name: str) -> bool:
    """Return whether the playground server makes a namespace from the name, hex digits included."""
    return name.isascii() and is_label(namespace(name)) and len(namespace(name)) <= 30


def is_image(image: str) -> bool:
    """Return whether an image is valid in the grammar of distribution/reference, parsed by hand."""
    name, at, digest = image.partition("@")
    algorithm, colon, digits = digest.partition(":")
    if at and not (colon and len(digits) == DIGESTS.get(algorithm) and set(digits) <= set("0123456789abcdef")):
        return False
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not (1 <= len(tag) <= 128 and set(tag) <= ALNUM | set("_.-") and tag[0] not in ".-"):
        return False
    parts = [*head.split("/"), last] if slash else [last]
    if len("/".join(parts)) > 230 or (len(last) == 64 and set(last) <= set("0123456789abcdef") and not slash):
        return False
    return all(map(_is_component, parts[1:])) and (_is_component(parts[0]) or (len(parts) > 1 and _is_domain(parts[0])))


def _is_component(text: str) -> bool:
    """Return whether a text is lower-case words joined by one dot, one or two underscores, or hyphens."""
    if not set(text) <= LOWER | DIGITS | set("._-"):
        return False
    words = "".join(char if char in LOWER | DIGITS else " " for char in text)
    joints = "".join(" " if char in LOWER | DIGITS else char for char in text).split()
    plain = all(joint in (".", "_", "__") or set(joint) == {"-"} for joint in joints)
    return bool(text) and plain and words[0] != " " and words[-1] != " "


def _is_domain(text: str) -> bool:
    host, port = text, "1"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and rest[0] != ":"):
            return False
        return _is_port(rest[1:] if rest else "1") and bool(host) and set(host) <= set(string.hexdigits + ":")
    if ":" in text:
        host, _, port = text.partition(":")
    labels = host.split(".")
    return _is_port(port) and all(
        label and set(label) <= ALNUM | {"-"} and label[0] != "-" and label[-1] != "-" for label in labels
    )


def _is_port(text: str) -> bool:
    return bool(text) and set(text) <= DIGITS
