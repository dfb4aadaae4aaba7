"""The content of the generated solutions' repository."""

from tests.support.builders import operation, protobuf

# Each protobuf names its URI.
PROTO_URIS = ("org/a.proto", "org/a/a.proto", "org/b.proto", "org/shared.proto")
TAKEN, GIVEN = ("In", "Empty", "x"), ("Out", "Empty")  # messages
OPERATIONS = [
    operation(),
    *(operation(f"{name}{takes}{gives}", takes=takes, gives=gives)
      for name in ("run", "train", "mount") for takes in TAKEN for gives in GIVEN),
]  # fmt: skip
PROTOS = {uri: f"{protobuf(*OPERATIONS)}// {uri}\n".encode() for uri in PROTO_URIS}
